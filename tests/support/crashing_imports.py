"""What the crashing processes need, imported once in the server they are forked from."""

import alembic.command
import mlflow.pyfunc
import mlflow.sklearn
import mlflow.store.db.utils
import mlflow.store.model_registry.sqlalchemy_store
import mlflow.store.tracking.sqlalchemy_store
import psycopg
import sklearn.dummy
import skops.io
import skops.io._sklearn
import sqlalchemy.dialects.sqlite.pysqlite
import sqlalchemy.orm

import evergreen.tasks.promotion
import tests.support.crash_points

__all__ = ["alembic", "evergreen", "mlflow", "psycopg", "sklearn", "skops", "sqlalchemy", "tests"]

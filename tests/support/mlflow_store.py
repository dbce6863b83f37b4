"""MLflow stores for tests: migrate one SQLite store for a version of MLflow, copy it for each test."""

import fcntl
import shutil
from importlib.metadata import version

import pytest


@pytest.fixture(scope="session")
def mlflow_template(tmp_path_factory, pytestconfig):
    """Path of an empty, migrated SQLite store; never write to it.

    Sessions that run side by side wait for the first of them to migrate it (some seconds), and copy it as well.
    """
    from mlflow import MlflowClient

    shared = pytestconfig.rootpath / ".pytest_cache" / f"mlflow-{version('mlflow')}.db"
    shared.parent.mkdir(exist_ok=True)
    path = tmp_path_factory.mktemp("mlflow") / "template.db"
    with shared.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not shared.exists():
            MlflowClient(f"sqlite:///{path}").search_experiments()
            shutil.copy(path, shared.with_suffix(".part"))
            shared.with_suffix(".part").rename(shared)
    shutil.copy(shared, path)
    return path


@pytest.fixture
def mlflow_uri(mlflow_template, tmp_path):
    """Tracking URI of a store of its own."""
    path = tmp_path / "mlflow.db"
    shutil.copy(mlflow_template, path)
    return f"sqlite:///{path}"

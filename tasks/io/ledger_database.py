"""The ledger's database: its table, and where its migrations are."""

from __future__ import annotations

from sqlalchemy import Column, Engine, Integer, MetaData, String, Table, Text, create_engine
from sqlalchemy.engine import URL
from sqlalchemy.pool import NullPool

from tasks.io.databases import Database

metadata = MetaData()
entries = Table(
    "evergreen_ledger",
    metadata,
    Column("model", String(255), primary_key=True),
    Column("stream", String(64), primary_key=True),
    Column("seq", Integer, primary_key=True, autoincrement=False),
    Column("at", String(32), nullable=False),
    Column("kind", String(64), nullable=False),
    Column("payload", Text, nullable=False),
    Column("prev_hash", String(64), nullable=False),
    Column("hash", String(64), nullable=False),
)

LEDGER = Database(
    name="ledger", variable="EVERGREEN_LEDGER_URL", metadata=metadata, head="0001", migrations="migrations"
)


def make_lock_engine(url: URL) -> Engine:
    """Return a PostgreSQL engine for locks: no pool, autocommit, dead peers noticed by keep-alive."""
    options = {"application_name": "evergreen-lock", "keepalives_idle": 30, "keepalives_interval": 10}
    return create_engine(url, poolclass=NullPool, isolation_level="AUTOCOMMIT", connect_args=options)

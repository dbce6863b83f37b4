"""The ledger's database: its table, its engine with the right pragmas, and its migration by Alembic."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import (
    Column,
    Connection,
    Engine,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    create_engine,
    event,
    inspect,
    text,
)
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, OperationalError
from sqlalchemy.pool import NullPool

from tasks.core.errors import ConfigError, Unreachable
from tasks.core.redact import redacted
from tasks.io.locks import advisory_key

HEAD = "0001"
"""Newest revision under migrations/versions; a test holds it equal to Alembic's own head."""

VERSION_TABLE = "evergreen_ledger_version"
BUSY_TIMEOUT_MS = 30_000
POSTGRES_DRIVER = "postgresql+psycopg"

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


def parse_url(url: str) -> URL:
    """Return the SQLAlchemy URL of a ledger; ``postgresql://`` means psycopg 3.

    Raises
    ------
    ConfigError
        For anything but a SQLite file or a PostgreSQL database.
    """
    wanted = "sqlite:///path/to/ledger.db or postgresql+psycopg://user@host/database"
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        raise ConfigError(
            f"Ledger URL '{redacted(url)}' cannot be parsed. Allowed: {wanted}. Set EVERGREEN_LEDGER_URL."
        ) from None
    if parsed.drivername in ("postgresql", "postgres", POSTGRES_DRIVER):
        return parsed.set(drivername=POSTGRES_DRIVER)
    if parsed.drivername in ("sqlite", "sqlite+pysqlite") and parsed.database not in (None, "", ":memory:"):
        return parsed
    shown = parsed.render_as_string(hide_password=True)
    raise ConfigError(f"Ledger URL '{shown}' is not supported. Allowed: {wanted}. Set EVERGREEN_LEDGER_URL.")


def make_engine(url: URL) -> Engine:
    """Return an engine that opens its first connection when it is first used."""
    if url.drivername.startswith("sqlite"):
        return _sqlite_engine(url)
    # A ledger is spoken to a few times a minute: a connection a time survives forks, restarts and failovers.
    return create_engine(url, poolclass=NullPool, connect_args={"application_name": "evergreen-ledger"})


def make_lock_engine(url: URL) -> Engine:
    """Return a PostgreSQL engine for locks: no pool, autocommit, dead peers noticed by keep-alive."""
    options = {"application_name": "evergreen-lock", "keepalives_idle": 30, "keepalives_interval": 10}
    return create_engine(url, poolclass=NullPool, isolation_level="AUTOCOMMIT", connect_args=options)


def _sqlite_engine(url: URL) -> Engine:
    Path(str(url.database)).parent.mkdir(parents=True, exist_ok=True)
    engine = create_engine(url, poolclass=NullPool, connect_args={"timeout": BUSY_TIMEOUT_MS / 1000})
    event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # transactions are opened by _begin_sqlite, so DDL is inside them too
    connection.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}")
    connection.execute("PRAGMA synchronous = FULL")  # a decision that was acted on survives a power cut


def _begin_sqlite(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN")


def migrate(engine: Engine) -> None:
    """Bring the database to ``HEAD``; one short query when it is there already.

    Safe when many processes start at once: one migrates under a lock, the others wait and find it done.

    Raises
    ------
    Unreachable
        When the database does not answer.
    ConfigError
        When a newer Evergreen has migrated it.
    """
    try:
        if _revision(engine) == HEAD:
            return
        with _migration_lock(engine):
            if _revision(engine) != HEAD:
                _upgrade(engine)
    except OperationalError as error:
        shown = engine.url.render_as_string(hide_password=True)
        why = " ".join(str(error.orig).split()).rstrip(".?")
        raise Unreachable(
            f"The ledger {shown} does not answer ({why}). Start its server, or correct EVERGREEN_LEDGER_URL."
        ) from error


def _revision(engine: Engine) -> str | None:
    with engine.connect() as connection:
        if not inspect(connection).has_table(VERSION_TABLE):
            return None
        row = connection.execute(text(f"SELECT version_num FROM {VERSION_TABLE}")).first()
    found = None if row is None else str(row[0])
    if found is not None and found > HEAD:
        raise ConfigError(f"The ledger is at revision {found}, newer than {HEAD}. Install a newer Evergreen.")
    return found


@contextmanager
def _migration_lock(engine: Engine) -> Iterator[None]:
    if engine.dialect.name == "sqlite":
        descriptor = os.open(f"{engine.url.database}.migrate.lock", os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)
        return
    with engine.connect() as connection:
        key = {"key": advisory_key("migrate ledger")}
        connection.execute(text("SELECT pg_advisory_lock(:key)"), key)
        try:
            yield
        finally:
            connection.execute(text("SELECT pg_advisory_unlock(:key)"), key)


def _upgrade(engine: Engine) -> None:
    from alembic import command
    from alembic.config import Config

    if engine.dialect.name == "sqlite":
        with engine.connect() as connection:  # outside a transaction, as SQLite demands
            driver: Any = connection.connection.driver_connection
            driver.execute("PRAGMA journal_mode = WAL")
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, HEAD)

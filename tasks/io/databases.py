"""Evergreen's own databases, the ledger and the log: their addresses, engines with the right pragmas, migration."""

from __future__ import annotations

import fcntl
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, MetaData, create_engine, event, inspect, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, OperationalError, ProgrammingError
from sqlalchemy.pool import NullPool

from evergreen.tasks.core.errors import ConfigError, Unreachable
from evergreen.tasks.core.redact import redacted
from evergreen.tasks.io.locks import advisory_key

BUSY_TIMEOUT_MS = 30_000
POSTGRES_DRIVER = "postgresql+psycopg"
_NO_PRIVILEGE = "42501"
_ALEMBIC = threading.Lock()
"""Alembic's context is one for all threads of a process: two databases are migrated one after the other."""


@dataclass(frozen=True, kw_only=True)
class Database:
    """One of Evergreen's own databases, in SQLite or PostgreSQL.

    Attributes
    ----------
    name, variable : str
        ``ledger`` or ``log``, and the environment variable that holds its URL.
    metadata : MetaData
        Its tables.
    head : str
        Newest revision under its migrations; a test holds it equal to Alembic's own head.
    migrations : str
        Folder of its migrations, beside this file.
    schema : str | None
        Schema on PostgreSQL; None: the user's own.
    """

    name: str
    variable: str
    metadata: MetaData
    head: str
    migrations: str
    schema: str | None = None

    @property
    def version_table(self) -> str:
        """Table that holds the revision."""
        return f"evergreen_{self.name}_version"

    def parse_url(self, url: str) -> URL:
        """Return the SQLAlchemy URL; ``postgresql://`` means psycopg 3.

        Raises
        ------
        ConfigError
            For anything but a SQLite file or a PostgreSQL database.
        """
        wanted = f"sqlite:///path/to/{self.name}.db or postgresql+psycopg://user@host/database"
        what, remedy = f"{self.name.capitalize()} URL", f"Allowed: {wanted}. Set {self.variable}."
        try:
            parsed = make_url(url)
        except (ArgumentError, ValueError):
            raise ConfigError(f"{what} '{redacted(url)}' cannot be parsed. {remedy}") from None
        if parsed.drivername in ("postgresql", "postgres", POSTGRES_DRIVER):
            return parsed.set(drivername=POSTGRES_DRIVER)
        if parsed.drivername in ("sqlite", "sqlite+pysqlite") and parsed.database not in (
            None,
            "",
            ":memory:",
        ):
            return parsed
        shown = parsed.render_as_string(hide_password=True)
        raise ConfigError(f"{what} '{shown}' is not supported. {remedy}")

    def make_engine(self, url: URL) -> Engine:
        """Return an engine that opens its first connection when it is first used."""
        if url.drivername.startswith("sqlite"):
            return _sqlite_engine(url)
        # Spoken to a few times a minute: a connection a time survives forks, restarts and failovers.
        engine = create_engine(
            url, poolclass=NullPool, connect_args={"application_name": f"evergreen-{self.name}"}
        )
        if self.schema is not None:
            event.listen(engine, "connect", _prepare_postgres(self.schema))
        return engine

    def migrate(self, engine: Engine) -> None:
        """Bring the database to ``head``; one short query when it is there already.

        Safe when many processes start at once: one migrates under a lock, the others wait and find it done.

        Raises
        ------
        Unreachable
            When the database does not answer.
        ConfigError
            When a newer Evergreen has migrated it, or its user may not create what is missing.
        """
        try:
            if self._revision(engine) == self.head:
                return
            with _migration_lock(engine, self.name):
                if self._revision(engine) != self.head:
                    self._upgrade(engine)
        except (OperationalError, ProgrammingError) as error:
            raise self._refusal(engine, error) from error

    def _refusal(self, engine: Engine, error: OperationalError | ProgrammingError) -> Exception:
        shown = engine.url.render_as_string(hide_password=True)
        why = " ".join(str(error.orig).split()).rstrip(".?")
        if isinstance(error, OperationalError):
            return Unreachable(
                f"The {self.name} {shown} does not answer ({why}). Start its server, or correct {self.variable}."
            )
        if getattr(error.orig, "sqlstate", None) != _NO_PRIVILEGE:
            return error
        return ConfigError(
            f"The {self.name} {shown} cannot be made: {why}. Grant its user CREATE on the database, or have an "
            f"administrator run its migrations, or set {self.variable}."
        )

    def _revision(self, engine: Engine) -> str | None:
        with engine.connect() as connection:
            if not inspect(connection).has_table(self.version_table):
                return None
            row = connection.execute(text(f"SELECT version_num FROM {self.version_table}")).first()
        found = None if row is None else str(row[0])
        if found is not None and found > self.head:
            raise ConfigError(
                f"The {self.name} is at revision {found}, newer than {self.head}. Install a newer Evergreen."
            )
        return found

    def _upgrade(self, engine: Engine) -> None:
        from alembic import command
        from alembic.config import Config

        if engine.dialect.name == "sqlite":
            with engine.connect() as connection:  # outside a transaction, as SQLite demands
                driver: Any = connection.connection.driver_connection
                driver.execute("PRAGMA journal_mode = WAL")
        config = Config()
        folder = str(Path(__file__).parent / self.migrations)
        config.set_main_option("script_location", folder.replace("%", "%%"))
        with _ALEMBIC, engine.begin() as connection:
            config.attributes["connection"] = connection
            command.upgrade(config, self.head)

    def run_migrations(self) -> None:
        """Migrate as Alembic asks: on the connection that was handed over, or by hand on ``-x url=…``."""
        from alembic import context

        def run(connection: Connection) -> None:
            if self.schema is not None and connection.dialect.name != "sqlite":
                self._ensure_schema(connection)
            context.configure(
                connection=connection, target_metadata=self.metadata, version_table=self.version_table
            )
            with context.begin_transaction():
                context.run_migrations()

        given: Connection | None = context.config.attributes.get("connection")
        if given is not None:
            run(given)
            return
        url = self.parse_url(context.get_x_argument(as_dictionary=True)["url"])
        with self.make_engine(url).begin() as opened:
            run(opened)

    def _ensure_schema(self, connection: Connection) -> None:
        # Asked first: CREATE SCHEMA IF NOT EXISTS demands its right even where the schema exists.
        if not inspect(connection).has_schema(str(self.schema)):
            connection.execute(text(f"CREATE SCHEMA {self.schema}"))


LOG = Database(
    name="log",
    variable="EVERGREEN_LOG_URL",
    metadata=MetaData(),
    head="0003",
    migrations="log_migrations",
    schema="evergreen_log",
)
"""The log's database; its tables are in `evergreen.tasks.io.prediction_log.records`, which more is imported for."""


def _sqlite_engine(url: URL) -> Engine:
    Path(str(url.database)).parent.mkdir(parents=True, exist_ok=True)
    engine = create_engine(url, poolclass=NullPool, connect_args={"timeout": BUSY_TIMEOUT_MS / 1000})
    event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # transactions are opened by _begin_sqlite, so DDL is inside them too
    connection.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}")
    connection.execute("PRAGMA synchronous = FULL")  # what was acted on survives a power cut


def _begin_sqlite(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN")


def _prepare_postgres(schema: str) -> Callable[[Any, Any], None]:
    def use_schema(connection: Any, _record: Any) -> None:
        connection.execute(f"SET search_path TO {schema}")
        connection.commit()  # else the first rollback takes it back

    return use_schema


@contextmanager
def _migration_lock(engine: Engine, name: str) -> Iterator[None]:
    if engine.dialect.name == "sqlite":
        descriptor = os.open(f"{engine.url.database}.migrate.lock", os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)
        return
    with engine.connect() as connection:
        key = {"key": advisory_key(f"migrate {name}")}
        connection.execute(text("SELECT pg_advisory_lock(:key)"), key)
        try:
            yield
        finally:
            connection.execute(text("SELECT pg_advisory_unlock(:key)"), key)

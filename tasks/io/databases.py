"""The databases and servers of a machine: their addresses, checked; Evergreen's own two with engines and migration."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from sqlalchemy import Connection, Engine, MetaData, create_engine, event, inspect, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError, OperationalError, ProgrammingError
from sqlalchemy.pool import NullPool

from evergreen.tasks.core.errors import ConfigError, Unreachable
from evergreen.tasks.core.redact import redacted, without_credentials
from evergreen.tasks.io.files import folder_lock
from evergreen.tasks.io.locks import advisory_key
from evergreen.tasks.io.settings import Settings

if TYPE_CHECKING:
    from mlflow.exceptions import MlflowException

BUSY_TIMEOUT_MS = 30_000
POSTGRES_DRIVER = "postgresql+psycopg"
_PORTS = {"http": 80, "https": 443, "postgresql": 5432, "mysql": 3306, "mssql": 1433}
_TRACKING = ("http", "https", "sqlite", "postgresql", "mysql", "mssql", "databricks", "databricks-uc")
_SQLITE_HEAD = b"SQLite format 3\x00"
_CONNECT_TIMEOUT_S = 5.0
_NO_PRIVILEGE = "42501"
_ALEMBIC = threading.Lock()
"""Alembic's context is one for all threads of a process: two databases are migrated one after the other."""


@dataclass(frozen=True, kw_only=True)
class Database:
    """One of Evergreen's own databases, in SQLite or PostgreSQL."""

    name: str
    """``ledger`` or ``log``."""
    variable: str
    """The environment variable that holds its URL."""
    metadata: MetaData
    """Its tables."""
    head: str
    """Newest revision under its migrations; a test holds it equal to Alembic's own head."""
    migrations: str
    """Folder of its migrations, beside this file."""
    schema: str | None = None
    """Schema on PostgreSQL; None: the user's own."""

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
        is_file = parsed.database not in (None, "", ":memory:")
        if parsed.drivername in ("sqlite", "sqlite+pysqlite") and is_file:
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
        revision = None if row is None else str(row[0])
        if revision is not None and revision > self.head:
            raise ConfigError(
                f"The {self.name} is at revision {revision}, newer than {self.head}. Install a newer Evergreen."
            )
        return revision

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
            # Asked first: CREATE SCHEMA IF NOT EXISTS demands its right even where the schema exists.
            on_server = self.schema is not None and connection.dialect.name != "sqlite"
            if on_server and not inspect(connection).has_schema(str(self.schema)):
                connection.execute(text(f"CREATE SCHEMA {self.schema}"))
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


LEDGER = Database(
    name="ledger", variable="EVERGREEN_LEDGER_URL", metadata=MetaData(), head="0001", migrations="migrations"
)
"""The ledger's database; its table is in `evergreen.tasks.io.ledger`."""

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
        path = Path(f"{engine.url.database}.migrate.lock")
        with folder_lock(path.parent, path.name):
            yield
        return
    with engine.connect() as connection:
        key = {"key": advisory_key(f"migrate {name}")}
        connection.execute(text("SELECT pg_advisory_lock(:key)"), key)
        try:
            yield
        finally:
            connection.execute(text("SELECT pg_advisory_unlock(:key)"), key)


# The addresses of a machine's stores, checked before anything is opened: what cannot work is said at once.


def check_places(settings: Settings) -> None:
    """Check that the stores can be where the environment says; nothing is created, nothing is asked.

    Raises
    ------
    ConfigError
        Naming the variable, its value without credentials, what is allowed.
    """
    _check_folder("EVERGREEN_HOME", settings.home)
    scheme = _scheme(settings.tracking_uri)
    if scheme not in _TRACKING:
        raise ConfigError(
            f"MLFLOW_TRACKING_URI is '{redacted(settings.tracking_uri)}', allowed are sqlite:///FILE, a database such "
            "as postgresql+psycopg://USER@HOST/DATABASE, and the http address of a server. Correct or unset it."
        )
    if scheme not in ("http", "https", "databricks", "databricks-uc"):
        _check_database("MLFLOW_TRACKING_URI", settings.tracking_uri)
    _check_sqlite(LEDGER.variable, LEDGER.parse_url(settings.ledger_url))
    _check_sqlite(LOG.variable, LOG.parse_url(settings.log_url))


def reach_servers(settings: Settings) -> None:
    """Connect to the servers of the stores: one that is down is named in a moment, not after minutes of retries.

    Raises
    ------
    Unreachable
        When a server's machine refuses the connection. Any other error is left to the code that uses the server.
    """
    stores = {
        "MLFLOW_TRACKING_URI": settings.tracking_uri,
        LEDGER.variable: settings.ledger_url,
        LOG.variable: settings.log_url,
    }
    for variable, url in stores.items():
        parts, port = urlsplit(url), _PORTS.get(_scheme(url))
        if parts.hostname and port and _is_refused(parts.hostname, parts.port or port):
            raise Unreachable(
                f"Nothing answers at {redacted(url)} ({variable}): the connection was refused. Start that server, "
                "or correct the variable."
            )


def mlflow_unreachable(tracking_uri: str, message: object) -> Unreachable:
    """Return the error for an MLflow server that does not answer, without credentials."""
    why = " ".join(without_credentials(str(message)).split()).rstrip(".")
    remedy = "Start that server, or correct MLFLOW_TRACKING_URI."
    return Unreachable(f"MLflow at {redacted(tracking_uri)} does not answer: {why}. {remedy}")


def is_unanswered(error: MlflowException) -> bool:
    """Return whether MLflow's client failed because the server does not answer."""
    return error.error_code == "TEMPORARILY_UNAVAILABLE" or "API request to" in str(error.message)


def _scheme(url: str) -> str:
    return url.partition(":")[0].partition("+")[0].lower()


def _is_refused(host: str, port: int) -> bool:
    try:
        socket.create_connection((host, port), timeout=_CONNECT_TIMEOUT_S).close()
    except ConnectionRefusedError:
        return True
    except OSError:  # no route, no name, too slow: perhaps a proxy knows the way
        return False
    return False


def _check_database(variable: str, url: str) -> None:
    try:
        parsed = make_url(url)
        parsed.get_dialect().import_dbapi()
    except (ImportError, NoSuchModuleError) as error:
        raise ConfigError(
            f"{variable} is '{redacted(url)}', but its driver is not installed ({error}). Install it, or name another "
            "one, such as postgresql+psycopg://."
        ) from None
    except (ArgumentError, ValueError):
        raise ConfigError(
            f"{variable} is no address of a database such as postgresql+psycopg://USER@HOST:PORT/DATABASE; write one, "
            "with special characters of a password as %XX, or unset the variable."
        ) from None
    _check_sqlite(variable, parsed)


def sqlite_path(url: str | URL) -> Path | None:
    """Return the file of a SQLite address, whatever its options; None for other databases and ``file:`` URIs."""
    parsed = make_url(url)
    if parsed.get_backend_name() != "sqlite" or not parsed.database or parsed.database.startswith("file:"):
        return None
    return Path(parsed.database)


def _check_sqlite(variable: str, url: URL) -> None:
    path = sqlite_path(url)
    if path is None:
        return
    _check_folder(variable, path.absolute().parent)
    if path.is_dir():
        raise ConfigError(f"{variable} names '{path}', which is a folder. Name a file of SQLite in it.")
    if path.is_file():
        with path.open("rb") as file:
            head = file.read(len(_SQLITE_HEAD))
        if head and head != _SQLITE_HEAD:
            raise ConfigError(f"{variable} names '{path}', which is no SQLite database. Name another file.")


def _check_folder(variable: str, folder: Path) -> None:
    above = next(place for place in (folder, *folder.parents) if place.exists())
    if not above.is_dir() or not os.access(above, os.W_OK | os.X_OK):
        raise ConfigError(
            f"{variable} needs the folder '{folder}', but '{above}' is no folder to write in. Name another one."
        )

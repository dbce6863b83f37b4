"""Look at the addresses of a machine's stores before anything is opened: what cannot work is said at once."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError

from evergreen.tasks.core.errors import ConfigError, Unreachable
from evergreen.tasks.core.redact import redacted, without_credentials
from evergreen.tasks.io.databases import LOG
from evergreen.tasks.io.ledger import LEDGER
from evergreen.tasks.io.settings import Settings

if TYPE_CHECKING:
    from mlflow.exceptions import MlflowException

_PORTS = {"http": 80, "https": 443, "postgresql": 5432, "mysql": 3306, "mssql": 1433}
_TRACKING = ("http", "https", "sqlite", "postgresql", "mysql", "mssql", "databricks", "databricks-uc")
_SQLITE_HEAD = b"SQLite format 3\x00"
_CONNECT_TIMEOUT_S = 5.0


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
    """Knock at the servers of the stores: a closed door is told in a moment, not after minutes of retries.

    Raises
    ------
    Unreachable
        When a server's machine refuses the connection. Any other trouble is left to whoever speaks to it.
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
    return Unreachable(f"MLflow at {redacted(tracking_uri)} does not answer: {why}. Start that server.")


def is_unanswered(error: MlflowException) -> bool:
    """Tell whether MLflow's client failed because the server does not answer."""
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


def _check_sqlite(variable: str, url: URL) -> None:
    if url.get_backend_name() != "sqlite" or not url.database or url.database.startswith("file:"):
        return
    path = Path(url.database)
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

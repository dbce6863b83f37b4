"""Read MLflow's registry without MLflow: its client takes two CPU seconds to import, before its first request.

A tracking server answers by its REST API; a database is read by SQL, and never made or migrated. What neither of them
covers (MLflow's plugins, Databricks, other databases) is left to MLflow's client.
"""

from __future__ import annotations

import os
import re
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property, lru_cache
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Engine, create_engine, inspect, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchTableError
from sqlalchemy.pool import NullPool

from evergreen.tasks.core.errors import ConfigError, UnknownName
from evergreen.tasks.io.databases import mlflow_unreachable

if TYPE_CHECKING:
    import requests

PAGE = 500
"""Versions read in one request."""


@dataclass(frozen=True, kw_only=True)
class VersionInfo:
    """One registered version of a model.

    Attributes
    ----------
    model : str
        Registered model name.
    version : int
        1, 2, 3, …
    run_id : str | None
        MLflow run that logged it.
    source : str
        URI of its files (``models:/m-…`` for a logged model that a server registered, where they lie else).
    tags : dict[str, str]
        Its story: ``validation_status``, ``trained_to``, ``evergreen.archived``, …
    created_at : datetime
        Aware, in UTC.
    """

    model: str
    version: int
    run_id: str | None
    source: str
    tags: dict[str, str] = field(default_factory=dict)
    created_at: datetime


def unknown_version(name: str, version: int, registered: list[int]) -> UnknownName:
    """Build the error for a version that is not registered."""
    listed = ", ".join(map(str, registered)) or "none"
    return UnknownName(f"Unknown version {version} of model '{name}'. Registered: {listed}.")


def version_info(plain: Mapping[str, Any], *, tags: Mapping[str, str], created: int | str) -> VersionInfo:
    """Return a version from MLflow's own fields; ``created`` is in milliseconds since 1970."""
    return VersionInfo(
        model=str(plain["name"]),
        version=int(plain["version"]),
        run_id=plain.get("run_id") or None,
        source=str(plain.get("source")),
        tags=dict(tags),
        created_at=datetime.fromtimestamp(int(created) / 1000, UTC),
    )


def filter_of(name: str) -> str:
    """Return MLflow's filter for the versions of a model; it knows no escape, but both quotes."""
    quote = '"' if "'" in name else "'"
    return f"name = {quote}{name}{quote}"


def open_reader(tracking_uri: str, environ: Mapping[str, str] | None = None) -> RestReader | SqlReader | None:
    """Return a reader of the store at an address; None where only MLflow's own client can read it.

    Parameters
    ----------
    environ : mapping, optional
        Where MLflow's own variables are looked up (default: the process's environment).
    """
    env = os.environ if environ is None else environ
    if any(env.get(name) for name in _ONLY_CLIENT):
        return None
    if tracking_uri.startswith(("http://", "https://")):
        signs = Path("~/.mlflow/credentials").expanduser().exists() or _header_plugins()
        return None if signs else RestReader(tracking_uri, env)
    return SqlReader(tracking_uri) if _is_readable_database(tracking_uri) else None


_ONLY_CLIENT = (
    "MLFLOW_TRACKING_AUTH",
    "MLFLOW_TRACKING_AWS_SIGV4",
    "MLFLOW_WORKSPACE",
    "MLFLOW_ENABLE_WORKSPACES",
)
"""Variables that make MLflow's client sign requests, or look into another workspace, in ways of its own."""


@lru_cache(maxsize=1)
def _header_plugins() -> tuple[Any, ...]:
    """Return plugins that add headers to requests, such as tokens of a proxy."""
    return tuple(entry_points(group="mlflow.request_header_provider"))


# A tracking server, by its REST API.


_API = "/api/2.0/mlflow/"
ABSENT = "RESOURCE_DOES_NOT_EXIST"
_PASSING = frozenset({429, 500, 502, 503, 504})
"""HTTP answers after which it is worth asking again."""
_MOST_RETRIES, _TIMEOUT_S = 2, 30.0


class RestReader:
    """Reads a tracking server.

    Parameters
    ----------
    tracking_uri : str
        Its address, perhaps with user and password.
    environ : mapping
        MLflow's variables: user, password or token, TLS, timeout and retries are as its client has them, but for the
        longest waits.
    """

    def __init__(self, tracking_uri: str, environ: Mapping[str, str]) -> None:
        self.tracking_uri, self._env = tracking_uri, environ

    def aliases(self, name: str) -> dict[str, int]:
        """Return version numbers by alias; empty for a model that does not exist."""
        answer = self._ask("GET", "registered-models/get", name=name)
        model = {} if answer is None else answer["registered_model"]
        return {str(one["alias"]): int(one["version"]) for one in model.get("aliases", ())}

    def version(self, name: str, version: int) -> VersionInfo:
        """Return one version; ``UnknownName`` when there is none."""
        answer = self._ask("GET", "model-versions/get", name=name, version=str(version))
        if answer is None:
            raise unknown_version(name, version, [info.version for info in self.versions(name)])
        return _from_json(answer["model_version"])

    def versions(self, name: str) -> list[VersionInfo]:
        """Return all versions in ascending order; empty for a model that does not exist."""
        query = {"filter": filter_of(name), "max_results": str(PAGE)}
        versions: list[VersionInfo] = []
        page: dict[str, Any] = {"next_page_token": ""}
        while "next_page_token" in page:
            token = page["next_page_token"]
            following = {"page_token": token} if token else {}
            page = self._ask("GET", "model-versions/search", **query, **following) or {}
            versions += map(_from_json, page.get("model_versions", ()))
        return sorted(versions, key=lambda info: info.version)

    def run_folder(self, run_id: str) -> str | None:
        """Return the URI of the folder of a run's files; None when there is no such run."""
        answer = self._ask("GET", "runs/get", run_id=run_id)
        return None if answer is None else str(answer["run"]["info"]["artifact_uri"])

    def _ask(self, method: str, path: str, **parameters: str) -> dict[str, Any] | None:
        """Return what is answered; None where the requested thing does not exist.

        Raises
        ------
        Unreachable
            When the server refuses, or nothing answers, also after a while.
        """
        import requests

        query, body = (parameters, None) if method == "GET" else (None, parameters)
        url = f"{self.tracking_uri.rstrip('/')}{_API}{path}"
        try:
            reply = self._session.request(method, url, params=query, json=body, timeout=self._timeout)
        except requests.RequestException as error:
            raise mlflow_unreachable(self.tracking_uri, f"{type(error).__name__}: {error}") from error
        if reply.ok:
            try:
                return dict(reply.json())
            except (ValueError, TypeError):
                what = f"{path} was answered by no JSON object"
                raise mlflow_unreachable(self.tracking_uri, what) from None
        answer = _refusal(reply)
        if answer.get("error_code") == ABSENT:
            return None
        why = answer.get("message") or f"HTTP {reply.status_code} {reply.reason}"
        raise mlflow_unreachable(self.tracking_uri, f"{path} was refused: {why}")

    @property
    def _timeout(self) -> float:
        return min(self._number("MLFLOW_HTTP_REQUEST_TIMEOUT", _TIMEOUT_S) or _TIMEOUT_S, _TIMEOUT_S)

    def _number(self, name: str, default: float) -> float:
        text = self._env.get(name) or str(default)
        if not re.fullmatch(r"\d+(\.\d*)?", text.strip()):
            raise ConfigError(f"{name} is '{text}'. Allowed: a number, 0 or more. Correct or unset it.")
        return float(text)

    @cached_property
    def _session(self) -> requests.Session:
        import requests
        from requests.adapters import HTTPAdapter, Retry  # type: ignore[attr-defined]

        session, env = requests.Session(), self._env
        retries = Retry(
            min(int(self._number("MLFLOW_HTTP_REQUEST_MAX_RETRIES", 7)), _MOST_RETRIES),
            backoff_factor=0.5,
            status_forcelist=_PASSING,
            allowed_methods=None,
            raise_on_status=False,
            respect_retry_after_header=False,
        )
        for scheme in ("http://", "https://"):
            session.mount(scheme, HTTPAdapter(max_retries=retries))
        user, secret = env.get("MLFLOW_TRACKING_USERNAME"), env.get("MLFLOW_TRACKING_PASSWORD")
        if user and secret:
            session.auth = (user, secret)
        elif token := env.get("MLFLOW_TRACKING_TOKEN"):
            session.headers["Authorization"] = f"Bearer {token}"
        if env.get("MLFLOW_TRACKING_INSECURE_TLS", "").lower() in ("true", "1"):
            session.verify = False
        elif authority := env.get("MLFLOW_TRACKING_SERVER_CERT_PATH"):
            session.verify = authority
        session.cert = env.get("MLFLOW_TRACKING_CLIENT_CERT_PATH") or None
        return session


def _refusal(reply: requests.Response) -> dict[str, Any]:
    try:
        answer = reply.json()
    except ValueError:
        return {}
    return answer if isinstance(answer, dict) else {}


def _from_json(plain: Mapping[str, Any]) -> VersionInfo:
    tags = {one["key"]: one.get("value", "") for one in plain.get("tags", ())}
    return version_info(plain, tags=tags, created=plain["creation_timestamp"])


# A tracking database, by SQL.


_BUSY_TIMEOUT_S = 30.0
_TABLE, _ALIASES = "registered_models", "registered_model_aliases"
_WORKSPACE = "default"
"""The workspace of a store without workspaces; older stores have no such column."""
_DELETED = "Deleted_Internal"
"""Stage that MLflow gives to versions that were deleted; their rows stay."""


class SqlReader:
    """Reads a tracking database in SQLite or PostgreSQL; one that is not there, or empty, has no models.

    Parameters
    ----------
    tracking_uri : str
        SQLAlchemy URL.
    """

    def __init__(self, tracking_uri: str) -> None:
        self.tracking_uri, self._url = tracking_uri, make_url(tracking_uri)

    def aliases(self, name: str) -> dict[str, int]:
        """Return version numbers by alias; empty for a model that does not exist."""
        rows = self._read("SELECT * FROM registered_model_aliases WHERE name = :name", name=name)[0]
        return {str(row["alias"]): int(row["version"]) for row in rows}

    def version(self, name: str, version: int) -> VersionInfo:
        """Return one version; ``UnknownName`` when there is none."""
        versions = self.versions(name)
        for info in versions:
            if info.version == version:
                return info
        raise unknown_version(name, version, [info.version for info in versions])

    def versions(self, name: str) -> list[VersionInfo]:
        """Return all versions in ascending order; empty for a model that does not exist."""
        rows, tags = self._read(
            "SELECT * FROM model_versions WHERE name = :name",
            "SELECT * FROM model_version_tags WHERE name = :name",
            name=name,
        )
        by_version: dict[int, dict[str, str]] = {}
        for tag in tags:
            by_version.setdefault(int(tag["version"]), {})[str(tag["key"])] = str(tag["value"] or "")
        versions = [
            version_info(row, tags=by_version.get(int(row["version"]), {}), created=row["creation_time"])
            for row in rows
            if row["current_stage"] != _DELETED
        ]
        return sorted(versions, key=lambda info: info.version)

    def run_folder(self, run_id: str) -> str | None:
        """Return the URI of the folder of a run's files; None when there is no such run."""
        rows = self._read("SELECT artifact_uri FROM runs WHERE run_uuid = :name", name=run_id)[0]
        return str(rows[0]["artifact_uri"]) if rows else None

    def _read(self, *queries: str, name: str) -> list[Sequence[Mapping[str, Any]]]:
        """Return the rows of queries about a model (or a run) of a name, all of one moment."""
        if self._file is not None and not self._file.exists():
            return [[] for _ in queries]
        try:
            with self._engine.connect() as connection:
                if self._file is not None:
                    connection.exec_driver_sql("BEGIN")  # else each query sees a moment of its own
                return [_rows(connection, query, name) for query in queries]
        except DBAPIError as error:
            if self._is_empty():
                return [[] for _ in queries]
            raise mlflow_unreachable(self.tracking_uri, error.orig) from error

    def _write(self, statements: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> int:
        """Run statements for each of some rows, in one transaction; return how many rows the last of them changed.

        ``{here}`` in a statement limits it to the workspace that is read; older stores have none to limit it to.
        """
        if self._file is not None and not self._file.exists():
            return 0
        count = 0
        try:
            with self._engine.connect() as connection:
                if self._file is None:
                    connection.execution_options(isolation_level="READ COMMITTED")
                else:  # a second writer waits, and then sees what this one wrote
                    connection.exec_driver_sql("BEGIN IMMEDIATE")
                columns = {column["name"] for column in inspect(connection).get_columns(_ALIASES)}
                here = "AND workspace = :workspace" if "workspace" in columns else ""
                for row in rows:
                    values = {**row, "workspace": _WORKSPACE, "deleted": _DELETED}
                    for statement in statements:
                        count = connection.execute(text(statement.format(here=here)), values).rowcount
                connection.commit()
        except NoSuchTableError:  # MLflow has made no tables in it yet
            return 0
        except DBAPIError as error:
            raise mlflow_unreachable(self.tracking_uri, error.orig) from error
        return count

    def _is_empty(self) -> bool:
        """Tell whether MLflow has made no tables in it yet."""
        try:
            with self._engine.connect() as connection:
                return not inspect(connection).has_table(_TABLE)
        except DBAPIError:
            return False

    @property
    def _file(self) -> Path | None:
        return Path(str(self._url.database)) if self._url.get_backend_name() == "sqlite" else None

    @cached_property
    def _engine(self) -> Engine:
        if self._file is None:
            return create_engine(self._url, poolclass=NullPool, isolation_level="REPEATABLE READ")
        address = f"{self._file.absolute().as_uri()}?mode=rw"  # it is not made where it is not
        return create_engine(
            "sqlite://",
            creator=lambda: sqlite3.connect(address, uri=True, timeout=_BUSY_TIMEOUT_S),
            poolclass=NullPool,
        )


def _is_readable_database(tracking_uri: str) -> bool:
    try:
        url = make_url(tracking_uri)
    except (ArgumentError, ValueError):
        return False
    if url.get_backend_name() == "sqlite":
        plain = str(url.database or "")
        return bool(plain) and plain != ":memory:" and not plain.startswith("file:")
    return url.get_backend_name() == "postgresql"


def _rows(connection: Connection, query: str, name: str) -> Sequence[Mapping[str, Any]]:
    rows = connection.execute(text(query), {"name": name}).mappings().all()
    return [dict(row) for row in rows if row.get("workspace", _WORKSPACE) == _WORKSPACE]

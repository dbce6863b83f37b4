"""Settings of a machine: its folder of embedded state, the store addresses, the folder of configurations."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

from evergreen.tasks.core.errors import InputError


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Machine settings, read from the environment."""

    home: Path
    """``EVERGREEN_HOME``: the one folder of all embedded state (default ``.evergreen``)."""
    config_dir: Path
    """``EVERGREEN_CONFIG``: folder of the configurations (default ``config``)."""
    tracking_uri: str
    """``MLFLOW_TRACKING_URI`` (default: SQLite in ``home``)."""
    ledger_url: str
    """``EVERGREEN_LEDGER_URL`` (default: SQLite in ``home``)."""
    log_url: str
    """``EVERGREEN_LOG_URL`` (default: SQLite in ``home``, or where the ledger's PostgreSQL database is)."""
    mlflow_ui: str | None = None
    """``EVERGREEN_MLFLOW_UI``: where people open MLflow's pages (default: the tracking server, if it is one)."""

    def make_home(self) -> None:
        """Make the folder of embedded state where it is not there.

        Raises
        ------
        InputError
            When it cannot be made.
        """
        try:
            self.home.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(
                f"EVERGREEN_HOME is '{self.home}', a folder that cannot be made: {error.strerror}. Name a folder that "
                "can be written to."
            ) from error

    @property
    def artifact_root(self) -> str | None:
        """Where an embedded MLflow store keeps artifacts; None leaves it to the server."""
        return (self.home / "artifacts").as_uri() if self.tracking_uri.startswith("sqlite") else None


def read_settings(environ: Mapping[str, str] | None = None) -> Settings:
    """Read the settings from the environment; nothing is created.

    Raises
    ------
    InputError
        When a store's address is of a kind that cannot work.
    """
    env = os.environ if environ is None else environ
    home = Path(env.get("EVERGREEN_HOME") or ".evergreen").absolute()
    tracking_uri = env.get("MLFLOW_TRACKING_URI") or f"sqlite:///{home / 'mlflow.db'}"
    ledger_url = _check_store("EVERGREEN_LEDGER_URL", env) or f"sqlite:///{home / 'ledger.db'}"
    log_url = ledger_url if ledger_url.startswith("postgresql") else f"sqlite:///{home / 'log.db'}"
    return Settings(
        home=home,
        config_dir=Path(env.get("EVERGREEN_CONFIG") or "config").absolute(),
        tracking_uri=tracking_uri,
        ledger_url=ledger_url,
        log_url=_check_store("EVERGREEN_LOG_URL", env) or log_url,
        mlflow_ui=env.get("EVERGREEN_MLFLOW_UI") or _page_of(tracking_uri),
    )


def _page_of(tracking_uri: str) -> str | None:
    """Return a tracking server's address without user and password; None for a store that has no pages."""
    parts = urlsplit(tracking_uri)
    if parts.scheme not in {"http", "https"}:
        return None
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl().rstrip("/")


def _check_store(variable: str, env: Mapping[str, str]) -> str | None:
    url = env.get(variable) or None
    if url is not None and not url.startswith(("sqlite:///", "postgresql")):
        shown = url.split("://", 1)[0]
        raise InputError(
            f"{variable} starts with '{shown}', allowed are sqlite:///FILE and "
            "postgresql+psycopg://USER@HOST/DATABASE; set one of them or unset the variable."
        )
    return url


# The present: the computer's clock, or a fixed moment.


FROZEN = "EVERGREEN_NOW"
"""Environment variable that stops the clock of all decisions, for demonstrations, tests and rehearsals."""


def utc_now() -> datetime:
    """Return the present, aware and in UTC; the moment ``EVERGREEN_NOW`` names, where it is set.

    Raises
    ------
    InputError
        When ``EVERGREEN_NOW`` is no ISO 8601 time.
    """
    frozen = os.environ.get(FROZEN)
    if not frozen:
        return datetime.now(UTC)
    try:
        moment = datetime.fromisoformat(frozen)
    except ValueError:
        raise InputError(
            f"{FROZEN} is '{frozen}', allowed is an ISO 8601 time such as 2026-01-31T12:00:00Z. Correct or unset it."
        ) from None
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def import_root() -> Path:
    """Return the folder that holds the ``evergreen`` package: the repository, or an environment's site-packages."""
    import evergreen

    return Path(str(evergreen.__file__)).parents[1]


def python_path() -> str:
    """Return a ``PYTHONPATH`` by which a child process imports what this process does, in the same order.

    The folder that holds ``evergreen`` comes last unless it is on the path already: as an environment's site-packages,
    or a repository with a ``tasks`` folder, it would otherwise shadow modules of the standard library or of a team.
    """
    return os.pathsep.join(dict.fromkeys([*filter(None, sys.path), str(import_root())]))

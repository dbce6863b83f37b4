"""The lock of a model: one holder at a time, on a file or in a PostgreSQL session; it ends with its holder."""

from __future__ import annotations

import fcntl
import hashlib
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Protocol
from urllib.parse import quote

from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import DBAPIError

from evergreen.tasks.core.errors import Blocked
from evergreen.tasks.io.files import is_locked, is_same_file

PROBE_RETRIES = 5
PROBE_PAUSE_S = 0.02


class HeldLock(Protocol):
    """A lock that is held; ``check()`` raises ``Blocked("lock_lost")`` when it no longer is."""

    model: str

    def check(self) -> None:
        """Raise ``Blocked("lock_lost", …)`` when this holder no longer holds the lock."""


def lock_held(model: str, holder: str = "") -> Blocked:
    """Return the error for a model whose lock another process holds."""
    who = f" ({holder})" if holder else ""
    return Blocked("lock_held", f"Model '{model}' is being changed by another process{who}. Try again later.")


def lock_lost(model: str, why: str) -> Blocked:
    """Return the error for a holder that has lost its lock."""
    return Blocked(
        "lock_lost",
        f"The lock of model '{model}' was lost ({why}); so this run stopped. "
        f"'evergreen reconcile {model}' finishes or abandons what it began.",
    )


class FileLock:
    """``flock`` on a separate file: the kernel frees it when the holder dies, also by kill -9."""

    def __init__(self, *, model: str, path: Path, descriptor: int) -> None:
        self.model = model
        self._path = path
        self._descriptor = descriptor

    def check(self) -> None:
        """Raise ``Blocked("lock_lost")`` when the file was removed or replaced, so that others could lock anew."""
        if not is_same_file(self._descriptor, self._path):
            raise lock_lost(self.model, f"its file {self._path.name} is gone or was replaced")


def lock_path(folder: Path, model: str) -> Path:
    """Return the lock file of a model; the name is quoted so that any model name is one file."""
    return folder / f"{quote(model, safe='')}.lock"


@contextmanager
def hold_file_lock(folder: Path, model: str) -> Iterator[FileLock]:
    """Hold the model's file lock; ``Blocked("lock_held")`` at once when another holds it."""
    folder.mkdir(parents=True, exist_ok=True)
    path = lock_path(folder, model)
    with path.open("a+b", buffering=0) as file:
        if not _flock(file.fileno()):
            raise lock_held(model, os.pread(file.fileno(), 100, 0).decode(errors="replace").strip())
        file.truncate(0)
        file.write(f"process {os.getpid()}\n".encode())
        lock = FileLock(model=model, path=path, descriptor=file.fileno())
        lock.check()
        yield lock


def _flock(descriptor: int) -> bool:
    """Take the lock; a few short retries, because `file_lock_is_held` takes it for microseconds."""
    for attempt in range(PROBE_RETRIES):
        with suppress(BlockingIOError):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        if attempt + 1 < PROBE_RETRIES:
            time.sleep(PROBE_PAUSE_S)
    return False


def file_lock_is_held(folder: Path, model: str) -> bool:
    """Return whether the model's file lock is held now."""
    return is_locked(lock_path(folder, model), shared=True)


def advisory_key(name: str) -> int:
    """Return the signed 64-bit key of a PostgreSQL advisory lock for a name."""
    return int.from_bytes(hashlib.sha256(f"evergreen/{name}".encode()).digest()[:8], signed=True)


# pg_locks shows a 64-bit advisory key as two halves, classid (high) and objid (low), and objsubid 1.
_HOLDERS = text(
    "SELECT pid, pid = pg_backend_pid() AS ours FROM pg_locks WHERE locktype = 'advisory' AND granted "
    "AND objsubid = 1 AND database = (SELECT oid FROM pg_database WHERE datname = current_database()) "
    "AND ((classid::bigint << 32) | objid::bigint) = :key"
)


class AdvisoryLock:
    """A PostgreSQL session advisory lock on a separate connection: it ends with that connection."""

    def __init__(self, *, model: str, connection: Connection) -> None:
        self.model = model
        self._connection = connection

    def check(self) -> None:
        """Raise ``Blocked("lock_lost")`` unless this very backend still holds the lock."""
        try:
            holders = self._connection.execute(_HOLDERS, {"key": advisory_key(self.model)}).all()
        except DBAPIError as error:
            raise lock_lost(self.model, "its database connection was cut") from error
        if not any(holder.ours for holder in holders):
            raise lock_lost(self.model, "its database session no longer holds it")


@contextmanager
def hold_advisory_lock(engine: Engine, model: str) -> Iterator[AdvisoryLock]:
    """Hold the model's advisory lock; ``Blocked("lock_held")`` at once when another session holds it.

    Parameters
    ----------
    engine : Engine
        Without a pool and in autocommit: closing the connection must end the session, and no
        transaction may stay open while the holder works.
    model : str
        Registered model name.
    """
    connection = engine.connect()
    try:
        key = {"key": advisory_key(model)}
        if not connection.execute(text("SELECT pg_try_advisory_lock(:key)"), key).scalar_one():
            holders = connection.execute(_HOLDERS, key).all()
            raise lock_held(model, ", ".join(f"database session {holder.pid}" for holder in holders))
        try:
            yield AdvisoryLock(model=model, connection=connection)
        finally:
            if not connection.invalidated:  # a server ends the session of a closed connection a while later
                with suppress(DBAPIError):
                    connection.execute(text("SELECT pg_advisory_unlock(:key)"), key)
    finally:
        with suppress(DBAPIError):  # a cut connection cannot be closed politely; the lock is gone already
            connection.close()


def advisory_lock_is_held(engine: Engine, model: str) -> bool:
    """Return whether some session holds the model's advisory lock now."""
    with engine.connect() as connection:
        return bool(connection.execute(_HOLDERS, {"key": advisory_key(model)}).all())

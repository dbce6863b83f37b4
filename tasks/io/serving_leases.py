"""Who uses the copies of a folder, among all processes of a machine: locks that the kernel frees with their holder."""

from __future__ import annotations

import fcntl
import os
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_LOCK = ".lock"


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Wait until nobody else changes what lies in a folder; hold it for moments, never while fetching or loading."""
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


class Lease:
    """Says that what lies beside a file is in use, until it is ended or this process is; take it when `alone`.

    Parameters
    ----------
    path : Path
        The file; who replaces it by another one does not wait for the lease, and `is_true` says so.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor = os.open(path, os.O_RDWR)
        self.end = weakref.finalize(self, os.close, self._descriptor)
        fcntl.flock(self._descriptor, fcntl.LOCK_SH)

    @property
    def is_true(self) -> bool:
        """True while the file is the one that was found."""
        try:
            ours, there = os.fstat(self._descriptor), self._path.stat()
        except OSError:
            return False
        return (ours.st_dev, ours.st_ino) == (there.st_dev, there.st_ino)


def is_leased(path: Path) -> bool:
    """Return True when somebody holds a lease on a file, or on what lies beside it; ask when `alone`."""
    try:
        descriptor = os.open(path, os.O_RDWR)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False

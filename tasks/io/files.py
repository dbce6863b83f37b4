"""Files that several processes share: written whole, changed by one process at a time, kept while in use."""

from __future__ import annotations

import fcntl
import os
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

FOLDER_LOCK = ".lock"
"""File in a folder that `folder_lock` holds."""


def write_file(path: Path, text: str, *, mode: int | None = None) -> None:
    """Write a file that appears whole or not at all, and is on the disk then; its folder is made where it is missing.

    Parameters
    ----------
    path : Path
        The file; one that is there is replaced.
    text : str
        Written as UTF-8.
    mode : int, optional
        Permissions; by default those of any new file.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{uuid4().hex}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666 if mode is None else 0o600)
    with open(descriptor, "wb") as file:
        if mode is not None:
            os.fchmod(descriptor, mode)
        file.write(text.encode())
        file.flush()
        os.fsync(descriptor)
    draft.replace(path)


@contextmanager
def folder_lock(folder: Path, name: str = FOLDER_LOCK) -> Iterator[None]:
    """Wait for the lock of a folder's files; hold it briefly, never while fetching or loading."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / name).open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def is_locked(path: Path, *, shared: bool) -> bool:
    """Return whether a file is locked by another: at all, or (``shared``) by a holder that does not share it.

    The lock that is tried for the answer is given back at once.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def is_same_file(descriptor: int, path: Path) -> bool:
    """Return whether a path still leads to the file that was opened."""
    try:
        ours, there = os.fstat(descriptor), path.stat()
    except OSError:
        return False
    return (ours.st_dev, ours.st_ino) == (there.st_dev, there.st_ino)


class Lease:
    """A shared lock of a file: what lies beside it is in use until ``end()``, or until this process ends.

    Take it under the folder's lock: `is_locked` and the removal of unused files are done under it too.

    Parameters
    ----------
    path : Path
        The file; who replaces it does not wait for the lease, and `is_valid` tells.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor = os.open(path, os.O_RDWR)
        self.end = weakref.finalize(self, os.close, self._descriptor)
        fcntl.flock(self._descriptor, fcntl.LOCK_SH)

    @property
    def is_valid(self) -> bool:
        """True while the file is the one that was opened."""
        return is_same_file(self._descriptor, self._path)

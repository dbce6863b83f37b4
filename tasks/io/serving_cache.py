"""Versions as they are served, kept on disk: a service starts and serves while the registry is away."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import tempfile
import weakref
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

from evergreen.tasks.core.errors import InputError
from evergreen.tasks.io.locks import folder_lock
from evergreen.tasks.io.mlflow_store.documents import read_documents
from evergreen.tasks.io.mlflow_store.model_files import fetch_model
from evergreen.tasks.io.mlflow_store.models import NEEDED, LoadedModel, build_model
from evergreen.tasks.io.mlflow_store.reader import VersionInfo
from evergreen.tasks.io.mlflow_store.tracking import answered, open_tracker
from evergreen.tasks.io.setup import Setup

# Who uses the copies of a folder, among all processes of a machine: locks that the kernel frees with their holder.


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


_FILES, _FACTS, _LAST = "model", "version.json", "last-good.json"
_STOP = "stop.json"
_FETCH, _USED = ".fetch-", "used"


class ServingCache:
    """One model's versions on this machine: files, documents, and a digest over all of them.

    A version is always loaded from here, with the type checks of every load, so that what an outage needs is used
    every day. Processes share it: what one of them loads or keeps, no other removes.

    Parameters
    ----------
    setup : Setup
        The model; its cache lies in the home folder.
    build : callable
        Makes a model of its files and documents; ``build_model``.
    """

    def __init__(self, setup: Setup, *, build: Callable[..., LoadedModel] = build_model) -> None:
        self._setup, self._build = setup, build
        self._leases: dict[int, Lease] = {}
        self.folder = setup.settings.home / "serving" / quote(setup.model, safe="")

    def fetch(self, version: int) -> dict[str, Any]:
        """Return what is known of a version (``info``, ``documents``, ``digest``), fetched unless it is here already.

        Others leave its files alone from then on, until `prune` is called without it.

        Raises
        ------
        UnknownName
            When there is no such version.
        InputError
            When it was not registered by Evergreen.
        Exception
            Whatever the registry raises when it is away and the version is not here.
        """
        info = self._registered(version)
        facts = self._use(version)
        if facts is None or not (info is None or _is_same(info, facts)):
            facts = self._fetch(info or self._setup.stores.registry.version(self._setup.model, version))
        return facts

    def load(self, version: int, facts: dict[str, Any] | None = None) -> LoadedModel:
        """Return a version, by what `fetch` returned of it; it is fetched unless that is given.

        Raises
        ------
        InputError
            When its files hold what is not allowed, or were replaced meanwhile; else as `fetch`.
        """
        facts = facts or self.fetch(version)
        loaded = self._build(
            self._setup, _info(facts["info"]), facts["documents"], uri=str(self.files(version))
        )
        if not self._leases[version].is_true:
            raise InputError(
                f"Version {version} was replaced on disk while it was loaded; it is tried again."
            )
        return loaded

    def remember(self, aliases: dict[str, int], *, traffic: Any, at: datetime) -> None:
        """Note what is served: it is what a start without the registry begins with."""
        plain = {"aliases": aliases, "traffic": traffic, "at": at.isoformat()}
        with folder_lock(self.folder):
            _write(self.folder / _LAST, json.dumps(plain))

    def last_good(self) -> dict[str, Any] | None:
        """Return what was served last (``aliases``, ``traffic``, ``at``); None when nothing ever was."""
        try:
            found: dict[str, Any] = json.loads((self.folder / _LAST).read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError):
            return None
        return found

    def keep_stop(self, stop: dict[str, Any]) -> None:
        """Keep a stop of challengers until `forget_stop`; a former one gives way to it."""
        with folder_lock(self.folder):
            _write(self.folder / _STOP, json.dumps(stop))

    def kept_stop(self) -> dict[str, Any] | None:
        """Return the stop that is kept; None when there is none."""
        try:
            found: dict[str, Any] = json.loads((self.folder / _STOP).read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError):
            return None
        return found

    def forget_stop(self, stop: dict[str, Any]) -> None:
        """Keep a stop no longer; another one, which another process has decided since, stays."""
        with folder_lock(self.folder):
            if self.kept_stop() == json.loads(json.dumps(stop)):
                (self.folder / _STOP).unlink()

    def has(self, version: int) -> bool:
        """Return True when a version is here, whole."""
        return self._facts(version) is not None

    def files(self, version: int) -> Path:
        """Return the folder of a version's MLflow model."""
        return self._place(version) / _FILES

    def prune(self, keep: Collection[int]) -> None:
        """Remove versions that no process serves or loads any more, and what downloads left that were cut off."""
        with folder_lock(self.folder):
            for number in [number for number in list(self._leases) if number not in keep]:
                self._leases.pop(number).end()
            for place in list(self.folder.iterdir()):
                is_former = place.name.isdigit() and int(place.name) not in keep
                if (is_former and not is_leased(place / _FACTS)) or (
                    place.name.startswith(_FETCH) and not is_leased(place / _USED)
                ):
                    shutil.rmtree(place)

    def _place(self, version: int) -> Path:
        return self.folder / str(version)

    def _registered(self, version: int) -> VersionInfo | None:
        """Return what the registry knows of a version; None when it does not answer."""
        try:
            return self._setup.stores.registry.version(self._setup.model, version)
        except InputError:
            raise
        except Exception:  # a store that is away raises what it likes; what is here is served all the same
            return None

    def _facts(self, version: int) -> dict[str, Any] | None:
        """Return what is known of a version; None unless all its files are as they were fetched."""
        place = self._place(version)
        try:
            facts: dict[str, Any] = json.loads((place / _FACTS).read_text(encoding="utf-8"))
            return facts if facts["digest"] == _digest(place / _FILES, facts) else None
        except (OSError, ValueError, KeyError):
            return None

    def _use(self, version: int) -> dict[str, Any] | None:
        """Return what is known of a version that is here, whole, and keep others from removing it; else None."""
        with folder_lock(self.folder):
            found = (self._place(version) / _FACTS).is_file()
            if found:
                self._leases[version] = Lease(self._place(version) / _FACTS)
        return self._facts(version) if found else None

    def _fetch(self, info: VersionInfo) -> dict[str, Any]:
        """Download beside the place and rename: a version is here whole, or not at all; whoever is first puts it."""
        with self._workplace() as folder:
            fresh, place = folder / "version", self._place(info.version)
            self._download(f"models:/{info.model}/{info.version}", fresh)
            facts: dict[str, Any] = {
                "info": {**asdict(info), "created_at": info.created_at.isoformat()},
                "documents": read_documents(self._setup, info, NEEDED),
            }
            facts["digest"] = _digest(fresh / _FILES, facts)
            _write(fresh / _FACTS, json.dumps(facts))
            with folder_lock(self.folder):
                there = self._facts(info.version)
                if there is not None and _is_same(info, there):
                    facts = there
                else:
                    if place.exists():
                        place.rename(folder / "former")
                    fresh.rename(place)
                self._leases[info.version] = Lease(place / _FACTS)
        return facts

    @contextmanager
    def _workplace(self) -> Iterator[Path]:
        """Give a folder to download into, which others leave alone while this process lives."""
        with folder_lock(self.folder):
            folder = Path(tempfile.mkdtemp(dir=self.folder, prefix=_FETCH))
            (folder / _USED).touch()
            lease = Lease(folder / _USED)
        try:
            yield folder
        finally:
            with folder_lock(self.folder):
                lease.end()
                shutil.rmtree(folder)

    def _download(self, uri: str, place: Path) -> None:
        tracker = open_tracker(self._setup.stores)
        with answered(tracker.tracking_uri), tempfile.TemporaryDirectory(dir=place.parent) as name:
            shutil.copytree(fetch_model(uri, Path(name), tracker=tracker), place / _FILES)


def _is_same(info: VersionInfo, facts: dict[str, Any]) -> bool:
    """Return False when the registry means other files by this number: the model was deleted and made anew."""
    kept = _info(facts["info"])
    return (info.run_id, info.source, info.created_at) == (kept.run_id, kept.source, kept.created_at)


def _info(plain: dict[str, Any]) -> VersionInfo:
    return VersionInfo(**{**plain, "created_at": datetime.fromisoformat(plain["created_at"])})


def _digest(files: Path, facts: dict[str, Any]) -> str:
    """Return SHA-256 over the names and bytes of all files, and over the documents."""
    seen = hashlib.sha256()
    for path in sorted(path for path in files.rglob("*") if path.is_file()):
        seen.update(f"{path.relative_to(files).as_posix()}\0{path.stat().st_size}\0".encode())
        with path.open("rb") as file:
            seen.update(hashlib.file_digest(file, "sha256").digest())
    kept = {name: facts[name] for name in ("info", "documents")}
    seen.update(json.dumps(kept, sort_keys=True).encode())
    return seen.hexdigest()


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f".{path.name}")
    with fresh.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)

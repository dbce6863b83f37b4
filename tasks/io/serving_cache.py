"""Versions as they are served, stored on disk: a service starts and serves while the registry is away."""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

from evergreen.tasks.core.errors import InputError
from evergreen.tasks.io.files import Lease, folder_lock, is_locked, write_file
from evergreen.tasks.io.mlflow_store.documents import read_documents
from evergreen.tasks.io.mlflow_store.model_files import fetch_model
from evergreen.tasks.io.mlflow_store.models import NEEDED, LoadedModel, build_model
from evergreen.tasks.io.mlflow_store.reader import VersionInfo
from evergreen.tasks.io.mlflow_store.tracking import answered, open_tracker
from evergreen.tasks.io.setup import Setup

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
        """Return what the cache holds of a version (``info``, ``documents``, ``digest``); fetched unless it is here.

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
        documents = self._use(version)
        if documents is None or not (info is None or _is_same(info, documents)):
            documents = self._fetch(info or self._setup.stores.registry.version(self._setup.model, version))
        return documents

    def load(self, version: int, documents: dict[str, Any] | None = None) -> LoadedModel:
        """Load a version by the result of `fetch`; it is fetched where none is given.

        Raises
        ------
        InputError
            When its files hold what is not allowed, or were replaced meanwhile; else as `fetch`.
        """
        documents = documents or self.fetch(version)
        loaded = self._build(
            self._setup, _info(documents["info"]), documents["documents"], uri=str(self.files(version))
        )
        if not self._leases[version].is_valid:
            raise InputError(
                f"Version {version} was replaced on disk while it was loaded; it is tried again."
            )
        return loaded

    def remember(self, aliases: dict[str, int], *, traffic: Any, at: datetime) -> None:
        """Store what is served: a start without the registry begins with it."""
        plain = {"aliases": aliases, "traffic": traffic, "at": at.isoformat()}
        with folder_lock(self.folder):
            write_file(self.folder / _LAST, json.dumps(plain))

    def last_good(self) -> dict[str, Any] | None:
        """Return what was served last (``aliases``, ``traffic``, ``at``); None when nothing ever was."""
        return _read(self.folder / _LAST)

    def store_stop(self, stop: dict[str, Any]) -> None:
        """Store a stop of challengers until `remove_stop`; it replaces an earlier one."""
        with folder_lock(self.folder):
            write_file(self.folder / _STOP, json.dumps(stop))

    def read_stop(self) -> dict[str, Any] | None:
        """Return the stored stop; None when there is none."""
        return _read(self.folder / _STOP)

    def remove_stop(self, stop: dict[str, Any]) -> None:
        """Remove a stored stop; one that another process has decided since stays."""
        with folder_lock(self.folder):
            if self.read_stop() == json.loads(json.dumps(stop)):
                (self.folder / _STOP).unlink()

    def has(self, version: int) -> bool:
        """Return True when a version is here, whole."""
        return self._documents(version) is not None

    def files(self, version: int) -> Path:
        """Return the folder of a version's MLflow model."""
        return self._place(version) / _FILES

    def prune(self, keep: Collection[int]) -> None:
        """Remove versions that no process serves or loads any more, and the files of interrupted downloads."""
        with folder_lock(self.folder):
            for number in [number for number in list(self._leases) if number not in keep]:
                self._leases.pop(number).end()
            for place in list(self.folder.iterdir()):
                is_former = place.name.isdigit() and int(place.name) not in keep
                if (is_former and not is_locked(place / _FACTS, shared=False)) or (
                    place.name.startswith(_FETCH) and not is_locked(place / _USED, shared=False)
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

    def _documents(self, version: int) -> dict[str, Any] | None:
        """Return what the cache holds of a version; None unless all its files are as they were fetched."""
        place = self._place(version)
        documents = _read(place / _FACTS)
        try:
            return (
                documents if documents and documents["digest"] == _digest(place / _FILES, documents) else None
            )
        except (OSError, KeyError):
            return None

    def _use(self, version: int) -> dict[str, Any] | None:
        """Return a complete version's entry and lock it against removal; None when it is not complete."""
        path = self._place(version) / _FACTS
        with folder_lock(self.folder):
            if not path.is_file():
                return None
            self._leases[version] = Lease(path)
        return self._documents(version)

    def _fetch(self, info: VersionInfo) -> dict[str, Any]:
        """Download to a temporary folder and rename: a version is here whole or not at all; the first process wins."""
        with self._download_folder() as folder:
            fresh, place = folder / "version", self._place(info.version)
            self._download(f"models:/{info.model}/{info.version}", fresh)
            documents: dict[str, Any] = {
                "info": {**asdict(info), "created_at": info.created_at.isoformat()},
                "documents": read_documents(self._setup, info, NEEDED),
            }
            documents["digest"] = _digest(fresh / _FILES, documents)
            write_file(fresh / _FACTS, json.dumps(documents))
            with folder_lock(self.folder):
                there = self._documents(info.version)
                if there is not None and _is_same(info, there):
                    documents = there
                else:
                    if place.exists():
                        place.rename(folder / "former")
                    fresh.rename(place)
                self._leases[info.version] = Lease(place / _FACTS)
        return documents

    @contextmanager
    def _download_folder(self) -> Iterator[Path]:
        """Yield a folder to download into; other processes do not remove it while this one lives."""
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


def _is_same(info: VersionInfo, documents: dict[str, Any]) -> bool:
    """Return False when the registry means other files by this number: the model was deleted and made anew."""
    cached = _info(documents["info"])
    return (info.run_id, info.source, info.created_at) == (cached.run_id, cached.source, cached.created_at)


def _info(plain: dict[str, Any]) -> VersionInfo:
    return VersionInfo(**{**plain, "created_at": datetime.fromisoformat(plain["created_at"])})


def _digest(files: Path, documents: dict[str, Any]) -> str:
    """Return SHA-256 over the names and bytes of all files, and over the documents."""
    digest = hashlib.sha256()
    for path in sorted(path for path in files.rglob("*") if path.is_file()):
        digest.update(f"{path.relative_to(files).as_posix()}\0{path.stat().st_size}\0".encode())
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    own = {name: documents[name] for name in ("info", "documents")}
    digest.update(json.dumps(own, sort_keys=True).encode())
    return digest.hexdigest()


def _read(path: Path) -> dict[str, Any] | None:
    """Return the object a file holds; None when there is no such file, or it is no JSON."""
    try:
        document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return document

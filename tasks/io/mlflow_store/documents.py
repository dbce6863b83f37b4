"""Read the documents that are stored with a version, without MLflow where their folder is one of this machine."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

from evergreen.tasks.core.errors import InputError
from evergreen.tasks.io.mlflow_store.reader import VersionInfo, open_reader
from evergreen.tasks.io.setup import Setup

FOLDER = "evergreen"
"""Folder of our documents among a run's artifacts."""


def read_documents(setup: Setup, info: VersionInfo, names: Sequence[str]) -> dict[str, Any]:
    """Return JSON documents stored with a version (``schema``, ``split``, ``recipe``, ``contract``, ``profile``, …).

    Raises
    ------
    InputError
        When one is missing: the version was not registered by Evergreen.
    """
    documents = {name: read_optional(setup, info, name) for name in names}
    missing = [name for name in names if documents[name] is None]
    if missing:
        raise InputError(
            f"Version {info.version} of '{info.model}' lacks {FOLDER}/{missing[0]}.json in its run: it was not "
            "registered by Evergreen. Bring it in with 'evergreen register MODEL URI --trained-to T'."
        )
    return documents


def read_optional(setup: Setup, info: VersionInfo, name: str) -> dict[str, Any] | None:
    """Return a JSON document of a version's run; None when it has none of this name."""
    run_id = info.tags.get("evergreen.run") or info.run_id
    if not run_id:
        return None
    path = f"{FOLDER}/{name}.json"
    reader = open_reader(setup.settings.tracking_uri)
    folder = None if reader is None else local_folder(reader.run_folder(run_id))
    document: dict[str, Any] | None = None
    if folder is None:
        from evergreen.tasks.io.mlflow_store.tracking import open_tracker

        document = open_tracker(setup.stores).read_json(run_id, path)
    elif (folder / path).is_file():
        document = json.loads((folder / path).read_text(encoding="utf-8"))
    return document


def local_folder(uri: str | None) -> Path | None:
    """Return the folder that a URI of artifacts names on this machine; None where they lie elsewhere.

    >>> local_folder("file:///home/a%20b"), local_folder("/home/c"), local_folder("s3://bucket/a")
    (PosixPath('/home/a b'), PosixPath('/home/c'), None)
    """
    parts = urlsplit(uri or "")
    if parts.scheme == "file" and not parts.netloc:
        return Path(url2pathname(parts.path))
    return Path(str(uri)) if not parts.scheme and parts.path.startswith("/") else None

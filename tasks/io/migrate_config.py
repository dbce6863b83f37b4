"""Rewrite YAML files of models that hold keys or values of an earlier version."""

from __future__ import annotations

import os
import tempfile
import warnings
from pathlib import Path
from typing import Any

import yaml

from evergreen.tasks.core.config.renamed import ConfigEdit, in_todays_keys, migrate_text
from evergreen.tasks.core.errors import ConfigError, InputError, RenamedWord
from evergreen.tasks.io.config import find_model
from evergreen.tasks.io.settings import Settings


def migrate_configs(settings: Settings, model: str | None, *, dry_run: bool = False) -> dict[str, Any]:
    """Rewrite a model's file, or each of the folder, in today's words.

    Parameters
    ----------
    model : str or None
        Name or path of one model's file; None: every file of the folder, ``base.yaml`` too.
    dry_run : bool
        Say what would be changed, and write nothing.

    Returns
    -------
    dict
        ``state`` (Migrated; Unchanged where no old word was found or it was a dry run), ``reasons``, ``dry_run`` and
        ``files``: ``file`` and ``changes`` (``line``, ``old``, ``new``) of each file that holds old words.

    Raises
    ------
    ConfigError
        When a file is not YAML, or has a key under its old and its new name; no file was written then.
    """
    folder = settings.config_dir
    paths = sorted(folder.glob("*.yaml")) if model is None else [find_model(model, config_dir=folder)]
    if not paths:
        raise InputError(f"There is no YAML file in {folder}. Write one by 'evergreen init'.")
    found = {path: (text, edits) for path in paths for text, edits in [_migrated(path)] if edits}
    if not dry_run:
        for path, (text, _) in found.items():
            _write(path.resolve(), text)
    return {
        "state": "Migrated" if found and not dry_run else "Unchanged",
        "reasons": [],
        "dry_run": dry_run,
        "files": [{"file": str(path), "changes": [*map(_told, edits)]} for path, (_, edits) in found.items()],
    }


def _told(edit: ConfigEdit) -> dict[str, Any]:
    return {"line": edit.line, "old": edit.old, "new": edit.new}


def _migrated(path: Path) -> tuple[str, tuple[ConfigEdit, ...]]:
    """Return a file's text in today's words, read back to prove that nothing else was changed."""
    before = path.read_bytes().decode("utf-8")
    try:
        after, edits = migrate_text(before)
        values = yaml.safe_load(before)
    except yaml.YAMLError as error:
        first = " ".join(str(error).split())
        raise ConfigError(f"{path} is not readable as YAML: {first}. Correct the file.") from None
    if not edits:
        return after, edits
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RenamedWord)
        expected = in_todays_keys(values, origin=str(path))
    if yaml.safe_load(after) != expected:
        told = ", ".join(f"{edit.old} (line {edit.line}) is now {edit.new}" for edit in edits)
        raise ConfigError(f"{path} cannot be rewritten by this command. Change it by hand: {told}.")
    return after, edits


def _write(path: Path, text: str) -> None:
    """Replace a file at once, with the permissions it had."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    with os.fdopen(handle, "wb") as file:
        file.write(text.encode("utf-8"))
    os.chmod(name, path.stat().st_mode)
    os.replace(name, path)

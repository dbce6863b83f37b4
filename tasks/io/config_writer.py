"""Write a configuration file: a complete file or none, never over another by accident."""

from __future__ import annotations

import os
import re
from pathlib import Path

import sqlalchemy as sa

from tasks.core.errors import InputError
from tasks.io.sources_files import detect_format

UP = 3
"""More steps up than this and an absolute path is easier to read."""


def check_writable(path: Path, *, force: bool) -> None:
    """Check that a file may be written, before any work is done for it.

    Raises
    ------
    InputError
        When the file exists and ``force`` is not given, it is no YAML file, or a folder bears its name.
    """
    if path.suffix not in (".yaml", ".yml"):
        raise InputError(f"'{path}' does not end in .yaml. Name a YAML file with --out.")
    if path.stem == "base":
        raise InputError(f"'{path}' is the file of defaults. Name another file with --out.")
    if path.is_dir():
        raise InputError(f"'{path}' is a folder. Name a YAML file with --out.")
    above = next((folder for folder in path.parents if folder.exists()), path.parent)
    if not above.is_dir() or not os.access(above, os.W_OK):
        raise InputError(
            f"'{path}' cannot be written: '{above}' is no folder to write in. Name another with --out."
        )
    if path.exists() and not force:
        raise InputError(
            f"'{path}' exists already. Name another file with --out, or overwrite it with --force."
        )


def write_config(path: Path, text: str) -> None:
    """Write the file as a whole; its folder is made where it is missing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.write_text(text, encoding="utf-8")
    draft.replace(path)


def name_source(data: str, *, base: Path, folder: Path, model: str) -> tuple[str, str]:
    """Return how a configuration in ``folder`` names what was typed as ``data`` in ``base``, and a remark on it.

    Paths start at the file's folder, addresses stay, and a password never stands in a file: it moves to the
    environment.

    >>> name_source("s3://bucket/rows.parquet", base=Path("/a"), folder=Path("/b"), model="m")
    ('s3://bucket/rows.parquet', '')
    """
    kind = detect_format(data)
    if kind == "python" or data.startswith(("env:", "secret:")) or (kind == "files" and "://" in data):
        return data, ""
    if kind == "files":
        return _near(Path(os.path.abspath(base / data)), folder), ""
    url = sa.make_url(data)
    if url.password:
        name = f"{re.sub(r'[^A-Z0-9]+', '_', model.upper())}_SOURCE"
        return f"env:{name}", f"The URL holds a password, so set the environment variable {name} to it."
    if url.get_backend_name() == "sqlite" and url.database and not Path(url.database).is_absolute():
        return str(url.set(database=_near(Path(os.path.abspath(base / url.database)), folder))), ""
    return data, ""


def _near(path: Path, folder: Path) -> str:
    near = os.path.relpath(path, folder)
    return near if Path(near).parts.count("..") <= UP else str(path)

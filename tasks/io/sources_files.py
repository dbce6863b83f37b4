"""Files of a source: one, many by a glob, near or far by fsspec; told apart by their first bytes, never unpickled."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fsspec

from tasks.core.errors import ConfigError, DataError, Unreachable

_ENDINGS = {
    "csv": (".csv", ".tsv", ".txt", ".csv.gz", ".csv.bz2", ".csv.xz", ".csv.zst", ".tsv.gz"),
    "parquet": (".parquet", ".pq", ".parq"),
}
_FUNCTION = re.compile(r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*$")
_SCHEME = re.compile(r"^([A-Za-z][A-Za-z0-9_]*)(?:\+[A-Za-z0-9_]+)?:(?:///|//)")
PANDAS_INDEX = re.compile(r"__index_level_\d+__")
"""Names pandas gives to an index it stores in Parquet; it reads them back as an index, never as a column."""
_MAGIC = {
    b"PAR1": "Parquet",
    b"PK\x03\x04": "a zip archive or spreadsheet",
    b"\x1f\x8b": "gzip",
    b"SQLite format 3": "an SQLite database",
    b"\x89HDF": "HDF5",
    b"ARROW1": "an Arrow file",
    b"%PDF": "a PDF",
}


@dataclass(frozen=True)
class Files:
    """Files of one source on one file system.

    Attributes
    ----------
    system : fsspec.AbstractFileSystem
        Opens them.
    paths : tuple[str, ...]
        Sorted by name; never empty.
    origin : str
        Name for messages.
    kind : str
        ``csv`` or ``parquet``, by ending and first bytes.
    """

    system: Any
    paths: tuple[str, ...]
    origin: str
    kind: str

    def open(self, path: str) -> Any:
        """Open one file for reading bytes, unpacked where its ending says it is packed."""
        return self.system.open(path, "rb", compression="infer")


def detect_format(address: str) -> str:
    """Return the kind of source an address means: ``sql``, ``python`` or ``files``."""
    found = _SCHEME.match(address)
    if found and found[1] not in fsspec.available_protocols():
        return "sql"
    return "python" if _FUNCTION.match(address) and not Path(address).exists() else "files"


def list_files(address: str, *, base: Path, options: Mapping[str, Any], shown: str, kind: str) -> Files:
    """Return the files an address names.

    Raises
    ------
    DataError
        When there is none, or the first is empty, a pickle, or otherwise not what its kind says.
    ConfigError
        When its file system or its ending is unknown.
    """
    system, path = _file_system(address, base, options)
    paths = _expand(system, path, shown, kind)
    origin = f"'{shown}'"
    found = kind if kind in _ENDINGS else _kind_by_ending(paths[0])
    start = _first_bytes(system, paths[0])
    if not start:
        raise DataError(f"{origin} is empty: it holds no header and no rows. Write the data again.")
    _refuse_pickle(start, origin)
    if found is None and start.startswith(b"PAR1"):
        found = "parquet"
    if found is None:
        raise ConfigError(f"{origin} ends like neither CSV nor Parquet. Write data.format: csv or parquet.")
    _require_kind(start, found, origin)
    return Files(system, tuple(paths), origin, found)


def _file_system(address: str, base: Path, options: Mapping[str, Any]) -> tuple[Any, str]:
    if not _SCHEME.match(address):
        address = str((base / Path(address).expanduser()).absolute())
    try:
        system, path = fsspec.core.url_to_fs(address, **options)
    except (ImportError, ValueError) as error:
        raise ConfigError(
            f"data.source '{address}' cannot be opened: {error}. Install what it names."
        ) from None
    return system, path


def _expand(system: Any, path: str, shown: str, kind: str) -> list[str]:
    try:
        if any(mark in path for mark in "*?["):
            found = sorted(each for each in system.glob(path) if system.isfile(each))
        elif system.isdir(path):
            endings = _ENDINGS.get(kind, (*_ENDINGS["csv"], *_ENDINGS["parquet"]))
            found = sorted(each for each in system.find(path) if each.endswith(endings))
        else:
            found = [path] if system.exists(path) else []
    except FileNotFoundError:
        found = []
    except (ConnectionError, TimeoutError) as error:
        raise Unreachable(f"'{shown}' does not answer: {error}. Try again, or check the address.") from error
    if not found:
        raise DataError(
            f"There is no file '{shown}' (looked at {path}). Correct data.source, or bring the file."
        )
    return found


def _kind_by_ending(path: str) -> str | None:
    return next((kind for kind, endings in _ENDINGS.items() if path.lower().endswith(endings)), None)


def _first_bytes(system: Any, path: str) -> bytes:
    try:
        with system.open(path, "rb") as file:
            return bytes(file.read(64))
    except PermissionError:
        raise DataError(f"'{path}' may not be read by this user. Grant read permission.") from None


def _refuse_pickle(start: bytes, origin: str) -> None:
    """Refuse a pickle: protocols 2 to 5 begin with 0x80 and their number; older ones are text and fail as CSV."""
    if start[0] == 0x80 and start[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05"):
        raise DataError(
            f"{origin} is a Python pickle, which can run any code and is never opened. Save it as CSV or Parquet."
        )


def _require_kind(start: bytes, kind: str, origin: str) -> None:
    seen = next((name for magic, name in _MAGIC.items() if start.startswith(magic)), "")
    if kind == "parquet" and seen != "Parquet":
        raise DataError(
            f"{origin} is not Parquet: it begins with {start[:4]!r}. Correct data.format or the file."
        )
    if kind == "csv" and seen and seen != "gzip":
        raise DataError(f"{origin} is {seen}, not CSV. Correct data.format or data.source.")

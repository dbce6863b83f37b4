"""Files of a source: one, many by a glob, near or far by fsspec; told apart by their first bytes, never unpickled."""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import fsspec

from evergreen.tasks.core.data.clock import Clock, Window
from evergreen.tasks.core.data.columns import require_distinct
from evergreen.tasks.core.errors import ConfigError, DataError, Unreachable, did_you_mean
from evergreen.tasks.io.plugins import SOURCES

if TYPE_CHECKING:
    import pandas as pd

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
    """Return the kind of source an address means: a registered scheme, else ``sql``, ``python`` or ``files``."""
    found = _SCHEME.match(address)
    if found and found[1] in SOURCES.names():
        return found[1]
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


# A Python function as a source: it returns a frame, or yields frames; it may take the window and the columns.


_OFFERED = ("start", "end", "columns")


@dataclass(frozen=True)
class PythonLoader:
    """Calls ``package.module:function`` with ``data.options``.

    A function with parameters named ``start``, ``end`` (positions on the clock, None where open) or ``columns``
    is given them and may return less; one without them is asked once, and its frame is kept. The same arguments
    must give the same rows.
    """

    address: str
    options: dict[str, Any]
    clock: Clock
    _kept: dict[str, pd.DataFrame] = field(default_factory=dict, repr=False, compare=False)

    @property
    def origin(self) -> str:
        """Name for messages."""
        return f"'{self.address}'"

    def columns(self) -> list[str]:
        """Return the columns of the first frame."""
        return [str(name) for name in next(self._frames(None, None)).columns]

    def load(self, columns: Sequence[str], window: Window | None) -> pd.DataFrame:
        """Return the window's rows, frame by frame."""
        import pandas as pd

        kept, offset = [], 0
        for frame in self._frames(columns, window):
            self._require(frame, columns)
            counted = frame.set_axis(pd.RangeIndex(offset, offset + len(frame)))
            offset += len(frame)
            positions = self.clock.positions(counted) if window else None
            inside = counted if positions is None or window is None else counted[window.mask(positions)]
            kept.append(inside[list(columns)])
        filled = [frame for frame in kept if len(frame)] or kept[:1]
        return pd.concat(filled) if len(filled) > 1 else filled[0]

    def stream(self, columns: Sequence[str]) -> Iterator[pd.DataFrame]:
        """Yield all rows, frame by frame as the function gives them."""
        for frame in self._frames(columns, None):
            self._require(frame, columns)
            yield frame[list(columns)]

    def _frames(self, columns: Sequence[str] | None, window: Window | None) -> Iterator[pd.DataFrame]:
        import pandas as pd

        function = self._function()
        taken = inspect.signature(function).parameters
        offered = {
            "start": None if window is None or window.start == -float("inf") else window.start,
            "end": None if window is None or window.end == float("inf") else window.end,
            "columns": None if columns is None else list(columns),
        }
        given = {name: offered[name] for name in _OFFERED if name in taken and name not in self.options}
        if not given and "frame" in self._kept:
            yield self._kept["frame"]
            return
        result = function(**self.options, **given)
        if isinstance(result, pd.DataFrame):
            if not given:
                self._kept["frame"] = result
            yield result
            return
        yield from self._checked(result)

    def _require(self, frame: pd.DataFrame, columns: Sequence[str]) -> None:
        require_distinct([str(name) for name in frame.columns], origin=self.origin)
        missing = [name for name in columns if name not in frame.columns]
        if missing:
            raise DataError(f"A frame of {self.origin} lacks column '{missing[0]}'. Yield it in every frame.")

    def _checked(self, result: Any) -> Iterator[pd.DataFrame]:
        import pandas as pd

        frames: Iterable[Any] = result if isinstance(result, Iterable) else (result,)
        count = 0
        for frame in frames:
            if not isinstance(frame, pd.DataFrame):
                raise DataError(
                    f"{self.origin} gave {type(frame).__name__}; it must return or yield pandas DataFrames."
                )
            count += 1
            yield frame
        if count == 0:
            raise DataError(
                f"{self.origin} yielded nothing; yield at least one frame, if only with its columns."
            )

    def _function(self) -> Callable[..., Any]:
        module_name, _, name = self.address.partition(":")
        try:
            module = importlib.import_module(module_name)
        except ModuleNotFoundError as error:
            if error.name is None or not module_name.startswith(error.name):
                raise
            raise ConfigError(
                f"data.source '{self.address}': there is no module '{error.name}'. Correct it or set PYTHONPATH."
            ) from None
        function = getattr(module, name, None)
        if not callable(function):
            names = [each for each in dir(module) if not each.startswith("_")]
            raise ConfigError(
                f"data.source '{self.address}': module '{module_name}' has no function '{name}'."
                f"{did_you_mean(name, names)} Correct data.source."
            )
        return function  # type: ignore[no-any-return]

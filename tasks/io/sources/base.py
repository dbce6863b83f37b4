"""Files of a source: one, many by a glob, near or far by fsspec; recognised by their first bytes, never unpickled."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import fsspec
import pyarrow as pa

from evergreen.tasks.core.data.clock import Clock, Window
from evergreen.tasks.core.data.columns import require_distinct
from evergreen.tasks.core.errors import ConfigError, DataError, Unreachable, did_you_mean
from evergreen.tasks.core.registry import import_path
from evergreen.tasks.io.plugins import SOURCES, offer_plugins

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
    """Files of one source on one file system."""

    system: Any
    """Opens them."""
    paths: tuple[str, ...]
    """Sorted by name; never empty."""
    origin: str
    """Name for messages."""
    kind: str
    """``csv`` or ``parquet``, by ending and first bytes."""

    def open(self, path: str) -> Any:
        """Open one file for reading bytes, unpacked where its ending says it is packed."""
        return self.system.open(path, "rb", compression="infer")


@dataclass(frozen=True, kw_only=True)
class SourceRequest:
    """What a source is opened by."""

    address: str
    """``data.source`` with its secrets."""
    shown: str
    """What may be shown of it."""
    base: Path
    """Folder that relative paths start at."""
    clock: Clock = field(default_factory=lambda: Clock(None))
    """Where rows stand on the clock."""
    options: dict[str, Any] = field(default_factory=dict)
    """``data.options``."""
    table: str | None = None
    """``data.table``."""
    query: str | None = None
    """``data.query``."""


def detect_format(address: str) -> str:
    """Return the kind of source an address means: a registered scheme, else ``sql``, ``python`` or ``files``."""
    offer_plugins()
    scheme = _SCHEME.match(address)
    if scheme and scheme[1] in SOURCES.names():
        return scheme[1]
    if scheme and scheme[1] not in fsspec.available_protocols():
        _require_dialect(scheme[1])
        return "sql"
    return "python" if _FUNCTION.match(address) and not Path(address).exists() else "files"


def _require_dialect(scheme: str) -> None:
    from sqlalchemy.dialects import registry
    from sqlalchemy.exc import NoSuchModuleError

    try:
        registry.load(scheme.replace("+", "."))
    except NoSuchModuleError:
        raise ConfigError(
            f"'{scheme}://…' is of no kind that is known here ({', '.join(SOURCES.names())}), no file system and no "
            "database whose driver is installed. Correct the address, or install the package that offers it."
        ) from None


def list_files(request: SourceRequest, *, kind: str) -> Files:
    """Return the files that an address names.

    Raises
    ------
    DataError
        When there is none, or the first is empty, a pickle, or otherwise not what its kind says.
    ConfigError
        When its file system or its ending is unknown.
    """
    system, path = _file_system(request)
    paths, origin = _expand(system, path, request.shown, kind), f"'{request.shown}'"
    if kind not in _ENDINGS:
        name = paths[0].lower()
        kind = next((kind for kind, endings in _ENDINGS.items() if name.endswith(endings)), "")
    try:
        with system.open(paths[0], "rb") as file:
            start = bytes(file.read(64))
    except PermissionError:
        message = f"'{paths[0]}' may not be read by this user. Grant read permission."
        raise DataError(message) from None
    if not start:
        raise DataError(f"{origin} is empty: it holds no header and no rows. Write the data again.")
    # Pickles of protocols 2 to 5 begin with 0x80 and their number; older ones are text and fail as CSV.
    if start[0] == 0x80 and start[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05"):
        raise DataError(
            f"{origin} is a Python pickle, which can run any code and is never opened. Save it as CSV or Parquet."
        )
    kind = kind or ("parquet" if start.startswith(b"PAR1") else "")
    if not kind:
        raise ConfigError(
            f"{origin} ends like neither CSV nor Parquet. Let its name end so, or write data.format."
        )
    content = next((name for magic, name in _MAGIC.items() if start.startswith(magic)), "")
    if kind == "parquet" and content != "Parquet":
        raise DataError(
            f"{origin} is not Parquet: it begins with {start[:4]!r}. Correct the file, its ending or data.format."
        )
    if kind == "csv" and content not in ("", "gzip"):
        raise DataError(f"{origin} is {content}, not CSV. Correct the file, its ending or data.format.")
    return Files(system, tuple(paths), origin, kind)


def _file_system(request: SourceRequest) -> tuple[Any, str]:
    address = request.address
    if not _SCHEME.match(address):
        address = str((request.base / Path(address).expanduser()).absolute())
    try:
        system, path = fsspec.core.url_to_fs(address, **request.options)
    except (ImportError, ValueError) as error:
        message = f"data.source '{address}' cannot be opened: {error}. Install what it names."
        raise ConfigError(message) from None
    return system, path


def _expand(system: Any, path: str, shown: str, kind: str) -> list[str]:
    paths: list[str] = []
    try:
        if any(mark in path for mark in "*?["):
            paths = sorted(each for each in system.glob(path) if system.isfile(each))
        elif system.isdir(path):
            endings = _ENDINGS.get(kind, (*_ENDINGS["csv"], *_ENDINGS["parquet"]))
            paths = sorted(each for each in system.find(path) if each.endswith(endings))
        elif system.exists(path):
            paths = [path]
    except FileNotFoundError:
        pass
    except (ConnectionError, TimeoutError) as error:
        raise Unreachable(f"'{shown}' does not answer: {error}. Try again, or check the address.") from error
    if not paths:
        raise DataError(
            f"There is no file '{shown}' (looked at {path}). Correct data.source, or bring the file."
        )
    return paths


def require_same_columns(path: str, names: Sequence[str], first: str, expected: Sequence[str]) -> None:
    """Check that a file has the columns of the first one.

    Raises
    ------
    DataError
        Naming those that only one of the two has.
    """
    if differing := sorted(set(names) ^ set(expected)):
        raise DataError(f"'{path}' and '{first}' differ in columns: {', '.join(differing)}. Make them alike.")


def require_present(columns: Sequence[str], present: Sequence[str], *, origin: str, why: str = "") -> None:
    """Check that a source has the requested columns.

    Raises
    ------
    DataError
        Naming the first that it lacks, and the likeliest.
    """
    for name in columns:
        if name not in present:
            raise DataError(
                f"Column '{name}' is not in {origin}. It has: {', '.join(present)}.{did_you_mean(name, present)}{why}"
            )


def first_line(error: Exception) -> str:
    """Return the first line of an error, or of its driver's, without a full stop."""
    cause = getattr(error, "orig", None) or error
    return (str(cause).strip() or type(cause).__name__).split("\n")[0].rstrip(".")


@contextmanager
def reading_parquet(origin: str) -> Iterator[None]:
    """Turn errors of reading Parquet into a `DataError` that names the file or source."""
    try:
        yield
    except (pa.ArrowException, OSError) as error:
        raise DataError(
            f"{origin} cannot be read as Parquet: {first_line(error)}. Write it again."
        ) from error


def window_parts(frames: Iterable[pd.DataFrame], clock: Clock, window: Window | None) -> list[pd.DataFrame]:
    """Return the window's rows of a source's frames, numbered over all frames; at least one part, perhaps empty."""
    import pandas as pd

    parts: list[pd.DataFrame] = []
    offset = 0
    for frame in frames:
        rows = frame.set_axis(pd.RangeIndex(offset, offset + len(frame)))
        offset += len(frame)
        positions = None if window is None else clock.positions(rows)
        if window is not None and positions is not None:
            rows = rows[window.mask(positions)]
        if len(rows) or not parts:
            parts.append(rows)
        if window is not None and clock.by_order and offset >= window.end:
            break
    return [part for part in parts if len(part)] or parts[:1]


def join_parts(parts: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Return parts as one frame."""
    import pandas as pd

    return pd.concat(parts) if len(parts) > 1 else parts[0]


# A Python function as a source: it returns a frame, or yields frames; it may take the window and the columns.


@dataclass(frozen=True)
class PythonLoader:
    """Calls ``package.module:function`` with ``data.options``.

    A function with parameters named ``start``, ``end`` (positions on the clock, None where open) or ``columns``
    is given them and may return less; one without them is called once, and its frame is cached. The same arguments
    must give the same rows.
    """

    address: str
    options: dict[str, Any]
    clock: Clock
    _frame: list[pd.DataFrame] = field(default_factory=list, repr=False, compare=False)

    @property
    def origin(self) -> str:
        """Name for messages."""
        return f"'{self.address}'"

    def columns(self) -> list[str]:
        """Return the columns of the first frame."""
        return [str(name) for name in next(self._frames(None, None)).columns]

    def load(self, columns: Sequence[str], window: Window | None) -> pd.DataFrame:
        """Return the window's rows, frame by frame."""
        frames = self._frames(columns, window)
        return join_parts(window_parts(frames, self.clock, window))[list(columns)]

    def stream(self, columns: Sequence[str]) -> Iterator[pd.DataFrame]:
        """Yield all rows, frame by frame as the function gives them."""
        for frame in self._frames(columns, None):
            yield frame[list(columns)]

    def _frames(self, columns: Sequence[str] | None, window: Window | None) -> Iterator[pd.DataFrame]:
        """Yield what the function gives, each frame checked for the requested columns."""
        import pandas as pd

        function = import_path(self.address, key="data.source")
        parameters = inspect.signature(function).parameters
        offered = {
            "start": None if window is None or window.start == -float("inf") else window.start,
            "end": None if window is None or window.end == float("inf") else window.end,
            "columns": None if columns is None else list(columns),
        }
        passed = {
            name: value for name, value in offered.items() if name in parameters and name not in self.options
        }
        result = self._frame[0] if self._frame and not passed else function(**self.options, **passed)
        if isinstance(result, pd.DataFrame):
            if not passed:
                self._frame[:] = [result]
            result = [result]
        empty = True
        for frame in result if isinstance(result, Iterable) else (result,):
            if not isinstance(frame, pd.DataFrame):
                raise DataError(
                    f"{self.origin} gave {type(frame).__name__}; it must return or yield pandas DataFrames."
                )
            if columns is not None:
                require_distinct([str(name) for name in frame.columns], origin=self.origin)
            for name in columns or ():
                if name not in frame.columns:
                    raise DataError(
                        f"A frame of {self.origin} lacks column '{name}'. Yield it in every frame."
                    )
            empty = False
            yield frame
        if empty:
            raise DataError(
                f"{self.origin} yielded nothing; yield at least one frame, if only with its columns."
            )

"""CSV files, streamed in chunks: of a window no more rows are held than its own and one chunk."""

from __future__ import annotations

import csv
import io
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv as pa_csv

from evergreen.tasks.core.data.clock import Clock, Window
from evergreen.tasks.core.errors import DataError
from evergreen.tasks.io.sources.base import Files

_HEAD_BYTES = 1 << 16
_DELIMITERS = ",;\t|"
_NULLS = ["?"]


@dataclass(frozen=True)
class CsvLoader:
    """CSV with a header; the delimiter (comma, semicolon, tab, bar) is read from it, ``?`` counts as null."""

    files: Files
    clock: Clock
    chunk_rows: int = 100_000
    """Rows that are read at once."""
    _even: set[str] = field(default_factory=set, repr=False, compare=False)
    _kinds: dict[str, set[str]] = field(default_factory=dict, repr=False, compare=False)
    _rows: list[int] = field(default_factory=list, repr=False, compare=False)

    @property
    def origin(self) -> str:
        """Name for messages."""
        return self.files.origin

    def columns(self) -> list[str]:
        """Return the header of the first file; the others must have the same columns."""
        names = self._header(self.files.paths[0])[0]
        for path in self.files.paths[1:]:
            other = self._header(path)[0]
            if set(other) != set(names):
                differs = ", ".join(sorted(set(names) ^ set(other)))
                raise DataError(
                    f"'{path}' and '{self.files.paths[0]}' differ in columns: {differs}. Make them alike."
                )
        return names

    def load(self, columns: Sequence[str], window: Window | None) -> pd.DataFrame:
        """Return the window's rows; a column is text when any row of the files holds text in it."""
        kept, kinds = self._collect(columns, window, text=())
        mixed = [name for name in columns if len(kinds[name]) > 1]
        if mixed:
            kept, _ = self._collect(columns, window, text=mixed)
        objects = {name: object for name in columns if kinds[name] & {"text", "boolean"}}
        return pd.concat([part.astype(objects) for part in kept]) if len(kept) > 1 else kept[0]

    def stream(self, columns: Sequence[str]) -> Iterator[pd.DataFrame]:
        """Yield all rows in chunks (at least one, perhaps empty), each column of the type it has in ``load``."""
        kinds = self._survey(columns)
        mixed = [name for name in columns if len(kinds[name]) > 1]
        objects = {name: object for name in columns if kinds[name] & {"text", "boolean"}}
        found = False
        for chunk in self._chunks(columns, mixed, stop=np.inf):
            found = True
            yield chunk.astype(objects)
        if not found:
            yield pd.DataFrame(columns=list(columns))

    def count(self, columns: Sequence[str]) -> int:
        """Return the number of rows; the pass also learns the types that ``stream`` needs of these columns."""
        self._survey(columns)
        return self._rows[0]

    def _survey(self, columns: Sequence[str]) -> dict[str, set[str]]:
        """Return as what each column was read, from one pass over all rows for those not known yet."""
        unknown = [name for name in columns if name not in self._kinds]
        if unknown:
            kinds: dict[str, set[str]] = {name: set() for name in unknown}
            rows = 0
            for chunk in self._chunks(unknown, (), stop=np.inf):
                rows += len(chunk)
                for name in unknown:
                    kinds[name] |= _kind(chunk[name])
            self._kinds.update(kinds)
            self._rows[:] = [rows]
        return self._kinds

    def _collect(
        self, columns: Sequence[str], window: Window | None, *, text: Sequence[str]
    ) -> tuple[list[pd.DataFrame], dict[str, set[str]]]:
        """Return the kept chunks (at least one, perhaps empty) and the kinds each column was read as."""
        kept: list[pd.DataFrame] = []
        empty: pd.DataFrame | None = None
        kinds: dict[str, set[str]] = {name: set() for name in columns}
        for chunk in self._chunks(
            columns, text, stop=window.end if window and self.clock.by_order else np.inf
        ):
            for name in columns:
                kinds[name] |= _kind(chunk[name])
            inside = chunk
            if window is not None:
                positions = self.clock.positions(chunk)
                inside = chunk if positions is None else chunk[window.mask(positions)]
            empty = inside.iloc[:0] if empty is None else empty
            if len(inside):
                kept.append(inside.copy() if len(inside) < len(chunk) else inside)
        if not kept:
            kept.append(pd.DataFrame(columns=list(columns)) if empty is None else empty)
        return kept, kinds

    def _chunks(self, columns: Sequence[str], text: Sequence[str], *, stop: float) -> Iterator[pd.DataFrame]:
        offset = 0
        for path in self.files.paths:
            for chunk in self._read(path, columns, text):
                chunk.index = pd.RangeIndex(offset, offset + len(chunk))
                offset += len(chunk)
                yield chunk[list(columns)]
                if offset >= stop:
                    return

    def _read(self, path: str, columns: Sequence[str], text: Sequence[str]) -> Iterator[pd.DataFrame]:
        names, delimiter = self._header(path)
        self._require_even_lines(path, names, delimiter)
        try:
            with self.files.open(path) as file:
                chunks = pd.read_csv(
                    file,
                    sep=delimiter,
                    usecols=list(columns),
                    dtype=dict.fromkeys(text, str),
                    chunksize=self.chunk_rows,
                    index_col=False,
                    encoding="utf-8-sig",
                    float_precision="round_trip",
                    low_memory=False,
                    na_values=_NULLS,
                    skipinitialspace=True,
                )
                while (chunk := _next(chunks)) is not None:
                    yield chunk
        except UnicodeDecodeError as error:
            raise _not_text(path, error) from None
        except (pd.errors.ParserError, pd.errors.ParserWarning, csv.Error) as error:
            what = str(error).strip().removeprefix("Error tokenizing data. C error: ")
            raise DataError(f"'{path}' is not readable as CSV: {what}. Correct the line it names.") from None

    def _require_even_lines(self, path: str, names: Sequence[str], delimiter: str) -> None:
        """Refuse, once a file, lines longer or shorter than the header: with columns chosen pandas cuts or fills them.

        Arrow counts fast; only what it doubts is counted again line by line, by pandas' own rules of quoting.
        """
        if path in self._even:
            return
        with self.files.open(path) as file:
            even = _count_evenly(file, names, delimiter)
        if not even:
            with (
                self.files.open(path) as file,
                io.TextIOWrapper(file, encoding="utf-8-sig", newline="") as lines,
            ):
                _refuse_uneven(lines, path, len(names), delimiter)
        self._even.add(path)

    def _header(self, path: str) -> tuple[list[str], str]:
        """Return the column names as they stand (pandas would rename repeated ones), and the delimiter."""
        try:
            with self.files.open(path) as file:
                head = file.read(_HEAD_BYTES)
            text = head.decode("utf-8-sig", errors="strict" if len(head) < _HEAD_BYTES else "ignore")
        except UnicodeDecodeError as error:
            raise _not_text(path, error) from None
        line = next((each for each in text.splitlines() if each.strip()), "")
        if not line or "\0" in text:
            what = "holds bytes that are not text" if line else "is empty: it holds no header and no rows"
            raise DataError(f"'{path}' {what}. Write the data again as CSV.")
        delimiter = max(_DELIMITERS, key=_outside_quotes(line).count)
        names = next(csv.reader(io.StringIO(text.lstrip("\r\n")), delimiter=delimiter, skipinitialspace=True))
        return names, delimiter


def _next(chunks: Iterator[pd.DataFrame]) -> pd.DataFrame | None:
    """Return the next chunk, None after the last; filters of warnings are changed for this moment alone."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", pd.errors.ParserWarning)
        return next(chunks, None)


def _count_evenly(file: Any, names: Sequence[str], delimiter: str) -> bool:
    """Return whether Arrow finds as many values in every line as the header names."""
    try:
        reader = pa_csv.open_csv(
            file,
            parse_options=pa_csv.ParseOptions(delimiter=delimiter, newlines_in_values=True),
            convert_options=pa_csv.ConvertOptions(
                include_columns=[names[0]], column_types={names[0]: pa.binary()}, check_utf8=False
            ),
        )
        for _ in reader:
            pass
    except pa.ArrowInvalid:
        return False
    return True


def _refuse_uneven(lines: Iterator[str], path: str, width: int, delimiter: str) -> None:
    reader = csv.reader(lines, delimiter=delimiter, skipinitialspace=True)
    for values in reader:
        surplus = [value for value in values[width:] if value.strip()]
        if values and (surplus or len(values) < width):
            raise DataError(
                f"'{path}' is not readable as CSV: line {reader.line_num} has {len(values)} values, the header names "
                f"{width}. Correct the line, or quote values that hold a '{delimiter}'."
            )


def _outside_quotes(line: str) -> str:
    return "".join(line.split('"')[::2])


def _kind(column: pd.Series) -> set[str]:
    """Return how a chunk's column was read: empty set where it holds nulls alone."""
    if column.dtype != object:
        if column.isna().all():
            return set()
        return {"boolean"} if column.dtype == bool else {"number"}
    found = pd.api.types.infer_dtype(column, skipna=True)
    return set() if found == "empty" else {"boolean" if found == "boolean" else "text"}


def _not_text(path: str, error: UnicodeDecodeError) -> DataError:
    byte = error.object[error.start]
    return DataError(f"'{path}' is not UTF-8 text: byte 0x{byte:02x} at {error.start}. Save it as UTF-8.")

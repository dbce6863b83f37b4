"""CSV and Parquet files: of a window no more rows are held than its own and one chunk or batch."""

from __future__ import annotations

import csv
import io
import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from evergreen.tasks.core.data.clock import Clock, Window
from evergreen.tasks.core.errors import DataError
from evergreen.tasks.io.sources.base import (
    PANDAS_INDEX,
    Files,
    first_line,
    join_parts,
    reading_parquet,
    require_same_columns,
    window_parts,
)

_HEAD_BYTES = 1 << 16
"""Bytes of a CSV file in which its header must end."""
_DELIMITERS = ",;\t|"
_NULLS = ["?"]
_NANOSECONDS = 9.2e9
"""Seconds from 1970 that nanoseconds can hold; bounds beyond it are not pushed down."""


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
        first, *others = self.files.paths
        names = self._header(first)[0]
        for path in others:
            require_same_columns(path, self._header(path)[0], first, names)
        return names

    def load(self, columns: Sequence[str], window: Window | None) -> pd.DataFrame:
        """Return the window's rows; a column is text when any row of the files holds text in it."""
        kinds: dict[str, set[str]] = {name: set() for name in columns}
        parts = window_parts(_add_kinds(self._chunks(columns), kinds), self.clock, window)
        mixed = [name for name in columns if len(kinds[name]) > 1]
        if mixed:
            parts = window_parts(self._chunks(columns, text=mixed), self.clock, window)
        return join_parts([part.astype(_objects(columns, kinds)) for part in parts])

    def stream(self, columns: Sequence[str]) -> Iterator[pd.DataFrame]:
        """Yield all rows in chunks (at least one, perhaps empty), each column of the type it has in ``load``."""
        self.count(columns)
        mixed = [name for name in columns if len(self._kinds[name]) > 1]
        for chunk in self._chunks(columns, text=mixed):
            yield chunk.astype(_objects(columns, self._kinds))

    def count(self, columns: Sequence[str]) -> int:
        """Return the number of rows; the pass also learns the types that ``stream`` needs of these columns."""
        unread = [name for name in columns if name not in self._kinds]
        if unread:
            kinds: dict[str, set[str]] = {name: set() for name in unread}
            self._rows[:] = [sum(map(len, _add_kinds(self._chunks(unread), kinds)))]
            self._kinds.update(kinds)
        return self._rows[0]

    def _chunks(self, columns: Sequence[str], text: Sequence[str] = ()) -> Iterator[pd.DataFrame]:
        """Yield the rows of all files, at least one chunk; columns of ``text`` as they are written."""
        empty = True
        for path in self.files.paths:
            for chunk in self._read(path, columns, text):
                empty = False
                yield chunk[list(columns)]
        if empty:
            yield pd.DataFrame(columns=list(columns))

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
                reader, width = csv.reader(lines, delimiter=delimiter, skipinitialspace=True), len(names)
                for values in reader:
                    if values and (len(values) < width or any(value.strip() for value in values[width:])):
                        raise DataError(
                            f"'{path}' is not readable as CSV: line {reader.line_num} has {len(values)} values, the "
                            f"header names {width}. Correct the line, or quote values that hold a '{delimiter}'."
                        )
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
        # counted outside of quotes
        delimiter = max(_DELIMITERS, key="".join(line.split('"')[::2]).count)
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


def _add_kinds(chunks: Iterator[pd.DataFrame], kinds: dict[str, set[str]]) -> Iterator[pd.DataFrame]:
    """Yield the chunks; ``kinds`` gathers as what each of its columns was read."""
    for chunk in chunks:
        for name in kinds:
            kinds[name] |= _kind(chunk[name])
        yield chunk


def _objects(columns: Sequence[str], kinds: Mapping[str, set[str]]) -> dict[str, type]:
    return {name: object for name in columns if kinds[name] & {"text", "boolean"}}


def _kind(column: pd.Series) -> set[str]:
    """Return how a chunk's column was read: empty set where it holds nulls alone."""
    if column.dtype != object:
        if column.isna().all():
            return set()
        return {"boolean"} if column.dtype == bool else {"number"}
    inferred = pd.api.types.infer_dtype(column, skipna=True)
    return set() if inferred == "empty" else {"boolean" if inferred == "boolean" else "text"}


def _not_text(path: str, error: UnicodeDecodeError) -> DataError:
    byte = error.object[error.start]
    return DataError(f"'{path}' is not UTF-8 text: byte 0x{byte:02x} at {error.start}. Save it as UTF-8.")


@dataclass(frozen=True)
class ParquetLoader:
    """Parquet by ``pyarrow.dataset``: the clock's bounds skip row groups by their statistics."""

    files: Files
    clock: Clock

    @property
    def origin(self) -> str:
        """Name for messages."""
        return self.files.origin

    def columns(self) -> list[str]:
        """Return the column names; every file must have the same."""
        return list(self._schema().names)

    def load(self, columns: Sequence[str], window: Window | None) -> pd.DataFrame:
        """Return the window's rows; text clocks and rows counted by order are narrowed batch by batch."""
        schema = self._schema()
        pushed = self._bounds(schema, window)
        with reading_parquet(self.origin):
            scanner = self._dataset(schema).scanner(columns=list(columns), filter=pushed)
            if window is None or (pushed is not None and not self.clock.by_order):
                return _to_frame(scanner.to_table())
            return join_parts(window_parts(map(_to_frame, scanner.to_batches()), self.clock, window))

    def stream(self, columns: Sequence[str]) -> Iterator[pd.DataFrame]:
        """Yield all rows in batches, in their order; of a file no more is held than a few batches."""
        dataset = self._dataset(self._schema())
        with reading_parquet(self.origin):
            yield from map(_to_frame, dataset.scanner(columns=list(columns), batch_readahead=1).to_batches())

    def _dataset(self, schema: Any) -> Any:
        return ds.dataset(
            list(self.files.paths), schema=schema, format="parquet", filesystem=self.files.system
        )

    def _schema(self) -> Any:
        """Return one schema for all files; a column may widen from file to file, but not come and go."""
        schemas = [self._file_schema(path) for path in self.files.paths]
        names = schemas[0].names
        for path, schema in zip(self.files.paths[1:], schemas[1:], strict=True):
            require_same_columns(path, schema.names, self.files.paths[0], names)
        if len(schemas) == 1 or len(set(names)) < len(names):
            return schemas[0]
        try:
            return pa.unify_schemas([_without_codes(each) for each in schemas], promote_options="permissive")
        except pa.ArrowException as error:
            raise DataError(
                f"The files of {self.origin} differ in types: {first_line(error)}. Make them alike."
            ) from error

    def _file_schema(self, path: str) -> Any:
        with reading_parquet(f"'{path}'"), self.files.open(path) as file:
            schema = pq.read_schema(file).remove_metadata()
        return pa.schema([field for field in schema if not PANDAS_INDEX.fullmatch(field.name)])

    def _bounds(self, schema: Any, window: Window | None) -> Any:
        """Return a filter that keeps at least the window's rows and those without a time; None where it cannot."""
        if window is None or self.clock.column is None:
            return None
        kind = schema.field(self.clock.column).type
        field = ds.field(self.clock.column)
        start, end = (_scalar(bound, kind, self.clock.kind) for bound in (window.start, window.end))
        if start is None and end is None:
            return None
        inside = pa.compute.scalar(True) if start is None else field >= start
        inside = inside if end is None else inside & (field <= end)
        return inside | field.is_null()


def _scalar(bound: float, kind: Any, clock: str) -> Any:
    """Return a bound in the column's own type, rounded so that no row of the window is lost; None: not pushed."""
    if not math.isfinite(bound):
        return None
    if clock != "timestamp":
        if pa.types.is_integer(kind):
            return pa.scalar(int(np.rint(bound)), pa.int64()) if abs(bound) < 2.0**53 else None
        return pa.scalar(bound, pa.float64()) if pa.types.is_floating(kind) else None
    if abs(bound) > _NANOSECONDS:
        return None
    if pa.types.is_timestamp(kind):
        per_second = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}[kind.unit]
        return pa.scalar(round(bound * 10**6) * per_second // 10**6, kind)
    return pa.scalar(math.floor(bound / 86400), pa.int32()).cast(kind) if pa.types.is_date32(kind) else None


def _without_codes(schema: Any) -> Any:
    """Return the schema with categories as their values: each file has its own codes."""
    plain = [
        field.with_type(field.type.value_type) if pa.types.is_dictionary(field.type) else field
        for field in schema
    ]
    return pa.schema(plain)


def _to_frame(rows: Any) -> pd.DataFrame:
    """Return a table or a batch as a frame."""
    frame: pd.DataFrame = rows.to_pandas(ignore_metadata=True)
    return frame

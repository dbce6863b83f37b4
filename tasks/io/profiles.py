"""Profiles of files of any length: one pass, memory that does not grow with the rows."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from evergreen.tasks.core.arrays import FloatArray, IntArray
from evergreen.tasks.core.errors import ConfigError, DataError, did_you_mean
from evergreen.tasks.core.profiles.count import BLOCK, NULL, Scratch, numeric_codes
from evergreen.tasks.core.profiles.grid import ColumnGrid, Grid, category_token
from evergreen.tasks.core.profiles.profile import CategoryTally, NumericTally, Profile, measure_profile
from evergreen.tasks.core.redact import without_credentials
from evergreen.tasks.io.sources.base import (
    PANDAS_INDEX,
    Files,
    SourceRequest,
    detect_format,
    list_files,
    reading_parquet,
)

if TYPE_CHECKING:
    from evergreen.tasks.io.sources.open import Loader


# Files as columns: Parquet column by column in small batches, CSV in chunks.


_MAX_OPEN_FILES = 32
_BUFFER = 1 << 18
"""Bytes read ahead of a column: of a file as little is held, however large its row groups."""


@dataclass(frozen=True)
class ParquetColumns:
    """Columns of Parquet files, read without pandas."""

    files: Files
    _open_files: dict[str, Any] = field(default_factory=dict, repr=False, compare=False)

    @property
    def origin(self) -> str:
        """Name for messages."""
        return self.files.origin

    def columns(self) -> list[str]:
        """Return the column names of the first file, without an index that pandas stored."""
        names = self._file(self.files.paths[0]).schema_arrow.names
        return [name for name in names if not PANDAS_INDEX.fullmatch(name)]

    @cached_property
    def rows(self) -> int:
        """Number of rows of all files, by their footers."""
        return sum(self._file(path).metadata.num_rows for path in self.files.paths)

    def batches(self, columns: Sequence[str]) -> Iterator[Any]:
        """Yield record batches of these columns; text as dictionary codes.

        Raises
        ------
        DataError
            When a file cannot be read or lacks a column.
        """
        for path in self.files.paths:
            file = self._file(path)
            require_columns(columns, file.schema_arrow.names, origin=f"'{path}'")
            with reading_parquet(f"'{path}'"):
                yield from file.iter_batches(batch_size=BLOCK, columns=list(columns), use_threads=False)

    def _file(self, path: str) -> Any:
        """Return the file, opened once where the files are few: a footer is read in a millisecond, a column in ten."""
        if path in self._open_files:
            return self._open_files[path]
        local = "file" in self.files.system.protocol
        with reading_parquet(f"'{path}'"):
            schema = pq.read_schema(path if local else self.files.open(path))
            names = [each.name for each in schema if not pa.types.is_nested(each.type)]
            source = path if local else self.files.open(path)
            file = pq.ParquetFile(source, read_dictionary=names, pre_buffer=False, buffer_size=_BUFFER)
        if len(self.files.paths) <= _MAX_OPEN_FILES:
            self._open_files[path] = file
        return file


def open_columns(source: str | Path | Files | ParquetColumns | Loader) -> ParquetColumns | Loader:
    """Return the columns of a file, folder, glob, fsspec address or other source; what is open already stays so.

    Raises
    ------
    DataError
        When there is none, or it is neither Parquet nor CSV.
    ConfigError
        When it is a database, whose rows no address alone names.
    """
    if not isinstance(source, str | Path | Files):
        return source
    shown = str(source)
    if not isinstance(source, Files):
        request = SourceRequest(address=shown, shown=without_credentials(shown), base=Path.cwd())
        if (kind := detect_format(shown)) != "files":
            from evergreen.tasks.io.sources.open import open_loader

            if kind == "sql":
                raise ConfigError(
                    f"'{request.shown}' is a database, and its address alone does not say which rows to compare. "
                    "Write them to a Parquet or CSV file, and compare that."
                )
            return open_loader(request, kind=kind)
        source = list_files(request, kind="files")
    if source.kind == "parquet":
        return ParquetColumns(source)
    from evergreen.tasks.core.data.clock import Clock
    from evergreen.tasks.io.sources.files import CsvLoader

    return CsvLoader(source, Clock(None))


def require_columns(required: Sequence[str], present: Sequence[str], *, origin: str) -> None:
    """Check that columns are there, each once.

    Raises
    ------
    DataError
        Naming the first that is not.
    """
    for name in required:
        if present.count(name) != 1:
            what = "twice in" if name in present else "missing from"
            hint = "" if name in present else did_you_mean(name, present)
            raise DataError(
                f"Column '{name}' is {what} {origin}, which holds: {', '.join(present[:20])}.{hint} "
                "Correct the data, or leave the column out."
            )


def profile_batches(batches: Iterable[Any], grid: Grid, *, columns: Sequence[str] | None = None) -> Profile:
    """Count rows that come as Arrow record batches.

    The result is that of `evergreen.tasks.core.profiles.profile.measure_profile` on the same rows; nothing but the
    counts is
    kept of a batch. Whole numbers beside nulls keep all their digits here, as categories too.

    Parameters
    ----------
    batches : iterable of pyarrow.RecordBatch
        Each with the columns to count.
    grid : Grid
        What to count over.
    columns : sequence of str, optional
        Columns to count; by default all of the grid's. Without the outcome none is counted jointly with it.

    Raises
    ------
    DataError
        When a numeric column holds what is no number, or a column is missing.
    """
    names = list(grid.columns) if columns is None else list(columns)
    joint = grid.outcome if grid.outcome in names else None
    outcome = grid.columns[joint] if joint is not None else None
    scratch = Scratch(BLOCK)
    counters: dict[str, NumberCounter | CategoryCounter] = {}
    for name in names:
        own = grid.columns[name]
        if own.kind == "numeric":
            tally = NumericTally(grid=own, outcome=outcome, scratch=scratch)
            counters[name] = NumberCounter(name=name, tally=tally)
        else:
            counters[name] = CategoryCounter(name=name, tally=CategoryTally(grid=own, outcome=outcome))
    schema = None
    for batch in batches:
        if schema is None or not batch.schema.equals(schema):
            schema = batch.schema
            require_columns(names, schema.names, origin="a batch")
        groups = outcome.coarse[counters[joint].codes(batch.column(joint))] if outcome and joint else None
        for name, counter in counters.items():
            counter.add(batch.column(name), groups)
    return Profile(grid=grid, columns={name: counter.tally.profile() for name, counter in counters.items()})


def profile_files(
    source: str | Path | Files | ParquetColumns | Loader, grid: Grid, *, columns: Sequence[str] | None = None
) -> Profile:
    """Count the rows of Parquet or CSV files in one pass.

    Parameters
    ----------
    source : str, Path or Files
        A file, folder, glob or fsspec address, or its open columns.
    grid : Grid
        What to count over.
    columns : sequence of str, optional
        Columns to count; by default all of the grid's, which the files must hold.

    Raises
    ------
    DataError
        When the files cannot be read, lack a column, or hold text among numbers.
    """
    reader = open_columns(source)
    names = list(grid.columns) if columns is None else list(columns)
    require_columns(names, reader.columns(), origin=reader.origin)
    if not isinstance(reader, ParquetColumns):
        first, *others = (measure_profile(chunk, grid, columns=names) for chunk in reader.stream(names))
        return sum(others, start=first)
    if grid.outcome in names:
        return profile_batches(reader.batches(names), grid, columns=names)
    parts = [profile_batches(reader.batches([name]), grid, columns=[name]) for name in names]
    return Profile(
        grid=grid, columns={name: part.columns[name] for name, part in zip(names, parts, strict=True)}
    )


# Counting Arrow arrays without pandas: numbers by their memory, categories by their codes.


@dataclass(kw_only=True, eq=False)
class NumberCounter:
    """Counts the arrays of one numeric column."""

    name: str
    tally: NumericTally

    def add(self, array: Any, groups: IntArray | None) -> None:
        """Count an array, shape (n,); ``groups`` are the outcome's, of the same rows."""
        if groups is None and array.null_count:
            values = _numbers(array.drop_null(), self.name)
            self.tally.add(values, nulls=len(array) - len(values))
        else:
            self.tally.add(_with_nan(array, self.name), groups=groups)

    def codes(self, array: Any) -> IntArray:
        """Return the bin of each value, shape (n,)."""
        return numeric_codes(_with_nan(array, self.name), self.tally.grid.edge_table(len(array)))


@dataclass(kw_only=True, eq=False)
class CategoryCounter:
    """Counts the arrays of one categorical column; the bins of a dictionary are looked up once."""

    name: str
    tally: CategoryTally
    _dictionary: Any = None
    _bins: IntArray = field(default_factory=lambda: np.array([NULL], dtype=np.int64))

    def add(self, array: Any, groups: IntArray | None) -> None:
        """Count an array, shape (n,); ``groups`` are the outcome's, of the same rows."""
        if groups is not None:
            self.tally.add_codes(self.codes(array), groups)
            return
        places, bins = self._places(array)
        rows = np.bincount(places, minlength=len(bins))
        known = bins != NULL
        counts = np.zeros(self.tally.grid.bins, dtype=np.int64)
        np.add.at(counts, bins[known], rows[known])
        self.tally.add_counts(counts, nulls=int(rows[~known].sum()))

    def codes(self, array: Any) -> IntArray:
        """Return the bin of each value, shape (n,)."""
        places, bins = self._places(array)
        return bins[places]

    def _places(self, array: Any) -> tuple[IntArray, IntArray]:
        """Return where each value stands in the dictionary, and the dictionary's bins; null stands behind its last."""
        coded = array if pa.types.is_dictionary(array.type) else _encode(array, self.name)
        if self._dictionary is None or not coded.dictionary.equals(self._dictionary):
            self._dictionary = coded.dictionary
            self._bins = np.append(_category_bins(coded.dictionary, self.tally.grid), NULL)
        places = coded.indices
        if not places.null_count:
            return np.from_dlpack(places).astype(np.int64, copy=False), self._bins
        filled = np.full(len(places), len(coded.dictionary), dtype=np.int64)
        filled[_valid(places)] = np.from_dlpack(places.drop_null())
        return filled, self._bins


def _category_bins(dictionary: Any, grid: ColumnGrid) -> IntArray:
    values: Sequence[Any]
    if pa.types.is_temporal(dictionary.type) and not pa.types.is_date(dictionary.type):
        # in pandas' spelling, which is how times are counted elsewhere
        times = dictionary.to_pandas().astype(object).tolist()
        valid = dictionary.is_valid().to_pylist()
        values = [time if is_there else None for time, is_there in zip(times, valid, strict=True)]
    else:
        values = dictionary.to_pylist()
    is_null = [value is None or (isinstance(value, float) and math.isnan(value)) for value in values]
    present = ~np.array(is_null, dtype=np.bool_)
    names = [
        category_token(value, hashed=grid.hashed)
        for value, is_there in zip(values, present, strict=True)
        if is_there
    ]
    bins = np.full(len(values), NULL, dtype=np.int64)
    bins[present] = grid.token_codes(names)
    return bins


def _encode(array: Any, name: str) -> Any:
    try:
        return array.dictionary_encode()
    except pa.ArrowNotImplementedError:
        raise DataError(
            f"Column '{name}' holds values of type {array.type}, which cannot be counted as categories. Exclude it."
        ) from None


def _with_nan(array: Any, name: str) -> FloatArray:
    """Return the values as floats, shape (n,); null is NaN."""
    if not array.null_count:
        return _numbers(array, name)
    values = np.full(len(array), np.nan)
    values[_valid(array)] = _numbers(array.drop_null(), name)
    return values


def _valid(array: Any) -> npt.NDArray[np.bool_]:
    return np.from_dlpack(array.is_valid().cast(pa.uint8())).astype(np.bool_)


def _numbers(array: Any, name: str) -> FloatArray:
    """Return an array without nulls as floats, shape (n,)."""
    kind = array.type
    if pa.types.is_dictionary(kind):
        return _numbers(array.dictionary_decode(), name)
    if pa.types.is_boolean(kind):
        array = array.cast(pa.uint8())
    elif pa.types.is_decimal(kind) or pa.types.is_string(kind) or pa.types.is_large_string(kind):
        array = _parsed(array, name)
    elif pa.types.is_null(kind):
        return np.zeros(0)
    elif not (pa.types.is_integer(kind) or pa.types.is_floating(kind)):
        raise DataError(
            f"Column '{name}' should hold numbers but is of type {kind}. Correct the data, or list it as categorical."
        )
    return np.from_dlpack(array).astype(np.float64, copy=False)


def _parsed(array: Any, name: str) -> Any:
    try:
        return array.cast(pa.string()).cast(pa.float64())  # by way of text decimals are rounded correctly
    except pa.ArrowInvalid as error:
        raise DataError(
            f"Column '{name}' should hold numbers and does not: {str(error).splitlines()[0]}. "
            "Correct the data, or list the column as categorical."
        ) from None

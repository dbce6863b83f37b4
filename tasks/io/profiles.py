"""Profiles of files of any length: one pass, memory that does not grow with the rows."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from evergreen.tasks.core.arrays import IntArray
from evergreen.tasks.core.data.columns import Kind, column_kind
from evergreen.tasks.core.errors import DataError, did_you_mean
from evergreen.tasks.core.profiles.count import BLOCK, Scratch
from evergreen.tasks.core.profiles.grid import MOST_CATEGORIES, ColumnGrid, Grid, make_grid
from evergreen.tasks.core.profiles.profile import Profile, measure_profile
from evergreen.tasks.core.redact import without_credentials
from evergreen.tasks.io.profile_arrow import make_counter
from evergreen.tasks.io.sources.base import PANDAS_INDEX, Files, detect_format, list_files

if TYPE_CHECKING:
    import pandas as pd

    from evergreen.tasks.io.sources.open import Loader


# Files as columns: Parquet column by column in small batches, CSV in chunks.


_MAX_OPEN_FILES = 32
_BUFFER = 1 << 18
"""Bytes read ahead of a column: of a file as little is held, however large its row groups."""


@dataclass(frozen=True)
class ParquetColumns:
    """Columns of Parquet files, read without pandas."""

    files: Files
    _kept: dict[str, Any] = field(default_factory=dict, repr=False, compare=False)

    @property
    def origin(self) -> str:
        """Name for messages."""
        return self.files.origin

    @cached_property
    def names(self) -> list[str]:
        """Column names of the first file, without an index that pandas stored."""
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
            try:
                yield from file.iter_batches(batch_size=BLOCK, columns=list(columns), use_threads=False)
            except (pa.ArrowException, OSError) as error:
                raise _unreadable(path, error) from error

    def _file(self, path: str) -> Any:
        """Return the file, opened once where the files are few: a footer is read in a millisecond, a column in ten."""
        if len(self.files.paths) > _MAX_OPEN_FILES:
            return self._open(path)
        if path not in self._kept:
            self._kept[path] = self._open(path)
        return self._kept[path]

    def _open(self, path: str) -> Any:
        options = {"pre_buffer": False, "buffer_size": _BUFFER}
        local = "file" in self.files.system.protocol
        try:
            schema = pq.read_schema(path if local else self.files.open(path))
            names = [each.name for each in schema if not pa.types.is_nested(each.type)]
            source = path if local else self.files.open(path)
            return pq.ParquetFile(source, read_dictionary=names, **options)
        except (pa.ArrowException, OSError) as error:
            raise _unreadable(path, error) from error


@dataclass(frozen=True)
class ChunkedColumns:
    """Columns of CSV files or of another source, read as a model's source reads them, chunk by chunk."""

    loader: Loader

    @property
    def origin(self) -> str:
        """Name for messages."""
        return self.loader.origin

    @cached_property
    def names(self) -> list[str]:
        """Column names."""
        return self.loader.columns()

    def rows(self, columns: Sequence[str]) -> int:
        """Return the number of rows; reads these columns, which ``frames`` then gives sooner."""
        count = getattr(self.loader, "count", None)
        if count is not None:
            return int(count(columns))
        return sum(len(chunk) for chunk in self.frames(columns))

    def frames(self, columns: Sequence[str]) -> Iterator[pd.DataFrame]:
        """Yield the rows of these columns in chunks of one type a column."""
        return self.loader.stream(columns)

    def profile(self, columns: Sequence[str], grid: Grid) -> Profile:
        """Count the rows of these columns."""
        chunks = self.frames(columns)
        total = measure_profile(next(chunks), grid, columns=columns)
        for chunk in chunks:
            total += measure_profile(chunk, grid, columns=columns)
        return total


def open_columns(
    source: str | Path | Files | ParquetColumns | ChunkedColumns,
) -> ParquetColumns | ChunkedColumns:
    """Return the columns of a file, folder, glob, fsspec address or other source; what is open already stays so.

    Raises
    ------
    DataError
        When there is none, or it is neither Parquet nor CSV.
    """
    if isinstance(source, ParquetColumns | ChunkedColumns):
        return source
    shown = str(source)
    if not isinstance(source, Files) and (kind := detect_format(shown)) != "files":
        from evergreen.tasks.io.sources.open import SourceRequest, open_loader

        request = SourceRequest(address=shown, shown=without_credentials(shown), base=Path.cwd())
        return ChunkedColumns(open_loader(request, kind=kind))
    files = (
        source
        if isinstance(source, Files)
        else list_files(shown, base=Path.cwd(), options={}, shown=shown, kind="files")
    )
    if files.kind == "parquet":
        return ParquetColumns(files)
    from evergreen.tasks.core.data.clock import Clock
    from evergreen.tasks.io.sources.csv import CsvLoader

    return ChunkedColumns(CsvLoader(files, Clock(None)))


def require_columns(wanted: Sequence[str], held: Sequence[str], *, origin: str) -> None:
    """Check that columns are there, each once.

    Raises
    ------
    DataError
        Naming the first that is not.
    """
    for name in wanted:
        if held.count(name) != 1:
            what = "twice in" if name in held else "missing from"
            raise DataError(
                f"Column '{name}' is {what} {origin}, which holds: {', '.join(held[:20])}."
                f"{did_you_mean(name, held) if name not in held else ''} Correct the data, or leave the column out."
            )


def _unreadable(path: str, error: Exception) -> DataError:
    what = (str(error).strip() or type(error).__name__).split("\n")[0].rstrip(".")
    return DataError(f"'{path}' cannot be read as Parquet: {what}. Write it again.")


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
    counters = {name: make_counter(name, grid.columns[name], outcome, scratch) for name in names}
    schema = None
    for batch in batches:
        if schema is None or not batch.schema.equals(schema):
            schema = batch.schema
            require_columns(names, schema.names, origin="a batch")
        groups = outcome.coarse[counters[joint].codes(batch.column(joint))] if outcome and joint else None
        for name, counter in counters.items():
            counter.add(batch.column(name), groups)
    return Profile(grid=grid, columns={name: counter.profile() for name, counter in counters.items()})


def profile_files(
    source: str | Path | Files | ParquetColumns | ChunkedColumns,
    grid: Grid,
    *,
    columns: Sequence[str] | None = None,
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
    require_columns(names, reader.names, origin=reader.origin)
    if not isinstance(reader, ParquetColumns):
        return reader.profile(names, grid)
    if grid.outcome in names:
        return profile_batches(reader.batches(names), grid, columns=names)
    parts = [profile_batches(reader.batches([name]), grid, columns=[name]) for name in names]
    return Profile(
        grid=grid, columns={name: part.columns[name] for name, part in zip(names, parts, strict=True)}
    )


# A grid for files too large to hold: laid over a seeded sample of all rows.


SAMPLE_ROWS = 200_000


def sketch_grid(
    source: str | Path | Files,
    *,
    columns: Sequence[str] | None = None,
    categorical: Collection[str] | None = None,
    private: Collection[str] = (),
    rows: int = SAMPLE_ROWS,
    seed: int = 0,
) -> Grid:
    """Lay a grid over a sample of a reference file.

    Parameters
    ----------
    source : str, Path or Files
        A Parquet or CSV file, folder, glob or fsspec address.
    columns : sequence of str, optional
        Columns to lay it over; by default those that could be features (`evergreen.tasks.core.data.columns`).
    categorical : collection of str, optional
        Those counted by category; by default text, booleans and categories.
    private : collection of str
        Columns whose category names are hashed.
    rows : int
        Rows of the sample; a smaller file is taken whole. Parquet is held one column at a time.
    seed : int
        Of the sample.

    Raises
    ------
    DataError
        When the files cannot be read, lack a column, or mix numbers and text in one.
    """
    grids: dict[str, ColumnGrid] = {}
    for sample in sample_columns(source, columns=columns, rows=rows, seed=seed):
        name = str(sample.name)
        kind = Kind.NUMERIC
        if categorical is None or columns is None:
            kind = column_kind(sample, max_categories=MOST_CATEGORIES).kind
        if columns is None and kind not in (Kind.NUMERIC, Kind.CATEGORICAL):
            continue
        by_category = kind is not Kind.NUMERIC if categorical is None else name in categorical
        made = make_grid(
            sample.to_frame(),
            categorical=frozenset([name] if by_category else []),
            private=frozenset(private),
        )
        grids |= made.columns
    return Grid(columns=grids)


def sample_columns(
    source: str | Path | Files | ParquetColumns | ChunkedColumns,
    *,
    columns: Sequence[str] | None = None,
    rows: int = SAMPLE_ROWS,
    seed: int = 0,
) -> Iterator[pd.Series]:
    """Yield the columns of a sample, one at a time, each of the same rows in their order.

    The rows are drawn at random one from each of ``rows`` equal stretches of the file, so that all of it is seen.
    """
    reader = open_columns(source)
    names = list(reader.names if columns is None else columns)
    require_columns(names, reader.names, origin=reader.origin)
    if isinstance(reader, ChunkedColumns):
        yield from _csv_columns(reader, names, rows, seed)
        return
    places = sample_places(reader.rows, rows=rows, seed=seed)
    for name in names:
        yield _parquet_column(reader, name, places)


def sample_places(total: int, *, rows: int, seed: int) -> IntArray:
    """Return ascending row numbers, one at random from each of ``rows`` equal stretches; all where there are fewer.

    >>> sample_places(3, rows=10, seed=0).tolist()
    [0, 1, 2]
    >>> sample_places(100, rows=4, seed=0).tolist()
    [15, 31, 51, 75]
    """
    if total <= rows:
        return np.arange(total)
    starts = np.arange(rows + 1) * total // rows
    return starts[:-1] + (np.random.default_rng(seed).random(rows) * np.diff(starts)).astype(np.int64)


def _parquet_column(reader: ParquetColumns, name: str, places: IntArray) -> pd.Series:
    parts, offset = [], 0
    for batch in reader.batches([name]):
        first, last = np.searchsorted(places, [offset, offset + len(batch)])
        parts.append(batch.column(0).take(pa.array(places[first:last] - offset)))
        offset += len(batch)
    column = pa.chunked_array([_decoded(part) for part in parts] or [pa.nulls(0)])
    sample: pd.Series = column.to_pandas().rename(name)
    return sample


def _decoded(array: pa.Array) -> pa.Array:
    return array.dictionary_decode() if pa.types.is_dictionary(array.type) else array


def _csv_columns(reader: ChunkedColumns, names: list[str], rows: int, seed: int) -> Iterator[pd.Series]:
    import pandas as pd

    places = sample_places(reader.rows(names), rows=rows, seed=seed)
    kept, offset = [], 0
    for chunk in reader.frames(names):
        first, last = np.searchsorted(places, [offset, offset + len(chunk)])
        kept.append(chunk.iloc[places[first:last] - offset])
        offset += len(chunk)
    sample = pd.concat([part for part in kept if len(part)] or kept[:1])
    yield from (sample[name] for name in names)

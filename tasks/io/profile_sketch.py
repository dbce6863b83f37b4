"""A grid for files too large to hold: laid over a seeded sample of all rows."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from tasks.core.data.kinds import Kind, column_kind
from tasks.core.metrics.scored import IntArray
from tasks.core.profiles.grid import MOST_CATEGORIES, ColumnGrid, Grid, make_grid
from tasks.io.profile_files import CsvColumns, ParquetColumns, open_columns, require_columns
from tasks.io.sources_files import Files

if TYPE_CHECKING:
    import pandas as pd

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
        Columns to lay it over; by default those that could be features (`tasks.core.data.kinds`).
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
    source: str | Path | Files | ParquetColumns | CsvColumns,
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
    if isinstance(reader, CsvColumns):
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


def _csv_columns(reader: CsvColumns, names: list[str], rows: int, seed: int) -> Iterator[pd.Series]:
    import pandas as pd

    places = sample_places(reader.rows(names), rows=rows, seed=seed)
    kept, offset = [], 0
    for chunk in reader.frames(names):
        first, last = np.searchsorted(places, [offset, offset + len(chunk)])
        kept.append(chunk.iloc[places[first:last] - offset])
        offset += len(chunk)
    sample = pd.concat([part for part in kept if len(part)] or kept[:1])
    yield from (sample[name] for name in names)

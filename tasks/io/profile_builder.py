"""Profiles of files of any length: one pass, memory that does not grow with the rows."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from tasks.core.profiles.count import BLOCK
from tasks.core.profiles.count_cells import Scratch
from tasks.core.profiles.grid import Grid
from tasks.core.profiles.profile import Profile
from tasks.io.profile_arrow import make_counter
from tasks.io.profile_files import CsvColumns, ParquetColumns, open_columns, require_columns
from tasks.io.sources_files import Files


def profile_batches(batches: Iterable[Any], grid: Grid, *, columns: Sequence[str] | None = None) -> Profile:
    """Count rows that come as Arrow record batches.

    The result is that of `tasks.core.profiles.profile.measure_profile` on the same rows; nothing but the counts is
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
    source: str | Path | Files | ParquetColumns | CsvColumns,
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

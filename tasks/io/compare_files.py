"""Compare two plain files, column by column, without any model or store."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from evergreen.tasks.core.arrays import IntArray
from evergreen.tasks.core.data.columns import ColumnKind, Kind, column_kind
from evergreen.tasks.core.drift.columns import measure_columns
from evergreen.tasks.core.drift.files import FilesDrift
from evergreen.tasks.core.errors import DataError, InputError, unknown_name
from evergreen.tasks.core.profiles.grid import MOST_CATEGORIES, ColumnGrid, Grid, make_grid
from evergreen.tasks.core.profiles.profile import Profile
from evergreen.tasks.io.profiles import ParquetColumns, open_columns, profile_files, require_columns
from evergreen.tasks.io.sources.base import Files

if TYPE_CHECKING:
    import pandas as pd

    from evergreen.tasks.io.sources.open import Loader


SAMPLE_ROWS = 200_000
"""Rows of the sample of a reference that grids are laid over."""
_FEATURES = (Kind.NUMERIC, Kind.CATEGORICAL)
_KIND_ROWS = 50_000
"""Rows of the sample that says what the current columns hold."""
MIXED = ColumnKind(Kind.OTHER, "mixes numbers and text")

_KIND_NAMES = {
    Kind.NUMERIC: "numbers",
    Kind.CATEGORICAL: "text",
    Kind.TEXT: "text",
    Kind.DATETIME: "times",
    Kind.OTHER: "neither numbers nor text",
    Kind.EMPTY: "nothing",
}


@dataclass(frozen=True, kw_only=True)
class ComparedFiles:
    """The drift of each column, and the two profiles it was measured on, over one grid."""

    drift: FilesDrift
    reference: Profile
    current: Profile


def compare_files(
    reference: str,
    current: str,
    *,
    columns: Sequence[str] = (),
    exclude: Collection[str] = (),
    categorical: Collection[str] = (),
    significance: float = 0.05,
    psi_warning: float = 0.10,
) -> ComparedFiles:
    """Measure how far the columns of one file moved from those of another.

    Parameters
    ----------
    reference, current : str
        CSV or Parquet file, folder, glob or fsspec address; read in streams, never held whole.
    columns, exclude : collection of str
        Columns to compare (by default all that could be features), and columns to leave out.
    categorical : collection of str
        Columns of numbers that are names of categories.
    significance, psi_warning : float
        A column drifted when its corrected p-value is below the one and its PSI at least the other.

    Raises
    ------
    InputError
        When a file is missing or unreadable, a named column in neither, or no column common to both.
    """
    files = [open_columns(path) for path in (reference, current)]
    before, after = (side.columns() for side in files)
    wanted = _selected_columns([*before, *after], columns, exclude, categorical)
    common = [name for name in before if name in after and name in wanted]
    if not common:
        raise InputError(
            f"'{reference}' and '{current}' have no column in common that is to be compared. The first holds: "
            f"{', '.join(before[:20])}; the second: {', '.join(after[:20])}. Compare files of one kind."
        )
    samples = sample_columns(files[1], columns=common, rows=_KIND_ROWS)
    now = {str(sample.name): _kind(sample) for sample in samples}
    grid, kinds = _lay_grid(files[0], now, frozenset(categorical))
    reasons = _unmeasurable_columns(kinds, now, categorical)
    out = {name for group in reasons.values() for name in group}
    grid = Grid(columns={name: one for name, one in grid.columns.items() if name not in out})
    profiles = [profile_files(side, grid) for side in files]
    measures = measure_columns(*profiles, significance=significance, psi_warning=psi_warning)
    drift = FilesDrift(
        reference=reference,
        current=current,
        columns=measures,
        lost=tuple(name for name in before if name in wanted and name not in after),
        new=tuple(name for name in after if name in wanted and name not in before),
        **reasons,
    )
    return ComparedFiles(drift=drift, reference=profiles[0], current=profiles[1])


def write_page(path: Path, page: str) -> Path:
    """Write a page to a file, its folder made where it is missing, and return the path.

    Raises
    ------
    InputError
        When it cannot be written there.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(page, encoding="utf-8")
    except OSError as error:
        raise InputError(
            f"The page cannot be written to '{path}': {error.strerror or error}. Name a file that can be written."
        ) from None
    return path


def _selected_columns(
    present: Sequence[str], columns: Sequence[str], exclude: Collection[str], categorical: Collection[str]
) -> set[str]:
    for name in (*columns, *exclude, *categorical):
        if name not in present:
            raise unknown_name("column", name, set(present), where="either file")
    return (set(columns) or set(present)) - set(exclude)


def _lay_grid(
    reference: ParquetColumns | Loader, now: Mapping[str, ColumnKind], categorical: frozenset[str]
) -> tuple[Grid, dict[str, ColumnKind]]:
    """Look at a sample of the reference: what each column holds, and the grid to count it over."""
    columns: dict[str, ColumnGrid] = {}
    kinds: dict[str, ColumnKind] = {}
    for sample in sample_columns(reference, columns=list(now)):
        name = str(sample.name)
        kinds[name] = _kind(sample)
        holds = now[name].kind if kinds[name].kind is Kind.EMPTY else kinds[name].kind
        by_name = name in categorical or holds is not Kind.NUMERIC
        columns |= make_grid(sample.to_frame(), categorical=frozenset([name] if by_name else [])).columns
    return Grid(columns=columns), kinds


def _kind(sample: pd.Series) -> ColumnKind:
    try:
        return column_kind(sample, max_categories=MOST_CATEGORIES)
    except DataError:
        return MIXED


def _unmeasurable_columns(
    before: Mapping[str, ColumnKind], after: Mapping[str, ColumnKind], categorical: Collection[str]
) -> dict[str, dict[str, str]]:
    """Return why columns cannot be measured, by name, under the names that ``FilesDrift`` has for such columns."""
    changed, skipped, unreadable = {}, {}, {}
    for name, was in before.items():
        now = after[name]
        if name in categorical:
            continue
        if was.kind is Kind.EMPTY and now.kind is Kind.EMPTY:
            skipped[name] = "every value is null, as before"
        elif MIXED in (was, now):
            unreadable[name] = f"{MIXED.reason} {'in the reference' if was == MIXED else 'now'}"
        elif was.kind not in (*_FEATURES, Kind.EMPTY) and not (
            was.kind in (Kind.DATETIME, Kind.OTHER) and now.kind in _FEATURES
        ):
            skipped[name] = was.reason
        elif (
            was.kind in (Kind.DATETIME, Kind.OTHER)
            or now.kind is Kind.OTHER
            or (was.kind is Kind.NUMERIC and now.kind not in (Kind.NUMERIC, Kind.EMPTY))
        ):
            changed[name] = f"held {_KIND_NAMES[was.kind]} and now holds {_KIND_NAMES[now.kind]}"
    return {"changed": changed, "skipped": skipped, "unreadable": unreadable}


# A sample of the rows of a file, column by column: drawn over all of it, and seeded.


def sample_columns(
    source: str | Path | Files | ParquetColumns | Loader,
    *,
    columns: Sequence[str] | None = None,
    rows: int = SAMPLE_ROWS,
    seed: int = 0,
) -> Iterator[pd.Series]:
    """Yield the columns of a sample, one at a time, each of the same rows in their order.

    The rows are drawn at random one from each of ``rows`` equal stretches of the file, so that all of it is seen.
    """
    reader = open_columns(source)
    present = reader.columns()
    names = list(present if columns is None else columns)
    require_columns(names, present, origin=reader.origin)
    if not isinstance(reader, ParquetColumns):
        yield from _chunked_columns(reader, names, rows, seed)
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
    parts, offset = [pa.nulls(0)], 0
    for batch in reader.batches([name]):
        first, last = np.searchsorted(places, [offset, offset + len(batch)])
        part = batch.column(0).take(pa.array(places[first:last] - offset))
        parts.append(part.dictionary_decode() if pa.types.is_dictionary(part.type) else part)
        offset += len(batch)
    sample: pd.Series = pa.chunked_array(parts[1:] or parts).to_pandas().rename(name)
    return sample


def _chunked_columns(reader: Loader, names: list[str], rows: int, seed: int) -> Iterator[pd.Series]:
    import pandas as pd

    count = getattr(reader, "count", None)  # a pass that also makes the next one faster
    total = sum(map(len, reader.stream(names))) if count is None else count(names)
    places = sample_places(total, rows=rows, seed=seed)
    parts, offset = [], 0
    for chunk in reader.stream(names):
        first, last = np.searchsorted(places, [offset, offset + len(chunk)])
        parts.append(chunk.iloc[places[first:last] - offset])
        offset += len(chunk)
    sample = pd.concat([part for part in parts if len(part)] or parts[:1])
    yield from (sample[name] for name in names)

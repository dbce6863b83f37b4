"""Compare two plain files, column by column, without any model or store."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from evergreen.tasks.core.data.columns import ColumnKind, Kind, column_kind
from evergreen.tasks.core.drift.columns import measure_columns
from evergreen.tasks.core.drift.files import FilesDrift
from evergreen.tasks.core.errors import DataError, InputError, unknown_name
from evergreen.tasks.core.profiles.grid import MOST_CATEGORIES, ColumnGrid, Grid, make_grid
from evergreen.tasks.core.profiles.profile import Profile
from evergreen.tasks.core.reports.files_page import files_page
from evergreen.tasks.io.profiles import (
    ChunkedColumns,
    ParquetColumns,
    open_columns,
    profile_files,
    sample_columns,
)

if TYPE_CHECKING:
    import pandas as pd


# Pages on disk.


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


_FEATURES = (Kind.NUMERIC, Kind.CATEGORICAL)
_SAMPLE_ROWS = 50_000
MIXED = ColumnKind(Kind.OTHER, "mixes numbers and text")


@dataclass(frozen=True, kw_only=True)
class ComparedFiles:
    """What was found, and the profiles it was found in, over one grid."""

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
    before, after = (side.names for side in files)
    wanted = _selected_columns([*before, *after], columns, exclude, categorical)
    common = [name for name in before if name in after and name in wanted]
    if not common:
        raise InputError(
            f"'{reference}' and '{current}' have no column in common that is to be compared. The first holds: "
            f"{', '.join(before[:20])}; the second: {', '.join(after[:20])}. Compare files of one kind."
        )
    samples = sample_columns(files[1], columns=common, rows=_SAMPLE_ROWS)
    now = {str(sample.name): _kind(sample) for sample in samples}
    grid, kinds = _lay_grid(files[0], now, frozenset(categorical))
    drift = _unmeasurable_columns(reference, current, kinds, now, categorical)
    drift = replace(
        drift,
        lost=tuple(name for name in before if name in wanted and name not in after),
        new=tuple(name for name in after if name in wanted and name not in before),
    )
    out = {*drift.changed, *drift.skipped, *drift.unreadable}
    grid = Grid(columns={name: one for name, one in grid.columns.items() if name not in out})
    profiles = [profile_files(side, grid) for side in files]
    measures = measure_columns(*profiles, significance=significance, psi_warning=psi_warning)
    return ComparedFiles(drift=replace(drift, columns=measures), reference=profiles[0], current=profiles[1])


def write_files_page(path: Path, found: ComparedFiles) -> None:
    """Write the page of a comparison.

    Raises
    ------
    InputError
        When the file cannot be written.
    """
    write_page(path, files_page(found.drift, found.reference, found.current))


def _selected_columns(
    known: Sequence[str], columns: Sequence[str], exclude: Collection[str], categorical: Collection[str]
) -> set[str]:
    for name in (*columns, *exclude, *categorical):
        if name not in known:
            raise unknown_name("column", name, set(known), where="either file")
    return (set(columns) or set(known)) - set(exclude)


def _lay_grid(
    reference: ParquetColumns | ChunkedColumns, now: Mapping[str, ColumnKind], categorical: frozenset[str]
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
    reference: str,
    current: str,
    before: Mapping[str, ColumnKind],
    after: Mapping[str, ColumnKind],
    categorical: Collection[str],
) -> FilesDrift:
    """Tell the columns that cannot be measured, and why."""
    changed, skipped, unreadable = {}, {}, {}
    for name, was in before.items():
        now = after[name]
        if name in categorical:
            continue
        if was.kind is Kind.EMPTY and now.kind is Kind.EMPTY:
            skipped[name] = "every value is null, as before"
        elif MIXED in (was, now):
            unreadable[name] = f"{MIXED.reason} {'in the reference' if was == MIXED else 'now'}"
        elif was.kind in (Kind.DATETIME, Kind.OTHER) and now.kind in _FEATURES:
            changed[name] = f"held {_KIND_NAMES[was.kind]} and now holds {_KIND_NAMES[now.kind]}"
        elif was.kind not in (*_FEATURES, Kind.EMPTY):
            skipped[name] = was.reason
        elif now.kind is Kind.OTHER or (
            was.kind is Kind.NUMERIC and now.kind not in (Kind.NUMERIC, Kind.EMPTY)
        ):
            changed[name] = f"held {_KIND_NAMES[was.kind]} and now holds {_KIND_NAMES[now.kind]}"
    return FilesDrift(
        reference=reference,
        current=current,
        columns=(),
        changed=changed,
        skipped=skipped,
        unreadable=unreadable,
    )


_KIND_NAMES = {
    Kind.NUMERIC: "numbers",
    Kind.CATEGORICAL: "text",
    Kind.TEXT: "text",
    Kind.DATETIME: "times",
    Kind.OTHER: "neither numbers nor text",
    Kind.EMPTY: "nothing",
}

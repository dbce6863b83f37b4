"""The counts of many columns as arrays: fine bins for ordered measures, few cells for the others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from tasks.core.metrics.scored import FloatArray
from tasks.core.profiles.column_profile import ColumnProfile
from tasks.core.profiles.grid import ColumnGrid
from tasks.core.stats.vectors import shares

BoolArray: TypeAlias = npt.NDArray[np.bool_]
DECILES = 10
ABSENT = 3
"""Cells that follow the bins: -inf, +inf, null."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Cells:
    """Two sides of some columns over the same cells, padded to one width.

    Attributes
    ----------
    reference, current : array, shape (columns, cells)
        Counts.
    exist : array of bool, shape (columns, cells)
        Cells that hold a row on either side; the others are padding, or say nothing.
    """

    reference: FloatArray
    current: FloatArray
    exist: BoolArray


@dataclass(frozen=True, kw_only=True, eq=False)
class FineBins:
    """Two sides of numeric columns over the fine bins of their grids, padded to one width.

    Attributes
    ----------
    reference, current : array, shape (columns, bins)
        Counts of finite values.
    bound : array, shape (columns,)
        Largest share of the reference in a bin of more than one value: by so much a KS statistic may be too small.
    places : array, shape (columns, bins)
        Middle rank of each bin in the reference, 0..1.
    """

    reference: FloatArray
    current: FloatArray
    bound: FloatArray
    places: FloatArray


def category_cells(reference: Sequence[ColumnProfile], current: Sequence[ColumnProfile]) -> Cells:
    """Return the categories, *other*, *unseen* and *missing* of categorical columns as cells."""
    before, after = (_padded([_category_row(one) for one in side]) for side in (reference, current))
    return Cells(reference=before, current=after, exist=before + after > 0)


def fine_bins(
    grids: Sequence[ColumnGrid], reference: Sequence[ColumnProfile], current: Sequence[ColumnProfile]
) -> FineBins:
    """Return the fine bins of numeric columns."""
    before, after = (_padded([one.counts_array for one in side]) for side in (reference, current))
    exist = np.arange(before.shape[1]) < np.array([[grid.bins] for grid in grids])
    parts = shares(before)
    middle = np.where(exist, np.cumsum(parts, axis=1) - parts / 2, -np.inf)
    crowded = exist & ~_padded([_holds_one_value(grid) for grid in grids]).astype(bool)
    return FineBins(
        reference=before,
        current=after,
        bound=np.where(crowded, parts, 0.0).max(axis=1, initial=0.0),
        places=np.maximum.accumulate(middle, axis=1),
    )


def decile_cells(
    fine: FineBins, reference: Sequence[ColumnProfile], current: Sequence[ColumnProfile]
) -> Cells:
    """Return the reference's deciles, merged from its fine bins, then -inf, +inf and null as cells.

    A value that holds more than a tenth of the reference has a cell of its own, so that there may be fewer.
    """
    cumulated = np.cumsum(np.pad(shares(fine.reference), ((0, 0), (1, 0))), axis=1)
    ends = np.stack([np.abs(cumulated - k / DECILES).argmin(axis=1) for k in range(1, DECILES)], axis=1)
    last = np.full((len(ends), 1), fine.reference.shape[1])
    cuts = np.sort(np.concatenate([np.zeros_like(last), ends, last], axis=1), axis=1)
    before, after = (
        np.concatenate([_between(counts, cuts), _absent(side)], axis=1)
        for counts, side in ((fine.reference, reference), (fine.current, current))
    )
    return Cells(reference=before, current=after, exist=before + after > 0)


def absence_cells(columns: Sequence[ColumnProfile]) -> FloatArray:
    """Return counts of finite, -inf, +inf and null rows, shape (columns, 4)."""
    present = np.array([[float(one.finite)] for one in columns]).reshape(-1, 1)
    return np.concatenate([present, _absent(columns)], axis=1)


def _absent(columns: Sequence[ColumnProfile]) -> FloatArray:
    rows = [(one.minus_inf, one.plus_inf, one.nulls) for one in columns]
    return np.array(rows, dtype=np.float64).reshape(-1, ABSENT)


def _category_row(column: ColumnProfile) -> FloatArray:
    return np.append(column.counts_array, column.nulls).astype(np.float64)


def _between(counts: FloatArray, cuts: npt.NDArray[np.int64]) -> FloatArray:
    cumulated = np.cumsum(np.pad(counts, ((0, 0), (1, 0))), axis=1)
    return np.diff(np.take_along_axis(cumulated, cuts, axis=1), axis=1)


def _holds_one_value(grid: ColumnGrid) -> FloatArray:
    """Tell which bins hold a single value, shape (bins,): those that end at the next number."""
    edges = np.asarray(grid.edges, dtype=np.float64)
    inner = edges[1:] == np.nextafter(edges[:-1], np.inf)
    return np.concatenate([[0.0], inner, [0.0] * min(1, len(edges))])


def _padded(rows: Sequence[npt.NDArray]) -> FloatArray:
    width = max((len(row) for row in rows), default=1)
    found = np.zeros((len(rows), width))
    for place, row in enumerate(rows):
        found[place, : len(row)] = row
    return found

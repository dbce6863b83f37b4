"""The numbers of many columns at once: distances over cells, tests, what is missing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from scipy.special import chdtri

from tasks.core.drift.measure_cells import Cells, absence_cells, category_cells, decile_cells, fine_bins
from tasks.core.metrics.scored import FloatArray
from tasks.core.profiles.column_profile import ColumnProfile
from tasks.core.profiles.grid import ColumnGrid
from tasks.core.stats.distances import (
    hellinger,
    js_distance,
    kl_divergence,
    psi,
    smoothed_shares,
    total_variation,
    wasserstein,
)
from tasks.core.stats.two_sample import chi_square, ks_from_counts, psi_p_value

_CHANCE = 0.05
_ROUNDING = 1e-9
"""A standard deviation below this part of the mean is that of a constant."""
Sides = tuple[Sequence[ColumnProfile], Sequence[ColumnProfile]]


def numeric_numbers(grids: Sequence[ColumnGrid], sides: Sides) -> Mapping[str, FloatArray]:
    """Return the numbers of numeric columns by name, each of shape (columns,)."""
    fine = fine_bins(grids, *sides)
    ks = ks_from_counts(fine.reference, fine.current)
    deviation = np.sqrt([one.variance for one in sides[0]])
    varies = deviation > _ROUNDING * np.abs([one.mean for one in sides[0]])
    shift = np.array([after.mean - before.mean for before, after in zip(*sides, strict=True)])
    filled = np.array([min(before.finite, after.finite) > 0 for before, after in zip(*sides, strict=True)])
    return {
        **_over_cells(decile_cells(fine, *sides)),
        "ks": ks.statistic,
        "ks_bound": fine.bound,
        "p_value": ks.p_value,
        "wasserstein": wasserstein(fine.reference, fine.current, places=fine.places),
        "mean_shift": np.divide(shift, deviation, out=np.full(len(shift), np.nan), where=filled & varies),
        **_missing(sides),
        "unseen": np.full(len(shift), np.nan),
    }


def category_numbers(sides: Sides) -> Mapping[str, FloatArray]:
    """Return the numbers of categorical columns by name, each of shape (columns,)."""
    cells = category_cells(*sides)
    rows = np.array([one.n for one in sides[1]], dtype=np.float64)
    unseen = np.array([one.counts[-1] for one in sides[1]], dtype=np.float64)
    nothing = np.full(len(rows), np.nan)
    return {
        **_over_cells(cells),
        **dict.fromkeys(("ks", "ks_bound", "wasserstein", "mean_shift"), nothing),
        "p_value": np.asarray(chi_square(cells.reference, cells.current).p_value),
        **_missing(sides),
        "unseen": np.divide(unseen, rows, out=nothing.copy(), where=rows > 0),
    }


def _over_cells(cells: Cells) -> dict[str, FloatArray]:
    before, after, exist = cells.reference, cells.current, cells.exist
    n, m, number = before.sum(axis=1), after.sum(axis=1), exist.sum(axis=1)
    value = psi(before, after, cells=exist)
    smooth = [smoothed_shares(side, smoothing=0.5, cells=exist) for side in (after, before)]
    known = (n > 0) & (m > 0)
    scale = np.divide(n + m, n * m, out=np.full(n.shape, np.nan), where=known)
    return {
        "psi": value,
        "psi_chance": np.where(number > 1, chdtri(np.maximum(number - 1, 1), _CHANCE), 0.0) * scale,
        "psi_p_value": psi_p_value(value, reference_rows=n, current_rows=m, cells=number),
        "kl": np.where(known, kl_divergence(*(np.nan_to_num(side) for side in smooth)), np.nan),
        "js": js_distance(before, after),
        "hellinger": hellinger(before, after),
        "total_variation": total_variation(before, after),
    }


def _missing(sides: Sides) -> dict[str, FloatArray]:
    before, after = (absence_cells(side) for side in sides)
    totals = [side.sum(axis=1) for side in (before, after)]
    rates = [
        np.divide(side[:, -1], total, out=np.full(len(total), np.nan), where=total > 0)
        for side, total in zip((before, after), totals, strict=True)
    ]
    p_values = np.asarray(chi_square(before, after).p_value)
    return {"missing_before": rates[0], "missing_after": rates[1], "missing_p_value": p_values}

"""Every column of a window measured against the reference: distances, tests, what is missing, what drifted."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from evergreen.tasks.core.arrays import FloatArray
from evergreen.tasks.core.drift.measures import CellCounts, DriftMeasure, measure_cells
from evergreen.tasks.core.profiles.grid import ColumnGrid
from evergreen.tasks.core.profiles.profile import ColumnProfile, Profile, require_same_grid
from evergreen.tasks.core.registry import DRIFT_MEASURES
from evergreen.tasks.core.serial import Struct
from evergreen.tasks.core.stats.distances import psi, shares, wasserstein
from evergreen.tasks.core.stats.resampling import benjamini_hochberg
from evergreen.tasks.core.stats.two_sample import chi_square, ks_from_counts, psi_p_value
from evergreen.tasks.core.verdict import Reason

DECILES = 10
_PLUGGED = "@"
"""Begins the names of registered measures among a column's numbers."""
_ROUNDING = 1e-9
"""A standard deviation below this part of the mean is that of a constant."""
ProfilePair = Sequence[Sequence[ColumnProfile]]
"""Columns of the reference, and the same columns of a window."""


# The numbers of many columns at once: fine bins for ordered measures, few cells for distances, tests, what is missing.


def numeric_numbers(
    grids: Sequence[ColumnGrid], sides: ProfilePair, measures: Sequence[DriftMeasure]
) -> dict[str, FloatArray]:
    """Return the numbers of numeric columns by name, each of shape (columns,); registered measures begin with ``@``.

    ``ks_bound`` is the largest share of the reference in a fine bin of more than one value: by so much a KS statistic
    may be too small. Distances are taken over the reference's deciles and cells of their own for -inf, +inf and null.
    """
    before, after = counts = [_padded([one.counts_array for one in side]) for side in sides]
    exist = np.arange(before.shape[1]) < np.array([[grid.bins] for grid in grids])
    crowded = exist & ~_padded([grid.single_value_bins for grid in grids]).astype(bool)
    parts = shares(before)
    ranks = np.maximum.accumulate(np.where(exist, np.cumsum(parts, axis=1) - parts / 2, -np.inf), axis=1)
    cuts = _decile_cuts(before)
    cells = [
        np.concatenate([_between(one, cuts), _absences(side)[:, 1:]], axis=1)
        for one, side in zip(counts, sides, strict=True)
    ]
    ks = ks_from_counts(before, after)
    deviation = np.sqrt([one.variance for one in sides[0]])
    varies = deviation > _ROUNDING * np.abs([one.mean for one in sides[0]])
    pairs = list(zip(*sides, strict=True))
    shift = np.array([now.mean - reference.mean for reference, now in pairs])
    filled = np.array([min(reference.finite, now.finite) > 0 for reference, now in pairs])
    return {
        **_shared_numbers(cells, sides, measures, kind="numeric"),
        "ks": ks.statistic,
        "ks_bound": np.where(crowded, parts, 0.0).max(axis=1, initial=0.0),
        "p_value": ks.p_value,
        "wasserstein": wasserstein(before, after, places=ranks),
        "mean_shift": np.divide(shift, deviation, out=np.full(len(shift), np.nan), where=filled & varies),
        "unseen": np.full(len(shift), np.nan),
    }


def category_numbers(sides: ProfilePair, measures: Sequence[DriftMeasure]) -> dict[str, FloatArray]:
    """Return the same of categorical columns, over cells for categories, *other*, *unseen* and *missing*."""
    cells = [
        _padded([np.append(one.counts_array, one.nulls).astype(np.float64) for one in side]) for side in sides
    ]
    rows = np.array([one.n for one in sides[1]], dtype=np.float64)
    unseen = np.array([one.counts[-1] for one in sides[1]], dtype=np.float64)
    nothing = np.full(len(rows), np.nan)
    return {
        **_shared_numbers(cells, sides, measures, kind="categorical"),
        **dict.fromkeys(("ks", "ks_bound", "wasserstein", "mean_shift"), nothing),
        "p_value": np.asarray(chi_square(*cells).p_value),
        "unseen": np.divide(unseen, rows, out=nothing.copy(), where=rows > 0),
    }


def _shared_numbers(
    cells: Sequence[FloatArray], sides: ProfilePair, measures: Sequence[DriftMeasure], *, kind: str
) -> dict[str, FloatArray]:
    """Return the distances over cells, and what is missing."""
    before, after = cells
    both = CellCounts(reference=before, current=after, exist=before + after > 0)
    value = psi(before, after, cells=both.exist)
    rows = {"reference_rows": before.sum(axis=1), "current_rows": after.sum(axis=1)}
    absences = [_absences(side) for side in sides]
    totals = [side.sum(axis=1) for side in absences]
    rates = [
        np.divide(side[:, -1], total, out=np.full(len(total), np.nan), where=total > 0)
        for side, total in zip(absences, totals, strict=True)
    ]
    return {
        "psi": value,
        "psi_chance": both.chance,
        "psi_p_value": psi_p_value(value, **rows, cells=both.exist.sum(axis=1)),
        **{f"{_PLUGGED}{name}": one for name, one in measure_cells(both, measures, kind=kind).items()},
        "missing_before": rates[0],
        "missing_after": rates[1],
        "missing_p_value": np.asarray(chi_square(*absences).p_value),
    }


def _decile_cuts(counts: FloatArray) -> npt.NDArray[np.int64]:
    """Return where the reference's deciles begin among its fine bins, and their end, shape (columns, 11).

    A value that holds more than a tenth of the reference has a cell of its own, so that there may be fewer.
    """
    cumulated = np.cumsum(np.pad(shares(counts), ((0, 0), (1, 0))), axis=1)
    ends = np.stack([np.abs(cumulated - k / DECILES).argmin(axis=1) for k in range(1, DECILES)], axis=1)
    last = np.full((len(ends), 1), counts.shape[1])
    return np.sort(np.concatenate([np.zeros_like(last), ends, last], axis=1), axis=1)


def _between(counts: FloatArray, cuts: npt.NDArray[np.int64]) -> FloatArray:
    cumulated = np.cumsum(np.pad(counts, ((0, 0), (1, 0))), axis=1)
    return np.diff(np.take_along_axis(cumulated, cuts, axis=1), axis=1)


def _absences(columns: Sequence[ColumnProfile]) -> FloatArray:
    """Return counts of finite, -inf, +inf and null rows, shape (columns, 4)."""
    rows = [(one.finite, one.minus_inf, one.plus_inf, one.nulls) for one in columns]
    return np.array(rows, dtype=np.float64).reshape(-1, 4)


def _padded(rows: Sequence[npt.NDArray]) -> FloatArray:
    table = np.zeros((len(rows), max((len(row) for row in rows), default=1)))
    for place, row in enumerate(rows):
        table[place, : len(row)] = row
    return table


# What is reported of each column.


MIN_ROWS = 20
"""Fewer values on a side decide nothing: 20 of them show a shift of one standard deviation in 97 % of cases."""


@dataclass(frozen=True, kw_only=True)
class ColumnMeasure(Struct):
    """One column of a window against the reference; NaN where a number is not defined."""

    column: str
    kind: str
    """``column``, ``kind``: name; numeric or categorical."""
    n: int
    reference_n: int
    """``n``, ``reference_n``: rows of the window and of the reference, missing ones included."""
    psi: float
    psi_chance: float
    psi_p_value: float
    """``psi``, ``psi_chance``, ``psi_p_value``: population stability index, what it exceeds by chance in one of 20
    windows without drift, and its p-value. Numeric: over the reference's deciles. *Missing*, -inf and +inf count as
    cells of their own."""
    wasserstein: float
    """Numeric: the share of the reference's ranks that a row has moved by, on average."""
    ks: float
    ks_bound: float
    """``ks``, ``ks_bound``: numeric: the largest distance of the distribution functions over the fine bins, and by
    how much at most the exact one is larger."""
    mean_shift: float
    """Numeric: shift of the mean in standard deviations of the reference."""
    test: str
    """``ks`` or ``chi_square``: test of ``p_value``: of the finite values for numbers, of categories and *missing*
    for categories."""
    p_value: float
    adjusted_p_value: float
    """``p_value``, ``adjusted_p_value``: of this column; corrected for the number of columns (Benjamini & Hochberg
    1995)."""
    missing_before: float
    missing_after: float
    missing_p_value: float
    """``missing_before``, ``missing_after``, ``missing_p_value``: share of null rows; χ² of finite, null and
    infinite rows, which the KS test does not see."""
    unseen: float
    """Categorical: share of rows whose category the reference never had."""
    drifted: bool | None
    """True when PSI is at least the level that warns and a corrected p-value (of the values, or of what is missing)
    below ``significance``. None when it cannot be said: see ``reason``; never to be read as False."""
    reason: Reason | None
    """Why nothing can be said."""
    distances: Mapping[str, float] = field(metadata={"flat": True})
    """What registered measures say over the same cells (`evergreen.tasks.core.drift.measures`), by name, and under
    ``<name>_chance`` what each exceeds by chance in one of 20 windows without drift."""


def measure_columns(
    reference: Profile,
    window: Profile,
    *,
    significance: float = 0.05,
    psi_warning: float = 0.10,
    min_rows: int = MIN_ROWS,
    measures: Sequence[DriftMeasure] | None = None,
) -> tuple[ColumnMeasure, ...]:
    """Measure every column that both profiles hold.

    Parameters
    ----------
    reference, window : Profile
        Over one grid.
    significance : float
        Level of the corrected p-values.
    psi_warning : float
        Least PSI that is called drift: significance alone would call harmless shifts of many rows so.
    min_rows : int
        Values needed on both sides.
    measures : sequence of DriftMeasure, optional
        Distances to take; default: the built-in ones and those of installed packages.

    Returns
    -------
    tuple of ColumnMeasure
        In the order of the reference's columns.

    Raises
    ------
    InputError
        When the grids differ.
    """
    if reference.grid is not window.grid:
        require_same_grid(reference.grid_id, window.grid_id)
    names = [name for name in reference.columns if name in window.columns]
    plugged = [*DRIFT_MEASURES.standard().values()] if measures is None else measures
    numbers = _numbers(reference, window, names, plugged)
    adjusted, missing = (_adjusted(numbers, names, key) for key in ("p_value", "missing_p_value"))
    measured = []
    for name in names:
        low = adjusted[name] < significance or missing[name] < significance
        moved = low and numbers[name]["psi"] >= psi_warning
        reason = _cannot_say(name, reference.columns[name], window.columns[name], min_rows)
        if moved and reason is not None and reason.code == "too_few_values":
            reason = None  # so many are missing that the rest need not be judged
        kind = reference.grid.columns[name].kind
        measured.append(
            ColumnMeasure(
                column=name,
                kind=kind,
                n=window.columns[name].n,
                reference_n=reference.columns[name].n,
                test="ks" if kind == "numeric" else "chi_square",
                adjusted_p_value=adjusted[name],
                drifted=moved if reason is None else None,
                reason=reason,
                **_apart(numbers[name]),
            )
        )
    return tuple(measured)


def _apart(numbers: Mapping[str, float]) -> dict[str, Any]:
    """Put what registered measures say under ``distances``."""
    own = {name: value for name, value in numbers.items() if not name.startswith(_PLUGGED)}
    return {**own, "distances": {name[1:]: value for name, value in numbers.items() if name not in own}}


def _numbers(
    reference: Profile, window: Profile, names: Sequence[str], measures: Sequence[DriftMeasure]
) -> dict[str, dict[str, float]]:
    """Return the numbers of every column by name."""
    grids = reference.grid.columns
    numbers: dict[str, dict[str, float]] = {}
    for kind in ("numeric", "categorical"):
        some = [name for name in names if grids[name].kind == kind]
        if not some:
            continue
        sides = [[profile.columns[name] for name in some] for profile in (reference, window)]
        if kind == "numeric":
            arrays = numeric_numbers([grids[name] for name in some], sides, measures)
        else:
            arrays = category_numbers(sides, measures)
        rows = zip(*(values.tolist() for values in arrays.values()), strict=True)
        numbers |= {name: dict(zip(arrays, row, strict=True)) for name, row in zip(some, rows, strict=True)}
    return numbers


def _adjusted(numbers: Mapping[str, Mapping[str, float]], names: Sequence[str], key: str) -> dict[str, float]:
    """Correct the p-values of all columns that have one."""
    tested = [name for name in names if not math.isnan(numbers[name][key])]
    corrected = benjamini_hochberg([numbers[name][key] for name in tested]).tolist()
    return {**dict.fromkeys(names, math.nan), **dict(zip(tested, corrected, strict=True))}


def _cannot_say(name: str, before: ColumnProfile, after: ColumnProfile, needed: int) -> Reason | None:
    """Return why nothing can be said of a column, None where it can."""
    for side, where in ((before, "in the reference"), (after, "now")):
        held = side.finite
        if held >= needed:
            continue
        few = "too_few_rows" if side.n < needed else "too_few_values"
        code = "no_rows" if not side.n else "all_null" if side.nulls == side.n else few
        held_text = {"no_rows": "no rows", "all_null": "nothing but nulls"}.get(code, f"{held} values")
        message = f"Column '{name}' has {held_text} {where}; at least {needed} values are needed to judge it."
        return Reason(code=code, message=message, observed=float(held), limit=float(needed), n=side.n)
    return None

"""Every column of a window measured against the reference, for the reader: distances, tests, what drifted."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tasks.core.drift.measure_numbers import category_numbers, numeric_numbers
from tasks.core.errors import InputError
from tasks.core.profiles.column_profile import ColumnProfile
from tasks.core.profiles.profile import Profile
from tasks.core.stats.multiplicity import benjamini_hochberg
from tasks.core.verdict import Reason

MIN_ROWS = 20
"""Fewer values on a side decide nothing: 20 of them show a shift of one standard deviation in 97 % of cases."""


@dataclass(frozen=True, kw_only=True)
class ColumnMeasure:
    """One column of a window against the reference; NaN where a number is not defined.

    Attributes
    ----------
    column, kind : str
        Name; numeric or categorical.
    n, reference_n : int
        Rows of the window and of the reference, missing ones included.
    psi, psi_chance, psi_p_value : float
        Population stability index, what it exceeds by chance in one of 20 windows without drift, and its p-value.
        Numeric: over the reference's deciles. *Missing*, -inf and +inf count as cells of their own.
    kl, js, hellinger, total_variation : float
        Distances over the same cells; KL in nats, of current from reference, smoothed by half a row as PSI is.
    wasserstein : float
        Numeric: the share of the reference's ranks that a row has moved by, on average.
    ks, ks_bound : float
        Numeric: the largest distance of the distribution functions over the fine bins, and by how much at most the
        exact one is larger.
    mean_shift : float
        Numeric: shift of the mean in standard deviations of the reference.
    test : {'ks', 'chi_square'}
        Test of ``p_value``: of the finite values for numbers, of categories and *missing* for categories.
    p_value, adjusted_p_value : float
        Of this column; corrected for the number of columns (Benjamini & Hochberg 1995).
    missing_before, missing_after, missing_p_value : float
        Share of null rows; χ² of finite, null and infinite rows, which the KS test does not see.
    unseen : float
        Categorical: share of rows whose category the reference never had.
    drifted : bool | None
        True when PSI is at least the level that warns and a corrected p-value (of the values, or of what is
        missing) below ``significance``. None when it cannot be said: see ``reason``; never to be read as False.
    reason : Reason | None
        Why nothing can be said.
    """

    column: str
    kind: str
    n: int
    reference_n: int
    psi: float
    psi_chance: float
    psi_p_value: float
    kl: float
    js: float
    hellinger: float
    total_variation: float
    wasserstein: float
    ks: float
    ks_bound: float
    mean_shift: float
    test: str
    p_value: float
    adjusted_p_value: float
    missing_before: float
    missing_after: float
    missing_p_value: float
    unseen: float
    drifted: bool | None
    reason: Reason | None

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form; null for what is not defined."""
        plain = {
            name: None if isinstance(value, float) and not math.isfinite(value) else value
            for name, value in vars(self).items()
        }
        return {**plain, "reason": None if self.reason is None else self.reason.to_dict()}


def measure_columns(
    reference: Profile,
    window: Profile,
    *,
    significance: float = 0.05,
    psi_warning: float = 0.10,
    min_rows: int = MIN_ROWS,
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

    Returns
    -------
    tuple of ColumnMeasure
        In the order of the reference's columns.

    Raises
    ------
    InputError
        When the grids differ.
    """
    if reference.grid is not window.grid and reference.grid.id != window.grid.id:
        raise InputError(
            f"Profiles over different grids ({reference.grid.id}, {window.grid.id}) cannot be compared. "
            "Measure both over one grid."
        )
    names = [name for name in reference.columns if name in window.columns]
    numbers = _numbers(reference, window, names)
    adjusted, missing = (_adjusted(numbers, names, key) for key in ("p_value", "missing_p_value"))
    found = []
    for name in names:
        low = adjusted[name] < significance or missing[name] < significance
        moved = low and numbers[name]["psi"] >= psi_warning
        reason = _cannot_say(name, reference.columns[name], window.columns[name], min_rows)
        if moved and reason is not None and reason.code == "too_few_values":
            reason = None  # so many are missing that the rest need not be judged
        kind = reference.grid.columns[name].kind
        found.append(
            ColumnMeasure(
                column=name,
                kind=kind,
                n=window.columns[name].n,
                reference_n=reference.columns[name].n,
                test="ks" if kind == "numeric" else "chi_square",
                adjusted_p_value=adjusted[name],
                drifted=moved if reason is None else None,
                reason=reason,
                **numbers[name],
            )
        )
    return tuple(found)


def _numbers(reference: Profile, window: Profile, names: Sequence[str]) -> dict[str, dict[str, float]]:
    found: dict[str, dict[str, float]] = {}
    grids = reference.grid.columns
    for kind in ("numeric", "categorical"):
        some = [name for name in names if grids[name].kind == kind]
        if not some:
            continue
        sides = [reference.columns[name] for name in some], [window.columns[name] for name in some]
        numeric = kind == "numeric"
        arrays = (
            numeric_numbers([grids[name] for name in some], sides) if numeric else category_numbers(sides)
        )
        found |= _by_column(some, arrays)
    return found


def _by_column(names: Sequence[str], arrays: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    rows = zip(*(values.tolist() for values in arrays.values()), strict=True)
    return {name: dict(zip(arrays, row, strict=True)) for name, row in zip(names, rows, strict=True)}


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
        said = {"no_rows": "no rows", "all_null": "nothing but nulls"}.get(code, f"{held} values")
        message = f"Column '{name}' has {said} {where}; at least {needed} values are needed to judge it."
        return Reason(code=code, message=message, observed=float(held), limit=float(needed), n=side.n)
    return None

"""What the target's own past gives away: a column that says no more than that is no leak."""

from __future__ import annotations

import numpy as np

from tasks.core.leaks.material import Material, View
from tasks.core.leaks.strength import measure_error

LAGS = (1, 2, 3)
"""Steps back that the target's own past is read at."""
TELLING = 0.5
"""A column that leaves less of the target open by its bare values does not merely name what a row is about."""


def history_error(material: Material) -> float:
    """Return the share of the target that its own past leaves open; infinite without a clock.

    The past is the last value, or the best line through the last three, over all rows and for each column that
    may name what the row is about (a station, a customer): a lagged target is a fair feature. A column whose bare
    values tell most of the target counts as such a name only when its last value tells far more: else it may be
    the leak itself.
    """
    if not material.timed:
        return float("inf")
    found = _past_error(np.zeros(len(material.y), dtype=np.int64), material)
    for view in material.entities:
        bare, past = measure_error(view, material), _past_error(view.values.astype(np.int64), material)
        if bare >= TELLING or past <= bare / 2:
            found = min(found, past)
    return found


def lag(y: np.ndarray, owner: np.ndarray, *, steps: int) -> np.ndarray:
    """Return the value ``steps`` rows earlier of the same owner, nan where there is none; shape (n,).

    >>> lag(np.array([1.0, 2.0, 3.0]), np.array([0, 1, 0]), steps=1)
    array([nan, nan,  1.])
    """
    order = np.argsort(owner, kind="stable")
    past = np.full(len(y), np.nan)
    same = owner[order][steps:] == owner[order][:-steps]
    past[order[steps:][same]] = y[order[:-steps][same]]
    return past


def _past_error(owner: np.ndarray, material: Material) -> float:
    errors = [measure_error(view, material) for view in _past(material.y, owner, material)]
    return min((error for error in errors if np.isfinite(error)), default=float("inf"))


def _past(y: np.ndarray, owner: np.ndarray, material: Material) -> list[View]:
    lags = np.column_stack([lag(y, owner, steps=steps) for steps in LAGS])
    views = [View(columns=(), values=lags[:, 0])]
    whole = np.isfinite(lags).all(axis=1)
    if material.problem in ("regression", "ranking") and whole.sum() > 100:
        design = np.column_stack([np.ones(whole.sum()), lags[whole]])
        line = np.full(len(y), np.nan)
        line[whole] = design @ np.linalg.lstsq(design, y[whole], rcond=None)[0]
        views.append(View(columns=(), values=line))
    return views

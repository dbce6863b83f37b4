"""How sure a move is: p-values of one look, corrected for all columns of a kind, for the reader."""

from __future__ import annotations

import numpy as np

from tasks.core.judging.limits import Limits
from tasks.core.judging.look import Look
from tasks.core.judging.null import Null
from tasks.core.metrics.scored import FloatArray, IntArray
from tasks.core.stats.multiplicity import benjamini_hochberg


def look_p_values(look: Look, null: Null) -> FloatArray:
    """Return each signal's p-value, shape (k,): the smallest of its forms, times the forms it was looked at by."""
    ages = np.minimum(look.ages, len(null.recent))
    forms: tuple[tuple[Limits, IntArray | int], ...] = (
        (null.level, 0),
        (null.jump, ages),
        (null.sustained, 0),
    )
    found = np.vstack(
        [
            limits.p_values(look.effects[form], look.spreads[form], age=age, sides=null.sides)
            for form, (limits, age) in enumerate(forms)
        ]
    )
    many = np.isfinite(found).sum(axis=0)
    least = np.where(many > 0, np.nanmin(np.where(many > 0, found, 1.0), axis=0), np.nan)
    return np.asarray(np.minimum(least * np.maximum(many, 1), 1.0))


def adjusted_by_column(p_values: FloatArray, null: Null) -> FloatArray:
    """Return each column's p-value, shape (c,), corrected over the columns of its kind (Benjamini & Hochberg 1995).

    A column's own is the smallest of its signals', each over its part of the column's level (weighted Bonferroni).
    """
    totals = np.add.reduceat(null.levels, null.firsts)
    weighted = np.nan_to_num(p_values, nan=1.0) * totals[null.places] / null.levels
    columns = np.minimum(np.minimum.reduceat(weighted, null.firsts), 1.0)
    adjusted = np.empty_like(columns)
    kinds = np.array([kind.value for kind, _ in null.columns])
    for kind in np.unique(kinds):
        adjusted[kinds == kind] = benjamini_hochberg(columns[kinds == kind])
    return adjusted

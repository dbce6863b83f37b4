"""What cannot be judged, why, and how many rows or windows would do."""

from __future__ import annotations

import math

import numpy as np

from tasks.core.drift.words import DriftKind
from tasks.core.judging.budget import Policy
from tasks.core.judging.look import Look
from tasks.core.judging.null import Null
from tasks.core.metrics.scored import IntArray
from tasks.core.verdict import Reason

_NAMED = 5


def unusable_window(rows: int, null: Null, policy: Policy) -> Reason | None:
    """Return why a window as a whole is INSUFFICIENT: too few rows, or half of what the smallest usual one has."""
    if rows < policy.min_rows:
        return Reason(
            code="too_few_rows",
            message=f"{rows} rows; {policy.min_rows} would do (monitoring.min_rows)",
            observed=float(rows),
            limit=float(policy.min_rows),
            n=rows,
        )
    usual = null.least_rows
    if not math.isfinite(usual):
        usual = policy.window.amount if policy.window.unit == "rows" else 0.0
    if rows < usual / 2:
        return Reason(
            code="half_filled",
            message=f"{rows} rows are less than half of the {usual:.0f} a window has at least; "
            f"{math.ceil(usual / 2)} would do",
            observed=float(rows),
            limit=float(math.ceil(usual / 2)),
            n=rows,
        )
    return None


def unjudged_reasons(
    kind: DriftKind, columns: IntArray, look: Look, null: Null
) -> tuple[tuple[Reason, ...], bool]:
    """Return why columns of a kind were not judged, and whether the kind is INSUFFICIENT for it.

    It is when a column that the reference knows could not be measured in this window, and when no column could be
    judged at all. Columns that the reference itself cannot vouch for are named, and the others judged.
    """
    blank = columns[~look.judged[columns]]
    if not len(blank):
        return (), False
    known = np.isfinite(np.where(null.theory, null.expected[0], null.level.between[0]))
    seasonal = np.isin(blank, null.places[null.needed > 0])
    never = ~seasonal & ~np.isin(blank, null.places[known & np.isfinite(null.expected[0])])
    lost = ~seasonal & ~never
    windows = int(null.needed.max(initial=0))
    reasons = [
        _reason(
            "season_unknown", null, blank[seasonal], f"{windows} reference windows would do", float(windows)
        ),
        _reason("no_reference", null, blank[never], "train or register again with rows that hold them", None),
        _reason("not_measured", null, blank[lost], "no value in this window", None),
    ]
    return tuple(one for one in reasons if one is not None), bool(lost.any() or len(blank) == len(columns))


def _reason(code: str, null: Null, columns: IntArray, remedy: str, limit: float | None) -> Reason | None:
    if not len(columns):
        return None
    names = [null.columns[place][1] for place in columns.tolist()]
    shown = ", ".join(names[:_NAMED]) + (f" and {len(names) - _NAMED} more" if len(names) > _NAMED else "")
    said = {
        "season_unknown": "seem to have a season that was not seen three times",
        "no_reference": "have no reference",
        "not_measured": "could not be measured",
    }[code]
    return Reason(code=code, message=f"{shown} {said}: {remedy}", observed=float(len(names)), limit=limit)

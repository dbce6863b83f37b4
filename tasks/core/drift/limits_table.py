"""The limits a model is monitored by, as a table: what `evergreen drift-limits` shows."""

from __future__ import annotations

from typing import Any

import numpy as np

from evergreen.tasks.core.arrays import FloatArray
from evergreen.tasks.core.drift.calibration import NullModel
from evergreen.tasks.core.drift.policy import Policy

_QUARTER = 90 * 86400.0
_PERIODS = {86400.0: "day", 604800.0: "week"}


def calibration_table(null: NullModel, *, policy: Policy) -> list[dict[str, Any]]:
    """Return a row for each column and kind, of its main signal, in that signal's own unit.

    Returns
    -------
    list of dict
        ``kind``, ``column``, ``signal``; ``expected`` (its mean over a season); ``null_sd``: standard deviation of a
        window without drift; ``sampling_sd``: the part of it that rows explain; ``level``, ``jump``, ``sustained``:
        largest effect of each detector that is no move (null where a detector cannot judge), the effect floor apart;
        ``windows`` of the reference, and ``effective_windows``: as many independent ones would know as much;
        ``season`` (day, week or null); ``calibration`` (``reference``, ``theory``, or ``unknown`` with
        ``windows_needed``); ``false_alarms``: expected ones of this column at most, and ``per`` what.
    """
    slope, squares, n = _slope(null), np.square(null.errors), len(null.recent) + 1
    usual = zip(null.detectors, (squares, squares, squares / n), strict=True)
    limits = np.array([one.spread(square) * one.quantiles() * slope for one, square in usual])
    return [_row(null, place, policy, limits=limits, slope=slope) for place in null.firsts.tolist()]


def expected_false_alarms(*, policy: Policy) -> dict[str, Any]:
    """Return the budget: false alarms of the whole model at most, per its span and (of time) per 90 days."""
    span = policy.budget.span
    per_quarter = policy.budget.count * _QUARTER / span.amount if span.unit == "seconds" else None
    return {"false_alarms": policy.budget.count, "per": str(span), "per_90_days": per_quarter}


def _row(
    null: NullModel, place: int, policy: Policy, *, limits: FloatArray, slope: FloatArray
) -> dict[str, Any]:
    """Return the row of a signal; ``limits``, shape (3, k), at the usual sampling error, in the signals' own units."""
    key, phases = null.keys[place], int(null.phases[place])
    columns = sum(kind is key.kind for kind, _ in null.columns)
    needed, effective = int(null.needed[place]), float(null.level.freedom[0, place] + 1)
    calibration = "theory" if null.theory[place] else "reference"
    numbers = {
        "expected": null.scale.back(null.expected)[:phases, place].mean(),
        "null_sd": null.level.spread(np.square(null.errors))[place] * slope[place],
        "sampling_sd": null.errors[place] * slope[place],
        **dict(zip(("level", "jump", "sustained"), limits[:, place], strict=True)),
    }
    return {
        "kind": key.kind.value,
        "column": key.column,
        "signal": key.name,
        **{name: float(value) if np.isfinite(value) else None for name, value in numbers.items()},
        "windows": int(null.windows[place]),
        "effective_windows": effective if np.isfinite(effective) else None,
        "season": _PERIODS.get(phases * (null.length or 0.0)) if phases > 1 else None,
        "calibration": "unknown" if needed else calibration,
        "windows_needed": needed or None,
        "false_alarms": policy.budget.count / len(policy.kinds) / columns,
        "per": str(policy.budget.span),
    }


def _slope(null: NullModel) -> FloatArray:
    """Return by what a small step on the scale must be multiplied to be one in the signal's own unit, shape (k,)."""
    at = null.expected[0]
    return np.where(null.scale.shares, np.sin(2 * np.clip(at, 0.0, np.pi / 2)), 1.0)

"""Leakage suspicion: a single feature that nearly gives the outcome away."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats

from tasks.core.gates.leak_power import ranking_power
from tasks.core.gates.result import CheckResult, check
from tasks.core.metrics.scored import Array, FloatArray, IntArray
from tasks.core.verdict import Reason

_MOST_ROWS = 20_000
_PERFECT = 1 - 1e-9
_LEVEL = 0.05


@dataclass(frozen=True, kw_only=True)
class LeakMeasure:
    """Ranking power of each feature, of 'same as last' (None without a clock), and the rows that speak."""

    power: dict[str, float]
    persistence: float | None
    n: int


def measure_leakage(
    frame: pd.DataFrame,
    y: Array,
    *,
    features: Sequence[str],
    problem: str,
    group: IntArray | None = None,
    positions: FloatArray | None = None,
) -> LeakMeasure:
    """Measure each feature's ranking power on the holdout (the newest 20,000 rows).

    Parameters
    ----------
    frame : DataFrame, shape (n, columns)
        Holdout rows, in clock order where there is one.
    y : array, shape (n,)
        Outcomes.
    features : sequence of str
        Columns to look at; absent ones are skipped.
    problem, group
        As for ``ranking_power``.
    positions : array, shape (n,), or None
        The clock; with one, the power of the outcome before is measured too: a series that hardly moves is
        told by every lagged column, and that is no leak.
    """
    newest = slice(max(0, len(y) - _MOST_ROWS), None)
    rows, outcome = frame.iloc[newest], np.asarray(y)[newest]
    codes = None if group is None else group[newest]
    power = {
        name: ranking_power(rows[name], outcome, problem=problem, group=codes)
        for name in features
        if name in rows.columns
    }
    timed = positions is not None and problem != "ranking" and len(outcome) > 2
    before = ranking_power(pd.Series(outcome[:-1]), outcome[1:], problem=problem) if timed else None
    return LeakMeasure(power=power, persistence=before, n=_speaking_rows(outcome, problem))


def _speaking_rows(y: Array, problem: str) -> int:
    """Return the rows an estimate of power rests on: of classes, the rarest one's."""
    if problem in {"binary", "multiclass"}:
        return int(np.unique(y, return_counts=True)[1].min()) if len(y) else 0
    return len(y)


def check_leakage(measure: LeakMeasure, *, limit: float) -> CheckResult:
    """Fail for each feature whose ranking power surely exceeds ``limit``; warn where it only may.

    Notes
    -----
    *Surely* means that the one-sided 95 % Wilson bound exceeds the limit, or that the order is perfect: on
    few rows a strong honest feature comes close to 1 by chance. Where 'same as last' exceeds the limit
    itself, a feature must halve its remaining error to be suspected.

    References
    ----------
    Wilson: Probable inference, the law of succession, and statistical inference (JASA 1927).
    """
    bar = _bar(measure.persistence, limit)
    suspects = {name: power for name, power in measure.power.items() if power > bar}
    sure = {name for name, power in suspects.items() if _is_sure(power, bar, measure.n)}
    strongest: Mapping[str, float] = measure.power or {"(none)": 0.0}
    name = max(strongest, key=lambda key: np.nan_to_num(strongest[key]))
    met = Reason(
        code="no_leak",
        message=f"No feature gives the outcome away; the strongest alone is '{name}'.",
        observed=strongest[name],
        limit=bar,
        n=measure.n,
    )
    return check(
        "leakage",
        failed=[_suspect(name, suspects[name], bar, measure.n) for name in suspects if name in sure],
        met=met,
        warnings=[_suspect(name, suspects[name], bar, measure.n) for name in suspects if name not in sure],
        measured={"strongest_feature": strongest[name]},
    )


def _bar(persistence: float | None, limit: float) -> float:
    if persistence is None or not persistence > limit:
        return limit
    return 1 - (1 - persistence) / 2


def _is_sure(power: float, bar: float, n: int) -> bool:
    return power >= _PERFECT or wilson_lower(power, n) > bar


def wilson_lower(share: float, n: int) -> float:
    """Return the one-sided 95 % lower bound of a share seen on ``n`` trials (Wilson); 0 for no trials.

    Examples
    --------
    >>> round(wilson_lower(0.99, 1000), 4)
    0.9833
    """
    if n == 0:
        return 0.0
    z2 = float(stats.norm.isf(_LEVEL)) ** 2
    centre = share + z2 / (2 * n)
    spread = float(np.sqrt(z2 * (share * (1 - share) / n + z2 / (4 * n * n))))
    return (centre - spread) / (1 + z2 / n)


def _suspect(name: str, power: float, bar: float, n: int) -> Reason:
    return Reason(
        code="leak_suspected",
        message=(
            f"Feature '{name}' alone nearly gives the outcome away (ranking power {power:.4f}, limit {bar:.4f}); "
            "exclude it under data.exclude, or raise validation.leakage_score if it is known in time."
        ),
        observed=power,
        limit=bar,
        n=n,
    )

"""Leakage suspicion: a single feature that nearly gives the outcome away."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats

from evergreen.tasks.core.arrays import Array, FloatArray, IntArray
from evergreen.tasks.core.contract.contract import as_text, kind_of
from evergreen.tasks.core.stats.auc import roc_auc
from evergreen.tasks.core.stats.resampling import wilson_interval
from evergreen.tasks.core.validation.gate import CheckResult, GateContext, check, gate
from evergreen.tasks.core.verdict import Reason

# How well a single column alone tells the outcome: its ranking power, 0.5 (nothing) to 1 (all of it).


_BINS = 64


def ranking_power(values: pd.Series, y: Array, *, problem: str, group: IntArray | None = None) -> float:
    """Measure how well one column alone orders the outcomes, in either direction and of any shape.

    Parameters
    ----------
    values : Series, shape (n,)
        The column; text, nulls and infinities included.
    y : array, shape (n,)
        Outcomes.
    problem : str
        Binary: AUC. Multiclass: the worst class's AUC, one against the rest (one class that is easily separated
        is no leak). Regression: |Spearman's rank correlation|. Ranking: share of pairs within a group
        put in order.
    group : array, shape (n,), or None
        Codes of the ranking groups.

    Returns
    -------
    float
        The greater of two readings: the column as it stands (numbers), and the mean outcome of its bins or
        categories as learned on the other half of the rows, which sees bends, gaps and names. 0.5 for a
        constant column, NaN for outcomes of one value.
    """
    targets = [np.asarray(y, dtype=float)] if problem in ("regression", "ranking") else []
    if not targets:  # each class against the rest; of two the positive one
        labels = np.unique(y)
        targets = [(y == label).astype(float) for label in (labels[-1:] if problem == "binary" else labels)]
    if any(len(np.unique(target)) < 2 for target in targets):
        return float("nan")
    numbers, codes = _as_numbers(values), _codes(values)
    plain = (_power(numbers, target, problem=problem, group=group) for target in targets)
    binned = (
        _power(_cross_fitted_means(codes, target), target, problem=problem, group=group) for target in targets
    )
    return max(min(plain), min(binned))


def _power(score: FloatArray, target: FloatArray, *, problem: str, group: IntArray | None) -> float:
    if np.ptp(score) == 0:
        return 0.5 if problem != "regression" else 0.0
    if problem == "ranking" and group is not None:
        return _within_groups(score, target, group)
    if problem in {"regression", "ranking"}:
        return abs(float(stats.spearmanr(score, target).statistic))
    area = roc_auc(target == target.max(), score)
    return max(area, 1 - area)


def _within_groups(score: FloatArray, target: FloatArray, group: IntArray) -> float:
    """Return the share of pairs with different outcomes in one group that the score orders, ties half."""
    order = np.argsort(group, kind="stable")
    bounds = np.flatnonzero(np.diff(group[order])) + 1
    right = pairs = 0.0
    for rows in np.split(order, bounds):
        higher = target[rows][:, None] > target[rows][None, :]
        gap = score[rows][:, None] - score[rows][None, :]
        right += float(((gap > 0) & higher).sum() + 0.5 * ((gap == 0) & higher).sum())
        pairs += float(higher.sum())
    share = right / pairs if pairs else 0.5
    return max(share, 1 - share)


def _as_numbers(values: pd.Series) -> FloatArray:
    """Return the column as numbers, what is none in the middle of the rest; zeros for text."""
    if kind_of(values) != "number":
        return np.zeros(len(values))
    numbers = pd.to_numeric(values, errors="coerce").to_numpy(dtype=float, na_value=np.nan)
    finite = np.isfinite(numbers)
    middle = float(np.median(numbers[finite])) if finite.any() else 0.0
    return np.where(np.isnan(numbers), middle, np.clip(numbers, -1e300, 1e300))


def _codes(values: pd.Series) -> IntArray:
    """Return a bin for each row: few values as they are, numbers by quantile; nulls in one of their own."""
    if kind_of(values) != "number" or values.nunique() <= _BINS:
        return np.asarray(pd.factorize(as_text(values), use_na_sentinel=False)[0], dtype=np.int64)
    numbers = pd.Series(_as_numbers(values)).where(values.notna().to_numpy())
    bins = pd.qcut(numbers, _BINS, labels=False, duplicates="drop")
    return np.asarray(bins.fillna(-1).to_numpy(), dtype=np.int64) + 1


def _cross_fitted_means(codes: IntArray, target: FloatArray) -> FloatArray:
    """Return each row's bin mean as learned on the other half of the rows; unknown bins get the overall mean."""
    half = np.arange(len(codes)) % 2 == 0
    means = np.full(len(codes), float(target.mean()))
    size = int(codes.max()) + 1
    for learn in (half, ~half):
        count = np.bincount(codes[learn], minlength=size)
        total = np.bincount(codes[learn], weights=target[learn], minlength=size)
        counted = count[codes[~learn]] > 0
        rows = np.flatnonzero(~learn)[counted]
        means[rows] = total[codes[rows]] / count[codes[rows]]
    return means


_MOST_ROWS = 20_000
_PERFECT = 1 - 1e-9
_LEVEL = 0.05


@dataclass(frozen=True, kw_only=True)
class LeakMeasure:
    """Ranking power of each feature, of 'same as last' (None without a clock), and the rows it rests on."""

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
        predicted by every lagged column, and that is no leak.
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
    return LeakMeasure(power=power, persistence=before, n=_effective_rows(outcome, problem))


def _effective_rows(y: Array, problem: str) -> int:
    """Return the rows an estimate of power rests on: of classes, the rarest one's."""
    if problem in {"binary", "multiclass"}:
        return int(np.unique(y, return_counts=True)[1].min()) if len(y) else 0
    return len(y)


def check_leakage(measure: LeakMeasure, *, limit: float) -> CheckResult:
    """Fail for each feature whose ranking power exceeds ``limit`` for certain; warn where it only may.

    Notes
    -----
    *For certain* means that the one-sided 95 % Wilson bound exceeds the limit, or that the order is perfect: on
    few rows a strong honest feature comes close to 1 by chance. Where 'same as last' exceeds the limit
    itself, a feature must halve its remaining error to be suspected.

    References
    ----------
    Wilson: Probable inference, the law of succession, and statistical inference (JASA 1927).
    """
    n, persistence = measure.n, measure.persistence
    if persistence is not None and persistence > limit:
        limit = 1 - (1 - persistence) / 2
    failed: list[Reason] = []
    warnings: list[Reason] = []
    for name, power in measure.power.items():
        if power > limit:
            certain = power >= _PERFECT or wilson_interval(power * n, n, level=2 * _LEVEL)[0] > limit
            (failed if certain else warnings).append(_suspect(name, power, limit, n))
    powers = measure.power or {"(none)": 0.0}
    strongest = max(powers, key=lambda name: np.nan_to_num(powers[name]))
    message = f"No feature gives the outcome away; the strongest alone is '{strongest}'."
    met = Reason(code="no_leak", message=message, observed=powers[strongest], limit=limit, n=n)
    measured = {"strongest_feature": powers[strongest]}
    return check("leakage", failed=failed, met=met, warnings=warnings, measured=measured)


def _suspect(name: str, power: float, limit: float, n: int) -> Reason:
    message = (
        f"Feature '{name}' alone nearly gives the outcome away (ranking power {power:.4f}, limit {limit:.4f}); "
        "exclude it under data.exclude, or raise validation.leakage_score if it is known in time."
    )
    return Reason(code="leak_suspected", message=message, observed=power, limit=limit, n=n)


@gate("leakage", section="validation.leakage_score", needs=("answers",), always=True)
def leakage_gate(context: GateContext, limit: float) -> CheckResult:
    """Require that no feature alone gives the outcome away."""
    measure = measure_leakage(
        context.holdout.frame,
        context.scored.y,
        features=context.schema.features,
        problem=context.problem,
        group=context.scored.group,
        positions=context.holdout.positions,
    )
    return check_leakage(measure, limit=limit)

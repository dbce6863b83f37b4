"""How well a single column alone tells the outcome: its ranking power, 0.5 (nothing) to 1 (all of it)."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy import stats

from tasks.core.contract.contract import as_text, kind_of
from tasks.core.metrics.scored import Array, FloatArray, IntArray

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
        Binary: AUC. Multiclass: the worst class's AUC, one against the rest (one class that is easily told
        apart is no leak). Regression: |Spearman's rank correlation|. Ranking: share of pairs within a group
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
    targets = _targets(y, problem)
    if any(len(np.unique(target)) < 2 for target in targets):
        return float("nan")
    readings = [_power(_as_numbers(values), targets, problem=problem, group=group)]
    codes = _codes(values)
    readings.append(_power_of_codes(codes, targets, problem=problem, group=group))
    return max(readings)


def _targets(y: Array, problem: str) -> list[FloatArray]:
    """Return one number column a question: each class against the rest, or the outcome itself."""
    if problem == "binary":
        return [(y == np.unique(y)[-1]).astype(float)]
    if problem == "multiclass":
        return [(y == label).astype(float) for label in np.unique(y)]
    return [np.asarray(y, dtype=float)]


def _power(score: FloatArray, targets: list[FloatArray], *, problem: str, group: IntArray | None) -> float:
    return min(_one_power(score, target, problem=problem, group=group) for target in targets)


def _power_of_codes(
    codes: IntArray, targets: list[FloatArray], *, problem: str, group: IntArray | None
) -> float:
    return min(
        _one_power(_cross_fitted_means(codes, target), target, problem=problem, group=group)
        for target in targets
    )


def _one_power(score: FloatArray, target: FloatArray, *, problem: str, group: IntArray | None) -> float:
    if np.ptp(score) == 0:
        return 0.5 if problem != "regression" else 0.0
    if problem == "ranking" and group is not None:
        return _within_groups(score, target, group)
    if problem in {"regression", "ranking"}:
        return abs(float(stats.spearmanr(score, target).statistic))
    area = _auc(score, target)
    return max(area, 1 - area)


def _auc(score: FloatArray, target: FloatArray) -> float:
    """Return the area under the ROC curve by ranks (Mann-Whitney), ties counting half."""
    ranks = stats.rankdata(score)
    positive = target == target.max()
    m, n = int(positive.sum()), int((~positive).sum())
    return float((ranks[positive].sum() - m * (m + 1) / 2) / (m * n))


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
        known = count[codes[~learn]] > 0
        rows = np.flatnonzero(~learn)[known]
        means[rows] = total[codes[rows]] / count[codes[rows]]
    return means

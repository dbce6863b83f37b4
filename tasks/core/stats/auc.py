"""Areas under the ROC and the precision-recall curve, and DeLong's test of two of them on the same rows."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy

from evergreen.tasks.core.arrays import FloatArray


@dataclass(frozen=True, kw_only=True)
class DeLong:
    """Result of `delong`: areas, their difference (b minus a), standard error, z statistic, p-value."""

    auc_a: float
    auc_b: float
    difference: float
    standard_error: float
    statistic: float
    p_value: float


def placements(truth: npt.NDArray[np.bool_], score: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return, in row order, the share of negatives below each positive and of positives above each negative.

    Ties count one half. Both means equal the AUC. One sort (Sun & Xu 2014).
    """
    order = np.argsort(score, kind="stable")
    ordered, positive = score[order], truth[order]
    first = np.append(True, ordered[1:] != ordered[:-1])
    tie = np.cumsum(first) - 1
    up, down = np.bincount(tie, weights=positive), np.bincount(tie, weights=~positive)
    share = np.empty(truth.size)
    share[order] = np.where(
        positive,
        ((np.cumsum(down) - down / 2) / max(down.sum(), 1))[tie],
        1.0 - ((np.cumsum(up) - up / 2) / max(up.sum(), 1))[tie],
    )
    return share[truth], share[~truth]


def roc_auc(truth: Any, score: Any, *, weight: Any = None) -> float:
    """Measure the probability that a positive row scores above a negative one; ties count one half.

    Parameters
    ----------
    truth : array of bool, shape (n,)
        Whether the outcome is positive.
    score : array of float, shape (n,)
        Larger means more likely positive.
    weight : array of float, shape (n,), optional
        Row weights, >= 0.

    Returns
    -------
    float
        In 0..1; ``nan`` with one class only, or with NaN in the scores.

    Examples
    --------
    >>> roc_auc([False, False, True, True], [0.1, 0.4, 0.35, 0.8])
    0.75
    """
    truth, score = np.asarray(truth, dtype=np.bool_), np.asarray(score, dtype=np.float64)
    if np.isnan(score).any() or truth.all() or not truth.any():
        return float("nan")
    if weight is not None:
        return _weighted_auc(truth, score, np.asarray(weight, dtype=np.float64))
    return float(placements(truth, score)[0].mean())


def _weighted_auc(truth: npt.NDArray[np.bool_], score: FloatArray, weight: FloatArray) -> float:
    """Return the AUC in which each pair counts the product of its weights."""
    _, tie = np.unique(score, return_inverse=True)
    up = np.bincount(tie, weights=weight * truth)
    down = np.bincount(tie, weights=weight * ~truth)
    total = up.sum() * down.sum()
    if total == 0:
        return float("nan")
    return float((up * (np.cumsum(down) - down / 2)).sum() / total)


def average_precision(truth: Any, score: Any, *, weight: Any = None) -> float:
    """Measure the step-wise area under the precision-recall curve; rows of equal score are taken together.

    Parameters
    ----------
    truth : array of bool, shape (n,)
        Whether the outcome is positive.
    score : array of float, shape (n,)
        Larger means more likely positive.
    weight : array of float, shape (n,), optional
        Row weights, >= 0.

    Returns
    -------
    float
        In 0..1; ``nan`` without a positive row.

    Examples
    --------
    >>> average_precision([True, False, True], [1.0, 2.0, 3.0])
    0.8333333333333333
    """
    truth, score = np.asarray(truth, dtype=np.bool_), np.asarray(score, dtype=np.float64)
    weight = np.ones(truth.size) if weight is None else np.asarray(weight, dtype=np.float64)
    order = np.argsort(-score, kind="stable")
    last_of_tie = np.append(np.diff(score[order]) != 0, True)
    hits = np.cumsum((weight * truth)[order])[last_of_tie]
    rows = np.cumsum(weight[order])[last_of_tie]
    if hits[-1] == 0:
        return float("nan")
    precision = np.divide(hits, rows, out=np.zeros_like(hits), where=rows > 0)
    return float((np.diff(hits, prepend=0.0) * precision).sum() / hits[-1])


def auc_influence(truth: Any, score: Any) -> FloatArray:
    """Return each row's influence on the AUC, shape (n,), mean 0; all ``nan`` with one class only.

    The mean of these values over a resample is, to first order, the change of the AUC (DeLong 1988).
    """
    truth, score = np.asarray(truth, dtype=np.bool_), np.asarray(score, dtype=np.float64)
    if truth.all() or not truth.any():
        return np.full(truth.size, np.nan)
    above, below = placements(truth, score)
    influence = np.empty(truth.size)
    influence[truth] = (above - above.mean()) * truth.size / above.size
    influence[~truth] = (below - below.mean()) * truth.size / below.size
    return influence


def influence_error(truth: Any, influence: FloatArray) -> float:
    """Return DeLong's standard error from influence values (of one AUC or of a difference of two).

    ``nan`` with fewer than two rows of a class.
    """
    truth = np.asarray(truth, dtype=np.bool_)
    shares = (influence[truth] / truth.size, influence[~truth] / truth.size)
    if min(map(len, shares)) < 2:
        return float("nan")
    return float(np.sqrt(sum(np.var(share, ddof=1) * share.size for share in shares)))


def delong(y: Any, score_a: Any, score_b: Any) -> DeLong:
    """Test whether two scores have the same AUC on the same independent rows.

    Null: equal areas. Assumes independent rows; on rows of a time series it finds differences that are
    not there: use the blocked comparison (`evergreen.tasks.core.challenge.difference.measure_difference`) instead.

    Parameters
    ----------
    y : array, shape (n,)
        Outcome; true (or 1) is positive.
    score_a, score_b : array of float, shape (n,)
        The two models' scores.

    Returns
    -------
    DeLong
        ``difference`` is b minus a. All ``nan`` with fewer than two rows of a class or NaN scores;
        ``statistic`` 0 and ``p_value`` 1 for scores that rank alike.

    Notes
    -----
    DeLong, DeLong & Clarke-Pearson (1988), in the O(n log n) form of Sun & Xu (2014).

    Examples
    --------
    >>> result = delong([0, 0, 0, 1, 1, 1], [1, 2, 3, 2, 4, 5], [1, 2, 4, 3, 5, 6])
    >>> round(result.auc_a, 4), round(result.auc_b, 4)
    (0.8333, 0.8889)
    """
    truth = np.asarray(y).astype(np.bool_)
    a, b = np.asarray(score_a, dtype=np.float64), np.asarray(score_b, dtype=np.float64)
    if min(truth.sum(), (~truth).sum()) < 2 or np.isnan(a).any() or np.isnan(b).any():
        return DeLong(**{field.name: float("nan") for field in fields(DeLong)})
    (above_a, below_a), (above_b, below_b) = placements(truth, a), placements(truth, b)
    difference = float(above_b.mean() - above_a.mean())
    spread = np.empty(truth.size)
    spread[truth] = (above_b - above_a) * truth.size / above_a.size
    spread[~truth] = (below_b - below_a) * truth.size / below_a.size
    error = influence_error(truth, spread)
    certain = 0.0 if difference == 0 else float(np.copysign(np.inf, difference))
    statistic = difference / error if error > 0 else certain
    return DeLong(
        auc_a=float(above_a.mean()),
        auc_b=float(above_b.mean()),
        difference=difference,
        standard_error=error,
        statistic=statistic,
        p_value=float(2 * scipy.stats.norm.sf(abs(statistic))),
    )

"""The decision threshold on P(positive): fixed, the cheapest on the holdout, or the best F1 there."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tasks.core.config.evaluation import CostThreshold
from tasks.core.metrics.scored import FloatArray, Scored


@dataclass(frozen=True, kw_only=True)
class Threshold:
    """A decision threshold: positive when P(positive) >= ``value``.

    Attributes
    ----------
    value : float
        The threshold.
    method : str
        ``fixed``, ``cost`` or ``f1``.
    objective : float | None
        Cost per row, or F1, on the rows it was chosen on; None when fixed.
    n : int | None
        Rows it was chosen on; None when fixed.
    """

    value: float
    method: str
    objective: float | None = None
    n: int | None = None


def choose_threshold(scored: Scored | None, wanted: float | CostThreshold | str) -> Threshold:
    """Choose the threshold.

    Parameters
    ----------
    scored : Scored | None
        Rows of the holdout with probabilities of the positive class; not looked at when fixed.
    wanted : float, CostThreshold or 'auto'
        ``evaluation.threshold``.

    Notes
    -----
    Every distinct score is tried at once: with rows in falling order of score, the first i rows are called
    positive. Of equally good thresholds the highest is taken (fewest alarms). The value lies midway to the next
    lower score, so that a score off by rounding falls on the same side. Rows are needed of both classes; without
    them 0.5 stays.
    """
    if isinstance(wanted, float | int):
        return Threshold(value=float(wanted), method="fixed")
    if scored is None or len(scored) == 0 or scored.truth.all() or not scored.truth.any():
        return Threshold(value=0.5, method="fixed")
    cuts, hits, alarms = _cuts(scored)
    positives = int(scored.truth.sum())
    if isinstance(wanted, CostThreshold):
        cost = wanted.false_positive * (alarms - hits) + wanted.false_negative * (positives - hits)
        best = int(np.argmin(cost))
        method, objective = "cost", float(cost[best] / len(scored))
    else:
        f1 = 2 * hits / (alarms + positives)
        best = int(np.argmax(f1))
        method, objective = "f1", float(f1[best])
    return Threshold(value=float(cuts[best]), method=method, objective=objective, n=len(scored))


def _cuts(scored: Scored) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return thresholds from 'none positive' to 'all positive', and hits and alarms at each."""
    score = scored.positive_score
    order = np.argsort(-score, kind="stable")
    ordered, truth = score[order], scored.truth[order]
    last = np.flatnonzero(np.r_[ordered[1:] != ordered[:-1], True])
    hits = np.r_[0.0, np.cumsum(truth)[last]]
    alarms = np.r_[0.0, last + 1.0]
    above = np.r_[np.nextafter(1.0, 2.0), ordered[last]]
    below = np.r_[ordered[0], ordered[last][1:], 0.0]
    middle = (above + below) / 2
    return np.where(middle > below, middle, above), hits, alarms

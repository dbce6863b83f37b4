"""The loss of a row (of a group, in ranking): what the champion's answers cost, whatever it is judged by."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from tasks.core.metrics.base import Metric, Parts, mean_of_first
from tasks.core.metrics.ranking import ndcg_at
from tasks.core.metrics.registry import get_metric
from tasks.core.metrics.scored import Scored


def loss_metric(problem: str) -> Metric:
    """Return the loss whose rise is concept drift.

    Classes: the Brier score (squared distance of probabilities and outcome); regression: the absolute error; ranking:
    1 - NDCG of a group. Bounded ones, or the least sensitive to single rows: a logarithmic or squared loss may be made
    by a few rows, and then knows little of a window.

    Examples
    --------
    >>> loss_metric("binary").name, loss_metric("ranking").name
    ('brier_score', 'one_minus_ndcg')
    """
    if problem in ("binary", "multiclass"):
        return get_metric("brier_score", problem=problem)
    return _ranking_loss() if problem == "ranking" else get_metric("mae", problem=problem)


def _ranking_loss() -> Metric:
    ndcg = ndcg_at(None)

    def components(scored: Scored) -> Parts:
        if ndcg.components is None:
            raise TypeError("NDCG has no components.")
        parts = ndcg.components(scored)
        lost = parts.values[:, 1] - parts.values[:, 0]
        return Parts(values=np.column_stack([lost, parts.values[:, 1]]), rows=parts.rows)

    return replace(
        ndcg, name="one_minus_ndcg", greater_is_better=False, components=components, combine=mean_of_first
    )

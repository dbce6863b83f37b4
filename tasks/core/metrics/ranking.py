"""Metrics of ranked groups: the group, not the row, is the unit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from evergreen.tasks.core.arrays import BoolArray, FloatArray, IntArray
from evergreen.tasks.core.metrics.base import Metric, MetricParts, mean_of_first, ratio
from evergreen.tasks.core.metrics.scored import Scored

RANKING = frozenset({"ranking"})


@dataclass(frozen=True, kw_only=True, eq=False)
class Ranked:
    """Rows sorted by group and falling score."""

    order: IntArray
    """(n,), original row of each sorted row."""
    starts: IntArray
    """(g,), where each group begins among the sorted rows."""
    place: IntArray
    """(n,), 0 for the first of its group, 1 for the second, …"""
    tie: IntArray
    """(n,), number of the run of equal scores a sorted row belongs to."""
    group: IntArray
    """(n,), number of the group a sorted row belongs to."""

    def mean_over_ties(self, values: FloatArray) -> FloatArray:
        """Replace the value of each place by its mean over rows of equal score."""
        sizes = np.bincount(self.tie)
        return (np.bincount(self.tie, weights=values) / sizes)[self.tie]

    def sums(self, values: FloatArray) -> FloatArray:
        """Sum over each group, shape (g,)."""
        return np.add.reduceat(values, self.starts)


def rank_groups(group: IntArray, score: FloatArray) -> Ranked:
    """Sort rows by group, then by falling score."""
    order = np.lexsort((-score, group))
    g, s = group[order], score[order]
    first = np.append(True, g[1:] != g[:-1])
    starts = np.flatnonzero(first)
    number = np.cumsum(first) - 1
    new_tie = first | np.append(True, s[1:] != s[:-1])
    place, tie = np.arange(len(order)) - starts[number], np.cumsum(new_tie) - 1
    return Ranked(order=order, starts=starts, place=place, tie=tie, group=number)


def ndcg_at(k: int | None) -> Metric:
    """Return normalised discounted cumulative gain over the first ``k`` places (None: all).

    Linear gains (the outcome itself) and averaging over tied scores, as scikit-learn's ``ndcg_score``
    (Järvelin & Kekäläinen 2002). Groups of one row, or without a relevant row, say nothing about an order
    and are left out.

    The other common form has gains of ``2 ** y - 1`` (Burges et al. 2005; the default of LightGBM and
    XGBoost); it weighs the top grade more and gives other numbers. Races of about 12 runners graded 0 to 4: a
    random order has NDCG@3 of .26 by linear gains and .22 by exponential ones, the closing odds .54 and .51.
    For exponential gains let the target hold ``2 ** y - 1``.
    """

    def components(scored: Scored) -> MetricParts:
        ranked, gain = _ranked(scored)
        discount = 1.0 / np.log2(ranked.place + 2.0)
        if k is not None:
            discount = np.where(ranked.place < k, discount, 0.0)
        gained = ranked.sums(gain * ranked.mean_over_ties(discount))
        ideal_order = np.lexsort((-gain, ranked.group))
        ideal = ranked.sums(gain[ideal_order] * discount)
        bad = ranked.sums((gain < 0).astype(np.float64)) > 0
        value = np.where(bad, np.nan, ratio(gained, ideal))
        return _group_parts(scored, ranked, value, (ideal > 0) | bad)

    return _metric("ndcg" if k is None else f"ndcg_at_{k}", components=components)


def mean_reciprocal_rank() -> Metric:
    """Return the mean of 1 / place of the best-placed relevant row (y > 0); a tie has its mean place."""

    def components(scored: Scored) -> MetricParts:
        ranked, gain = _ranked(scored)
        place = ranked.mean_over_ties(ranked.place.astype(np.float64)) + 1.0
        best = np.minimum.reduceat(np.where(gain > 0, place, np.inf), ranked.starts)
        return _group_parts(scored, ranked, 1.0 / best, np.isfinite(best))

    return _metric("mrr", components=components)


def win_rate() -> Metric:
    """Return how often the row ranked first is of its group's highest relevance; ties share."""

    def components(scored: Scored) -> MetricParts:
        ranked, gain = _ranked(scored)
        best = np.maximum.reduceat(gain, ranked.starts)
        worst = np.minimum.reduceat(gain, ranked.starts)
        wins = ranked.sums(_first_share(ranked) * (gain == best[ranked.group]))
        return _group_parts(scored, ranked, wins, best > worst)

    return _metric("win_rate", components=components)


def value_of_first(*, cost: float = 0.0) -> Metric:
    """Return the mean ``value`` of the row ranked first in each group, less a fixed cost; ties share."""

    def components(scored: Scored) -> MetricParts:
        ranked, _ = _ranked(scored)
        value = scored.require("value").astype(np.float64)[ranked.order]
        earned = ranked.sums(_first_share(ranked) * value) - cost
        return _group_parts(scored, ranked, earned, np.ones(len(earned), dtype=np.bool_))

    return _metric("business_value", components=components, bounded=False, needs="value")


def _ranked(scored: Scored) -> tuple[Ranked, FloatArray]:
    """Return the sorted rows and the relevance in that order."""
    _, group = np.unique(scored.require("group"), return_inverse=True)
    ranked = rank_groups(group.astype(np.int64), scored.require("score").astype(np.float64))
    return ranked, scored.y.astype(np.float64)[ranked.order]


def _first_share(ranked: Ranked) -> FloatArray:
    """Return 1 for the row ranked first, 1/m for m rows tied there, 0 elsewhere."""
    return ranked.mean_over_ties((ranked.place == 0).astype(np.float64))


def _group_parts(scored: Scored, ranked: Ranked, value: FloatArray, defined: BoolArray) -> MetricParts:
    """Return (value, 1) per defined group, times the group's weight (that of its first row)."""
    defined = defined & (np.diff(np.append(ranked.starts, len(ranked.order))) > 1)
    rows = np.minimum.reduceat(ranked.order, ranked.starts)[defined]
    values = np.column_stack([value[defined], np.ones(len(rows))])
    if scored.weight is not None:
        values = values * scored.weight[rows].astype(np.float64)[:, None]
    return MetricParts(values=values, rows=rows)


def _metric(name: str, **options: Any) -> Metric:
    return Metric(name=name, problems=RANKING, combine=mean_of_first, **options)

"""Two models' metric on the same rows, cut into the parts that resampling needs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tasks.core.metrics.base import Metric
from tasks.core.metrics.labels import class_codes
from tasks.core.metrics.scored import BoolArray, FloatArray, IntArray, Scored
from tasks.core.stats.resampling import block_sums, pseudo_values


@dataclass(frozen=True, kw_only=True, eq=False)
class PairedParts:
    """A metric of two models and how it changes when rows go.

    Attributes
    ----------
    metric : Metric
        What is compared.
    champion, challenger : Scored
        The same rows.
    before, after, difference : float
        Metric of the champion, of the challenger, and the (signed, perhaps relative) improvement.
    values : array, shape (u, 2 c), or None
        Additive parts, the champion's columns first; None for a metric that is no function of sums.
    rows : array, shape (u,), or None
        A row of each unit.
    influence : array, shape (n,), or None
        Influence of each row on the improvement, mean 0.
    """

    metric: Metric
    champion: Scored
    challenger: Scored
    before: float
    after: float
    difference: float
    values: FloatArray | None = None
    rows: IntArray | None = None
    influence: FloatArray | None = None

    @property
    def n(self) -> int:
        """Number of units: rows, or groups of a ranking."""
        return len(self.champion) if self.values is None else len(self.values)

    @property
    def discordant(self) -> tuple[int, int] | None:
        """Rows that only the champion and only the challenger has right; None but for plain accuracy."""
        if self.metric.name not in _SHARE_OF_HITS or self.champion.weight is not None:
            return None
        before, after = (_hits(scored) for scored in (self.champion, self.challenger))
        return int((before & ~after).sum()), int((after & ~before).sum())

    @property
    def cells(self) -> tuple[IntArray, FloatArray] | None:
        """Counts and parts of the 8 cells (outcome, decision, decision); None but for binary decisions."""
        if self.values is None or self.metric.needs != "label" or not self.champion.is_binary:
            return None
        if self.champion.weight is not None:
            return None
        truth, before, _ = class_codes(self.champion)
        code = 4 * truth + 2 * before + self.challenger.says_positive
        found, first, counts = np.unique(code, return_index=True, return_counts=True)
        return counts.astype(np.int64), self.values[first[: len(found)]]

    def improvement(self, sums: FloatArray) -> FloatArray:
        """Return the improvement for sums ``(…, 2 c)`` of the parts."""
        if self.metric.combine is None:
            raise TypeError(f"Metric '{self.metric.name}' is no function of sums.")
        c = sums.shape[-1] // 2
        return self.metric.improvement(self.metric.combine(sums[..., :c]), self.metric.combine(sums[..., c:]))

    def pseudo_values(self, codes: IntArray) -> FloatArray:
        """Return the jackknife pseudo-values of the improvement, one per block of ``codes``.

        ``codes`` number rows, shape (n,), or the units themselves, shape (u,).
        """
        if self.values is not None and self.rows is not None:
            of_unit = codes if len(codes) == len(self.rows) else codes[self.rows]
            sums = block_sums(self.values, _dense(of_unit))
            return pseudo_values(self.improvement, sums)
        if self.influence is not None:
            moved = np.bincount(_dense(codes), weights=self.influence)
            return self.difference + len(moved) * moved / len(self.influence)
        return self._by_leaving_out(_dense(codes))

    def _by_leaving_out(self, codes: IntArray) -> FloatArray:
        """Measure the metric anew without each block."""
        g = int(codes.max()) + 1
        without = [
            float(
                self.metric.improvement(
                    self.metric(self.champion.take(codes != block)),
                    self.metric(self.challenger.take(codes != block)),
                )
            )
            for block in range(g)
        ]
        return g * self.difference - (g - 1) * np.asarray(without)


_SHARE_OF_HITS = ("accuracy", "f1_micro", "precision_micro", "recall_micro")


def paired_parts(metric: Metric, champion: Scored, challenger: Scored) -> PairedParts:
    """Cut the metric of both models into parts; everything is ``nan`` on no rows."""
    before, after = metric(champion), metric(challenger)
    difference = float(metric.improvement(before, after))
    values = rows = influence = None
    if metric.components is not None and len(champion):
        first, second = metric.components(champion), metric.components(challenger)
        values, rows = np.hstack([first.values, second.values]), first.rows
    elif metric.influence is not None and metric.bounded and champion.weight is None:
        influence = metric.sign * (metric.influence(challenger) - metric.influence(champion))
    return PairedParts(
        metric=metric,
        champion=champion,
        challenger=challenger,
        before=before,
        after=after,
        difference=difference,
        values=values,
        rows=rows,
        influence=influence,
    )


def _hits(scored: Scored) -> BoolArray:
    """Return whether the decided class is right."""
    truth, called, _ = class_codes(scored)
    return np.asarray(truth == called, dtype=np.bool_)


def _dense(codes: IntArray) -> IntArray:
    """Renumber without gaps: a block may hold no unit at all."""
    used = np.bincount(codes) > 0
    return np.asarray(np.cumsum(used) - 1, dtype=np.int64)[codes]

"""What the champion's arm usually answers: the yardstick that the scores of a round are laid on."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

RANKS = 20
"""Stretches of equal share that the champion's scores are cut into."""


@dataclass(frozen=True)
class Reference:
    """Frozen before the observations that it is applied to, so that nothing of them decides how they are read.

    Attributes
    ----------
    edges : tuple of float
        Ascending; scores fall into ``len(edges) + 1`` stretches.
    ranks : tuple of float
        Mean rank (0 to 1) of the champion's scores in each stretch.
    """

    edges: tuple[float, ...]
    ranks: tuple[float, ...]

    def stretch(self, score: float) -> int:
        """Return the number of the stretch a score falls into."""
        return bisect_left(self.edges, score)

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {"edges": list(self.edges), "ranks": list(self.ranks)}

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> Reference:
        """Return the reference written by ``to_dict``."""
        return cls(tuple(plain["edges"]), tuple(plain["ranks"]))


def measure_reference(scores: Sequence[float]) -> Reference:
    """Measure the yardstick on answers of the champion.

    Scores are cut at their quantiles, below the least and above the largest; tied scores share a stretch, and a
    stretch has the mean rank of what is in it: with ``c`` scores below and ``m`` in it, ``(c + m / 2) / n``.

    Parameters
    ----------
    scores : sequence of float, shape (n,)
        Finite; without any all is one stretch of rank 1/2.
    """
    if not len(scores):
        return Reference((), (0.5,))
    known = np.sort(np.asarray(scores, dtype=np.float64))
    inner = np.quantile(known, np.arange(1, RANKS) / RANKS, method="higher")
    edges = np.unique(np.r_[np.nextafter(known[0], -math.inf), inner, known[-1]])
    up_to = np.searchsorted(known, edges, side="right") / len(known)
    bounds = np.r_[0.0, up_to, 1.0]
    ranks = (bounds[1:] + bounds[:-1]) / 2
    return Reference(tuple(edges.tolist()), tuple(ranks.tolist()))

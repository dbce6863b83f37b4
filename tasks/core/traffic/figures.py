"""Figures of an arm: what the guardrails read, small, JSON, and mergeable by addition."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class ArmFigures:
    """What happened in one arm during a round.

    Attributes
    ----------
    name : str
        The variant.
    rows, errors : int
        Rows asked for, and how many of them the variant failed to answer.
    erred : int
        Entities with at least one error.
    answered : int
        Entities with an answer.
    duels, slower : int
        How often the arm and the champion were asked for the same rows, and how often of these the arm took longer
        than the allowed ratio times the champion's time.
    ranks : tuple of (float, int)
        Rank among the champion's scores (0 to 1) of entities' first scores, and how many have it; ascending.
    """

    name: str
    rows: int = 0
    errors: int = 0
    erred: int = 0
    answered: int = 0
    duels: int = 0
    slower: int = 0
    ranks: tuple[tuple[float, int], ...] = ()

    @property
    def scored(self) -> int:
        """Entities whose first score has a rank."""
        return sum(count for _, count in self.ranks)

    @property
    def error_rate(self) -> float:
        """Errors a row; NaN without rows."""
        return self.errors / self.rows if self.rows else math.nan

    @property
    def slower_share(self) -> float:
        """Share of duels in which the arm took too long; NaN without any."""
        return self.slower / self.duels if self.duels else math.nan

    @property
    def mean_rank(self) -> float:
        """Mean rank of the scores; NaN without any."""
        return sum(rank * count for rank, count in self.ranks) / self.scored if self.scored else math.nan

    def __add__(self, other: ArmFigures) -> ArmFigures:
        """Add what another process counted in the same arm and round."""
        ranks: dict[float, int] = {}
        for rank, count in (*self.ranks, *other.ranks):
            ranks[rank] = ranks.get(rank, 0) + count
        sums = {name: getattr(self, name) + getattr(other, name) for name in _COUNTS}
        return ArmFigures(name=self.name, ranks=tuple(sorted(ranks.items())), **sums)

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form; ranks as their mean alone, which is what people read."""
        mean = None if math.isnan(self.mean_rank) else round(self.mean_rank, 6)
        return {"name": self.name, **{name: getattr(self, name) for name in _COUNTS}, "mean_rank": mean}

    def to_payload(self) -> dict[str, Any]:
        """Return the JSON form with every rank, for another process."""
        return {
            "name": self.name,
            **{name: getattr(self, name) for name in _COUNTS},
            "ranks": list(self.ranks),
        }

    @classmethod
    def from_payload(cls, plain: Mapping[str, Any]) -> ArmFigures:
        """Return the figures written by ``to_payload``; entries may have ``timed`` for ``answered``, and no duels."""
        ranks = tuple((float(rank), int(count)) for rank, count in plain["ranks"])
        known = {"answered": plain.get("timed", 0), "duels": 0, "slower": 0, **plain}
        return cls(name=plain["name"], ranks=ranks, **{name: int(known[name]) for name in _COUNTS})


_COUNTS = ("rows", "errors", "erred", "answered", "duels", "slower")

"""What happens in each arm during a round, counted on the hot path in less than a microsecond a request."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from evergreen.tasks.core.serial import Struct
from evergreen.tasks.core.traffic.plan import TrafficPlan
from evergreen.tasks.core.traffic.variant import Role

# Figures of an arm: what the guardrails read, small, JSON, and mergeable by addition.


@dataclass(frozen=True, kw_only=True)
class ArmFigures(Struct):
    """What happened in one arm during a round."""

    name: str
    """The variant."""
    rows: int = 0
    errors: int = 0
    """Rows asked for, and how many of them the variant failed to answer."""
    erred: int = 0
    """Entities with at least one error."""
    answered: int = 0
    """Entities with an answer."""
    duels: int = 0
    slower: int = 0
    """How often the arm and the champion were asked for the same rows, and how often of these the arm took
    longer than the allowed ratio times the champion's time."""
    ranks: tuple[tuple[float, int], ...] = ()
    """(float, int) each. Rank among the champion's scores (0 to 1) of entities' first scores, and how many
    have it; ascending."""

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
        return super().to_dict()

    @classmethod
    def from_payload(cls, plain: Mapping[str, Any]) -> ArmFigures:
        """Return the figures written by ``to_payload``; entries may have ``timed`` for ``answered``, and no duels."""
        return cls.from_dict({"answered": plain.get("timed", 0), **plain})


_COUNTS = ("rows", "errors", "erred", "answered", "duels", "slower")


# What the champion's arm usually answers: the yardstick that the scores of a round are laid on.


RANKS = 20
"""Stretches of equal share that the champion's scores are cut into."""


@dataclass(frozen=True)
class ScoreReference(Struct):
    """Frozen before the observations that it is applied to, so that nothing of them decides how they are read."""

    edges: tuple[float, ...]
    """Ascending; scores fall into ``len(edges) + 1`` stretches."""
    ranks: tuple[float, ...]
    """Mean rank (0 to 1) of the champion's scores in each stretch."""

    def stretch(self, score: float) -> int:
        """Return the number of the stretch a score falls into."""
        return bisect_left(self.edges, score)


def measure_reference(scores: Sequence[float]) -> ScoreReference:
    """Measure the yardstick on answers of the champion.

    Scores are cut at their quantiles, below the least and above the largest; tied scores share a stretch, and a
    stretch has the mean rank of what is in it: with ``c`` scores below and ``m`` in it, ``(c + m / 2) / n``.

    Parameters
    ----------
    scores : sequence of float, shape (n,)
        Finite; without any all is one stretch of rank 1/2.
    """
    if not len(scores):
        return ScoreReference((), (0.5,))
    known = np.sort(np.asarray(scores, dtype=np.float64))
    inner = np.quantile(known, np.arange(1, RANKS) / RANKS, method="higher")
    edges = np.unique(np.r_[np.nextafter(known[0], -math.inf), inner, known[-1]])
    up_to = np.searchsorted(known, edges, side="right") / len(known)
    bounds = np.r_[0.0, up_to, 1.0]
    ranks = (bounds[1:] + bounds[:-1]) / 2
    return ScoreReference(tuple(edges.tolist()), tuple(ranks.tolist()))


WARM_UP = 200
"""Answers of the champion that the first reference is measured on; none of them is judged by it."""
RECENT = 500
"""Newest answers of the champion that the next round's reference is measured on."""
_ALONE = measure_reference([])
"""Where the champion answers nobody all scores are alike."""


class RoundCounts:
    """Counters of one round of one process; not safe for several threads.

    A round lasts from one judgement to the next. Of each entity only its first answer in the round gives a score, and
    its first error counts as an erring entity: an entity stays in its arm, so that its rows are no independent
    evidence, however many there are. How long an arm takes is counted by duels, whatever it answers.

    Parameters
    ----------
    plan : TrafficPlan
        The arms, addressed by their place in ``plan.variants`` (``Route.index``).
    latency_ratio : float
        How many times as long as the champion others may take for the same rows.
    reference : Reference | None
        The champion's usual answers; None: measured on its first ``WARM_UP`` answers of this round.
    most_entities : int
        Entities a round tells apart; of later ones rows and errors alone are counted, in every arm from then on.
    """

    def __init__(
        self,
        plan: TrafficPlan,
        *,
        latency_ratio: float,
        reference: ScoreReference | None = None,
        most_entities: int = 100_000,
    ) -> None:
        many = len(plan.variants)
        self.plan = plan
        self.reference: ScoreReference | None = None
        self._ratio, self._most_entities = latency_ratio, most_entities
        self._answers = [one.role is not Role.SHADOW for one in plan.variants]
        self._rows, self._errors, self._erred = [0] * many, [0] * many, [0] * many
        self._duels, self._slower = [0] * many, [0] * many
        self._stretches: list[list[int]] = [[] for _ in plan.variants]
        self._edges: tuple[float, ...] = ()
        answering: set[int] = set()  # one for all arms: they stop together when it is full
        self._seen = [set() if one.role is Role.SHADOW else answering for one in plan.variants]
        self._failed: set[int] = set()
        self._recent: deque[float] = deque(maxlen=RECENT)
        if reference is None and not plan.champion.cells:
            reference = _ALONE
        if reference is not None:
            self._take(reference)

    def add(self, index: int, hashed: int, score: float) -> None:
        """Count one answered row.

        Parameters
        ----------
        index : int
            Place of the variant in the plan.
        hashed : int
            The entity's (or the prediction id's) hash under the plan's salt (``Assigner.hash``).
        score : float
            P(positive), the largest probability, or the prediction; finite.
        """
        self._rows[index] += 1
        seen = self._seen[index]
        if hashed in seen or len(seen) >= self._most_entities:
            return
        if self.reference is None:
            self._warm_up(index, score)
            return
        seen.add(hashed)
        self._stretches[index][bisect_left(self._edges, score)] += 1
        if not index:
            self._recent.append(score)

    def add_error(self, index: int, hashed: int) -> None:
        """Count one row that the variant failed to answer (what was wrong with the request itself is none)."""
        self._rows[index] += 1
        self._errors[index] += 1
        room = len(self._failed) < self._most_entities
        if self._answers[index] and hashed not in self._failed and room:
            self._failed.add(hashed)
            self._erred[index] += 1

    def add_duel(self, index: int, *, seconds: float, usual: float) -> None:
        """Count that the variant took so many seconds for some rows, and the champion ``usual`` for the same."""
        self._duels[index] += 1
        self._slower[index] += seconds > self._ratio * usual

    @property
    def rows(self) -> tuple[int, ...]:
        """Rows of each variant so far."""
        return tuple(self._rows)

    def figures(self) -> tuple[ArmFigures, ...]:
        """Return what was counted so far, by variant."""
        ranks = self.reference.ranks if self.reference is not None else ()
        return tuple(
            ArmFigures(
                name=one.name,
                rows=self._rows[n],
                errors=self._errors[n],
                erred=self._erred[n],
                answered=sum(self._stretches[n]),
                duels=self._duels[n],
                slower=self._slower[n],
                ranks=tuple(
                    (rank, count) for rank, count in zip(ranks, self._stretches[n], strict=False) if count
                ),
            )
            for n, one in enumerate(self.plan.variants)
        )

    def next_round(self, plan: TrafficPlan) -> RoundCounts:
        """Return empty counters for the next round, with the champion's newest answers as their reference.

        When the champion itself was replaced, begin anew without a reference instead.
        """
        reference = None if self.reference is _ALONE else self.reference
        if reference is not None and len(self._recent) >= WARM_UP:
            reference = measure_reference(self._recent)
        return RoundCounts(
            plan, latency_ratio=self._ratio, reference=reference, most_entities=self._most_entities
        )

    def _warm_up(self, index: int, score: float) -> None:
        if index:
            return
        self._recent.append(score)
        if len(self._recent) >= WARM_UP:
            self._take(measure_reference(self._recent))

    def _take(self, reference: ScoreReference) -> None:
        self.reference = reference
        self._edges = reference.edges
        self._stretches = [[0] * (len(reference.edges) + 1) for _ in self._rows]

"""What happens in each arm during a round, counted on the hot path in less than a microsecond a request."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from evergreen.tasks.core.serial import Struct
from evergreen.tasks.core.traffic.plan import TrafficPlan
from evergreen.tasks.core.traffic.variant import Role

# Figures of an arm: what the guardrails read.


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
    probes: int = field(default=0, metadata={"key": "duels"})
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
        """Share of latency probes in which the arm took too long; NaN without any."""
        return self.slower / self.probes if self.probes else math.nan

    @property
    def mean_rank(self) -> float:
        """Mean rank of the scores; NaN without any."""
        return sum(rank * count for rank, count in self.ranks) / self.scored if self.scored else math.nan

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form; ranks as their mean alone, which is what people read."""
        plain = super().to_dict()
        plain.pop("ranks")
        return {**plain, "mean_rank": None if math.isnan(self.mean_rank) else round(self.mean_rank, 6)}

    def to_payload(self) -> dict[str, Any]:
        """Return the JSON form with every rank, for another process."""
        return super().to_dict()

    @classmethod
    def from_payload(cls, plain: Mapping[str, Any]) -> ArmFigures:
        """Return the figures written by ``to_payload``; earlier entries have ``timed`` for ``answered``, no probes."""
        return cls.from_dict({"answered": plain.get("timed", 0), **plain})


# What the champion's arm usually answers: the reference by which the scores of a round are ranked.


RANKS = 20
"""Bins of equal share that the champion's scores are cut into."""


@dataclass(frozen=True)
class ScoreReference(Struct):
    """Frozen before the observations that it is applied to, so that nothing of them decides how they are read."""

    edges: tuple[float, ...]
    """Ascending; scores fall into ``len(edges) + 1`` bins."""
    ranks: tuple[float, ...]
    """Mean rank (0 to 1) of the champion's scores in each bin."""


def measure_reference(scores: Sequence[float]) -> ScoreReference:
    """Measure the reference on answers of the champion.

    Scores are cut at their quantiles, below the least and above the largest; tied scores share a bin, and a
    bin has the mean rank of what is in it: with ``c`` scores below and ``m`` in it, ``(c + m / 2) / n``.

    Parameters
    ----------
    scores : sequence of float, shape (n,)
        Finite; without any all is one bin of rank 1/2.
    """
    if not len(scores):
        return ScoreReference((), (0.5,))
    ordered = np.sort(np.asarray(scores, dtype=np.float64))
    inner = np.quantile(ordered, np.arange(1, RANKS) / RANKS, method="higher")
    edges = np.unique(np.r_[np.nextafter(ordered[0], -math.inf), inner, ordered[-1]])
    up_to = np.searchsorted(ordered, edges, side="right") / len(ordered)
    bounds = np.r_[0.0, up_to, 1.0]
    ranks = (bounds[1:] + bounds[:-1]) / 2
    return ScoreReference(tuple(edges.tolist()), tuple(ranks.tolist()))


WARM_UP = 200
"""Answers of the champion that the first reference is measured on; none of them is judged by it."""
RECENT = 500
"""Newest answers of the champion that the next round's reference is measured on."""
_ALONE = measure_reference([])
"""Where the champion answers no request all scores are alike."""


class RoundCounts:
    """Counters of one round of one process; not safe for several threads.

    A round lasts from one judgement to the next. Of each entity only its first answer in the round gives a score, and
    its first error counts as an erring entity: an entity stays in its arm, so that its rows are no independent
    evidence, however many there are. How long an arm takes is counted by latency probes, whatever it answers.

    Parameters
    ----------
    plan : TrafficPlan
        The arms, addressed by their place in ``plan.variants`` (``Route.index``).
    latency_ratio : float
        How many times as long as the champion others may take for the same rows.
    reference : Reference | None
        The champion's usual answers; None: measured on its first ``WARM_UP`` answers of this round.
    most_entities : int
        Entities a round distinguishes; of later ones rows and errors alone are counted, in every arm from then on.
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
        self._probes, self._slower = [0] * many, [0] * many
        self._bins: list[list[int]] = [[] for _ in plan.variants]
        self._edges: tuple[float, ...] = ()
        answering: set[int] = set()  # one for all arms: they stop together when it is full
        self._counted = [set() if one.role is Role.SHADOW else answering for one in plan.variants]
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
        counted = self._counted[index]
        if hashed in counted or len(counted) >= self._most_entities:
            return
        if index == 0:
            self._recent.append(score)
        if self.reference is not None:
            counted.add(hashed)
            self._bins[index][bisect_left(self._edges, score)] += 1
        elif index == 0 and len(self._recent) >= WARM_UP:
            self._take(measure_reference(self._recent))

    def add_error(self, index: int, hashed: int) -> None:
        """Count one row that the variant failed to answer (what was wrong with the request itself is none)."""
        self._rows[index] += 1
        self._errors[index] += 1
        room = len(self._failed) < self._most_entities
        if self._answers[index] and hashed not in self._failed and room:
            self._failed.add(hashed)
            self._erred[index] += 1

    def add_probe(self, index: int, *, seconds: float, usual: float) -> None:
        """Count that the variant took so many seconds for some rows, and the champion ``usual`` for the same."""
        self._probes[index] += 1
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
                answered=sum(self._bins[n]),
                probes=self._probes[n],
                slower=self._slower[n],
                ranks=tuple(one for one in zip(ranks, self._bins[n], strict=False) if one[1]),
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

    def _take(self, reference: ScoreReference) -> None:
        self.reference = reference
        self._edges = reference.edges
        self._bins = [[0] * (len(reference.edges) + 1) for _ in self._rows]

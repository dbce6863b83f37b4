"""What happens in each arm during a round, counted on the hot path in less than a microsecond a request."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import deque

from tasks.core.traffic.figures import ArmFigures
from tasks.core.traffic.plan import TrafficPlan
from tasks.core.traffic.reference import Reference, measure_reference
from tasks.core.traffic.variant import Role

MOST_ENTITIES = 100_000
"""Entities a round tells apart; of later ones rows and errors alone are counted, in every arm from then on."""
WARM_UP = 200
"""Answers of the champion that the first reference is measured on; none of them is judged by it."""
RECENT = 500
"""Newest answers of the champion that the next round's reference is measured on."""


class RoundCounts:
    """Counters of one round of one process; not safe for several threads.

    A round lasts from one judgement to the next. Of each entity only its first answer in the round gives a latency
    and a score, and its first error counts as an erring entity: an entity stays in its arm, so that its rows are no
    independent evidence, however many there are.

    Parameters
    ----------
    plan : TrafficPlan
        The arms, addressed by their place in ``plan.variants`` (``Route.index``).
    latency_ratio : float
        How many times as slow as the champion others may be.
    reference : Reference | None
        The champion's usual answers; None: measured on its first ``WARM_UP`` answers of this round.
    """

    def __init__(
        self, plan: TrafficPlan, *, latency_ratio: float, reference: Reference | None = None
    ) -> None:
        many = len(plan.variants)
        self.plan = plan
        self.reference: Reference | None = None
        self._ratio = latency_ratio
        self._answers = [one.role is not Role.SHADOW for one in plan.variants]
        self._rows, self._errors, self._erred = [0] * many, [0] * many, [0] * many
        self._slow = [0] * many
        self._stretches: list[list[int]] = [[] for _ in plan.variants]
        self._limits = [math.inf] * many
        self._edges: tuple[float, ...] = ()
        answering: set[int] = set()  # one for all arms: they stop together when it is full
        self._seen = [set() if one.role is Role.SHADOW else answering for one in plan.variants]
        self._failed: set[int] = set()
        self._recent: deque[tuple[float, float]] = deque(maxlen=RECENT)
        if reference is not None:
            self._take(reference)

    def add(self, index: int, hashed: int, latency: float, score: float) -> None:
        """Count one answered row.

        Parameters
        ----------
        index : int
            Place of the variant in the plan.
        hashed : int
            The entity's (or the prediction id's) hash under the plan's salt (``Assigner.hash``).
        latency : float
            Seconds the variant took for the request.
        score : float
            P(positive), the largest probability, or the prediction; finite.
        """
        self._rows[index] += 1
        seen = self._seen[index]
        if hashed in seen or len(seen) >= MOST_ENTITIES:
            return
        if self.reference is None:
            self._warm_up(index, latency, score)
            return
        seen.add(hashed)
        if latency > self._limits[index]:
            self._slow[index] += 1
        self._stretches[index][bisect_left(self._edges, score)] += 1
        if not index:
            self._recent.append((latency, score))

    def add_error(self, index: int, hashed: int) -> None:
        """Count one row that the variant failed to answer (what was wrong with the request itself is none)."""
        self._rows[index] += 1
        self._errors[index] += 1
        if self._answers[index] and hashed not in self._failed and len(self._failed) < MOST_ENTITIES:
            self._failed.add(hashed)
            self._erred[index] += 1

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
                timed=sum(self._stretches[n]),
                slow=self._slow[n],
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
        reference = self.reference
        if reference is not None and len(self._recent) >= WARM_UP:
            reference = measure_reference(*zip(*self._recent, strict=True))
        return RoundCounts(plan, latency_ratio=self._ratio, reference=reference)

    def _warm_up(self, index: int, latency: float, score: float) -> None:
        if index:
            return
        self._recent.append((latency, score))
        if len(self._recent) >= WARM_UP:
            self._take(measure_reference(*zip(*self._recent, strict=True)))

    def _take(self, reference: Reference) -> None:
        self.reference = reference
        self._edges = reference.edges
        self._limits = [reference.slow_over * (self._ratio if n else 1.0) for n in range(len(self._rows))]
        self._stretches = [[0] * (len(reference.edges) + 1) for _ in self._rows]

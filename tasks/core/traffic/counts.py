"""What happens in each arm during a round, counted on the hot path in less than a microsecond a request."""

from __future__ import annotations

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
        if hashed in seen or len(seen) >= MOST_ENTITIES:
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
        if self._answers[index] and hashed not in self._failed and len(self._failed) < MOST_ENTITIES:
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
        return RoundCounts(plan, latency_ratio=self._ratio, reference=reference)

    def _warm_up(self, index: int, score: float) -> None:
        if index:
            return
        self._recent.append(score)
        if len(self._recent) >= WARM_UP:
            self._take(measure_reference(self._recent))

    def _take(self, reference: Reference) -> None:
        self.reference = reference
        self._edges = reference.edges
        self._stretches = [[0] * (len(reference.edges) + 1) for _ in self._rows]

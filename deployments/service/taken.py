"""Versions that were taken and may answer, and those that were refused, of one model."""

from __future__ import annotations

import logging
from collections.abc import Collection

from deployments.service.live import Arm, Refusal, ServedVersion
from deployments.service.loading import check_columns, public_reason, reason_of, take_version
from deployments.service.metrics import Metrics
from tasks.core.traffic.ensemble import agreed_classes
from tasks.core.traffic.plan import TrafficPlan
from tasks.core.traffic.variant import Role, Variant
from tasks.io.clock import utc_now
from tasks.io.serving_cache import ServingCache
from tasks.io.setup import Setup

logger = logging.getLogger(__name__)

_FORMER = 2
"""Versions kept in memory, and on disk, after they have answered last."""
_AGAIN_S = 10.0
"""A refused version is tried again after this: what is wrong may be this machine."""


class Taken:
    """Takes each version once, and remembers what came of it; for one thread.

    Parameters
    ----------
    setup : Setup
        The model.
    cache : ServingCache
        Where versions are loaded from.
    metrics : Metrics
        Counts refusals.
    """

    def __init__(self, setup: Setup, cache: ServingCache, *, metrics: Metrics) -> None:
        self._setup, self._cache = setup, cache
        self._refusals = metrics.refused.labels(setup.model)
        self._loaded: dict[int, ServedVersion] = {}
        self._refused: dict[int, Refusal] = {}

    def take(self, number: int, role: str) -> ServedVersion | None:
        """Return a version that may answer; None when it is refused."""
        if number in self._loaded:
            return self._loaded[number]
        former = self._refused.get(number)
        if former is not None and (utc_now() - former.at).total_seconds() < _AGAIN_S:
            return None
        try:
            version = take_version(self._setup, self._cache, number)
        except Exception as error:  # files, code and answers are the author's; none may stop the service
            self._refuse(number, role, error)
            return None
        self._loaded[number] = version
        self._refused.pop(number, None)
        form = version.model.form
        logger.info("%s: version %d loaded (%s) for '%s'", self._setup.model, number, form, role)
        return version

    def arms(self, plan: TrafficPlan, champion: ServedVersion) -> dict[str, Arm]:
        """Return the arms that can answer, the champion's among them."""
        first = Arm(variant=plan.champion, members=((champion, 1.0),), threshold=champion.threshold)
        made = {one.name: self._arm(one, champion) for one in plan.variants[1:]}
        return {Role.CHAMPION.value: first, **{name: arm for name, arm in made.items() if arm is not None}}

    def refusals(self, wanted: Collection[int]) -> tuple[Refusal, ...]:
        """Return the refusals of versions that are wanted; others are forgotten."""
        self._refused = {number: one for number, one in self._refused.items() if number in wanted}
        return tuple(self._refused.values())

    def keep(self, needed: Collection[int]) -> frozenset[int]:
        """Let go of versions that do not answer any more, but for the newest ones: a way back is taken at once.

        Returns
        -------
        frozenset of int
            Those that are kept.
        """
        former = [number for number in self._loaded if number not in needed]
        for number in former[:-_FORMER]:
            del self._loaded[number]
        for number in needed:  # whoever answers now is the last to be let go
            self._loaded[number] = self._loaded.pop(number)
        return frozenset(self._loaded)

    def _arm(self, variant: Variant, champion: ServedVersion) -> Arm | None:
        """Return the arm of a variant; None when one of its versions will not do, so that the champion answers."""
        taken = [(self.take(version, variant.name), weight) for version, weight in variant.members]
        members = tuple((version, weight) for version, weight in taken if version is not None)
        if len(members) < len(taken):
            return None
        try:
            for version, _ in members:
                check_columns(champion.model.signature, version.model.signature)
            agreed_classes({one.number: one.classes for one, _ in members}, name=variant.name)
        except Exception as error:  # whatever is wrong with it, the champion answers in its place
            self._refuse(members[0][0].number, variant.name, error)
            return None
        for version, _ in members:
            self._refused.pop(version.number, None)
        return Arm(variant=variant, members=members, threshold=champion.threshold)

    def _refuse(self, number: int, role: str, error: Exception) -> None:
        detail = reason_of(error)
        if number not in self._refused:
            logger.error("%s: version %d is refused for '%s': %s", self._setup.model, number, role, detail)
            self._refusals.inc()
        self._refused[number] = Refusal(
            version=number, role=role, why=public_reason(error), detail=detail, at=utc_now()
        )

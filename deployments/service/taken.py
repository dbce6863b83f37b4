"""Versions that were taken and may answer, and those that were refused, of one model."""

from __future__ import annotations

import logging
from collections.abc import Collection
from typing import Any

from deployments.service.attempt import Attempt, TookTooLong
from deployments.service.live import Arm, Refusal, ServedVersion
from deployments.service.loading import check_columns, detail_of, public_reason, take_version
from deployments.service.metrics import Metrics
from tasks.core.serving.smoke import SmokeFailed
from tasks.core.traffic.ensemble import agreed_classes
from tasks.core.traffic.plan import TrafficPlan
from tasks.core.traffic.variant import Role, Variant
from tasks.io.clock import utc_now
from tasks.io.serving_cache import ServingCache
from tasks.io.setup import Setup

logger = logging.getLogger(__name__)

_FORMER = 2
"""Versions kept in memory, and on disk, after they have answered last."""
_AGAIN_S, _LONGEST_S = 10.0, 300.0
"""A refused version is tried again after this, and after twice as long each time: what is wrong may be this machine.

What could not be fetched is tried again after the first: the registry is wrong, not the version.
"""
_FETCHED = "it was fetched"
_LIMIT_S = 60.0
"""A version that takes longer to load, compile and answer its own example is refused; fetching it is not counted."""


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
        self._running: dict[int, Attempt] = {}

    def take(self, number: int, role: str) -> ServedVersion | None:
        """Return a version that may answer; None when it is refused."""
        if number in self._loaded:
            return self._loaded[number]
        former = self._refused.get(number)
        if former is not None and (utc_now() - former.at).total_seconds() < _pause_s(former.times):
            return None
        when = _FETCHED
        try:
            facts = self._cache.fetch(number)
            when = "it was loaded"
            version = self._attempt(number, facts)
        except Exception as error:  # files, code and answers are the author's; none may stop the service
            asked = "it was asked for its own example"
            self._refuse(number, role, error, when=asked if isinstance(error, SmokeFailed) else when)
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
            Those that are kept, and those that are being made ready by an attempt that was given up.
        """
        former = [number for number in self._loaded if number not in needed]
        for number in former[:-_FORMER]:
            del self._loaded[number]
        for number in needed:  # whoever answers now is the last to be let go
            self._loaded[number] = self._loaded.pop(number)
        return frozenset({*self._loaded, *self._running})

    def _attempt(self, number: int, facts: dict[str, Any]) -> ServedVersion:
        """Return a version that is ready; where a former attempt was given up, ask what came of it alone."""
        former = self._running.pop(number, None)
        attempt = former or Attempt(
            lambda: take_version(self._setup, self._cache, number, facts),
            name=f"evergreen-take-{self._setup.model}-{number}",
        )
        try:
            return attempt.result(within_s=0.0 if former else _LIMIT_S)
        except TookTooLong:
            self._running[number] = attempt
            raise

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

    def _refuse(self, number: int, role: str, error: Exception, *, when: str = "it was compared") -> None:
        detail, former = detail_of(error), self._refused.get(number)
        if former is None:
            logger.error("%s: version %d is refused for '%s': %s", self._setup.model, number, role, detail)
            self._refusals.inc()
        self._refused[number] = Refusal(
            version=number,
            role=role,
            why=public_reason(error, when=when),
            detail=detail,
            at=utc_now(),
            times=1 if former is None else former.times + (when != _FETCHED),
        )


def _pause_s(times: int) -> float:
    """Return the seconds until a version that was refused so often is tried again.

    >>> [_pause_s(times) for times in (1, 2, 3, 6, 1000)]
    [10.0, 20.0, 40.0, 300.0, 300.0]
    """
    return min(_AGAIN_S * 2.0 ** min(times - 1, 10), _LONGEST_S)

"""What is served, noted on disk for a restart; what a full disk does not take is noted once it does."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping

from deployments.service.loading import reason_of
from tasks.core.traffic.decide import TrafficDecision, renew_stop
from tasks.core.traffic.plan import TrafficPlan
from tasks.core.traffic.state import TrafficState
from tasks.io.clock import utc_now
from tasks.io.serving_cache import ServingCache

logger = logging.getLogger(__name__)


class Noted:
    """Keeps the note of what one model serves, and removes copies of what is not served; for one thread.

    Parameters
    ----------
    model : str
        Registered model name.
    cache : ServingCache
        Where the note lies, beside the copies.
    """

    def __init__(self, model: str, cache: ServingCache) -> None:
        self._model, self._cache = model, cache
        self._due: tuple[Mapping[str, int], TrafficPlan, Collection[int]] | None = None
        self._failed = False

    def went_live(self, aliases: Mapping[str, int], plan: TrafficPlan, *, kept: Collection[int]) -> None:
        """Take what is to be noted, and the versions whose copies stay; `settle` does it."""
        self._due = (dict(aliases), plan, kept)

    def settle(self) -> None:
        """Note what is due, and only then remove other copies; nothing is lost where the disk does not take it."""
        if self._due is None:
            return
        aliases, plan, kept = self._due
        try:
            self._cache.remember(dict(aliases), traffic=plan.to_dict(), at=utc_now())
            self._cache.prune(kept)
        except OSError as error:
            if not self._failed:
                logger.error("%s: what is live cannot be noted: %s", self._model, reason_of(error))
            self._failed = True
            return
        self._due, self._failed = None, False


class KeptStop:
    """The stop that holds here until the ledger has it, or better: on disk before it takes effect, for a restart.

    Parameters
    ----------
    model : str
        Registered model name.
    cache : ServingCache
        Where it lies.

    Attributes
    ----------
    decision : TrafficDecision | None
        The stop; at first the one that a former process left. None where none holds.
    """

    def __init__(self, model: str, cache: ServingCache) -> None:
        self._model, self._cache = model, cache
        kept = cache.kept_stop()
        self.decision = None if kept is None else TrafficDecision.stop_from_payload(kept)
        self._over: TrafficDecision | None = None

    def note(self, stop: TrafficDecision) -> None:
        """Write a stop to disk; one that the disk does not take holds until this process ends."""
        try:
            self._cache.keep_stop(stop.to_payload())
        except OSError as error:
            logger.error("%s: the stop cannot be noted: %s", self._model, reason_of(error))

    def laid_on(self, state: TrafficState) -> TrafficState | None:
        """Return traffic with the stop laid on it; None where there is none, or nothing left for it to stop."""
        renewed = None if self.decision is None else renew_stop(self.decision, state)
        return None if renewed is None else renewed.state

    def let_go(self) -> None:
        """Hold the stop no more: the ledger has it, or better."""
        self._over, self.decision = self.decision or self._over, None

    def settle(self) -> None:
        """Remove the note of a stop that was let go, unless a start by the note of what was live would undo it."""
        if self._over is None:
            return
        last = self._cache.last_good()
        was_live = TrafficState(plan=TrafficPlan.from_dict(last["traffic"])) if last else None
        if was_live is None or renew_stop(self._over, was_live) is None:
            self._cache.forget_stop(self._over.to_payload())
            self._over = None

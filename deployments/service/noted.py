"""What is served, noted on disk for a restart; what a full disk does not take is noted once it does."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping

from deployments.service.loading import reason_of
from tasks.core.traffic.plan import TrafficPlan
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

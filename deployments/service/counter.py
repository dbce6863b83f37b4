"""What every request for one model passes: the guard, the limits, the desk."""

from __future__ import annotations

import asyncio

from deployments.service.desk import Desk
from deployments.service.guard import Guard
from deployments.service.live import ServedModel
from deployments.service.metrics import Metrics, Tally
from deployments.service.patience import Patience
from deployments.service.positions import Positions
from deployments.service.problems import Receive, Scope
from deployments.service.reading import Head, read_body
from tasks.core.access.bucket import Buckets
from tasks.core.serving.refused import Limits


class Counter:
    """One model's counter.

    Parameters
    ----------
    served : ServedModel
        The model.
    guard : Guard
        Lets requests in.
    desk : Desk
        Predicts.
    positions : Positions
        Tells where rows stand on the clock.
    metrics : Metrics
        Where answers are counted.
    patience : Patience
        How long a client may take to send.
    """

    def __init__(
        self,
        served: ServedModel,
        *,
        guard: Guard,
        desk: Desk,
        positions: Positions,
        metrics: Metrics,
        patience: Patience,
    ) -> None:
        config = served.config.serving
        self.served, self.guard, self.desk, self.positions = served, guard, desk, positions
        self.loop = asyncio.get_running_loop()
        self.timeout = config.timeout.amount
        self.limits = Limits(body_bytes=int(config.max_body_mb * 1e6), rows=config.max_rows)
        self._buckets = Buckets(config.rate_limit, config.rate_burst) if config.rate_limit else None
        self._metrics, self._patience = metrics, patience

    def admit(self, head: Head, scope: Scope) -> None:
        """Let a request in, and take a token of who asks; errors as the guard's."""
        self.guard.hold_back(self._buckets, self.guard.admit(head.secret, scope))

    async def read(self, receive: Receive, head: Head) -> bytes:
        """Return a request's body, within the limits."""
        return await read_body(
            receive, head, most=self.limits.body_bytes, timeout=self.timeout, patience=self._patience
        )

    def tally(self, endpoint: str) -> Tally:
        """Return what counts the answers of an endpoint."""
        return Tally(self._metrics, self.served.name, endpoint)

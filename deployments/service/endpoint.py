"""An ASGI endpoint whose every answer is JSON, counted, and never a traceback."""

from __future__ import annotations

import asyncio
import logging
import time
from abc import ABC, abstractmethod

from evergreen.deployments.service.access import Authenticator
from evergreen.deployments.service.batching import Batcher
from evergreen.deployments.service.errors import (
    ClientGone,
    Headers,
    Receive,
    RequestProblem,
    Scope,
    Send,
    internal,
    place_of,
    problem_answer,
    send_answer,
)
from evergreen.deployments.service.live import ServedModel
from evergreen.deployments.service.metrics import ServiceMetrics, Tally
from evergreen.deployments.service.positions import EventTimes
from evergreen.deployments.service.request import ReadDeadline, RequestHead, read_body
from evergreen.tasks.core.serving.access import Buckets
from evergreen.tasks.core.serving.answers import RequestLimits

# What every request for one model passes: the guard, the limits, the desk.


class ModelEndpoint:
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
        guard: Authenticator,
        desk: Batcher,
        positions: EventTimes,
        metrics: ServiceMetrics,
        patience: ReadDeadline,
    ) -> None:
        config = served.config.serving
        self.served, self.guard, self.desk, self.positions = served, guard, desk, positions
        self.loop = asyncio.get_running_loop()
        self.timeout = config.timeout.amount
        self.limits = RequestLimits(body_bytes=int(config.max_body_mb * 1e6), rows=config.max_rows)
        self._buckets = Buckets(config.rate_limit, config.rate_burst) if config.rate_limit else None
        self._metrics, self._patience = metrics, patience

    def admit(self, head: RequestHead, scope: Scope) -> None:
        """Let a request in, and take a token of who asks; errors as the guard's."""
        self.guard.hold_back(self._buckets, self.guard.admit(head.secret, scope))

    async def read(self, receive: Receive, head: RequestHead) -> bytes:
        """Return a request's body, within the limits."""
        return await read_body(
            receive, head, most=self.limits.body_bytes, timeout=self.timeout, patience=self._patience
        )

    def tally(self, endpoint: str) -> Tally:
        """Return what counts the answers of an endpoint."""
        return Tally(self._metrics, self.served.name, endpoint)


logger = logging.getLogger(__name__)


class Endpoint(ABC):
    """An endpoint of one model.

    Parameters
    ----------
    counter : Counter
        The model, and all that its requests pass.
    name : str
        Its name in metrics.
    """

    def __init__(self, counter: ModelEndpoint, *, name: str) -> None:
        self._counter, self._name = counter, name
        self._tally = counter.tally(name)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        started = time.perf_counter()
        headers: Headers = []
        try:
            status, body = 200, await self.respond(scope, receive)
        except RequestProblem as problem:
            status, body, headers = problem_answer(problem)
        except ClientGone:
            return
        except (
            Exception
        ) as error:  # a bug of ours: the client hears that, the server's log where, nobody a row
            logger.error(
                "%s %s: %s at %s",
                self._counter.served.name,
                self._name,
                type(error).__name__,
                place_of(error),
            )
            status, body, headers = problem_answer(internal())
        await send_answer(send, status, body, headers)
        self._tally.count(status, time.perf_counter() - started)

    @abstractmethod
    async def respond(self, scope: Scope, receive: Receive) -> bytes:
        """Return the body of the answer to a request that is in order; raise `Problem` otherwise."""

"""An ASGI endpoint whose every answer is JSON, counted, and never a traceback."""

from __future__ import annotations

import logging
import time
from abc import ABC, abstractmethod

from deployments.service.counter import Counter
from deployments.service.problems import (
    Gone,
    Headers,
    Problem,
    Receive,
    Scope,
    Send,
    internal,
    problem_answer,
    send_answer,
)
from deployments.service.trouble import place_of

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

    def __init__(self, counter: Counter, *, name: str) -> None:
        self._counter, self._name = counter, name
        self._tally = counter.tally(name)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        started = time.perf_counter()
        headers: Headers = []
        try:
            status, body = 200, await self.respond(scope, receive)
        except Problem as problem:
            status, body, headers = problem_answer(problem)
        except Gone:
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

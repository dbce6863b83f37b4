"""The endpoint that must be fast: bytes in, bytes out, nothing of a framework between them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from deployments.service.asked import Asked, ids_of
from deployments.service.counter import Counter
from deployments.service.endpoint import Endpoint
from deployments.service.problems import Receive, Scope, loading
from deployments.service.reading import Head, other_model, read_head
from deployments.service.trouble import problem_of
from tasks.core.serving.decode import decode
from tasks.core.serving.refused import Refused
from tasks.io.served import Served

Answer = Callable[[str, Sequence[Served]], bytes]
_LARGE = 65_536
"""Larger bodies are decoded in a thread, so that the loop goes on answering others."""


class Predict(Endpoint):
    """``POST /models/{model}/predict`` and its kin, for one model.

    Parameters
    ----------
    counter : Counter
        The model, and all that its requests pass.
    answer : callable
        Shape of the answer.
    endpoint : str
        Its name in metrics.
    """

    def __init__(self, counter: Counter, *, answer: Answer, endpoint: str) -> None:
        super().__init__(counter, name=endpoint)
        self._answer = answer

    async def respond(self, scope: Scope, receive: Receive) -> bytes:
        """Return the body of the answer."""
        counter = self._counter
        head = read_head(scope["headers"])
        who = counter.admit(head, scope)
        if head.model not in (None, counter.served.name):
            raise other_model(str(head.model), counter.served.name)
        body = await counter.read(receive, head)
        asked = await self._ask(body, head, who)
        rows = await counter.desk.ask(asked)
        return self._answer(counter.served.name, rows)

    async def _ask(self, body: bytes, head: Head, who: str) -> Asked:
        """Return the request with its rows checked."""
        counter = self._counter
        live = counter.served.live
        if live is None:
            raise loading(counter.served.name, counter.served.waits_for or "")
        try:
            if len(body) > _LARGE:
                batch = await asyncio.to_thread(decode, body, signature=live.signature, limits=counter.limits)
            else:
                batch = decode(body, signature=live.signature, limits=counter.limits)
        except Refused as refused:
            raise problem_of(refused, counter.served.name) from None
        ids, keyed = ids_of(batch, key=head.idempotency_key, who=who if counter.guard.keys.guarded else "")
        return Asked(
            batch=batch,
            live=live,
            ids=ids,
            keyed=keyed,
            positions=counter.positions.of(batch),
            deadline=counter.loop.time() + counter.timeout,
            future=counter.loop.create_future(),
        )

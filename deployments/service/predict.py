"""The endpoint that must be fast: bytes in, bytes out, nothing of a framework between them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from deployments.service.asked import Asked, ids_of
from deployments.service.counter import Counter
from deployments.service.endpoint import Endpoint
from deployments.service.problems import Problem, Receive, Scope, loading
from deployments.service.reading import other_model, read_head
from deployments.service.trouble import problem_of
from tasks.core.serving.body import read_body
from tasks.core.serving.claims import Claim, claim_of
from tasks.core.serving.decode import decode
from tasks.core.serving.refused import Refused
from tasks.io.served import Served

Answer = Callable[[str, Sequence[Served]], bytes]
_LARGE = 65_536
"""Larger bodies are decoded in a thread, so that the loop goes on answering others."""

_OF_A_VERSION = (413, 422)
"""What a version, or today's limits, may refuse although another one has answered it."""


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
        counter.admit(head, scope)
        if head.model not in (None, counter.served.name):
            raise other_model(str(head.model), counter.served.name)
        body = await counter.read(receive, head)
        try:
            asked = await self._ask(body, head.idempotency_key)
            rows = await counter.desk.ask(asked)
        except Problem as problem:
            rows = await self._first_answers(problem, body, head.idempotency_key)
        return self._answer(counter.served.name, rows)

    async def _ask(self, body: bytes, key: str | None) -> Asked:
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
            claim = None if key is None and batch.ids is None else self._claim(body, key)
        except Refused as refused:
            raise problem_of(refused, counter.served.name) from None
        return Asked(
            batch=batch,
            live=live,
            ids=ids_of(batch, claim),
            digests=None if claim is None else claim.digests,
            positions=counter.positions.of(batch),
            deadline=counter.loop.time() + counter.timeout,
            future=counter.loop.create_future(),
        )

    async def _first_answers(self, problem: Problem, body: bytes, key: str | None) -> Sequence[Served]:
        """Return what a request was answered when it came first, maybe by another version; else raise its problem."""
        if problem.status not in _OF_A_VERSION or (key is None and b'"ids"' not in body):
            raise problem
        try:
            claim = self._claim(body, key)
        except Refused:
            raise problem from None
        first = await self._counter.desk.first_answers(claim) if claim else None
        if first is None:
            raise problem
        return first

    def _claim(self, body: bytes, key: str | None) -> Claim | None:
        document = read_body(body, limits=self._counter.limits)
        return claim_of(document, key=key, secret=self._counter.desk.digest_key)

"""Answers as bytes: Evergreen's own shape, and that of MLflow's server."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

import orjson

from evergreen.deployments.service.batching import PendingRequest, ids_of
from evergreen.deployments.service.endpoint import Endpoint, ModelEndpoint
from evergreen.deployments.service.errors import Receive, RequestProblem, Scope, loading, problem_of
from evergreen.deployments.service.request import other_model, read_head
from evergreen.tasks.core.serving.answers import RequestRefused
from evergreen.tasks.core.serving.decode import decode, read_body
from evergreen.tasks.core.serving.idempotency import IdempotentRequest, idempotent_request
from evergreen.tasks.io.prediction_log.records import Served


def own_answer(model: str, rows: Sequence[Served]) -> bytes:
    """Return ``{"model", "predictions": [{"id", "version", "variant", "score", "decision"}]}``."""
    predictions = [
        {
            "id": row.prediction_id,
            "version": row.version,
            "variant": row.variant,
            "score": row.score,
            "decision": row.decision,
        }
        for row in rows
    ]
    return orjson.dumps({"model": model, "predictions": predictions}, option=orjson.OPT_SERIALIZE_NUMPY)


def mlflow_answer(model: str, rows: Sequence[Served]) -> bytes:
    """Return ``{"predictions": […]}`` as MLflow's server does, and beside it what was logged.

    A prediction is the decision; where nothing is decided (regression, ranking) it is the score.
    """
    return orjson.dumps(
        {
            "predictions": [row.score if row.decision is None else row.decision for row in rows],
            "model": model,
            "ids": [row.prediction_id for row in rows],
            "versions": [row.version for row in rows],
            "variants": [row.variant for row in rows],
        },
        option=orjson.OPT_SERIALIZE_NUMPY,
    )


# The endpoint that must be fast: bytes in, bytes out, nothing of a framework between them.


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

    def __init__(self, counter: ModelEndpoint, *, answer: Answer, endpoint: str) -> None:
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
        except RequestProblem as problem:
            rows = await self._first_answers(problem, body, head.idempotency_key)
        return self._answer(counter.served.name, rows)

    async def _ask(self, body: bytes, key: str | None) -> PendingRequest:
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
        except RequestRefused as refused:
            raise problem_of(refused, counter.served.name) from None
        return PendingRequest(
            batch=batch,
            live=live,
            ids=ids_of(batch, claim),
            digests=None if claim is None else claim.digests,
            positions=counter.positions.of(batch),
            deadline=counter.loop.time() + counter.timeout,
            future=counter.loop.create_future(),
        )

    async def _first_answers(self, problem: RequestProblem, body: bytes, key: str | None) -> Sequence[Served]:
        """Return what a request was answered when it came first, maybe by another version; else raise its problem."""
        if problem.status not in _OF_A_VERSION or (key is None and b'"ids"' not in body):
            raise problem
        try:
            claim = self._claim(body, key)
        except RequestRefused:
            raise problem from None
        first = await self._counter.desk.first_answers(claim) if claim else None
        if first is None:
            raise problem
        return first

    def _claim(self, body: bytes, key: str | None) -> IdempotentRequest | None:
        document = read_body(body, limits=self._counter.limits)
        return idempotent_request(document, key=key, secret=self._counter.desk.digest_key)

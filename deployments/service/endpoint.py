"""The endpoints of one model: predictions and outcomes, bytes in and bytes out, nothing of a framework between them."""

from __future__ import annotations

import asyncio
import logging
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from evergreen.deployments.service import errors
from evergreen.deployments.service.access import Authenticator
from evergreen.deployments.service.batching import Batcher, PendingRequest
from evergreen.deployments.service.errors import ClientGone, Headers, Receive, RequestProblem, Scope, Send
from evergreen.deployments.service.live import ServedModel
from evergreen.deployments.service.metrics import ServiceMetrics, Tally
from evergreen.deployments.service.request import ReadDeadline, RequestHead, other_model, read_body, read_head
from evergreen.tasks.core.errors import EvergreenError
from evergreen.tasks.core.serving.access import Buckets
from evergreen.tasks.core.serving.answers import RequestLimits, RequestRefused
from evergreen.tasks.core.serving.batch import Batch
from evergreen.tasks.core.serving.decode import check_outcome, decode, read_times
from evergreen.tasks.core.serving.decode import read_body as read_document
from evergreen.tasks.core.serving.idempotency import IdempotentRequest, idempotent_request
from evergreen.tasks.io.prediction_log.records import KnownOutcome, Served, fresh_id
from evergreen.tasks.io.prediction_log.writer import LogWriter

logger = logging.getLogger(__name__)

Answer = Callable[[str, Sequence[Served]], bytes]
_LARGE = 65_536
"""Bytes; larger bodies are decoded in a thread, so that the loop goes on answering others."""
_OF_A_VERSION = (413, 422)
"""Statuses with which a version refuses a body that another version, or other limits, may have answered before."""
_OUTCOME_KEYS = {"id", "outcome", "known_at"}
_LONGEST_ID = 255


class EventTimes:
    """Positions of served rows on the model's clock: what a row says, else now.

    Parameters
    ----------
    clock : str
        ``timestamp``: now, in seconds since 1970. ``rows``: the next number. ``seconds`` since any start: only the
        client knows.
    newest : float or None
        Position of the newest row in the log; numbers of rows go on after it.
    column : str or None
        The clock's column, for messages.
    """

    def __init__(self, clock: str, *, newest: float | None, column: str | None) -> None:
        self._clock, self._column = clock, column
        self._next = 0.0 if newest is None else newest + 1.0

    def of(self, batch: Batch) -> list[float]:
        """Return each row's position.

        Raises
        ------
        RequestProblem
            422 where only the client can know it, and does not say.
        """
        default = self._default(batch.n)
        if default is None and (batch.at is None or None in batch.at):
            raise self._unknown()
        if batch.at is None:
            return default  # type: ignore[return-value]
        return [at if at is not None else default[row] for row, at in enumerate(batch.at)]  # type: ignore[index]

    def now(self, *, field: str) -> float:
        """Return the present on the model's clock: the position of the newest row where rows are counted.

        Raises
        ------
        RequestProblem
            422 where only the client can know it.
        """
        if self._clock == "timestamp":
            return time.time()
        if self._clock == "seconds":
            raise self._unknown(field)
        return max(self._next - 1.0, 0.0)

    def _default(self, n: int) -> list[float] | None:
        if self._clock == "timestamp":
            return [time.time()] * n
        if self._clock == "seconds":
            return None
        first, self._next = self._next, self._next + n
        return [first + row for row in range(n)]

    def _unknown(self, field: str | None = None) -> RequestProblem:
        field = field or self._column or "at"
        message = (
            f"The model's clock counts seconds since a start that only the client knows. Send '{field}'."
        )
        return RequestProblem(422, "missing_time", message, field=field)


@dataclass(kw_only=True, eq=False)
class ModelEndpoint:
    """What every request for one model passes: keys, rates, limits, and the batcher that predicts."""

    served: ServedModel
    authenticator: Authenticator
    batcher: Batcher
    times: EventTimes
    """Positions of rows on the model's clock."""
    metrics: ServiceMetrics
    deadline: ReadDeadline
    """How long a client may take to send."""
    loop: asyncio.AbstractEventLoop = field(default_factory=asyncio.get_running_loop)

    def __post_init__(self) -> None:
        config = self.served.config.serving
        self.timeout = config.timeout.amount
        self.limits = RequestLimits(body_bytes=int(config.max_body_mb * 1e6), rows=config.max_rows)
        self._buckets = Buckets(config.rate_limit, config.rate_burst) if config.rate_limit else None

    def admit(self, head: RequestHead, scope: Scope) -> None:
        """Let a request in, and count it against its client's rate; raises as `Authenticator` does."""
        self.authenticator.hold_back(self._buckets, self.authenticator.admit(head.secret, scope))

    async def read(self, receive: Receive, head: RequestHead) -> bytes:
        """Return a request's body, within the limits."""
        most, timeout = self.limits.body_bytes, self.timeout
        return await read_body(receive, head, most=most, timeout=timeout, deadline=self.deadline)


class Endpoint(ABC):
    """An ASGI endpoint of one model, whose every answer is JSON, counted, and never a traceback.

    Parameters
    ----------
    model : ModelEndpoint
        What all requests for the model pass.
    name : str
        The endpoint's name in metrics.
    """

    def __init__(self, model: ModelEndpoint, *, name: str) -> None:
        self._model, self._name = model, name
        self._tally = Tally(model.metrics, model.served.name, name)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        started = time.perf_counter()
        headers: Headers = []
        try:
            status, body = 200, await self.respond(scope, receive)
        except RequestProblem as problem:
            status, body, headers = errors.problem_answer(problem)
        except ClientGone:
            return
        except Exception as error:  # a bug of ours: clients learn that alone, the log where; neither a row
            kind, place = type(error).__name__, errors.place_of(error)
            logger.error("%s %s: %s at %s", self._model.served.name, self._name, kind, place)
            status, body, headers = errors.problem_answer(errors.internal())
        await errors.send_answer(send, status, body, headers)
        self._tally.count(status, time.perf_counter() - started)

    @abstractmethod
    async def respond(self, scope: Scope, receive: Receive) -> bytes:
        """Return the body of the answer to a request that is in order; raise `RequestProblem` otherwise."""


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
    """Return ``{"predictions": […]}`` as MLflow's server does, and with it what was logged.

    A prediction is the decision; where nothing is decided (regression, ranking) it is the score.
    """
    answer = {
        "predictions": [row.score if row.decision is None else row.decision for row in rows],
        "model": model,
        "ids": [row.prediction_id for row in rows],
        "versions": [row.version for row in rows],
        "variants": [row.variant for row in rows],
    }
    return orjson.dumps(answer, option=orjson.OPT_SERIALIZE_NUMPY)


class Predict(Endpoint):
    """``POST /models/{model}/predict``, or ``…/invocations``.

    Parameters
    ----------
    model : ModelEndpoint
        What all requests for the model pass.
    answer : callable
        Shape of the answer.
    name : str
        The endpoint's name in metrics.
    """

    def __init__(self, model: ModelEndpoint, *, answer: Answer, name: str) -> None:
        super().__init__(model, name=name)
        self._answer = answer

    async def respond(self, scope: Scope, receive: Receive) -> bytes:
        """Return the predictions of a request's rows."""
        model = self._model
        head = read_head(scope["headers"])
        model.admit(head, scope)
        if head.model not in (None, model.served.name):
            raise other_model(str(head.model), model.served.name)
        body = await model.read(receive, head)
        try:
            rows = await model.batcher.ask(await self._pending(body, head.idempotency_key))
        except RequestProblem as problem:
            rows = await self._first_answers(problem, body, head.idempotency_key)
        return self._answer(model.served.name, rows)

    async def _pending(self, body: bytes, key: str | None) -> PendingRequest:
        """Return the request with its rows checked."""
        model = self._model
        live = model.served.live
        if live is None:
            raise errors.loading(model.served.name, model.served.waits_for or "")
        try:
            if len(body) > _LARGE:
                batch = await asyncio.to_thread(decode, body, signature=live.signature, limits=model.limits)
            else:
                batch = decode(body, signature=live.signature, limits=model.limits)
            claim = None if key is None and batch.ids is None else self._claim(body, key)
        except RequestRefused as refused:
            raise errors.problem_of(refused, model.served.name) from None
        return PendingRequest(
            batch=batch,
            live=live,
            ids=[fresh_id() for _ in range(batch.n)] if claim is None else claim.ids,
            digests=None if claim is None else claim.digests,
            positions=model.times.of(batch),
            deadline=model.loop.time() + model.timeout,
            future=model.loop.create_future(),
        )

    async def _first_answers(self, problem: RequestProblem, body: bytes, key: str | None) -> Sequence[Served]:
        """Return what a request was answered when it came first, maybe by another version; else raise its problem."""
        if problem.status not in _OF_A_VERSION or (key is None and b'"ids"' not in body):
            raise problem
        try:
            claim = self._claim(body, key)
        except RequestRefused:
            raise problem from None
        first = await self._model.batcher.first_answers(claim) if claim else None
        if first is None:
            raise problem
        return first

    def _claim(self, body: bytes, key: str | None) -> IdempotentRequest | None:
        document = read_document(body, limits=self._model.limits)
        return idempotent_request(document, key=key, secret=self._model.batcher.conceal.digest_key)


class Outcomes(Endpoint):
    """``POST /models/{model}/outcomes``: what came true, by prediction id, in batches, as often as the client likes.

    Parameters
    ----------
    model : ModelEndpoint
        What all requests for the model pass.
    writer : LogWriter or None
        The log; without one there is nothing an outcome could belong to.
    """

    def __init__(self, model: ModelEndpoint, *, writer: LogWriter | None) -> None:
        super().__init__(model, name="outcomes")
        self._writer = writer

    async def respond(self, scope: Scope, receive: Receive) -> bytes:
        """Return how many outcomes are new, and how many were known."""
        model = self._model
        head = read_head(scope["headers"])
        model.admit(head, scope)
        if self._writer is None:
            raise RequestProblem(
                409,
                "no_log",
                "This model keeps no log (serving.log: off), so outcomes cannot be stored. Set serving.log: durable.",
            )
        body = await model.read(receive, head)
        try:
            outcomes = self._read(body)
            receipt = await self._writer.put_outcomes(model.served.name, outcomes)
        except EvergreenError as error:
            raise errors.log_problem_of(error, model.served.name) from None
        if receipt.refused:
            raise RequestProblem(
                409,
                "outcome_taken",
                f"{len(receipt.refused)} of {len(outcomes)} outcomes are stored with another value "
                f"({', '.join(receipt.refused[:5])}) and stay as they are; all others are written. An outcome cannot "
                "be changed: leave these out.",
                field="outcomes",
            )
        return orjson.dumps({"written": receipt.written, "known": receipt.known})

    def _read(self, body: bytes) -> list[KnownOutcome]:
        limits = self._model.limits
        document = read_document(body, limits=limits)
        given = document.get("outcomes")
        if set(document) != {"outcomes"} or not isinstance(given, list) or not given:
            message = (
                'The body must be {"outcomes": [{"id": …, "outcome": …, "known_at": …}, …]} with at least one outcome; '
                "known_at may be left out."
            )
            raise RequestRefused(400, "wrong_shape", message, field="outcomes")
        if len(given) > limits.rows:
            message = f"The request holds {len(given)} outcomes; at most {limits.rows} are allowed. Send fewer at once."
            raise RequestRefused(413, "too_many_rows", message, field="outcomes")
        return [self._outcome(one, f"outcomes[{place}]") for place, one in enumerate(given)]

    def _outcome(self, one: Any, field: str) -> KnownOutcome:
        if not isinstance(one, dict) or not {"id", "outcome"} <= one.keys() <= _OUTCOME_KEYS:
            message = f"'{field}' must be an object with id, outcome and, if you like, known_at."
            raise RequestRefused(422, "wrong_shape", message, field=field)
        name, outcome = one["id"], one["outcome"]
        if not isinstance(name, str) or not 0 < len(name) <= _LONGEST_ID:
            message = f"'{field}.id' must be a text of 1 to {_LONGEST_ID} characters."
            raise RequestRefused(422, "invalid_id", message, field=f"{field}.id")
        served = self._model.served
        classes = served.live.champion.classes if served.live else ()
        check_outcome(outcome, problem=served.config.problem.value, classes=classes, field=f"{field}.outcome")
        known_at = self._known_at(one.get("known_at"), field=f"{field}.known_at")
        return KnownOutcome(prediction_id=name, outcome=outcome, known_at=known_at)

    def _known_at(self, given: Any, *, field: str) -> float:
        """Return when an outcome became known, on the model's clock; now where the request does not say."""
        served = self._model.served
        if given is None:
            return self._model.times.now(field=field)
        if served.live is None:
            raise errors.loading(served.name, served.waits_for or "")
        times = read_times([given], n=1, signature=served.live.signature, field=field)
        return float(times[0])  # type: ignore[index, arg-type]

"""The answers of requests that are refused: one shape for every status, and nothing of a traceback in it."""

from __future__ import annotations

import json
import logging
import math
import traceback
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import KW_ONLY, dataclass
from typing import Any

from evergreen.tasks.core.errors import InputError, Unreachable
from evergreen.tasks.core.redact import without_places
from evergreen.tasks.core.serving.answers import RequestRefused
from evergreen.tasks.core.serving.idempotency import IdConflict
from evergreen.tasks.io.prediction_log.records import QueueFull

logger = logging.getLogger(__name__)

Send = Callable[[dict[str, Any]], Awaitable[None]]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Scope = MutableMapping[str, Any]
Headers = list[tuple[bytes, bytes]]

_AGAIN = "Try again; with the same Idempotency-Key it is one prediction, however often it is sent."
_JSON = (b"content-type", b"application/json")


@dataclass(eq=False)
class RequestProblem(Exception):
    """A request that is not answered."""

    status: int
    """HTTP status."""
    code: str
    """Stable machine-readable code."""
    message: str
    """What was wrong, what is allowed, and what to do."""
    _: KW_ONLY
    field: str | None = None
    """Where it is wrong."""
    retry_after: float | None = None
    """Seconds after which trying again is worthwhile."""
    close: bool = False
    """True when the connection is of no more use: the rest of its request is not read."""


class ClientGone(Exception):
    """The client went away before its request was whole; there is nobody to answer."""


def problem_answer(problem: RequestProblem) -> tuple[int, bytes, Headers]:
    """Return status, body and headers of a problem's answer."""
    error = {"code": problem.code, "message": problem.message, "field": problem.field}
    headers: Headers = []
    if problem.retry_after is not None:
        headers.append((b"retry-after", str(max(math.ceil(problem.retry_after), 1)).encode()))
    if problem.status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    if problem.close:
        headers.append((b"connection", b"close"))
    return problem.status, json.dumps({"error": error}).encode(), headers


async def send_answer(send: Send, status: int, body: bytes, headers: Headers | tuple[()] = ()) -> None:
    """Send a JSON answer."""
    own = [_JSON, (b"content-length", str(len(body)).encode()), *headers]
    await send({"type": "http.response.start", "status": status, "headers": own})
    await send({"type": "http.response.body", "body": body})


def loading(model: str, why: str) -> RequestProblem:
    """Return the answer of a model that has no version to answer with yet."""
    message = f"The model '{model}' is not ready: {why} Try again soon."
    return RequestProblem(503, "not_ready", message, retry_after=2)


def unknown_model(name: str, served: list[str]) -> RequestProblem:
    """Return the answer to a request for a model that is not served here."""
    message = f"Unknown model '{name}'. Served here: {', '.join(served)}."
    return RequestProblem(404, "unknown_model", message, field="model")


def overloaded(most: int) -> RequestProblem:
    """Return the answer where too many requests wait already."""
    message = f"{most} requests are waiting already (serving.max_waiting). Try again soon."
    return RequestProblem(503, "overloaded", message, retry_after=1)


def too_slow(seconds: float) -> RequestProblem:
    """Return the answer to a request that could not be answered in time; it may have been logged."""
    message = f"There was no answer within {seconds:g} s (serving.timeout). {_AGAIN}"
    return RequestProblem(503, "too_slow", message, retry_after=1)


def internal() -> RequestProblem:
    """Return the answer where the service itself fails."""
    message = "The service failed, and its log says where. Nothing was stored; try again."
    return RequestProblem(500, "internal", message)


def problem_of(error: BaseException, model: str) -> RequestProblem:
    """Return the answer for an error; an unexpected one is the model's, whose code may raise anything.

    The server's log gets the kind and place of what a model raised, never its message.
    """
    expected = _expected(error, model)
    if expected is not None:
        return expected
    kind = type(error).__name__
    logger.error("%s: %s at %s", model, kind, place_of(error))
    message = f"The model cannot score these rows ({kind}). Correct the values, or ask its author."
    return RequestProblem(422, "model_refuses", message)


def log_problem_of(error: BaseException, model: str) -> RequestProblem:
    """Return the answer for an error of the log's writer: the model has scored the rows, so it is not the model's."""
    expected = _expected(error, model)
    if expected is not None:
        return expected
    logger.error("%s: the log's writer: %s at %s", model, type(error).__name__, place_of(error))
    return internal()


def _expected(error: BaseException, model: str) -> RequestProblem | None:
    if isinstance(error, RequestProblem):
        return error
    if isinstance(error, RequestRefused):
        return RequestProblem(error.status, error.code, error.message, field=error.field)
    if isinstance(error, QueueFull | Unreachable):
        return _log_fails(error, model)
    if isinstance(error, IdConflict):
        return RequestProblem(409, error.code, without_places(str(error)), field="ids")
    if isinstance(error, InputError):
        return RequestProblem(422, error.code, without_places(str(error)))
    return None


def _log_fails(error: QueueFull | Unreachable, model: str) -> RequestProblem:
    if isinstance(error, QueueFull):
        return RequestProblem(503, "log_full", str(error), retry_after=error.retry_after)
    logger.error("%s: the log does not answer: %s", model, error)
    message = f"The prediction log does not answer, so the prediction cannot be stored. {_AGAIN}"
    return RequestProblem(503, "log_unreachable", message, retry_after=2)


def place_of(error: BaseException) -> str:
    """Return where an error was raised: files and lines alone, for messages may hold what a client sent."""
    frames = traceback.extract_tb(error.__traceback__)[-4:]
    return " < ".join(f"{frame.filename.rpartition('/')[2]}:{frame.lineno}" for frame in reversed(frames))

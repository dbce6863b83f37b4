"""What a request is refused with: one shape of answer for every status, and nothing of a traceback in it."""

from __future__ import annotations

import json
import math
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Send = Callable[[dict[str, Any]], Awaitable[None]]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Scope = MutableMapping[str, Any]
Headers = list[tuple[bytes, bytes]]

_JSON = (b"content-type", b"application/json")


class Problem(Exception):
    """A request that is not answered.

    Attributes
    ----------
    status : int
        HTTP status.
    code : str
        Stable machine-readable code.
    message : str
        What was wrong, what is allowed, and what to do.
    field : str | None
        Where it is wrong.
    retry_after : float | None
        Seconds after which trying again is worthwhile.
    close : bool
        True when the connection is of no more use: the rest of its request is not read.
    """

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        field: str | None = None,
        retry_after: float | None = None,
        close: bool = False,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.field = field
        self.retry_after = retry_after
        self.close = close


class Gone(Exception):
    """The client went away before its request was whole; there is nobody to answer."""


def problem_answer(problem: Problem) -> tuple[int, bytes, Headers]:
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


def loading(model: str, why: str) -> Problem:
    """Return the answer of a model that has no version to answer with yet."""
    return Problem(
        503, "not_ready", f"The model '{model}' is not ready: {why} Try again soon.", retry_after=2
    )


def unknown_model(name: str, served: list[str]) -> Problem:
    """Return the answer to a request for a model that is not served here."""
    listed = ", ".join(served)
    return Problem(404, "unknown_model", f"Unknown model '{name}'. Served here: {listed}.", field="model")


def overloaded(most: int) -> Problem:
    """Return the answer of a service in which too many requests wait already."""
    return Problem(
        503,
        "overloaded",
        f"{most} requests wait already (serving.max_waiting); try again soon.",
        retry_after=1,
    )


def too_slow(seconds: float) -> Problem:
    """Return the answer to a request that could not be answered in time; it may have been logged."""
    return Problem(
        503,
        "too_slow",
        f"There was no answer within {seconds:g} s (serving.timeout). Try again; with the same Idempotency-Key it "
        "is one prediction, however often it is sent.",
        retry_after=1,
    )


def internal() -> Problem:
    """Return the answer where the service itself fails."""
    return Problem(
        500, "internal", "The service failed; its log says where. Nothing was promised; try again."
    )

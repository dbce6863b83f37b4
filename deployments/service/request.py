"""How long a client may take to send its request: one clock for all, for a timer each costs more than reading."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

from evergreen.deployments.service.errors import ClientGone, Headers, Receive, RequestProblem

_SWEEP_S = 0.25


class ReadDeadline:
    """Interrupts who reads for too long.

    Use it around what waits for a client::

        task = patience.begin(seconds)
        try: ...
        except asyncio.CancelledError:
            if patience.is_over(task): ...
            raise
        finally:
            patience.end(task)
    """

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._deadlines: dict[asyncio.Task[object], float] = {}
        self._late: set[asyncio.Task[object]] = set()
        self._timer = self._loop.call_later(_SWEEP_S, self._sweep)

    def begin(self, seconds: float) -> asyncio.Task[object]:
        """Begin to wait in this task, for so long."""
        task = asyncio.current_task(self._loop)
        assert task is not None
        self._deadlines[task] = self._loop.time() + seconds
        return task

    def is_over(self, task: asyncio.Task[object]) -> bool:
        """Return True, once, for a task that was interrupted here and not by anybody else."""
        if task not in self._late:
            return False
        task.uncancel()
        return True

    def end(self, task: asyncio.Task[object]) -> None:
        """Wait no longer."""
        self._deadlines.pop(task, None)
        self._late.discard(task)

    def close(self) -> None:
        """Stop the clock."""
        self._timer.cancel()

    def _sweep(self) -> None:
        now = self._loop.time()
        for task in [task for task, deadline in self._deadlines.items() if deadline < now]:
            del self._deadlines[task]
            self._late.add(task)
            task.cancel()
        self._timer = self._loop.call_later(_SWEEP_S, self._sweep)


# Read a request: its headers in one pass, its body within limits.


MODEL_HEADER = "x-evergreen-model"
_MOST_KEY = 200


@dataclass(slots=True)
class RequestHead:
    """What the headers of a request say, as far as it matters here.

    Attributes
    ----------
    secret : bytes | None
        API key, from ``Authorization: Bearer …`` or ``X-API-Key``.
    length : int | None
        ``Content-Length``; None for a body in chunks.
    idempotency_key : str | None
        ``Idempotency-Key``.
    model : str | None
        ``X-Evergreen-Model``: which model ``/invocations`` means where several are served.
    """

    secret: bytes | None = None
    length: int | None = None
    idempotency_key: str | None = None
    model: str | None = None


def read_head(headers: Headers) -> RequestHead:
    """Read the headers.

    Raises
    ------
    Problem
        400 for a header that cannot be, 415 for a body of another kind than JSON.
    """
    head = RequestHead()
    for name, value in headers:
        if name == b"content-length":
            head.length = int(value) if value.isdigit() else None
        elif name == b"content-type":
            _check_type(value)
        elif name == b"authorization":
            if value[:7].lower() == b"bearer ":
                head.secret = value[7:].strip()
        elif name == b"x-api-key":
            head.secret = value.strip()
        elif name == b"idempotency-key":
            head.idempotency_key = _key(value)
        elif name == b"content-encoding":
            _check_encoding(value)
        elif name == b"x-evergreen-model":
            head.model = value.decode("latin-1")
    return head


def read_secret(headers: Headers) -> bytes | None:
    """Return the API key of a request without a body: whatever else its headers say is of no matter."""
    kept = [(name, value) for name, value in headers if name in (b"authorization", b"x-api-key")]
    return read_head(kept).secret


async def read_body(
    receive: Receive, head: RequestHead, *, most: int, timeout: float, patience: ReadDeadline
) -> bytes:
    """Return the whole body.

    Parameters
    ----------
    most : int
        Largest body in bytes; a larger one that says so is refused before it is read.
    timeout : float
        Seconds the client may take to send it.
    patience : Patience
        The clock.

    Raises
    ------
    Problem
        408 for a body that does not arrive in time, 413 for one that is too large.
    Gone
        When the client went away.
    """
    if head.length is not None and head.length > most:
        raise _too_large(most)
    task = patience.begin(timeout)
    try:
        message = await receive()
        if message["type"] == "http.request" and not message.get("more_body"):
            return _whole(message.get("body", b""), most)
        return await _rest(receive, message, most)
    except asyncio.CancelledError:
        if patience.is_over(task):
            raise _too_late(timeout) from None
        raise
    finally:
        patience.end(task)


async def _rest(receive: Receive, message: dict[str, Any], most: int) -> bytes:
    body = bytearray()
    while True:
        if message["type"] == "http.disconnect":
            raise ClientGone
        body += message.get("body", b"")
        _whole(body, most)
        if not message.get("more_body"):
            return bytes(body)
        message = await receive()


def _whole(body: bytes | bytearray, most: int) -> bytes:
    if len(body) > most:
        raise _too_large(most)
    return body  # type: ignore[return-value]


def other_model(named: str, served: str) -> RequestProblem:
    """Return the answer to a request that names another model than the one its address belongs to."""
    return RequestProblem(
        404,
        "unknown_model",
        f"'{named[:100]}' is not served at this address, which belongs to '{served}'. Correct {MODEL_HEADER}, or "
        "leave it out.",
        field=MODEL_HEADER,
    )


def _too_late(timeout: float) -> RequestProblem:
    return RequestProblem(
        408,
        "request_timeout",
        f"The request did not arrive within {timeout:g} s. Send it faster.",
        close=True,
    )


def _too_large(most: int) -> RequestProblem:
    return RequestProblem(
        413,
        "body_too_large",
        f"The body is larger than the {most:,} bytes that are allowed (serving.max_body_mb). Send fewer rows at once.",
        close=True,
    )


def _check_type(value: bytes) -> None:
    kind = value.partition(b";")[0].strip().lower()
    if kind not in (b"application/json", b"") and not kind.endswith(b"+json"):
        raise RequestProblem(
            415,
            "unsupported_media_type",
            f"Content-Type '{kind[:60].decode('latin-1')}' is not read here. Allowed: application/json.",
            field="Content-Type",
            close=True,
        )


def _check_encoding(value: bytes) -> None:
    if value.strip().lower() != b"identity":
        raise RequestProblem(
            415,
            "unsupported_encoding",
            f"Content-Encoding '{value[:60].decode('latin-1')}' is not read here. Send the body as it is.",
            field="Content-Encoding",
            close=True,
        )


def _key(value: bytes) -> str:
    text = value.strip().decode("latin-1")
    if not text or len(text) > _MOST_KEY or not text.isprintable() or not text.isascii():
        raise RequestProblem(
            400,
            "bad_idempotency_key",
            f"An Idempotency-Key has 1 to {_MOST_KEY} printable ASCII characters, e.g. a UUID. Send such a one.",
            field="Idempotency-Key",
        )
    return text

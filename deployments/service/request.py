"""Read a request: its headers in one pass, its body within limits and in time."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from evergreen.deployments.service.errors import ClientGone, Headers, Receive, RequestProblem

_SWEEP_S = 0.25


class ReadDeadline:
    """Interrupts tasks that read a request for too long; one sweep for all, as a timer each costs more than reading.

    Use it around what waits for a client::

        task = deadline.begin(seconds)
        try: ...
        except asyncio.CancelledError:
            if deadline.is_over(task): ...
            raise
        finally:
            deadline.end(task)
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


MODEL_HEADER = "x-evergreen-model"
_MOST_KEY = 200


@dataclass(slots=True)
class RequestHead:
    """What the headers of a request say, as far as it matters here."""

    secret: bytes | None = None
    """API key, from ``Authorization: Bearer …`` or ``X-API-Key``."""
    length: int | None = None
    """``Content-Length``; None for a body in chunks."""
    idempotency_key: str | None = None
    """``Idempotency-Key``."""
    model: str | None = None
    """``X-Evergreen-Model``: which model ``/invocations`` means where several are served."""


def read_head(headers: Headers) -> RequestHead:
    """Read the headers.

    Raises
    ------
    RequestProblem
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
    """Return the API key of a request without a body; its other headers do not matter."""
    own = [(name, value) for name, value in headers if name in (b"authorization", b"x-api-key")]
    return read_head(own).secret


async def read_body(
    receive: Receive, head: RequestHead, *, most: int, timeout: float, deadline: ReadDeadline
) -> bytes:
    """Return the whole body.

    Parameters
    ----------
    most : int
        Largest body in bytes; a larger one that says so is refused before it is read.
    timeout : float
        Seconds the client may take to send it.
    deadline : ReadDeadline
        Interrupts this task when its time is over.

    Raises
    ------
    RequestProblem
        408 for a body that does not arrive in time, 413 for one that is too large.
    ClientGone
        When the client went away.
    """
    if head.length is not None and head.length > most:
        raise _too_large(most)
    task = deadline.begin(timeout)
    try:
        chunks, size, more = [], 0, True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise ClientGone
            chunks.append(message.get("body", b""))
            size += len(chunks[-1])
            if size > most:
                raise _too_large(most)
            more = message.get("more_body", False)
        return b"".join(chunks)
    except asyncio.CancelledError:
        if deadline.is_over(task):
            raise _too_late(timeout) from None
        raise
    finally:
        deadline.end(task)


def other_model(named: str, served: str) -> RequestProblem:
    """Return the answer to a request that names another model than the one its address belongs to."""
    message = (
        f"'{named[:100]}' is not served at this address, which belongs to '{served}'. Correct {MODEL_HEADER}, or "
        "leave it out."
    )
    return RequestProblem(404, "unknown_model", message, field=MODEL_HEADER)


def _too_late(timeout: float) -> RequestProblem:
    message = f"The request did not arrive within {timeout:g} s (serving.timeout). Send it faster."
    return RequestProblem(408, "request_timeout", message, close=True)


def _too_large(most: int) -> RequestProblem:
    message = (
        f"The body is larger than the {most:,} bytes allowed (serving.max_body_mb). Send fewer rows at once."
    )
    return RequestProblem(413, "body_too_large", message, close=True)


def _check_type(value: bytes) -> None:
    kind = value.partition(b";")[0].strip().lower()
    if kind not in (b"application/json", b"") and not kind.endswith(b"+json"):
        raise _unsupported("Content-Type", kind, "unsupported_media_type", "Send application/json.")


def _check_encoding(value: bytes) -> None:
    if value.strip().lower() != b"identity":
        raise _unsupported("Content-Encoding", value, "unsupported_encoding", "Send the body uncompressed.")


def _unsupported(header: str, value: bytes, code: str, remedy: str) -> RequestProblem:
    message = f"{header} '{value[:60].decode('latin-1')}' is not supported. {remedy}"
    return RequestProblem(415, code, message, field=header, close=True)


def _key(value: bytes) -> str:
    text = value.strip().decode("latin-1")
    if not text or len(text) > _MOST_KEY or not text.isprintable() or not text.isascii():
        raise RequestProblem(
            400,
            "bad_idempotency_key",
            f"An Idempotency-Key has 1 to {_MOST_KEY} printable ASCII characters. Send one like that, e.g. a UUID.",
            field="Idempotency-Key",
        )
    return text

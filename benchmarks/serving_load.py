"""Ask a server with prebuilt requests over kept connections, in a process of its own; print what it took as JSON.

``python -m benchmarks.serving_load PORT FOLDER CLIENTS SECONDS CORE``: FOLDER holds one request a file.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import uvloop

_WARM_UP = 0.15
"""Share of the time whose answers are not counted."""


@dataclass
class LoadTally:
    """What was seen so far."""

    requests: list[bytes]
    begins: float
    ends: float
    open: int
    done: asyncio.Future[None]
    seconds: list[float] = field(default_factory=list)
    failed: int = 0
    said: str = ""


class Client(asyncio.Protocol):
    """One client: sends a request, waits for its whole answer, sends the next."""

    def __init__(self, tally: LoadTally, first: int) -> None:
        self._tally, self._next = tally, first
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin to ask."""
        self._transport: asyncio.WriteTransport = transport  # type: ignore[assignment]
        self._send()

    def data_received(self, data: bytes) -> None:
        """Take what came; ask again when the answer is whole."""
        self._buffer = buffer = self._buffer + data if self._buffer else data
        head = buffer.find(b"\r\n\r\n")
        if head < 0:
            return
        lower = buffer[:head].lower()
        at = lower.find(b"content-length:")
        length = int(lower[at + 15 : (lower + b"\r\n").find(b"\r\n", at)])
        if len(buffer) < head + 4 + length:
            return
        now, tally = time.perf_counter(), self._tally
        if buffer[9:12] != b"200":
            tally.failed += 1
            tally.said = buffer[:300].decode(errors="replace")
        elif self._sent >= tally.begins:
            tally.seconds.append(now - self._sent)
        self._buffer = b""
        if now < tally.ends:
            self._send()
        else:
            self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """Count the end."""
        self._tally.open -= 1
        if not self._tally.open:
            self._tally.done.set_result(None)

    def _send(self) -> None:
        self._next = (self._next + 1) % len(self._tally.requests)
        self._sent = time.perf_counter()
        self._transport.write(self._tally.requests[self._next])


async def ask(port: int, requests: list[bytes], *, clients: int, seconds: float) -> dict[str, float | str]:
    """Return requests a second, and quantiles of the time one took, in milliseconds."""
    loop, now = asyncio.get_running_loop(), time.perf_counter()
    begins = now + seconds * _WARM_UP
    tally = LoadTally(requests, begins=begins, ends=now + seconds, open=clients, done=loop.create_future())
    for number in range(clients):
        await loop.create_connection(lambda number=number: Client(tally, number), "127.0.0.1", port)
    await tally.done
    took = sorted(tally.seconds)
    return {
        "per_second": len(took) / (tally.ends - begins),
        "p50_ms": took[len(took) // 2] * 1e3,
        "p99_ms": took[min(int(len(took) * 0.99), len(took) - 1)] * 1e3,
        "failed": tally.failed,
        "said": tally.said,
        "load_cpu": time.process_time() / seconds,
    }


def main(port: str, folder: str, clients: str, seconds: str, core: str) -> None:
    os.sched_setaffinity(0, {int(core)})
    requests = [path.read_bytes() for path in sorted(Path(folder).iterdir())]
    found = uvloop.run(ask(int(port), requests, clients=int(clients), seconds=float(seconds)))
    print(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])

"""Clients that ask a service over kept connections until each request was answered, whoever dies in between.

They run in processes of their own, note in a file what was answered as soon as it is, and send a request again under
its own key when the connection broke or the service asked for patience:
``python -m tests.support.service_clients PORT FIRST REQUESTS STEP HEARD CONNECTIONS``.
"""

import asyncio
import json
import os
import sys
from pathlib import Path

PREDICT = "/models/tested/predict"
PATIENCE_S, PAUSE_S = 180.0, 0.05
MANY, EVERY = 20, 100
"""Each hundredth request has twenty rows."""


def rows_of(number):
    """Return the rows of a request: no two of all requests are the same, so that doubles are told by what they hold."""
    count = MANY if number % EVERY == EVERY - 1 else 1
    return [
        {"x": number + row / MANY, "z": number % 7 - 3.0, "colour": ("red", "green", "blue")[number % 3]}
        for row in range(count)
    ]


def request_of(number):
    """Return a request as bytes: every other one brings ids of its own, the others an idempotency key."""
    body, key = {"records": rows_of(number)}, ""
    if number % 2:
        body["ids"] = [f"own-{number}-{row}" for row in range(len(body["records"]))]
    else:
        key = f"Idempotency-Key: key-{number}\r\n"
    data = json.dumps(body).encode()
    head = f"POST {PREDICT} HTTP/1.1\r\nHost: test\r\nContent-Type: application/json\r\n{key}"
    return f"{head}Content-Length: {len(data)}\r\n\r\n".encode() + data


class Connection:
    """One connection that is opened again whenever it broke."""

    def __init__(self, port):
        self._port, self._streams = port, None
        self.broke = self.turned_away = 0

    async def answer(self, request):
        """Send a request until it is answered with 200; return its predictions."""
        async with asyncio.timeout(PATIENCE_S):
            while True:
                try:
                    status, body = await self._ask(request)
                except (OSError, EOFError):
                    self.broke += self._streams is not None
                    self.close()
                    await asyncio.sleep(PAUSE_S)
                    continue
                if status == 200:
                    return json.loads(body)["predictions"]
                assert status == 503, (status, body)
                self.turned_away += 1
                await asyncio.sleep(PAUSE_S)

    def close(self):
        """Close it."""
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None

    async def _ask(self, request):
        if self._streams is None:
            self._streams = await asyncio.open_connection("127.0.0.1", self._port)
        reader, writer = self._streams
        writer.write(request)
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        _, _, rest = head.partition(b"content-length:")
        return int(head[9:12]), await reader.readexactly(int(rest.partition(b"\r\n")[0]))


def main(port, first, requests, step, heard_to, connections):
    """Ask for each number; note what was answered, and at the end what it took."""
    numbers = iter(range(int(first), int(requests), int(step)))
    took = asyncio.run(_ask_all(int(port), numbers, heard_to, int(connections)))
    Path(f"{heard_to}.took").write_text(json.dumps(took))


async def _ask_all(port, left, heard_to, many):
    connections = [Connection(port) for _ in range(many)]
    notes = os.open(heard_to, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)

    async def client(connection):
        for number in left:
            found = await connection.answer(request_of(number))
            os.write(notes, json.dumps([number, found]).encode() + b"\n")
        connection.close()

    async with asyncio.TaskGroup() as group:
        for connection in connections:
            group.create_task(client(connection))
    return {name: sum(getattr(one, name) for one in connections) for name in ("broke", "turned_away")}


def ask_once(port, numbers):
    """Return what each of some requests is answered when it is sent now."""

    async def scenario():
        connection = Connection(port)
        found = {number: await connection.answer(request_of(number)) for number in numbers}
        connection.close()
        return found

    return asyncio.run(scenario())


if __name__ == "__main__":
    main(*sys.argv[1:])

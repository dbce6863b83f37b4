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

import httpx

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
    """Return body and headers: every other request brings ids of its own, the others an idempotency key."""
    rows = rows_of(number)
    if number % 2:
        ids = [f"own-{number}-{row}" for row in range(len(rows))]
        return {"json": {"records": rows, "ids": ids}}
    return {"json": {"records": rows}, "headers": {"Idempotency-Key": f"key-{number}"}}


class Connection:
    """One connection that is opened again whenever it broke."""

    def __init__(self, port):
        self.http = httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=PATIENCE_S)
        self.broke = self.turned_away = 0

    async def answer(self, number):
        """Send a request until it is answered with 200; return its predictions."""
        async with asyncio.timeout(PATIENCE_S):
            while True:
                try:
                    answer = await self.http.post(PREDICT, **request_of(number))
                except httpx.TransportError as error:
                    self.broke += not isinstance(error, httpx.ConnectError)
                else:
                    if answer.status_code == 200:
                        return answer.json()["predictions"]
                    assert answer.status_code == 503, answer.text
                    self.turned_away += 1
                await asyncio.sleep(PAUSE_S)


def ask_all(port, first, requests, step, heard_to, connections):
    """Ask for each number; note what was answered, and at the end what it took."""
    numbers = iter(range(int(first), int(requests), int(step)))
    notes = os.open(heard_to, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)

    async def client(connection):
        async with connection.http:
            for number in numbers:
                found = await connection.answer(number)
                os.write(notes, json.dumps([number, found]).encode() + b"\n")

    async def clients():
        every = [Connection(port) for _ in range(int(connections))]
        await asyncio.gather(*map(client, every))
        return {name: sum(getattr(one, name) for one in every) for name in ("broke", "turned_away")}

    Path(f"{heard_to}.took").write_text(json.dumps(asyncio.run(clients())))


def ask_once(port, numbers):
    """Return what each of some requests is answered when it is sent now."""

    async def scenario():
        connection = Connection(port)
        async with connection.http:
            return {number: await connection.answer(number) for number in numbers}

    return asyncio.run(scenario())


if __name__ == "__main__":
    ask_all(*sys.argv[1:])

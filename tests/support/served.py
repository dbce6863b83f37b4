"""A service in a process of its own, as `evergreen serve` starts it, and clients that keep asking it."""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time

import httpx

from tests.support.servers import ROOT
from tests.support.serving import PREDICT, ROW


class Served:
    """A running service."""

    def __init__(self, process, url, log):
        self.process, self.url, self._log = process, url, log

    def said(self):
        """Return what it wrote on stderr."""
        return self._log.read_text()

    def end(self, signal_number=signal.SIGTERM):
        """Ask it to end."""
        self.process.send_signal(signal_number)

    def ready(self, client):
        """Return whether it is ready."""
        try:
            return client.get(f"{self.url}/ready").status_code == 200
        except httpx.TransportError:
            return False


@contextlib.contextmanager
def started(setup, folder, *options, verify=True, program="evergreen.deployments.cli"):
    """Start a service of one model, wait until it is ready, and end it."""
    log = folder / "serve.log"
    command = [sys.executable, "-m", program, "serve", str(setup.path), "--port", "0", *options]
    with log.open("ab") as err:
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=err, cwd=ROOT, env={**os.environ}, text=True
        )
    try:
        url = process.stdout.readline().partition("/models/")[0]
        assert url, log.read_text()
        made = Served(process, url, log)
        with httpx.Client(verify=verify) as client:
            deadline = time.monotonic() + 240
            while not made.ready(client):
                assert process.poll() is None, made.said()
                assert time.monotonic() < deadline, made.said()
                time.sleep(0.1)
        yield made
    finally:
        if process.poll() is None:
            process.terminate()
        process.wait(timeout=60)
        process.stdout.close()


class Load:
    """Clients that ask one after the other until they are told to stop; what they saw, and when."""

    def __init__(self, url, *, clients):
        self._url, self._many = url, clients
        self.answers, self.failures = [], []
        self._stop = asyncio.Event()

    async def __aenter__(self):
        # each has a connection of its own: a shared pool opens new ones now and then
        self._clients = [
            httpx.AsyncClient(base_url=self._url, timeout=30, verify=False) for _ in range(self._many)
        ]
        self._tasks = [
            asyncio.create_task(self._ask(number, client)) for number, client in enumerate(self._clients)
        ]
        return self

    async def __aexit__(self, *_):
        self._stop.set()
        await asyncio.gather(*self._tasks)
        for client in self._clients:
            await client.aclose()

    def answered(self):
        """Return how many clients have had an answer: they are connected, and stay so."""
        return len({name.partition("-")[0] for _, _, name, _, _ in self.answers})

    async def _ask(self, number, client):
        count = 0
        while not self._stop.is_set():
            name, count = f"c{number}-{count}", count + 1
            sent = time.time()
            try:
                answer = await client.post(PREDICT, json={"records": [ROW], "ids": [name]})
            except httpx.TransportError as error:
                self.failures.append((sent, type(error).__name__))
                continue
            version = answer.json()["predictions"][0]["version"] if answer.status_code == 200 else None
            self.answers.append((sent, time.time(), name, answer.status_code, version))

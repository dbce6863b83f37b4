"""Start either server on a core of its own, ask it from another, end it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evergreen.deployments.servers import answers, free_port

SERVER_CORE, LOAD_CORE = 0, 1
_PATIENCE_S = 120


@dataclass(frozen=True, kw_only=True)
class Side:
    """One server, for one model.

    Attributes
    ----------
    name : str
        ``mlflow``, ``off`` or ``durable``.
    model : str
        Registered model.
    path : str
        Where it is asked.
    """

    name: str
    model: str
    path: str

    def command(self, folder: Path, port: int) -> list[str]:
        """Return what starts it."""
        if self.name == "mlflow":
            uri = f"models:/{self.model}/1"
            options = ["--env-manager", "local", "--workers", "1", "--host", "127.0.0.1"]
            return [
                sys.executable,
                "-m",
                "mlflow",
                "models",
                "serve",
                "-m",
                uri,
                *options,
                "--port",
                str(port),
            ]
        config = str(folder / "config" / f"{self.model}-{self.name}.yaml")
        return [sys.executable, "-m", "evergreen.deployments.cli", "serve", config, "--port", str(port)]


def sides(model: str) -> list[Side]:
    """Return the three servers of a model."""
    own = f"/models/{model}/predict"
    return [
        Side(name="mlflow", model=model, path="/invocations"),
        Side(name="off", model=model, path=own),
        Side(name="durable", model=model, path=own),
    ]


@contextlib.contextmanager
def started(side: Side, folder: Path, environ: Mapping[str, str]) -> Iterator[int]:
    """Start a server on its core, wait until it can answer, yield its port, end it."""
    port = free_port(8700)
    with (folder / f"{side.model}-{side.name}.log").open("ab") as out:
        process = subprocess.Popen(
            side.command(folder, port), stdout=out, stderr=out, env=dict(environ), start_new_session=True
        )
    os.sched_setaffinity(process.pid, {SERVER_CORE})  # its threads and workers come later, and inherit it
    try:
        _wait(process, f"http://127.0.0.1:{port}/{'ping' if side.name == 'mlflow' else 'ready'}")
        yield port
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def requests_of(side: Side, bodies: list[bytes]) -> list[bytes]:
    """Return whole requests, ready to be sent."""
    head = f"POST {side.path} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n"
    return [f"{head}content-length: {len(body)}\r\n\r\n".encode() + body for body in bodies]


def load(port: int, folder: Path, *, clients: int, seconds: float) -> dict[str, Any]:
    """Return what clients saw; the load runs in a process of its own, on the other core."""
    command = [
        sys.executable,
        "-m",
        "benchmarks.serving_load",
        str(port),
        str(folder),
        str(clients),
        str(seconds),
    ]
    done = subprocess.run([*command, str(LOAD_CORE)], capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"The load generator ended with exit code {done.returncode}: {done.stderr[-500:]}")
    found: dict[str, Any] = json.loads(done.stdout)
    if found["failed"]:
        raise RuntimeError(f"{found['failed']} requests were not answered with 200: {found['said']}")
    return found


def scores(side: Side, port: int, bodies: list[bytes]) -> list[float]:
    """Return P(1) of each row, asked one by one."""
    found = []
    for body in bodies:
        url = f"http://127.0.0.1:{port}{side.path}"
        request = urllib.request.Request(url, data=body, headers={"Content-Type": "application/json"})
        with urllib.request.urlopen(request) as reply:
            row = json.load(reply)["predictions"][0]
        found.append(float(row[1] if side.name == "mlflow" else row["score"]))
    return found


def _wait(process: subprocess.Popen[bytes], url: str) -> None:
    deadline = time.monotonic() + _PATIENCE_S
    while not answers(url):
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"The server did not answer at {url}; its log says why.")
        time.sleep(0.2)

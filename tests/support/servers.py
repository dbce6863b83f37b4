"""One real Prefect server for the whole session of tests, a process worker, and a headless browser."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from evergreen.deployments.servers import free_port, prefect_answers

ROOT = Path(__file__).resolve().parents[2]
QUIET = {
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
    "DO_NOT_TRACK": "1",
    "PREFECT_LOGGING_LEVEL": "WARNING",
    "GX_ANALYTICS_ENABLED": "false",
}
LEAN = {
    f"PREFECT_SERVER_SERVICES_{name}_ENABLED": "false"
    for name in ("LATE_RUNS", "PAUSE_EXPIRATIONS", "REPOSSESSOR", "FOREMAN")
}
"""Services of the server that look after late runs, workers and paused runs, in loops of seconds: no test asks them."""


def end(process):
    """End a process and its children: politely, again, then for good."""
    family = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
    for number in (signal.SIGTERM, signal.SIGTERM, signal.SIGKILL):
        for member in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                member.send_signal(number)
        _, family = psutil.wait_procs(family, timeout=10)
        if not family:
            break
    process.wait(timeout=10)


@contextlib.contextmanager
def running(command, *, log, environ, cwd=ROOT):
    with log.open("ab") as out:
        process = subprocess.Popen(
            command,
            stdout=out,
            stderr=out,
            stdin=subprocess.DEVNULL,
            env=environ,
            cwd=cwd,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        end(process)


def wait_for(condition, *, seconds, what):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found = condition()
        if found:
            return found
        time.sleep(0.5)
    raise AssertionError(f"{what} did not happen within {seconds} s")


@pytest.fixture(scope="session")
def prefect_server(tmp_path_factory):
    """Start a server of its own and point this process's Prefect at it; yields the API's address."""
    home = tmp_path_factory.mktemp("prefect")
    url = f"http://127.0.0.1:{free_port(4300)}"
    environ = {**os.environ, **QUIET, **LEAN, "PREFECT_HOME": str(home), "PREFECT_UI_API_URL": f"{url}/api"}
    environ.pop("PREFECT_API_URL", None)
    command = [
        sys.executable,
        "-m",
        "prefect",
        "server",
        "start",
        "--host",
        "127.0.0.1",
        "--port",
        url.rsplit(":", maxsplit=1)[-1],
    ]
    with running(command, log=home / "server.log", environ=environ) as process:
        wait_for(
            lambda: prefect_answers(f"{url}/api") or process.poll() is not None,
            seconds=120,
            what="the server's start",
        )
        assert process.poll() is None, (home / "server.log").read_text()
        from prefect.events.worker import EventsWorker
        from prefect.settings import (
            PREFECT_API_URL,
            PREFECT_FLOWS_HEARTBEAT_FREQUENCY,
            PREFECT_HOME,
            PREFECT_LOGGING_TO_API_ENABLED,
            temporary_settings,
        )

        own = {
            PREFECT_API_URL: f"{url}/api",
            PREFECT_HOME: home,
            PREFECT_LOGGING_TO_API_ENABLED: False,
            PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None,  # as `evergreen` sets it
        }
        with temporary_settings(own), env(PREFECT_API_URL=f"{url}/api"):
            yield f"{url}/api"
            EventsWorker.drain_all(timeout=10)  # what is sent after the server's end is tried for a minute


@contextlib.contextmanager
def env(**values):
    with pytest.MonkeyPatch.context() as patch:
        for name, value in values.items():
            patch.setenv(name, str(value))
        yield


@contextlib.contextmanager
def browser_page():
    """Open a page in Debian's chromium."""
    from playwright.sync_api import sync_playwright

    path = shutil.which("chromium")
    assert path, "chromium is missing: apt-get install chromium"
    quiet = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-background-networking"]
    quiet += ["--disable-component-update", "--disable-sync", "--no-first-run"]
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=path, args=quiet)
        try:
            yield browser.new_page(viewport={"width": 1400, "height": 1000})
        finally:
            browser.close()

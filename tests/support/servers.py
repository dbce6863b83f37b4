"""Real servers: one Prefect server for the session, a headless browser, and a machine with servers and a worker."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

import psutil
import pytest

from evergreen.deployments.servers import free_port, prefect_answers, read_servers

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
    address = ["--host", "127.0.0.1", "--port", url.rpartition(":")[2]]
    command = [sys.executable, "-m", "prefect", "server", "start", *address]
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


PROMPT = {"PREFECT_WORKER_QUERY_SECONDS": "1", "PREFECT_SERVER_SERVICES_SCHEDULER_LOOP_SECONDS": "3"}
LONG = 400
"""Seconds after which a run or a command hangs: alone they take a tenth, beside a whole suite as much as 150 s."""
FOREIGN = ("PREFECT_", "EVERGREEN_", "MLFLOW_")


@dataclass(frozen=True, kw_only=True)
class Machine:
    """A folder with configurations and, when it is up, the servers that belong to it.

    Parameters
    ----------
    python : Path
        Interpreter of the environment whose commands are run.
    project : Path
        Where prefect.yaml is.
    """

    folder: Path
    environ: dict[str, str]
    python: Path = Path(sys.executable)
    project: Path = ROOT

    @property
    def command(self):
        return self.python.with_name("evergreen")

    @property
    def servers(self):
        return read_servers(self.folder / ".evergreen")

    @property
    def api(self):
        return self.servers["prefect"]["api"]

    @property
    def page(self):
        return self.servers["prefect"]["ui"]

    def client(self):
        from prefect.client.orchestration import SyncPrefectClient

        return SyncPrefectClient(self.api)

    def evergreen(self, *arguments):
        """Run the command in the machine's own folder, which is not the project's."""
        return call(self.command, *arguments, cwd=self.folder, environ=self.environ)

    def prefect(self, *arguments):
        """Run Prefect's command where prefect.yaml is, with the same configurations."""
        places = {
            "PREFECT_API_URL": self.api,
            "PREFECT_HOME": str(self.folder / ".evergreen" / "prefect"),
            "EVERGREEN_CONFIG": str(self.folder / "config"),
            "PWD": str(self.project),
        }
        prefect = (self.python, "-m", "prefect", *arguments)
        return call(*prefect, cwd=self.project, environ={**self.environ, **places})

    def start(self, deployment, **parameters):
        """Start a deployment by `prefect deployment run`; return the run's id."""
        options = [f"--param={name}={value}" for name, value in parameters.items()]
        said = self.prefect("deployment", "run", deployment, *options)
        return UUID(said.partition("UUID: ")[2].split()[0])

    def read(self, run_id):
        with self.client() as client:
            return client.read_flow_run(run_id)

    def paused(self, run_id):
        """Wait until a run asks a question."""
        asked = self._until(run_id, lambda state: state.is_paused() or state.is_final(), "the question")
        assert asked.state.is_paused(), f"{asked.state}\n{self.log('worker')}"
        return asked

    def finished(self, run_id):
        """Wait until a run has ended and return it; a run that broke fails the test with the worker's log."""
        ended = self._until(run_id, lambda state: state.is_final(), "the run's end")
        assert ended.state.is_completed(), f"{ended.state}\n{self.log('worker')}"
        return ended

    def _until(self, run_id, good, what):
        return wait_for(
            lambda: run if good((run := self.read(run_id)).state) else None, seconds=LONG, what=what
        )

    def log(self, name):
        return Path(self.servers[name]["log"]).read_text()[-3000:]


def call(*command, cwd, environ=None, seconds=LONG):
    """Run a command that must succeed; what it prints is returned, or goes into the error."""
    options = {"cwd": cwd, "env": environ, "timeout": seconds, "capture_output": True, "text": True}
    done = subprocess.run([*map(str, command)], check=False, **options)
    assert 0 == done.returncode, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@contextlib.contextmanager
def brought_up(folder, **where):
    """Bring the servers and a worker up from a folder with configurations, and down at the end."""
    own = {name: value for name, value in os.environ.items() if not name.startswith(FOREIGN)}
    made = Machine(folder=folder, environ={**own, **QUIET, **PROMPT}, **where)
    ports = ("--prefect-port", str(free_port(4400)), "--mlflow-port", str(free_port(5400)))
    try:
        made.evergreen("up", "--worker", *ports)
        yield made
    finally:
        made.evergreen("down")

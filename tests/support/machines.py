"""A machine of its own: a folder with configurations, its servers and a worker, brought up as people do."""

import contextlib
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.objects import StateType

from evergreen.deployments.servers import free_port, read_servers
from tests.support.servers import QUIET, ROOT, wait_for

FINAL = {StateType.COMPLETED, StateType.FAILED, StateType.CRASHED, StateType.CANCELLED}
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
        asked = wait_for(
            lambda: run if (run := self.read(run_id)).state.is_paused() or run.state.type in FINAL else None,
            seconds=LONG,
            what="the question",
        )
        assert asked.state.is_paused(), f"{asked.state}\n{self.log('worker')}"
        return asked

    def finished(self, run_id):
        """Wait until a run has ended and return it; a run that broke fails the test with the worker's log."""
        ended = wait_for(
            lambda: run if (run := self.read(run_id)).state.type in FINAL else None,
            seconds=LONG,
            what="the run's end",
        )
        assert StateType.COMPLETED == ended.state.type, f"{ended.state}\n{self.log('worker')}"
        return ended

    def log(self, name):
        return Path(self.servers[name]["log"]).read_text()[-3000:]


def call(command, *arguments, cwd, environ):
    """Run a command; what it prints goes into the error when it fails."""
    done = subprocess.run(
        [str(command), *arguments],
        cwd=cwd,
        env=environ,
        check=False,
        capture_output=True,
        text=True,
        timeout=LONG,
    )
    assert 0 == done.returncode, f"{command} {arguments}\n{done.stdout}\n{done.stderr}"
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

"""What is built from a clone, an environment that holds it, and a team's repository with folders of the same names."""

import sys
import zipfile
from dataclasses import dataclass
from email import message_from_bytes
from pathlib import Path

import httpx

from tests.support.commands import write_hours
from tests.support.servers import ROOT, call
from tests.support.serving import running_service

BUILD = (
    "import sys; from setuptools import build_meta; getattr(build_meta, f'build_{sys.argv[1]}')(sys.argv[2])"
)
"""What a front end such as pip calls, in this environment: nothing is downloaded."""
PLACES = ("flows", "tasks", "deployments", "config")
TEAM = {
    "flows/nightly.py": "ROWS = 100\n",
    "tasks/gates.py": '''
from evergreen.tasks.core.verdict import Outcome, Reason, Verdict
from flows.nightly import ROWS


def enough_rows(context):
    """Reject a model that too few rows have judged."""
    rows = len(context.scored)
    reason = Reason(code="team_rows", message=f"{rows} rows.", observed=rows, limit=ROWS, n=rows)
    return Verdict(outcome=Outcome.PASS if rows >= ROWS else Outcome.FAIL, reasons=(reason,))
''',
    "deployments/places.py": "HERE = 'the team'\n",
    "config/colours.py": "GREEN = 'green'\n",
    "prefect.yaml": """
name: team
pull:
  - prefect.deployments.steps.set_working_directory:
      directory: "{{ $PWD }}"
deployments:
  - name: of-the-team
    entrypoint: evergreen.flows.validate:validate
    parameters: {model: loans}
    work_pool: {name: evergreen}
""",
}


def clone_project(folder):
    """Clone what is committed; return the clone."""
    call("git", "clone", "--quiet", ROOT, folder, cwd=ROOT)
    return folder


def build(kind, source, folder):
    """Build the ``sdist`` or ``wheel`` of a source tree; return the file."""
    call(sys.executable, "-P", "-c", BUILD, kind, folder, cwd=source)
    (built,) = folder.iterdir()
    return built


@dataclass(frozen=True)
class Wheel:
    """A wheel's files by name."""

    path: Path

    @property
    def files(self):
        with zipfile.ZipFile(self.path) as archive:
            return {name: archive.read(name) for name in archive.namelist() if not name.endswith("/")}

    def told(self, name):
        """Return a file of the wheel's own record, e.g. ``METADATA``."""
        (found,) = [data for file, data in self.files.items() if file.endswith(f".dist-info/{name}")]
        return found

    @property
    def metadata(self):
        return message_from_bytes(self.told("METADATA"))


@dataclass(frozen=True)
class Environment:
    """A virtual environment of its own: what is installed into it, then the libraries of this one."""

    folder: Path

    @property
    def programs(self):
        return self.folder / "bin"

    @property
    def python(self):
        return self.programs / "python"

    @property
    def packages(self):
        version = f"python{sys.version_info.major}.{sys.version_info.minor}"
        return self.folder / "lib" / version / "site-packages"


def write_team(folder, *, regular):
    """Write a team's repository; return it.

    Parameters
    ----------
    regular : bool
        Whether its folders are packages with an ``__init__.py``.
    """
    for name, text in TEAM.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    for place in PLACES if regular else ():
        (folder / place / "__init__.py").write_text("")
    (folder / "data").mkdir()
    write_hours(folder / "data" / "loans.csv")
    return folder


def ask_service(command, model, record, *, cwd, environ):
    """Start ``evergreen serve`` of a model, ask for one prediction once it is ready, end it; return the answer."""
    command = [command, "serve", model, "--port", "0"]
    with running_service(command, cwd / "serve.log", cwd=cwd, environ=environ) as served:
        return httpx.post(served.printed, json={"records": [record]}, timeout=60)

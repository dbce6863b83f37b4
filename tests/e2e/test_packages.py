"""What is built is one package, and it works in a team's repository that has folders of the same names."""

import json
import shutil
import subprocess
import sys
import sysconfig

import pytest
import yaml

from evergreen.deployments.deploy import FLOWS
from tests.support.packages import Environment, Wheel, ask_service, build, clone_project, write_team
from tests.support.servers import LONG, ROOT, brought_up, call

pytestmark = [pytest.mark.slow, pytest.mark.timeout(4 * LONG)]
BOTH_SIDES = """
import importlib, json, sys
files = {}
for name in sys.argv[1:]:
    files[name] = importlib.import_module(name).__file__
print(json.dumps(files))
"""


def make_environment(folder, wheel):
    """Install a wheel into an empty environment; libraries come from this one, without what is editable in it."""
    made = Environment(folder)
    call(sys.executable, "-m", "venv", folder, cwd=folder.parent)
    install = ("-m", "pip", "install", "--quiet", "--no-deps", "--no-index")
    call(made.python, *install, wheel, cwd=folder.parent)
    (made.packages / "libraries.pth").write_text(sysconfig.get_path("purelib"))
    return made


@pytest.fixture(scope="module")
def clone(tmp_path_factory):
    return clone_project(tmp_path_factory.mktemp("cloned") / "project")


@pytest.fixture(scope="module")
def sdist(clone, tmp_path_factory):
    return build("sdist", clone, tmp_path_factory.mktemp("sdist"))


@pytest.fixture(scope="module")
def wheel(clone, sdist, tmp_path_factory):
    """Build the wheel of the clone, as the sdist has been built before: neither may leave anything for the other."""
    return Wheel(build("wheel", clone, tmp_path_factory.mktemp("wheel")))


@pytest.fixture(scope="module")
def environment(wheel, tmp_path_factory):
    return make_environment(tmp_path_factory.mktemp("environment") / "venv", wheel.path)


def test_the_wheel_is_one_package_with_everything_that_is_in_the_repository(clone, wheel):
    listed = call("git", "ls-files", "flows", "tasks", "deployments", cwd=clone).split()
    own = {f"evergreen/{name}" for name in ("__init__.py", "__main__.py", "py.typed", "base.yaml")}
    assert b"evergreen\n" == wheel.told("top_level.txt")
    files = {name for name in wheel.files if ".dist-info/" not in name}
    assert {f"evergreen/{name}" for name in listed} | own == files
    assert (ROOT / "config" / "base.yaml").read_bytes() == wheel.files["evergreen/base.yaml"]


def test_the_wheel_says_what_it_is(wheel):
    told = wheel.metadata
    assert ("evergreen-mlops", "Apache-2.0", "text/markdown") == (
        told["Name"],
        told["License-Expression"],
        told["Description-Content-Type"],
    )
    assert wheel.told("licenses/LICENSE") == (ROOT / "LICENSE").read_bytes()
    assert (ROOT / "README.md").read_text() in told.get_payload(decode=True).decode()


def test_the_sdist_makes_the_same_wheel(sdist, wheel, tmp_path):
    shutil.unpack_archive(sdist, tmp_path / "unpacked", filter="data")
    (source,) = (tmp_path / "unpacked").iterdir()
    assert Wheel(build("wheel", source, tmp_path / "built")).files == wheel.files


def test_pip_finds_everything_that_the_wheel_needs(environment, tmp_path):
    assert "No broken requirements found" in call(environment.python, "-m", "pip", "check", cwd=tmp_path)


def test_the_installed_package_is_the_command(environment, tmp_path):
    own = call(environment.programs / "evergreen", "--help", cwd=tmp_path)
    assert "drift" in own
    module = call(environment.python, "-m", "evergreen", "--help", cwd=tmp_path)
    assert own == module.replace("python -m evergreen", "evergreen")


@pytest.mark.parametrize("regular", [True, False], ids=["with __init__", "without __init__"])
@pytest.mark.parametrize("first", ["team", "evergreen"])
def test_a_team_and_evergreen_import_what_is_their_own(environment, tmp_path, first, regular):
    team = write_team(tmp_path / "team", regular=regular)
    theirs = ["flows.nightly", "tasks.gates", "deployments.places", "config.colours"]
    ours = ["evergreen.flows.train", "evergreen.tasks.training", "evergreen.deployments.cli.app"]
    names = [*theirs, *ours] if first == "team" else [*ours, *theirs]
    files = json.loads(call(environment.python, "-c", BOTH_SIDES, *names, cwd=team))
    assert {name: str(team / f"{name.replace('.', '/')}.py") for name in theirs} == {
        name: files[name] for name in theirs
    }
    assert {name: str(environment.packages / f"{name.replace('.', '/')}.py") for name in ours} == {
        name: files[name] for name in ours
    }


@pytest.fixture(scope="module")
def machine(environment, tmp_path_factory):
    """Bring the servers and a worker up in a team's repository; a model is made and deployed there."""
    team = write_team(tmp_path_factory.mktemp("repositories") / "team", regular=True)
    with brought_up(team, python=environment.python, project=team) as made:
        made.evergreen("init", "data/loans.csv", "--target", "y", "--time", "at")
        add_gate(team / "config" / "loans.yaml")
        yield made


def add_gate(path):
    """Let a gate of the team's own ``tasks`` judge too."""
    config = yaml.safe_load(path.read_text())
    config.setdefault("validation", {})["gates"] = ["tasks.gates:enough_rows"]
    path.write_text(yaml.safe_dump(config))


@pytest.fixture(scope="module")
def champion(machine):
    """Bring the first version in by commands; return their answers."""
    return {
        name: json.loads(machine.evergreen(name, "loans", "--json"))
        for name in ("train", "validate", "challenge")
    }


@pytest.fixture(scope="module")
def deployed(machine, champion):
    """Deploy by `evergreen deploy`, and by the team's own prefect.yaml."""
    machine.evergreen("deploy")
    machine.prefect("--no-prompt", "deploy", "--all")
    with machine.client() as client:
        return {one.entrypoint: one for one in client.read_deployments()}


@pytest.mark.server
def test_commands_bring_the_first_champion_in(champion):
    states = {name: answer["state"] for name, answer in champion.items()}
    assert {"train": "Trained", "validate": "Approved", "challenge": "Promoted"} == states
    assert "tasks.gates:enough_rows" in json.dumps(champion["validate"])


@pytest.mark.server
def test_runs_of_a_worker_work_in_the_teams_repository(machine, deployed):
    assert {entrypoint for entrypoint, _ in FLOWS.values()} < set(deployed)
    directories = [
        step["directory"] for one in deployed.values() for pull in one.pull_steps for step in pull.values()
    ]
    assert {str(machine.folder)} == set(directories)
    trained = machine.finished(machine.start("train/loans"))
    validated = machine.finished(machine.start("validate/of-the-team"))
    assert ("Trained", "Approved") == (trained.state.name, validated.state.name)
    assert "evergreen.flows.validate:validate" in deployed


@pytest.mark.server
def test_the_champion_is_served(machine, champion):
    answer = ask_service(
        machine.command, "loans", {"x": 3.0, "z": 0.0}, cwd=machine.folder, environ=machine.environ
    )
    status = json.loads(machine.evergreen("status", "loans", "--json"))
    served = [prediction["version"] for prediction in answer.json()["predictions"]]
    assert (200, [status["champion"]["version"]]) == (answer.status_code, served)


def test_mypy_finds_a_planted_error_in_a_clone_once(clone, tmp_path):
    planted = shutil.copytree(clone, tmp_path / "planted", symlinks=True)
    if (ROOT / ".mypy_cache").exists():
        shutil.copytree(ROOT / ".mypy_cache", planted / ".mypy_cache")
    file = planted / "tasks" / "core" / "redact.py"
    file.write_text(f'{file.read_text()}\nPLANTED: int = "a text"\n')
    done = subprocess.run(
        [sys.executable, "-P", "-m", "mypy"],
        cwd=planted,
        capture_output=True,
        text=True,
        check=False,
        timeout=4 * LONG,
    )
    errors = [line for line in done.stdout.splitlines() if ": error: " in line]
    assert 1 == len(errors), done.stdout + done.stderr
    assert "tasks/core/redact.py:" in errors[0]
    assert 'variable has type "int"' in errors[0]

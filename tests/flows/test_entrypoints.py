"""Every deployment's entrypoint imports for real, and its parameters make a form that tells and offers."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from prefect import Flow
from prefect.flows import load_flow_from_entrypoint
from prefect.utilities.callables import parameter_schema

from evergreen.deployments.deploy import FLOWS

ROOT = Path(__file__).resolve().parents[2]
DEPLOYMENTS = yaml.safe_load((ROOT / "prefect.yaml").read_text())["deployments"]
ENTRYPOINTS = sorted({deployment["entrypoint"] for deployment in DEPLOYMENTS})
MODULES = sorted(entrypoint for entrypoint, _ in FLOWS.values())
"""What `evergreen deploy` gives to workers: a module's path, with dots throughout."""
LOADED_BY_PATH = """
import json, os, sys
from prefect.flows import load_flow_from_entrypoint

root, loaded, doubled = os.getcwd(), set(), {}
for entrypoint in sys.argv[1:]:
    load_flow_from_entrypoint(entrypoint, use_placeholder_flow=False)
    loaded.add(entrypoint.partition(":")[0])
    names = {}
    for name, module in list(sys.modules.items()):
        if getattr(module, "__file__", None):
            names.setdefault(os.path.relpath(os.path.realpath(module.__file__), root), []).append(name)
    ours = {file: found for file, found in names.items() if file.startswith(("flows/", "tasks/", "deployments/"))}
    doubled |= {file: found for file, found in ours.items() if len(found) > 1 and file not in loaded}
print(json.dumps([len(ours), doubled]))
"""


@pytest.fixture
def load(monkeypatch):
    """Load a flow as a worker does: from the project's root."""
    monkeypatch.chdir(ROOT)
    return lambda entrypoint: load_flow_from_entrypoint(entrypoint, use_placeholder_flow=False)


@pytest.mark.parametrize("entrypoint", ENTRYPOINTS)
def test_an_entrypoint_is_a_flow_of_its_name(load, entrypoint):
    flow = load(entrypoint)
    assert isinstance(flow, Flow)
    assert entrypoint.rpartition(":")[2].replace("_", "-") == flow.name


@pytest.mark.parametrize("entrypoint", MODULES)
def test_a_flow_is_found_by_its_module_wherever_the_worker_stands(entrypoint, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    dotted = load_flow_from_entrypoint(entrypoint, use_placeholder_flow=False)
    module, _, name = entrypoint.rpartition(".")
    assert (name.replace("_", "-"), module) == (dotted.name, dotted.fn.__module__)
    assert dotted is load_flow_from_entrypoint(f"{module}:{name}", use_placeholder_flow=False)


def test_what_version_0_1_deployed_is_still_found(load):
    assert ["rollback", "reconcile"] == [
        load(f"flows/promote.py:{name}").name for name in ("rollback", "reconcile")
    ]


def test_beside_flows_loaded_by_path_no_file_is_a_module_under_two_names():
    done = subprocess.run(
        [sys.executable, "-c", LOADED_BY_PATH, *ENTRYPOINTS],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=250,
    )
    assert done.returncode == 0, done.stderr[-500:]
    modules, doubled = json.loads(done.stdout.splitlines()[-1])
    assert {} == doubled
    assert modules > 100


@pytest.mark.parametrize("entrypoint", ENTRYPOINTS)
def test_the_form_offers_the_models_and_describes_every_parameter(load, entrypoint, monkeypatch):
    monkeypatch.delenv("EVERGREEN_CONFIG", raising=False)
    properties = parameter_schema(load(entrypoint)).properties
    assert "payments" in str(properties["models" if "models" in properties else "model"])
    assert [] == [name for name, schema in properties.items() if not schema.get("description")]


def test_the_form_offers_the_models_of_the_folder_that_is_configured(load, monkeypatch, tmp_path):
    for name in ("base", "fraud", "rides"):
        (tmp_path / f"{name}.yaml").touch()
    monkeypatch.setenv("EVERGREEN_CONFIG", str(tmp_path))
    schema = parameter_schema(load("flows/train.py:train"))
    assert ["fraud", "rides"] == schema.properties["model"]["enum"]


def test_prefect_yaml_and_the_deploy_command_know_the_same_flows():
    of_all_models = {"evergreen.flows.monitor.monitor_fleet"}
    by_path = {f"evergreen.{entrypoint}".replace("/", ".").replace(".py:", ".") for entrypoint in ENTRYPOINTS}
    assert by_path - of_all_models == set(MODULES)


def test_every_flow_of_the_project_has_a_deployment():
    files = {f"flows/{path.name}" for path in (ROOT / "flows").glob("*.py")} - {"flows/__init__.py"}
    assert files == {entrypoint.partition(":")[0] for entrypoint in ENTRYPOINTS}


def test_every_deployment_is_described_tagged_and_in_the_pool():
    assert [] == [d["name"] for d in DEPLOYMENTS if not d.get("description") or "evergreen" not in d["tags"]]
    assert {"evergreen"} == {deployment["work_pool"]["name"] for deployment in DEPLOYMENTS}


def test_schedules_have_slugs_of_their_own_and_wait_to_be_switched_on():
    schedules = [schedule for deployment in DEPLOYMENTS for schedule in deployment.get("schedules", [])]
    slugs = [schedule["slug"] for schedule in schedules]
    assert slugs
    assert len(slugs) == len(set(slugs))
    assert {False} == {schedule["active"] for schedule in schedules}

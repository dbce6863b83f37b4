"""Every deployment's entrypoint imports for real, and its parameters make a form that tells and offers."""

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
    of_all_models = {"flows/monitor.py:monitor_fleet"}
    assert set(ENTRYPOINTS) - of_all_models == {entrypoint for entrypoint, _ in FLOWS.values()}


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

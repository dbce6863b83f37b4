"""Deploying the models of a folder, again and again, on a real server."""

import pytest
from prefect.client.orchestration import get_client
from prefect.deployments.runner import RunnerDeployment
from prefect.runner.storage import LocalStorage

from evergreen.deployments.deploy import FLOWS, POOL, deploy_models, ensure_pool
from evergreen.tasks.io.settings import read_settings
from tests.support.commands import write_model
from tests.support.servers import ROOT

pytestmark = pytest.mark.server


@pytest.fixture
def settings(prefect_server, tmp_path, monkeypatch):
    monkeypatch.setenv("EVERGREEN_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("EVERGREEN_CONFIG", str(tmp_path / "config"))
    (tmp_path / "config").mkdir()
    write_model(tmp_path / "config", "rides")
    return read_settings()


def read_rides():
    with get_client(sync_client=True) as client:
        return {one.entrypoint: one for one in client.read_deployments() if one.name == "rides"}


def test_deploying_again_gives_the_same_deployments(settings):
    once, made = deploy_models(settings), read_rides()
    again, kept = deploy_models(settings), read_rides()
    assert once == again == [f"{stage}/rides" for stage in FLOWS]
    assert {entrypoint: one.id for entrypoint, one in made.items()} == {e: one.id for e, one in kept.items()}
    assert {entrypoint for entrypoint, _ in FLOWS.values()} == set(kept)


def test_a_deployment_says_what_it_is_and_where_its_code_configuration_and_state_are(settings, tmp_path):
    deploy_models(settings)
    train = read_rides()["evergreen.flows.train.train"]
    assert (POOL, {"model": "rides"}, True) == (
        train.work_pool_name,
        train.parameters,
        train.enforce_parameter_schema,
    )
    assert {"evergreen", "train", "model:rides"} == set(train.tags)
    assert "rides" in train.description
    assert [str(tmp_path)] == [step["directory"] for one in train.pull_steps for step in one.values()]
    places = {"EVERGREEN_HOME": str(tmp_path / "home"), "EVERGREEN_CONFIG": str(tmp_path / "config")}
    assert {"env": places} == train.job_variables


def test_deployments_of_version_0_1_are_brought_up_to_date(settings, tmp_path):
    earlier = RunnerDeployment.from_storage(
        storage=LocalStorage(str(ROOT)),
        entrypoint="flows/promote.py:rollback",
        name="rides",
        parameters={"model": "rides"},
        work_pool_name=POOL,
    )
    ensure_pool()
    made = earlier.apply()
    deploy_models(settings)
    rollbacks = {entrypoint: one for entrypoint, one in read_rides().items() if "rollback" in entrypoint}
    assert ["evergreen.flows.rollback.rollback"] == list(rollbacks)
    (now,) = rollbacks.values()
    assert made == now.id
    assert [str(tmp_path)] == [step["directory"] for one in now.pull_steps for step in one.values()]


def test_deploying_prints_nothing_on_stdout(settings, capsys):
    deploy_models(settings)
    assert "" == capsys.readouterr().out

"""Monitoring runs on its interval, what is due is looked for, and an alarm's event asks for a retraining."""

from itertools import pairwise

import pytest
import yaml
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterId
from prefect.events import DeploymentEventTrigger
from prefect.events.worker import EventsWorker

from evergreen.deployments.deploy import FLOWS, REASON, deploy_models, trigger_name
from evergreen.tasks.core.alerts.alert import DEGRADED, DETECTED, Alarm, Alert, AlertLevel
from evergreen.tasks.core.errors import ConfigError
from evergreen.tasks.io.settings import read_settings
from evergreen.tasks.runtime.events import announce_monitoring
from tests.support.commands import write_model
from tests.support.servers import ROOT, wait_for

pytestmark = pytest.mark.server


@pytest.fixture
def client(prefect_server):
    with get_client(sync_client=True) as opened:
        yield opened


@pytest.fixture
def folder(client, tmp_path, monkeypatch):
    monkeypatch.setenv("EVERGREEN_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("EVERGREEN_CONFIG", str(tmp_path))
    return tmp_path


SCHEDULED = {"monitor": FLOWS["monitor"]}
RETRAINING = {"retrain": FLOWS["retrain"]}


def runs_of(client, deployment, *, scheduled=False):
    """Return a deployment's runs: those that an event began, or those that the calendar will begin."""
    runs = client.read_flow_runs(
        deployment_filter=DeploymentFilter(id=DeploymentFilterId(any_=[deployment.id]))
    )
    return [run for run in runs if run.auto_scheduled is scheduled]


def test_a_deployed_schedule_makes_scheduled_runs_every_interval(client, folder):
    write_model(folder, "hourly", monitoring={"interval": "2h"})
    deploy_models(read_settings(), flows=SCHEDULED)
    deployment = client.read_deployment_by_name("monitor/hourly")
    wait_for(lambda: len(runs_of(client, deployment, scheduled=True)) > 2, seconds=90, what="a scheduled run")
    runs = sorted(runs_of(client, deployment, scheduled=True), key=lambda run: run.expected_start_time)
    assert {"SCHEDULED"} == {run.state.type.value for run in runs}
    steps = {(b.expected_start_time - a.expected_start_time).total_seconds() for a, b in pairwise(runs)}
    assert {7200.0} == steps


def test_deploying_again_keeps_the_schedule_and_follows_the_configuration(client, folder):
    kept = []
    for interval, mode in (("1h", "enabled"), ("1h", "enabled"), ("6h", "enabled"), ("6h", "disabled")):
        write_model(folder, "again", monitoring={"interval": interval, "run_mode": mode})
        deploy_models(read_settings(), flows=SCHEDULED)
        (schedule,) = client.read_deployment_by_name("monitor/again").schedules
        kept.append((schedule.slug, schedule.schedule.interval.total_seconds(), schedule.active))
    assert [
        ("monitor", hours * 3600.0, on) for hours, on in ((1, True), (1, True), (6, True), (6, False))
    ] == kept


def test_a_wrong_configuration_deploys_nothing(client, folder):
    write_model(folder, "fine-one")
    (folder / "wrong.yaml").write_text("problem: sorting\n")
    with pytest.raises(ConfigError):
        deploy_models(read_settings())
    assert "fine-one" not in {found.name for found in client.read_deployments()}


def alert(model, kind="data"):
    alarm = Alarm(kind=kind, name="age", since="then", message="moved", level=AlertLevel.DRIFT)
    return Alert(
        model=model, topic="inputs", version=1, number=1, start="a", end="b", opened=(alarm,), open=(alarm,)
    )


def only(client, name):
    (automation,) = client.read_automations_by_name(name)
    return automation


def test_the_automation_that_retrains_on_drift_stays_as_it_was_set(client, folder):
    write_model(folder, "switched")
    deploy_models(read_settings(), flows=RETRAINING)
    name = trigger_name("switched")
    assert only(client, name).enabled is True
    client.pause_automation(only(client, name).id)
    deploy_models(read_settings(), flows=RETRAINING)
    assert only(client, name).enabled is False
    client.resume_automation(only(client, name).id)
    deploy_models(read_settings(), flows=RETRAINING)
    assert only(client, name).enabled is True


def test_where_retraining_is_disabled_neither_events_nor_the_calendar_ask_for_it(client, folder):
    write_model(folder, "off", retraining={"run_mode": "disabled"})
    deploy_models(read_settings(), flows=RETRAINING)
    assert only(client, trigger_name("off")).enabled is False
    (schedule,) = client.read_deployment_by_name("retrain/off").schedules
    assert schedule.active is False


@pytest.mark.parametrize(("every", "hours"), [("30d", 24), ("6h", 6), ("500 rows", 24)])
def test_what_is_due_is_looked_for_once_a_day_or_as_often_as_it_may_be(client, folder, every, hours):
    write_model(folder, "daily", retraining={"every": every})
    deploy_models(read_settings(), flows=RETRAINING)
    (schedule,) = client.read_deployment_by_name("retrain/daily").schedules
    assert (hours * 3600.0, True) == (schedule.schedule.interval.total_seconds(), schedule.active)
    assert {"trigger": "schedule"} == schedule.parameters


@pytest.mark.timeout(200)
def test_an_alarms_event_asks_for_a_retraining_of_its_model_once(client, folder):
    for name in ("drifting", "steady"):
        write_model(folder, name)
    deploy_models(read_settings(), flows=RETRAINING)
    deployment = client.read_deployment_by_name("retrain/drifting")

    def announced():  # the trigger's own process learns of it a moment after it was switched on
        announce_monitoring(alert("drifting"))
        return runs_of(client, deployment)

    wait_for(announced, seconds=90, what="a retraining")
    announce_monitoring(alert("drifting"))
    announce_monitoring(alert("drifting", "performance"))
    wait_for(lambda: len(runs_of(client, deployment)) > 1, seconds=60, what="a retraining for performance")
    EventsWorker.drain_all(timeout=10)
    runs = runs_of(client, deployment)
    asked = sorted((run.parameters["model"], run.parameters["trigger"]) for run in runs)
    assert [("drifting", "drift"), ("drifting", "performance")] == asked
    assert [] == runs_of(client, client.read_deployment_by_name("retrain/steady"))


def test_prefect_yamls_trigger_is_valid_off_and_like_the_models_own():
    deployments = yaml.safe_load((ROOT / "prefect.yaml").read_text())["deployments"]
    (plain,) = [one for deployment in deployments for one in deployment.get("triggers", [])]
    trigger = DeploymentEventTrigger.model_validate(plain)
    assert (False, {DETECTED, DEGRADED}) == (trigger.enabled, trigger.expect)
    assert {"model": "{{ event.payload.model }}", "trigger": REASON} == trigger.parameters
    assert {"prefect.resource.id"} == trigger.for_each

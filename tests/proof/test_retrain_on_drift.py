"""Drift that a real monitor run finds starts a retraining through an automation; the cooldown holds the next one."""

import json
import time

import pandas as pd
import pytest
from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterName, FlowFilter, FlowFilterName
from prefect.client.schemas.objects import StateType

from tests.support.commands import write_model
from tests.support.servers import brought_up, wait_for

pytestmark = [pytest.mark.proof, pytest.mark.server, pytest.mark.timeout(1200)]
KNOWN, FIRST, SECOND = 1440, 1700, 2000
"""Hours the champion learns from; hours that arrive with the first drift, and with the second."""


def shifted(frame):
    """Return the rows with ``x`` shifted from ``KNOWN`` on, and ``z`` from ``FIRST`` on."""
    moved = frame.copy()
    moved.loc[KNOWN:, "x"] += 2.0
    moved.loc[FIRST:, "z"] += 4.0
    return moved


@pytest.fixture(scope="module")
def machine(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shifting")
    config = folder / "config"
    config.mkdir()
    write_model(
        config,
        "shifting",
        monitoring={"window": "2d", "min_rows": 20, "report_rows": 0},
        promotion={"refit": False},
        retraining={"window": "full"},
    )
    with brought_up(folder) as made:
        yield made


def begun(machine):
    """Return the runs of the retraining that an event began; those that the calendar will begin are not among them."""
    with machine.client() as client:
        runs = client.read_flow_runs(
            flow_filter=FlowFilter(name=FlowFilterName(any_=["retrain"])),
            deployment_filter=DeploymentFilter(name=DeploymentFilterName(any_=["shifting"])),
        )
    return [run for run in runs if not run.auto_scheduled]


def ended(machine, count):
    """Wait until so many runs of the retraining have ended; return them by time."""

    def found():
        done = [run for run in begun(machine) if run.state.type is StateType.COMPLETED]
        return sorted(done, key=lambda run: run.start_time) if len(done) >= count else None

    return wait_for(found, seconds=400, what=f"retraining {count}")


def watched_for(machine, *, seconds):
    """Return the runs of the retraining once their number has not changed for so long."""
    known, since = begun(machine), time.monotonic()
    while time.monotonic() - since < seconds:
        time.sleep(2)
        if len(found := begun(machine)) != len(known):
            known, since = found, time.monotonic()
    return known


def test_the_event_starts_a_retraining_and_the_cooldown_holds_the_second(machine):
    path = machine.folder / "config" / "shifting.csv"
    rows = shifted(pd.read_csv(path))
    rows.iloc[:KNOWN].to_csv(path, index=False)
    for verb in ("train", "validate", "challenge"):
        machine.evergreen(verb, "shifting")
    machine.evergreen("deploy")
    rows.iloc[:FIRST].to_csv(path, index=False)
    monitored = machine.finished(machine.start("monitor/shifting"))
    assert "Drift" == monitored.state.name
    first = ended(machine, 1)[0]
    assert ("shifting", "drift") == (first.parameters["model"], first.parameters["trigger"])
    assert first.state.name in {"Promoted", "ChampionKept", "Rejected"}, first.state
    told = json.loads(machine.evergreen("status", "shifting", "--json"))["retraining"]
    assert (1, first.state.name) == (told["retrainings"], told["last"]["state"])
    assert any(cause.startswith(("data:x", "prediction:")) for cause in told["last"]["causes"])

    rows.to_csv(path, index=False)
    events = len(watched_for(machine, seconds=30))  # the first run may have found two things, each an event
    assert "Drift" == machine.finished(machine.start("monitor/shifting")).state.name
    for held in ended(machine, events + 1)[1:]:
        assert "Blocked" == held.state.name, held.state
        assert "cooldown" in held.state.message
    assert 1 == json.loads(machine.evergreen("status", "shifting", "--json"))["retraining"]["retrainings"]

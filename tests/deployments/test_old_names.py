"""Deployments and automations that still go by a name of version 0.1 are named, with what to do."""

from pathlib import Path
from types import SimpleNamespace

import pytest
from prefect.client.orchestration import get_client
from prefect.events import EventTrigger
from prefect.events.schemas.automations import AutomationCore
from prefect.flows import load_flow_from_entrypoint

from evergreen.deployments.deploy import FLOWS
from evergreen.deployments.doctor import find_old_names, old_automations, old_deployments


def deployment(entrypoint, *tags):
    return SimpleNamespace(name="rides", entrypoint=entrypoint, tags=["evergreen", *tags])


def test_a_flow_that_was_renamed_and_an_old_entrypoint_are_named():
    old = deployment("flows/score.py:score", "score", "model:rides")
    (renamed,) = old_deployments([("score", old)])
    assert "'score/rides' is of a flow that has a new name: run 'evergreen deploy'" in renamed
    (moved,) = old_deployments([("train", deployment("elsewhere/train.py:train", "model:rides"))])
    assert "'train/rides' has an old entrypoint (elsewhere/train.py:train)" in moved


def test_deployments_of_today_and_of_others_are_left():
    today = [(flow, deployment(entrypoint, "model:rides")) for flow, (entrypoint, _) in FLOWS.items()]
    others = [("score", deployment("score.py:score")), ("etl", deployment("etl.py:etl", "model:else"))]
    assert [] == list(old_deployments([*today, *others]))


@pytest.mark.parametrize(
    ("event", "told"), [("Kept", 1), ("RolledBack", 1), ("ChampionKept", 0), ("Failed", 0)]
)
def test_an_automation_that_waits_for_an_old_state_is_named(event, told):
    trigger = EventTrigger(expect={f"prefect.flow-run.{event}"}, posture="Reactive", threshold=1)
    found = list(old_automations([AutomationCore(name="mine", trigger=trigger, actions=[])]))
    assert told == len(found)
    assert all(f"'mine' waits for the state {event}" in one for one in found)


def test_a_deployment_of_the_earlier_version_still_finds_its_flow(monkeypatch):
    monkeypatch.chdir(Path(__file__).parents[2])
    flow = load_flow_from_entrypoint("flows/score.py:score", use_placeholder_flow=False)
    assert "predict-batch" == flow.name


@pytest.mark.server
def test_what_a_server_holds_is_asked_page_by_page(prefect_server):
    from prefect import flow

    with get_client(sync_client=True) as client:
        made = [
            client.create_deployment(
                client.create_flow(flow(lambda: None, name=name)),
                "parcels",
                entrypoint="flows/score.py:score",
                tags=["evergreen", "model:parcels"],
            )
            for name in ("score", "a-flow-of-others")
        ]
        found = find_old_names(str(client.api_url), page=1)
        for one in made:
            client.delete_deployment(one)
    assert any("'score/parcels'" in one for one in found)

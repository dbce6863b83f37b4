"""A first reign on a real server with a real worker: deployed, trained, gated, approved in a browser, promoted."""

import json

import pytest
import yaml
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterState, FlowRunFilterStateType
from prefect.client.schemas.objects import StateType

from evergreen.deployments.deploy import FLOWS
from tests.support.servers import LONG, ROOT, browser_page, wait_for

pytestmark = [pytest.mark.server, pytest.mark.slow, pytest.mark.timeout(4 * LONG)]


@pytest.fixture(scope="session")
def first_champion(machine, deployed):
    """Train, validate and challenge by `prefect deployment run`; a person approves in the browser."""
    runs = {}
    for flow in ("train", "validate"):
        runs[flow] = machine.finished(machine.start(f"{flow}/manual", model="payments"))
    runs["asked"] = machine.paused(machine.start("challenge/payments"))
    with browser_page() as page:
        runs["shown"] = answer(page, machine, runs["asked"].id, why="Seen in a test")
    runs["challenge"] = machine.finished(runs["asked"].id)
    return runs


def answer(page, machine, run_id, *, why):
    """Open the question, say yes, submit until the run goes on; return what the form shows."""
    page.goto(f"{machine.page}/runs/flow-run/{run_id}")
    page.get_by_role("button", name="Resume").click()
    form = page.get_by_role("dialog")
    form.get_by_role("switch").click()
    form.get_by_role("textbox").fill(why)
    form.get_by_role("textbox").press("Tab")  # the form takes a text when it is left
    shown = form.inner_text()

    def goes_on():
        if form.is_visible():
            form.get_by_role("button", name="Submit").click()
            page.wait_for_timeout(2_000)
        return not machine.read(run_id).state.is_paused()

    wait_for(goes_on, seconds=LONG, what="the resumption")
    return shown


def test_prefect_yaml_deploys_every_flow(deployed):
    declared = yaml.safe_load((ROOT / "prefect.yaml").read_text())["deployments"]
    assert {(one["entrypoint"], one["name"]) for one in declared} <= set(deployed)


def test_every_model_gets_a_deployment_of_every_flow(deployed):
    expected = {(entrypoint, model) for entrypoint, _ in FLOWS.values() for model in ("payments", "rides")}
    assert expected <= set(deployed)


def test_from_the_first_training_to_an_approved_promotion(first_champion, machine):
    states = {name: run.state.name for name, run in first_champion.items() if name not in {"asked", "shown"}}
    assert {"train": "Trained", "validate": "Approved", "challenge": "Promoted"} == states
    status = json.loads(machine.evergreen("status", "payments", "--json"))
    assert (1, True, []) == (status["champion"]["version"], status["consistent"], status["pending"])


def test_the_approval_form_shows_the_evidence_and_its_answer_is_kept(first_champion):
    assert "superior" in first_champion["shown"]
    assert "naive baseline" in first_champion["shown"]
    assert "Approved by hand: Seen in a test." in first_champion["challenge"].state.message


def test_runs_are_found_by_the_tag_of_their_model(first_champion):
    assert [] == [
        run.name
        for name, run in first_champion.items()
        if name != "shown" and "model:payments" not in run.tags
    ]


def test_runs_leave_a_page_a_table_a_link_and_a_picture(first_champion, machine):
    with machine.client() as client:
        artifacts = {artifact.key: artifact for artifact in client.read_artifacts()}
    expected = {
        "train-payments",
        "train-payments-candidates",
        "train-payments-candidates-plot",
        "train-payments-run",
    }
    assert expected | {"validate-payments", "challenge-payments", "reigns-payments"} <= set(artifacts)
    kinds = [artifacts[key].type for key in sorted(expected)]
    assert ["markdown", "table", "image", "markdown"] == kinds
    assert machine.servers["mlflow"]["ui"] in artifacts["train-payments-run"].data


def test_the_worker_keeps_its_state_in_the_folder_it_was_brought_up_from(first_champion, machine):
    assert {"ledger.db", "mlflow.db", "artifacts"} <= {
        p.name for p in (machine.folder / ".evergreen").iterdir()
    }


@pytest.mark.browser
@pytest.mark.parametrize("entrypoint", ["flows/train.py:train", "flows/rollback.py:rollback"])
def test_the_run_form_offers_the_models(deployed, machine, entrypoint):
    deployment = deployed[entrypoint, "manual"]
    with browser_page() as page:
        page.goto(f"{machine.page}/deployments/deployment/{deployment.id}/run")
        field = page.locator(".p-label", has_text="A model of config/").last
        field.locator(".p-select-button__control").press("ArrowDown")
        page.get_by_role("option").first.wait_for()
        assert ["payments", "rides"] == page.get_by_role("option").all_inner_texts()


def test_a_switched_on_schedule_makes_scheduled_runs(deployed, machine):
    weekly = deployed["flows/train.py:train", "weekly"]
    scheduled = FlowRunFilter(
        state=FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType.SCHEDULED]))
    )
    with machine.client() as client:
        schedule = client.read_deployment_schedules(weekly.id)[0]
        assert not schedule.active
        client.update_deployment_schedule(weekly.id, schedule.id, active=True)
        runs = wait_for(
            lambda: [
                r for r in client.read_flow_runs(flow_run_filter=scheduled) if r.deployment_id == weekly.id
            ],
            seconds=LONG,
            what="a SCHEDULED run",
        )
        client.update_deployment_schedule(weekly.id, schedule.id, active=False)
    assert {"payments"} == {run.parameters["model"] for run in runs}

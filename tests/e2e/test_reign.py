"""From `prefect deploy --all` to a promotion, on a real server with a real process worker and a real browser."""

import os
import subprocess
import sys
import uuid

import pytest
import yaml
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterState, FlowRunFilterStateType
from prefect.client.schemas.objects import StateType

from deployments.deploy import deploy_models
from tasks.io.settings import read_settings
from tests.support.servers import QUIET, ROOT, browser_page, running, wait_for

pytestmark = [pytest.mark.server, pytest.mark.timeout(420)]
FINAL = {StateType.COMPLETED, StateType.FAILED, StateType.CRASHED, StateType.CANCELLED}
SHORT = {
    "data": {"options": {"seed": 7}},
    "training": {
        "candidates": [{"name": "logistic", "estimator": "sklearn.linear_model.LogisticRegression"}],
        "folds": 3,
        "importance_repeats": 1,
    },
    "promotion": {"approval": "manual", "refit": False},
}


@pytest.fixture(scope="module")
def environ(prefect_server, tmp_path_factory):
    """Write a short model, and the environment that command, worker and test share."""
    home = tmp_path_factory.mktemp("e2e")
    (home / "config").mkdir()
    values = yaml.safe_load((ROOT / "config" / "payments.yaml").read_text())
    for section, changes in SHORT.items():
        values[section] = {**values.get(section, {}), **changes}
    (home / "config" / "payments.yaml").write_text(yaml.safe_dump(values))
    own = {
        **QUIET,
        "EVERGREEN_HOME": str(home / "home"),
        "EVERGREEN_CONFIG": str(home / "config"),
        "PREFECT_API_URL": prefect_server,
        "PREFECT_HOME": str(home / "prefect"),
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, value in own.items():
            patch.setenv(name, value)
        for name in ("MLFLOW_TRACKING_URI", "EVERGREEN_LEDGER_URL"):
            patch.delenv(name, raising=False)
        yield {**os.environ, "PWD": str(ROOT)}


@pytest.fixture(scope="module")
def deployed(environ):
    """Deploy prefect.yaml as a person would, from the project's root."""
    subprocess.run(
        [sys.executable, "-m", "prefect", "work-pool", "create", "evergreen", "--type", "process"],
        env=environ, cwd=ROOT, check=True, capture_output=True,
    )  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--all"],
        env=environ, cwd=ROOT, check=False, capture_output=True, text=True,
    )  # fmt: skip
    assert 0 == done.returncode, done.stdout + done.stderr
    with get_client(sync_client=True) as client:
        return {f"{d.name}": d for d in client.read_deployments()} and client.read_deployments()


@pytest.fixture(scope="module")
def worker(environ, deployed, tmp_path_factory):
    log = tmp_path_factory.mktemp("worker") / "worker.log"
    command = [sys.executable, "-m", "prefect", "worker", "start", "--pool", "evergreen", "--type", "process"]
    with running(command, log=log, environ=environ):
        yield log


@pytest.fixture(scope="module")
def promoted(environ, worker):
    """Train, validate, challenge by `prefect deployment run`; a person approves in the browser."""
    states = {}
    for flow, parameters in {"train": {"until": "2026-03-16"}, "validate": {}}.items():
        run = start(environ, f"{flow}/manual", model="payments", **parameters)
        states[flow] = finished(run, worker).state.name
    run = start(environ, "challenge/manual", model="payments", until="2026-03-16")
    waiting = wait_for(
        lambda: read(run) if read(run).state.is_paused() else None, seconds=120, what="the pause"
    )
    states["waiting"] = waiting.state.type
    answer_in_browser(environ["PREFECT_API_URL"], waiting)
    states["challenge"] = finished(run, worker).state.name
    return states


def start(environ, deployment, **parameters):
    command = [sys.executable, "-m", "prefect", "deployment", "run", deployment]
    for name, value in parameters.items():
        command += ["--param", f"{name}={value}"]
    done = subprocess.run(command, env=environ, cwd=ROOT, check=False, capture_output=True, text=True)
    assert 0 == done.returncode, done.stdout + done.stderr
    return next(uuid.UUID(word) for word in done.stdout.split() if is_uuid(word))


def is_uuid(word):
    try:
        uuid.UUID(word)
    except ValueError:
        return False
    return True


def read(run_id):
    with get_client(sync_client=True) as client:
        return client.read_flow_run(run_id)


def finished(run_id, log):
    done = wait_for(
        lambda: run if (run := read(run_id)).state.type in FINAL else None, seconds=180, what="the run's end"
    )
    assert StateType.COMPLETED == done.state.type, f"{done.state}\n{log.read_text()[-3000:]}"
    return done


def answer_in_browser(api_url, run):
    with browser_page() as page:
        page.goto(f"{api_url.removesuffix('/api')}/runs/flow-run/{run.id}")
        page.get_by_role("button", name="Resume").click()
        page.get_by_text("Promote").first.wait_for()
        page.get_by_role("switch").or_(page.get_by_role("checkbox")).first.click()
        page.get_by_role("button", name="Submit").click()
        wait_for(lambda: not read(run.id).state.is_paused(), seconds=60, what="the resumption")


def test_prefect_yaml_deploys_every_flow(deployed):
    entrypoints = {deployment.entrypoint for deployment in deployed}
    expected = {"train.py:train", "validate.py:validate", "challenge.py:challenge", "register.py:register"}
    expected |= {"promote.py:promote", "promote.py:rollback", "promote.py:reconcile"}
    assert {f"flows/{name}" for name in expected} == entrypoints


def test_deployments_per_model_can_be_made_again_and_again(deployed, environ):
    once, twice = deploy_models(read_settings()), deploy_models(read_settings())
    assert once == twice
    assert "challenge/payments" in once


def test_form_offers_the_models(deployed, environ):
    train = next(d for d in deployed if d.entrypoint == "flows/train.py:train" and d.name == "manual")
    with browser_page() as page:
        page.goto(f"{environ['PREFECT_API_URL'].removesuffix('/api')}/deployments/deployment/{train.id}/run")
        page.get_by_text("Model", exact=True).first.wait_for()
        page.get_by_role("combobox").or_(page.locator("button[aria-haspopup='listbox']")).first.click()
        page.get_by_text("payments").first.wait_for()


def test_a_switched_on_schedule_makes_scheduled_runs(deployed):
    weekly = next(d for d in deployed if d.name == "weekly" and d.entrypoint == "flows/train.py:train")
    with get_client(sync_client=True) as client:
        schedule = client.read_deployment_schedules(weekly.id)[0]
        assert not schedule.active
        client.update_deployment_schedule(weekly.id, schedule.id, active=True)
        scheduled = FlowRunFilter(
            state=FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType.SCHEDULED]))
        )
        runs = wait_for(
            lambda: [r for r in client.read_flow_runs(flow_run_filter=scheduled) if r.deployment_id == weekly.id],
            seconds=90, what="a SCHEDULED run",
        )  # fmt: skip
        client.update_deployment_schedule(weekly.id, schedule.id, active=False)
    assert {"payments"} == {run.parameters["model"] for run in runs}


@pytest.mark.browser
def test_from_the_first_training_to_an_approved_promotion(promoted):
    expected = {
        "train": "Trained",
        "validate": "Approved",
        "waiting": StateType.PAUSED,
        "challenge": "Promoted",
    }
    assert expected == promoted

"""A challenge that asks a person: nobody answers, or somebody does from the command line."""

import json
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from functools import partial

import pytest

from evergreen.deployments.cli.app import run
from evergreen.tasks.io.setup import open_setup
from tests.support.commands import write_model
from tests.support.servers import wait_for

pytestmark = [pytest.mark.server, pytest.mark.timeout(120)]
MODEL = "asked"


@pytest.fixture(scope="module")
def approved(prefect_server, mlflow_template, tmp_path_factory):
    """Train a model and pass it through the gate; return the folder of its configuration."""
    folder = tmp_path_factory.mktemp("asked")
    (folder / "mlflow.db").write_bytes(mlflow_template.read_bytes())
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EVERGREEN_HOME", str(folder))
        for name in ("MLFLOW_TRACKING_URI", "EVERGREEN_LEDGER_URL", "EVERGREEN_MLFLOW_UI"):
            patch.delenv(name, raising=False)
        from evergreen.flows.train import train
        from evergreen.flows.validate import validate

        path = str(write_model(folder, MODEL))
        states = [flow(path, return_state=True).name for flow in (train, validate)]
        assert ["Trained", "Approved"] == states
        yield folder


def configure(folder, timeout):
    """Write the configuration anew, in a file of another name than the model's; return its path."""
    promotion = {"approval": "manual", "approval_timeout": timeout, "refit": False}
    return str(write_model(folder, f"waits-{timeout}", model=MODEL, promotion=promotion))


def aliases_of(path):
    setup = open_setup(path)
    return setup.stores.registry.aliases(setup.model)


def test_an_unanswered_question_ends_kept(approved):
    from evergreen.flows.challenge import challenge

    path = configure(approved, "3s")
    state = challenge(path, return_state=True)
    assert ("ChampionKept", True) == (state.name, state.is_completed())
    assert "approval_timed_out" == state.result()["reasons"][-1]["code"]
    assert {"candidate": 1, "challenger": 1} == aliases_of(path)


def test_a_no_from_the_command_line_keeps_the_champion_and_is_kept_in_the_ledger(approved, capsys):
    from evergreen.flows.challenge import challenge

    path = configure(approved, "40s")
    with ThreadPoolExecutor(max_workers=1) as pool:
        running = pool.submit(copy_context().run, partial(challenge, path, return_state=True))
        said = wait_for(lambda: running.done() or answer(path, capsys), seconds=40, what="the question")
        state = running.result(timeout=40)
    assert said == {"state": "Answered", "model": MODEL, "code": "answered"}
    assert ("ChampionKept", "not_approved") == (state.name, state.result()["reasons"][-1]["code"])
    entry = open_setup(path).stores.ledger.get(state.result()["decision_id"])
    assert "Not approved: too early." == entry.payload["reasons"][-1]["message"]
    assert {"candidate": 1, "challenger": 1} == aliases_of(path)


def answer(path, capsys):
    """Say no on the command line; return None while nothing waits for it."""
    capsys.readouterr()
    assert 0 == run(["approve", path, "--reject", "--reason", "too early", "--json"])
    said = json.loads(capsys.readouterr().out)
    if "InsufficientData" == said["state"]:
        return None
    return {"state": said["state"], "model": said["model"], "code": said["reasons"][0]["code"]}


def test_approving_when_nothing_waits_is_told(approved, capsys):
    path = str(write_model(approved, "nobody"))
    assert 0 == run(["approve", path, "--json"])
    said = json.loads(capsys.readouterr().out)
    assert ("InsufficientData", "nothing_to_approve") == (said["state"], said["reasons"][0]["code"])

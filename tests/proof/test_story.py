"""The whole loop on real servers: traffic, drift, alarm, retraining, admission, a live test, promotion, served."""

import contextlib
import json
import subprocess
import sys
import time
from urllib.error import URLError
from urllib.request import Request, urlopen

import numpy as np
import pandas as pd
import pytest
import yaml
from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterName, FlowFilter, FlowFilterName
from prefect.client.schemas.objects import StateType

from tests.support.servers import brought_up, wait_for

pytestmark = [pytest.mark.proof, pytest.mark.server, pytest.mark.timeout(1500)]
KNOWN, HOURS, SERVED_WITHIN_S, COUNTED_AFTER_S = 1500, 2500, 5.0, 62.0
"""Hours before habits turn round, all hours there are, how soon a promotion is served, and from when a test counts."""
CONFIG = {
    "problem": "binary",
    "data": {"source": "story.csv", "target": "y", "time": "at", "entity": "who", "categorical": []},
    "split": {"holdout": "7d"},
    "training": {
        "candidates": [{"name": "linear", "estimator": "sklearn.linear_model.LogisticRegression"}],
        "folds": 3,
        "importance_repeats": 1,
    },
    "evaluation": {"metric": "roc_auc", "validation_window": "10d"},
    "promotion": {"evidence": "ab", "refit": False},
    "monitoring": {"source": "log", "window": "100 rows", "min_rows": 50, "report_rows": 0},
    "retraining": {"window": "25d"},
    "live": {"metric": "accuracy", "share": 0.5, "min_improvement": 0.1},
}


def make_rows():
    """Return hourly rows that end now; from ``KNOWN`` on ``x`` is larger and the outcome follows it the other way."""
    rng = np.random.default_rng(11)
    turned = np.arange(HOURS) >= KNOWN
    x = rng.normal(size=HOURS) + 1.5 * turned
    strength = np.where(turned, -2.5 * (x - 1.5), 2.5 * x)
    at = pd.date_range(end=pd.Timestamp.now(tz="UTC").floor("s"), periods=HOURS, freq="h")
    y = (strength + rng.logistic(size=HOURS) > 0).astype(int)
    who = [f"customer-{number}" for number in range(HOURS)]
    return pd.DataFrame({"at": at, "who": who, "x": x, "z": rng.normal(size=HOURS), "y": y})


@pytest.fixture(scope="module")
def machine(tmp_path_factory):
    folder = tmp_path_factory.mktemp("story")
    (folder / "config").mkdir()
    (folder / "config" / "story.yaml").write_text(yaml.safe_dump(CONFIG))
    with brought_up(folder) as made:
        yield made


@contextlib.contextmanager
def served(machine):
    """Serve the model as people do; yields how to ask the service."""
    with (machine.folder / "service.log").open("w") as said:
        process = subprocess.Popen(
            [sys.executable, "-m", "evergreen.deployments.cli", "serve", "story", "--port", "0"],
            cwd=machine.folder,
            env=machine.environ,
            stdout=subprocess.PIPE,
            stderr=said,
            text=True,
        )
    try:
        url = process.stdout.readline().strip().removesuffix("/predict")
        assert url, (machine.folder / "service.log").read_text()
        wait_for(lambda: is_live(url), seconds=60, what="the service's start")
        yield url
    finally:
        process.terminate()
        process.communicate(timeout=60)
    assert 0 == process.returncode


def is_live(url):
    try:
        return ask(url)["live"]
    except URLError:  # it does not listen yet
        return False


def ask(url, path="", body=None):
    data = None if body is None else json.dumps(body).encode()
    with urlopen(
        Request(url + path, data=data, headers={"Content-Type": "application/json"}), timeout=30
    ) as answer:
        assert 200 == answer.status
        return json.loads(answer.read())


def send(url, rows, *, dated):
    """Ask about rows, then tell what came true; return the answers."""
    answers = []
    for start in range(0, len(rows), 50):
        part = rows.iloc[start : start + 50]
        body = {"records": part[["x", "z"]].to_dict("records"), "entities": part["who"].tolist()}
        if dated:
            body["at"] = [moment.isoformat() for moment in part["at"]]
        said = ask(url, "/predict", body)["predictions"]
        known = [
            {"id": one["id"], "outcome": int(y), **({"known_at": at} if dated else {})}
            for one, y, at in zip(said, part["y"], body.get("at", part["y"]), strict=True)
        ]
        ask(url, "/outcomes", {"outcomes": known})
        answers += said
    return answers


def retrained(machine):
    """Return the run of the retraining that an event began, once it has ended."""

    def found():
        with machine.client() as client:
            runs = client.read_flow_runs(
                flow_filter=FlowFilter(name=FlowFilterName(any_=["retrain"])),
                deployment_filter=DeploymentFilter(name=DeploymentFilterName(any_=["story"])),
            )
        done = [run for run in runs if not run.auto_scheduled and run.state.type is StateType.COMPLETED]
        return min(done, key=lambda run: run.start_time) if done else None

    return wait_for(found, seconds=500, what="the retraining")


def test_from_traffic_to_a_promotion_by_live_evidence(machine):
    rows = make_rows()
    source = machine.folder / "config" / "story.csv"
    rows.iloc[:KNOWN].to_csv(source, index=False)
    for verb in ("train", "validate", "challenge"):
        machine.evergreen(verb, "story")
    machine.evergreen("deploy")
    with served(machine) as url:
        first = {one["version"] for one in send(url, rows.iloc[KNOWN - 300 :], dated=True)}
        rows.to_csv(source, index=False)
        assert "Drift" == machine.finished(machine.start("monitor/story")).state.name
        assert "ReadyForLiveTest" == retrained(machine).state.name
        assert "LiveTestRunning" == machine.finished(machine.start("ab-test/story")).state.name
        time.sleep(COUNTED_AFTER_S)

        newcomers = rows.iloc[-600:].assign(who=[f"newcomer-{number}" for number in range(600)])
        tested = send(url, newcomers, dated=False)
        assert {"champion", "challenger"} == {
            "champion" if one["version"] in first else "challenger" for one in tested
        }
        assert "Promoted" == machine.finished(machine.start("ab-test/story")).state.name
        time.sleep(SERVED_WITHIN_S)
        now = send(url, newcomers.iloc[:100], dated=False)
        (promoted,) = {one["version"] for one in now}
        assert promoted not in first
        assert {"champion"} == {one["variant"] for one in now}
    status = json.loads(machine.evergreen("status", "story", "--json"))
    assert (promoted, True) == (status["champion"]["version"], status["consistent"])

"""The home folder of version 0.1 is worked with by the real commands: looked at, served, watched, rolled back."""

import json
import os
import sys
from pathlib import Path

import httpx
import pandas as pd
import pytest
from prefect import Flow
from prefect.flows import load_flow_from_entrypoint

from evergreen.tasks.core.data.clock import Window
from evergreen.tasks.core.promotion.history import champion_periods
from evergreen.tasks.core.promotion.ledger import check_chain
from evergreen.tasks.io.setup import open_setup
from tests.support.earlier_home import FEATURES, lived_in, unpack
from tests.support.servers import LONG, call
from tests.support.serving import started

pytestmark = [
    pytest.mark.server,
    pytest.mark.slow,
    pytest.mark.timeout(4 * LONG),
    pytest.mark.filterwarnings("ignore:.* is now called:FutureWarning"),  # what its files say is understood
]
ASKED_FIRST = {"id": "ab-0", "at": "2026-04-30T02:05:00+00:00", "place": -600}
"""The first order of the live test: its prediction id, when it happened, and its place from the end of the table."""


@pytest.fixture(scope="module")
def home(prefect_server, tmp_path_factory):
    """Unpack the earlier home on a machine whose Prefect server runs."""
    with lived_in(unpack(tmp_path_factory.mktemp("earlier"))) as home:
        yield home


@pytest.fixture(scope="module")
def orders(home):
    return open_setup("orders")


@pytest.fixture(scope="module")
def looked_at(home):
    """Answers of commands that only read."""
    return {
        "status": evergreen(home, "status", "orders"),
        "due": evergreen(home, "due", "orders"),
        "alert": evergreen(home, "alert", "rides"),
        "ab": evergreen(home, "ab", "status", "orders", "--name", "old-against-new"),
    }


@pytest.fixture(scope="module")
def served(home, orders, looked_at, tmp_path_factory):
    """Answers of the service: to a new row, to one that was answered, to another row under its id, without the key."""
    table = pd.read_csv(orders.base / "orders.csv")
    first, other = table.iloc[ASKED_FIRST["place"]], table.iloc[-1]
    with started(orders, tmp_path_factory.mktemp("service")) as service:

        def predict(row, *, key=home.api_key, **beside):
            record = {name: kind(row[name]) for name, kind in FEATURES.items()}
            body = {"records": [record], "entities": [row["customer"]], "at": [ASKED_FIRST["at"]], **beside}
            address = f"{service.url}/models/orders/predict"
            return httpx.post(address, json=body, headers={"X-API-Key": key}, timeout=60)

        return {
            "new": predict(other),
            "again": predict(first, ids=[ASKED_FIRST["id"]]),
            "other": predict(other, ids=[ASKED_FIRST["id"]]),
            "locked out": predict(other, key="evg_unknown"),
        }


@pytest.fixture(scope="module")
def monitored(home, served):
    """Answers of monitoring: a day is over for each model, for a row of the next one has come."""
    found = {}
    for model, next_day in (("orders", "2026-05-01T00:10:00"), ("rides", "2026-04-11T00:10:00")):
        path = home.folder / "config" / f"{model}.csv"
        table = pd.read_csv(path)
        pd.concat([table, table.tail(1).assign(placed=next_day)]).to_csv(path, index=False)
        found[model] = evergreen(home, "monitor", model)
    return found


@pytest.fixture(scope="module")
def rolled_back(home, monitored):
    return evergreen(home, "rollback", "orders", "--why", "a test"), evergreen(home, "status", "orders")


def evergreen(home, *arguments):
    """Run the command in a process of its own; return the object it prints."""
    command = Path(sys.executable).with_name("evergreen")
    return json.loads(call(command, *arguments, "--json", cwd=home.folder, environ=dict(os.environ)))


def test_status_due_alert_and_live_tests_are_told(looked_at):
    status = looked_at["status"]
    assert (status["champion"]["version"], status["fallback"]["version"]) == (7, 4)
    assert (status["consistent"], status["retraining"]["retrainings"]) == (True, 1)
    assert looked_at["due"]["retraining"] is not None
    assert looked_at["alert"]["open"]
    assert looked_at["ab"]["ended"]["winner"] is None


def test_a_prediction_is_served_under_the_key_of_then(served):
    assert served["new"].status_code == 200
    (answer,) = served["new"].json()["predictions"]
    assert answer["version"] == 7
    assert 0 <= answer["score"] <= 1
    assert served["locked out"].status_code == 401


def test_what_was_answered_is_answered_again_and_its_id_is_taken(served, orders):
    log = orders.stores.log.read_predictions("orders", Window()).rows.frame
    first = log[log["@prediction_id"] == ASKED_FIRST["id"]].iloc[0]
    assert served["again"].status_code == 200
    (answer,) = served["again"].json()["predictions"]
    assert (answer["version"], answer["score"]) == (first["@version"], first["@score"])
    assert served["other"].status_code == 409


@pytest.mark.parametrize(
    ("model", "day", "version"), [("orders", "2026-04-30", 7), ("rides", "2026-04-10", 1)]
)
def test_monitoring_goes_on_where_it_stood(monitored, model, day, version):
    (window,) = monitored[model]["windows"]
    assert (window["from"][:10], window["version"]) == (day, version)
    assert {"data", "prediction", "outcome", "concept", "performance"} == set(window["verdicts"])


def test_a_rollback_returns_to_the_fallback_of_then(rolled_back, orders):
    answer, status = rolled_back
    assert answer["champion"] == status["champion"]["version"] == 4
    assert status["consistent"]
    entries = orders.stores.ledger.read(model="orders")
    assert [one.version for one in champion_periods(entries)] == [2, 4, 7, 6, 7, 4]
    assert check_chain(entries) == ()


def test_deployments_made_then_find_their_flows(home, monkeypatch):
    assert {one["name"] for one in home.deployments} == {"orders", "proposed", "rides"}
    for one in home.deployments:
        (pull,) = one["pull_steps"]
        monkeypatch.chdir(Path(pull["prefect.deployments.steps.set_working_directory"]["directory"]))
        flow = load_flow_from_entrypoint(one["entrypoint"], use_placeholder_flow=False)
        assert isinstance(flow, Flow)
        assert flow.name == {"score": "predict-batch"}.get(one["flow"], one["flow"])
        assert set(one["parameters"]) <= set(flow.parameters.properties)

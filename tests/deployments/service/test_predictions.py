"""Every shape of body is answered with the model's own scores, an id, the version and the variant, and is logged."""

import numpy as np
import pytest

from evergreen.tasks.core.ab_testing.rows import read_answers
from evergreen.tasks.core.data.clock import Window
from tests.support.champions import make_rows, values_of
from tests.support.serving import (
    PREDICT,
    ROW,
    error_of,
    logged,
    model_of,
    own_scores,
    predict,
    predicted,
    rows,
    serve,
)
from tests.support.training_data import write_yaml

NAMES = list(ROW)
SHAPES = {
    "records": {"records": [ROW]},
    "columns": {"columns": {name: [value] for name, value in ROW.items()}},
    "dataframe_split": {"dataframe_split": {"columns": NAMES, "data": [list(ROW.values())]}},
    "dataframe_records": {"dataframe_records": [ROW]},
    "inputs by column": {"inputs": {name: [value] for name, value in ROW.items()}},
    "inputs by row": {"inputs": [ROW]},
    "instances": {"instances": [ROW]},
}


@pytest.fixture
def model(monitored):
    return model_of(monitored)


def test_every_shape_of_body_gets_the_models_own_score(model):
    async def scenario(client):
        return [(await client.post(PREDICT, json=body)).json() for body in SHAPES.values()]

    expected = own_scores(model, 1, [ROW])[0]
    answers = serve(scenario, model)
    found = [answer["predictions"][0] for answer in answers]
    assert [("tested", 1, "champion")] * len(SHAPES) == [
        (answer["model"], one["version"], one["variant"]) for answer, one in zip(answers, found, strict=True)
    ]
    assert np.allclose(expected, [one["score"] for one in found], rtol=0, atol=1e-12)
    assert len({one["id"] for one in found}) == len(SHAPES)


def test_many_rows_are_answered_in_their_order_whether_alone_or_together(model):
    asked = rows(400)

    async def scenario(client):
        whole = await predicted(client, *asked)
        return whole, [(await predicted(client, row))[0] for row in asked[:5]]

    whole, alone = serve(scenario, model)
    assert np.allclose(own_scores(model, 1, asked), [one["score"] for one in whole], rtol=0, atol=1e-12)
    assert [one["score"] for one in whole[:5]] == [one["score"] for one in alone]
    assert {"yes", "no"} == {one["decision"] for one in whole}


@pytest.mark.parametrize("path", ["/invocations", "/models/tested/invocations"])
def test_clients_of_mlflows_server_get_its_answer(model, path):
    async def scenario(client):
        body = SHAPES["dataframe_split"]
        return (await client.post(path, json=body)).json(), await predicted(client, ROW)

    answer, own = serve(scenario, model)
    assert [own[0]["decision"]] == answer["predictions"]
    assert ([1], ["champion"], 1) == (answer["versions"], answer["variants"], len(answer["ids"]))


def test_what_was_answered_is_in_the_log(model):
    asked = rows(3)

    async def scenario(client):
        return await predicted(client, *asked, at=["2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z", None])

    answers = serve(scenario, model)
    frame = logged(model)
    assert [one["x"] for one in asked] == frame["x"].tolist()
    assert [one["score"] for one in answers] == frame["@score"].tolist()
    assert [one["decision"] for one in answers] == frame["@decision"].tolist()
    assert [1, 1, 1] == frame["@version"].tolist()


def test_without_a_log_predictions_are_answered_all_the_same(monitored):
    model = model_of(monitored, serving={"log": "off"})

    async def scenario(client):
        outcome = await client.post(
            "/models/tested/outcomes", json={"outcomes": [{"id": "a", "outcome": "yes"}]}
        )
        return await predicted(client, ROW), error_of(outcome), (await client.get("/ready")).json()["log"]

    answers, refusal, log = serve(scenario, model)
    assert 1 == len(answers)
    assert (409, "no_log", None) == refusal
    assert "off" == log


def test_a_row_counter_goes_on_where_the_log_ended(monitored, tmp_path):
    setup = model_of(monitored)
    values = values_of(serving={"poll": "0.1s"})
    values["data"] |= {"clock": "seconds"}
    assert setup.config.data.clock == "timestamp"
    write_yaml(tmp_path, make_rows(hours=150), values)
    from evergreen.tasks.io.setup import open_setup

    seconds = open_setup(str(tmp_path / "tested.yaml"))

    async def scenario(client):
        return await predict(client, ROW), await predict(client, ROW, at=[17.5])

    refused, taken = serve(scenario, seconds)
    assert (422, "missing_time", "at") == error_of(refused)
    assert 200 == taken.status_code
    assert 17.5 == seconds.stores.log.newest_position("tested")


def test_requests_that_wait_together_are_predicted_in_one_call(model):
    import asyncio

    async def scenario(client):
        await asyncio.gather(*(predicted(client, row) for row in rows(16)))
        return (await client.get("/metrics")).text

    figures = serve(scenario, model).splitlines()
    value = {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in figures if line[0] != "#"}
    assert 16 == value['evergreen_batch_rows_sum{model="tested"}']
    assert 16 > value['evergreen_batch_rows_count{model="tested"}']
    assert 16 == value['evergreen_rows_logged_total{model="tested"}']
    assert 16 == value['evergreen_requests_total{code="200",endpoint="predict",model="tested"}']


@pytest.mark.parametrize("how", ["hash", "leave_out"])
def test_private_columns_are_hashed_or_left_out_of_the_log(monitored, how):
    model = model_of(monitored, data={"private": ["colour"]}, serving={"private": how})

    async def scenario(client):
        return await predicted(client, ROW, ROW, {**ROW, "colour": "blue"})

    answers = serve(scenario, model)
    assert np.allclose(own_scores(model, 1, [ROW])[0], answers[0]["score"], rtol=0, atol=1e-12)
    frame = logged(model)
    if how == "leave_out":
        assert "colour" not in frame
        return
    first, second, third = sorted(frame["colour"], key=list(frame["colour"]).count, reverse=True)
    assert first == second
    assert first != third
    assert "red" not in first


@pytest.mark.parametrize("how", ["hash", "leave_out"])
def test_rows_of_one_private_customer_are_one_unit_of_live_tests(monitored, how):
    model = model_of(monitored, data={"private": ["who"], "entity": "who"}, serving={"private": how})

    async def scenario(client):
        asked = [{**ROW, "who": who} for who in ("ada", "bob", "ada")]
        return await predicted(client, *asked, ids=["1", "2", "3"], at="2026-01-01T00:00:00Z")

    serve(scenario, model)
    rows = model.stores.log.read_predictions(model.model, Window(), target=model.config.data.target).rows
    first, second, third = read_answers(rows, config=model.config, classes=("no", "yes")).units
    assert first == third != second
    assert "ada" not in first

"""Whatever is wrong with a request is a 4xx that names the field; too much is a 503 or 429 that says when."""

import asyncio
import json
from dataclasses import replace
from importlib.metadata import version

import pytest

from evergreen.deployments.service.errors import problem_of
from evergreen.tasks.core.errors import DataError
from evergreen.tasks.core.serving.compile import FrameModel
from evergreen.tasks.core.serving.predictors import ArrayPredictor
from evergreen.tasks.io.mlflow_store.model_files import ForeignModel
from tests.support.serving import PREDICT, ROW, error_of, model_of, predict, predicted, rows, serve, until

WRONG = [
    ({"records": [{**ROW, "x": "many"}]}, (422, "wrong_type", "records[0].x")),
    ({"records": [{**ROW, "amount": 1}]}, (422, "unknown_column", "records[0].amount")),
    ({"records": [{"x": 1.0, "z": 1.0}]}, (422, "missing_column", "records[0].colour")),
    ({"records": []}, (422, "no_rows", "records")),
    ({"rows": [ROW]}, (400, "unknown_key", "rows")),
    ({"columns": {"x": [1.0], "z": [1.0, 2.0], "colour": ["red"]}}, (422, "ragged", "columns.z")),
    ({"records": [ROW], "ids": ["a", "b"]}, (422, "wrong_count", "ids")),
    ({"records": [ROW, ROW], "ids": ["a", "a"]}, (422, "duplicate_id", "ids[1]")),
    ({"records": [ROW] * 11}, (413, "too_many_rows", "records")),
    ([ROW], (400, "not_an_object", None)),
]
ABSENT = [
    ("POST", "/models/nobody/predict", (404, "unknown_model", "model")),
    ("POST", "/models/nobody/outcomes", (404, "unknown_model", "model")),
    ("GET", "/models/nobody", (404, "unknown_model", "model")),
    ("GET", "/nowhere", (404, "not_found", None)),
    ("GET", PREDICT, (405, "method_not_allowed", None)),
    ("DELETE", "/models/tested", (405, "method_not_allowed", None)),
]


@pytest.fixture
def model(monitored):
    return model_of(monitored, serving={"max_rows": 10, "max_body_mb": 0.01})


def test_wrong_bodies_are_refused_by_the_field(model):
    async def scenario(client):
        return [error_of(await client.post(PREDICT, json=body)) for body, _ in WRONG]

    assert [expected for _, expected in WRONG] == serve(scenario, model)


def test_bodies_that_are_no_json_are_refused(model):
    bodies = [b"", b"{", b"NaN", b'{"records": [{"x": NaN}]}', b"\xff\xfe", b"null"]

    async def scenario(client):
        headers = {"content-type": "application/json"}
        return [
            (body, (await client.post(PREDICT, content=body, headers=headers)).status_code) for body in bodies
        ]

    assert [(body, 400) for body in bodies] == serve(scenario, model)


def test_another_media_type_or_encoding_is_refused(model):
    async def scenario(client):
        csv = await client.post(PREDICT, content=b"x\n1", headers={"content-type": "text/csv"})
        packed = await client.post(PREDICT, json={"records": [ROW]}, headers={"content-encoding": "gzip"})
        return error_of(csv), error_of(packed)

    expected = (
        (415, "unsupported_media_type", "Content-Type"),
        (415, "unsupported_encoding", "Content-Encoding"),
    )
    assert expected == serve(scenario, model)


def test_a_body_that_says_it_is_too_large_is_refused_before_it_is_read(model):
    async def scenario(client):
        read = []

        async def receive():
            read.append(1)
            return {"type": "http.request", "body": b"", "more_body": False}

        sent = []

        async def send(message):
            sent.append(message)

        scope = {
            "type": "http",
            "method": "POST",
            "path": PREDICT,
            "headers": [(b"content-length", b"99999999")],
        }
        await client.service.routes[PREDICT](scope, receive, send)
        return sent[0]["status"], read

    assert (413, []) == serve(scenario, model)


def test_a_body_in_chunks_is_refused_as_soon_as_it_is_too_large(model):
    async def scenario(client):
        async def chunks():
            for _ in range(100):
                yield b"x" * 1000

        return error_of(
            await client.post(PREDICT, content=chunks(), headers={"content-type": "application/json"})
        )

    assert (413, "body_too_large", None) == serve(scenario, model)


def test_a_client_that_never_sends_its_body_is_told_so(monitored):
    model = model_of(monitored, serving={"timeout": "0.2s"})

    async def scenario(client):
        sent = []

        async def send(message):
            sent.append(message)

        scope = {"type": "http", "method": "POST", "path": PREDICT, "headers": [(b"content-length", b"10")]}
        await client.service.routes[PREDICT](scope, asyncio.Event().wait, send)
        return sent[0]["status"]

    assert 408 == serve(scenario, model)


def test_what_our_own_code_refuses_is_told_without_a_place():
    problem = problem_of(DataError("Column 'x' in '/srv/models/m.yaml' should hold numbers."), "fraud")
    assert (422, "Column 'x' in '…' should hold numbers.") == (problem.status, problem.message)


def test_a_client_that_goes_away_is_not_answered(model):
    async def scenario(client):
        async def receive():
            return {"type": "http.disconnect"}

        sent = []
        scope = {"type": "http", "method": "POST", "path": PREDICT, "headers": []}
        await client.service.routes[PREDICT](scope, receive, sent.append)
        return sent

    assert [] == serve(scenario, model)


def test_what_is_not_here_is_said(model):
    async def scenario(client):
        return [error_of(await client.request(method, path)) for method, path, _ in ABSENT]

    assert [expected for _, _, expected in ABSENT] == serve(scenario, model)


@pytest.mark.parametrize("path", ["/invocations", "/models/tested/invocations", PREDICT])
def test_a_header_that_names_another_model_is_refused(model, path):
    async def scenario(client):
        own, other = ({"X-Evergreen-Model": name} for name in ("tested", "fraud"))
        good = await client.post(path, json={"records": [ROW]}, headers=own)
        return good.status_code, error_of(await client.post(path, json={"records": [ROW]}, headers=other))

    assert (200, (404, "unknown_model", "x-evergreen-model")) == serve(scenario, model)


def test_facts_are_given_whatever_a_header_about_bodies_says(model):
    async def scenario(client):
        headers = {"Content-Type": "text/csv", "Content-Encoding": "gzip", "Idempotency-Key": ""}
        paths = ("/models", "/models/tested", "/metrics")
        return [(await client.get(path, headers=headers)).status_code for path in paths]

    assert [200, 200, 200] == serve(scenario, model)


def test_more_than_may_wait_is_turned_away_with_a_time(monitored):
    model = model_of(monitored, serving={"max_waiting": 4})

    async def scenario(client):
        return await asyncio.gather(*(predict(client, row) for row in rows(12)))

    answers = serve(scenario, model)
    assert {200: 4, 503: 8} == {
        status: [a.status_code for a in answers].count(status) for status in (200, 503)
    }
    refused = [answer for answer in answers if answer.status_code == 503]
    assert {((503, "overloaded", None), "1")} == {
        (error_of(one), one.headers["retry-after"]) for one in refused
    }


def test_a_rate_is_held_for_each_client(monitored):
    model = model_of(monitored, serving={"rate_limit": 0.1, "rate_burst": 3})

    async def scenario(client):
        return [await predict(client, ROW) for _ in range(4)]

    answers = serve(scenario, model)
    assert [200, 200, 200, 429] == [answer.status_code for answer in answers]
    assert 8 <= int(answers[-1].headers["retry-after"]) <= 10


SECRET = "lookup table /srv/secret/rates.csv on db.internal:5432 lacks customer 'Ada Lovelace'"


class Raises:
    """An estimator, or a served form, that raises an error."""

    def __init__(self, error, signature=None):
        self.error, self.signature = error, signature

    def predict(self, frame):
        raise self.error

    def score(self, batch):
        raise self.error


def raising_forms(live):
    """Return forms of a model whose code raises, with the kind of error that clients are told."""
    own, signature = live.champion.model, live.signature
    parts = {"signature": signature, "problem": "regression", "decider": own.decider}
    types = {column.name: "any" for column in signature.columns}
    foreign = ForeignModel(Raises(ValueError(SECRET)), types)
    head = ArrayPredictor(estimator=Raises(ValueError(SECRET)), problem="regression", classes=())
    return [
        (Raises(KeyError(SECRET), signature), "KeyError"),
        (FrameModel(estimator=Raises(KeyError(SECRET)), **parts), "KeyError"),
        (FrameModel(estimator=Raises(ValueError(SECRET)), **parts), "ValueError"),
        (FrameModel(estimator=foreign, **parts), "ValueError"),
        (replace(own, predictor=head), "ValueError"),
    ]


def test_a_model_that_raises_is_told_by_its_kind_alone(model, caplog):
    async def scenario(client):
        live, answers = client.service.models["tested"].live, []
        for form, kind in raising_forms(live):
            object.__setattr__(live.champion, "model", form)
            answers.append((kind, await predict(client, ROW)))
        return answers

    for kind, answer in serve(scenario, model):
        assert (422, "model_refuses", None) == error_of(answer)
        assert f"({kind})" in answer.json()["error"]["message"]
        told = answer.text + caplog.text
        assert [] == [word for word in ("rates", "internal", "5432", "Ada", "lookup") if word in told]


def test_one_request_that_the_model_refuses_spoils_no_other(model):
    async def scenario(client):
        live = client.service.models["tested"].live
        real = live.champion.model

        class Picky:
            signature = real.signature

            def score(self, batch):
                if (batch.numbers[:, 0] > 5).any():
                    raise ZeroDivisionError
                return real.score(batch)

        object.__setattr__(live.champion, "model", Picky())
        return await asyncio.gather(*(predict(client, {**ROW, "x": x}) for x in (0.0, 9.0, 1.0)))

    assert [200, 422, 200] == [answer.status_code for answer in serve(scenario, model)]


def test_nothing_is_said_across_origins(model):
    async def scenario(client):
        return await client.get("/ready", headers={"origin": "https://elsewhere.example"})

    assert not [name for name in serve(scenario, model).headers if name.startswith("access-control")]


def test_a_model_without_a_champion_is_not_ready_and_says_why(monitored):
    model = model_of(monitored)
    model.stores.registry.delete_alias("tested", "champion")

    async def scenario(client):
        ready = await until(lambda: client.get("/ready"), lambda answer: "without @champion" in answer.text)
        return ready, await predict(client, ROW), await client.get("/health")

    ready, refused, health = serve(scenario, model, ready=False)
    assert (503, 200) == (ready.status_code, health.status_code)
    assert "the registry has no @champion" in ready.json()["models"]["tested"]["waits_for"]
    assert (503, "not_ready", None) == error_of(refused)


def test_several_models_are_told_apart(monitored, tmp_path):
    first = model_of(monitored)
    other = tmp_path / "other.yaml"
    other.write_text((tmp_path / "tested.yaml").read_text() + "model: other\n")
    from evergreen.tasks.io.setup import open_setup

    second = open_setup(str(other))

    async def scenario(client):
        unnamed = await client.post("/invocations", json={"records": [ROW]})
        named = await client.post(
            "/invocations", json={"records": [ROW]}, headers={"X-Evergreen-Model": "tested"}
        )
        return error_of(unnamed), named.status_code, (await client.get("/models")).json()

    async def run(client):
        from tests.support.serving import until

        await until(lambda: predict(client, ROW), lambda answer: answer.status_code == 200)
        return await scenario(client)

    unnamed, named, listed = serve(run, first, second, ready=False)
    assert (400, "which_model", "x-evergreen-model") == unnamed
    assert (200, {"models": ["tested", "other"]}) == (named, listed)


def test_the_same_app_answers_plain_requests_too(model):
    async def scenario(client):
        answers = {
            path: await client.get(path) for path in ("/health", "/ping", "/version", "/ready", "/metrics")
        }
        return {path: (answer.status_code, answer.text) for path, answer in answers.items()}

    found = serve(scenario, model)
    assert {200} == {status for status, _ in found.values()}
    assert ("OK\n", "OK\n", version("mlflow")) == tuple(
        found[path][1] for path in ("/health", "/ping", "/version")
    )
    assert json.loads(found["/ready"][1])["ready"] is True
    assert "evergreen_log_queue_rows 0.0" in found["/metrics"][1]


def test_two_rows_with_one_key_each_are_two_predictions(model):
    async def scenario(client):
        return await predicted(client, ROW, ids=["a"]), await predicted(client, ROW, ids=["b"])

    first, second = serve(scenario, model)
    assert ("a", "b") == (first[0]["id"], second[0]["id"])

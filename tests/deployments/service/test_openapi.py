"""The OpenAPI document says what the service does: its examples are answered, and answers fit its schemas."""

import re

import pytest
from jsonschema import Draft202012Validator

from evergreen.tasks.io.serving_keys import create_key, keys_path
from evergreen.tasks.io.settings import utc_now
from tests.support.serving import OUTCOMES, PREDICT, model_of, serve


@pytest.fixture
def model(monitored):
    return model_of(monitored)


def check(document, schema, value):
    """Fail unless a value fits a schema of the document."""
    Draft202012Validator({**schema, "components": document["components"]}).validate(value)


def content(part):
    return part["content"]["application/json"]


def test_every_example_of_a_body_is_answered_as_the_document_says(model):
    async def scenario(client):
        document = (await client.get("/openapi.json")).json()
        found = []
        for path, url in (("/models/{model}/predict", PREDICT), ("/invocations", "/invocations")):
            operation = document["paths"][path]["post"]
            body = content(operation["requestBody"])
            for number, (name, example) in enumerate(body["examples"].items()):
                check(document, body["schema"], example["value"])
                asked = {**example["value"], "ids": [f"{path}-{number}"]}
                answer = await client.post(url, json=asked)
                found.append((name, answer.status_code))
                check(document, content(operation["responses"]["200"])["schema"], answer.json())
        return found

    answers = serve(scenario, model)
    assert 14 == len(answers)
    assert {200} == {status for _, status in answers}


def test_the_example_of_outcomes_is_answered_as_the_document_says(model):
    async def scenario(client):
        document = (await client.get("/openapi.json")).json()
        operation = document["paths"]["/models/{model}/outcomes"]["post"]
        body = content(operation["requestBody"])
        check(document, body["schema"], body["example"])
        answer = await client.post(OUTCOMES, json=body["example"])
        check(document, content(operation["responses"]["200"])["schema"], answer.json())
        return answer.status_code

    assert 200 == serve(scenario, model)


REFUSED = [
    (PREDICT, {"records": []}, 422),
    (PREDICT, [], 400),
    ("/models/nobody/predict", {}, 404),
    (OUTCOMES, {}, 400),
]


def test_every_refusal_is_in_the_document_and_has_its_shape(model):
    async def scenario(client):
        document, found = (await client.get("/openapi.json")).json(), []
        for url, body, status in REFUSED:
            answer = await client.post(url, json=body)
            path = "/models/{model}/outcomes" if url == OUTCOMES else "/models/{model}/predict"
            said = document["paths"][path]["post"]["responses"][str(status)]
            check(document, content(said)["schema"], answer.json())
            check(document, content(said)["schema"], content(said)["example"])
            found.append(answer.status_code)
        return found

    assert [status for _, _, status in REFUSED] == serve(scenario, model)


def test_the_page_loads_nothing_from_elsewhere(model):
    async def scenario(client):
        page = (await client.get("/docs")).text
        loaded = re.findall(r"""(?:src|href)="([^"]+)"|url: '([^']+)'""", page)
        return [(one, await client.get(one)) for pair in loaded for one in pair if one]

    found = serve(scenario, model)
    assert {"docs/swagger-ui-bundle.js", "docs/swagger-ui.css", "docs/favicon-32x32.png", "openapi.json"} == {
        address for address, _ in found
    }
    assert {200} == {answer.status_code for _, answer in found}


def test_the_document_names_all_there_is(model):
    async def scenario(client):
        return (await client.get("/openapi.json")).json()

    document = serve(scenario, model)
    assert {
        "/health",
        "/ping",
        "/version",
        "/ready",
        "/metrics",
        "/models",
        "/models/{model}",
        "/invocations",
        "/models/{model}/predict",
        "/models/{model}/invocations",
        "/models/{model}/outcomes",
    } == set(document["paths"])
    operations = [one for path in document["paths"].values() for one in path.values()]
    assert all(one["responses"] for one in operations)


@pytest.mark.parametrize("guarded", [False, True])
def test_the_document_says_what_needs_a_key(model, guarded):
    if guarded:
        create_key(keys_path(model.settings), "web", at=utc_now())

    async def scenario(client):
        return (await client.get("/openapi.json")).json()["paths"]

    ways = [one.get("security", [{}]) for path in serve(scenario, model).values() for one in path.values()]
    assert guarded == ([{"bearer": []}, {"header": []}] in ways)
    assert (4 if guarded else 11) == sum({} in each for each in ways)

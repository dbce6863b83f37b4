"""The same request under the same key is one prediction, however often it is sent; another one is refused."""

import asyncio
from dataclasses import replace
from types import SimpleNamespace

import pytest

from tests.support.serving import (
    OUTCOMES,
    ROW,
    error_of,
    logged,
    model_of,
    predict,
    predicted,
    serve,
    serving,
)

OTHER = {**ROW, "x": 2.0}


@pytest.fixture
def model(monitored):
    return model_of(monitored)


def keyed(key):
    return {"Idempotency-Key": key}


def test_a_repeated_request_is_the_same_prediction(model):
    async def scenario(client):
        return [await predicted(client, ROW, OTHER, headers=keyed("k-1")) for _ in range(3)]

    first, *again = serve(scenario, model)
    assert [first, first] == again
    assert 2 == len(logged(model))


def test_repeats_that_arrive_at_once_are_one_prediction(model):
    async def scenario(client):
        return await asyncio.gather(*(predicted(client, ROW, headers=keyed("k-1")) for _ in range(8)))

    answers = serve(scenario, model)
    assert 1 == len({one[0]["id"] for one in answers}) == len(logged(model))


def test_a_repeat_after_a_restart_and_a_new_champion_gets_the_first_answer(model):
    async def scenario(client):
        return await predicted(client, ROW, headers=keyed("k-1"))

    first = serve(scenario, model)
    model.stores.registry.set_alias("tested", "champion", 2)
    assert first == serve(scenario, model)


def test_the_same_key_for_other_rows_is_refused(model):
    async def scenario(client):
        await predicted(client, ROW, headers=keyed("k-1"))
        other = await predict(client, OTHER, headers=keyed("k-1"))
        more = await predict(client, ROW, ROW, headers=keyed("k-1"))
        await predicted(client, ROW, OTHER, headers=keyed("k-2"))
        fewer = await predict(client, ROW, headers=keyed("k-2"))
        return error_of(other), error_of(more), error_of(fewer)

    assert [(409, "id_taken", "ids")] * 3 == list(serve(scenario, model))
    assert 3 == len(logged(model))


@pytest.mark.parametrize("beside", [{"entities": ["ada"]}, {"at": ["2026-01-02T00:00:00Z"]}])
def test_the_same_rows_about_somebody_else_or_at_another_time_are_another_request(model, beside):
    async def scenario(client):
        await predicted(client, ROW, headers=keyed("k-1"), entities=["bob"], at=["2026-01-01T00:00:00Z"])
        told = {"entities": ["bob"], "at": ["2026-01-01T00:00:00Z"], **beside}
        return error_of(await predict(client, ROW, headers=keyed("k-1"), **told))

    assert (409, "id_taken", "ids") == serve(scenario, model)


@pytest.mark.parametrize("how", ["hash", "leave_out"])
@pytest.mark.parametrize("beside", [{}, {"ids": ["a"]}])
@pytest.mark.parametrize("other", [{"colour": "blue"}, {"who": "bob"}])
def test_another_private_value_is_another_request_though_the_log_holds_none(monitored, how, beside, other):
    data = {"private": ["colour", "who"], "entity": "who"}
    model = model_of(monitored, data=data, serving={"private": how})
    row = {**ROW, "who": "ada"}

    async def scenario(client):
        options = {**beside, "headers": {} if beside else keyed("k-1")}
        first = await predicted(client, row, **options)
        refused = await predict(client, {**row, **other}, **options)
        return first, error_of(refused), await predicted(client, row, **options)

    first, refused, again = serve(scenario, model)
    assert (409, "id_taken", "ids") == refused
    assert first == again


def test_a_key_beside_ids_is_refused_for_either_says_which_predictions_they_are(model):
    async def scenario(client):
        return error_of(await predict(client, ROW, ids=["a"], headers=keyed("k-1")))

    assert (422, "key_and_ids", "ids") == serve(scenario, model)
    assert logged(model).empty


@pytest.mark.parametrize("beside", [{}, {"ids": ["a", "b"]}])
def test_what_todays_champion_and_limits_refuse_gets_its_first_answer_all_the_same(monitored, beside):
    model = model_of(monitored)
    tight = replace(model, config=model.config.model_copy(update={"serving": limited(model, rows=1)}))
    options = {**beside, "headers": {} if beside else keyed("k-1")}

    async def ask(client):
        return await predicted(client, ROW, OTHER, **options)

    first = serve(ask, model)

    async def scenario():
        async with serving(tight) as client:
            fewer_rows = await ask(client)
            take_away(client, "colour")
            fewer_columns = await ask(client)
            other = error_of(await predict(client, OTHER, OTHER, **options))
            new = error_of(await predict(client, ROW, headers=keyed("k-2")))
            return fewer_rows, fewer_columns, other, new

    fewer_rows, fewer_columns, other, new = asyncio.run(scenario())
    assert first == fewer_rows == fewer_columns
    assert (409, "id_taken", "ids") == other
    assert (422, "unknown_column", "records[0].colour") == new
    assert 2 == len(logged(model))


def limited(model, *, rows):
    return model.config.serving.model_copy(update={"max_rows": rows})


def take_away(client, column):
    """Put a champion in the place of the one that is live, which does not know a column."""
    served = client.service.models["tested"]
    live = served.live
    known = tuple(one for one in live.signature.columns if one.name != column)
    model = SimpleNamespace(signature=replace(live.signature, columns=known), form=live.champion.model.form)
    served.live = replace(live, champion=replace(live.champion, model=model))


def test_ids_of_the_clients_own_are_kept_and_taken_once(model):
    async def scenario(client):
        first = await predicted(client, ROW, OTHER, ids=["a", "b"])
        again = await predicted(client, ROW, OTHER, ids=["a", "b"])
        return first, again, error_of(await predict(client, OTHER, ids=["a"]))

    first, again, refused = serve(scenario, model)
    assert ["a", "b"] == [one["id"] for one in first]
    assert first == again
    assert (409, "id_taken", "ids") == refused


def test_a_key_that_is_none_is_refused(model):
    async def scenario(client):
        keys = ("", "x" * 201, "tab\tbed")
        return [error_of(await predict(client, ROW, headers=keyed(key))) for key in keys]

    assert [(400, "bad_idempotency_key", "Idempotency-Key")] * 3 == serve(scenario, model)


async def say(client, *outcomes):
    return await client.post(OUTCOMES, json={"outcomes": list(outcomes)})


def test_outcomes_join_their_predictions_whenever_they_come(model):
    async def scenario(client):
        early = await say(client, {"id": "a", "outcome": "yes"})
        await predicted(client, ROW, OTHER, ids=["a", "b"])
        late = await say(
            client,
            {"id": "b", "outcome": "no", "known_at": "2027-01-01T00:00:00Z"},
            {"id": "a", "outcome": "yes"},
        )
        return early.json(), late.json()

    early, late = serve(scenario, model)
    assert ({"written": 1, "known": 0}, {"written": 1, "known": 1}) == (early, late)
    frame = logged(model).sort_values("x")
    assert ["yes", "no"] == frame["@outcome"].tolist()


def test_an_outcome_that_contradicts_is_refused_and_holds_up_no_other(model):
    async def scenario(client):
        await predicted(client, ROW, OTHER, ids=["a", "b"])
        await say(client, {"id": "a", "outcome": "yes"})
        answer = await say(client, {"id": "a", "outcome": "no"}, {"id": "b", "outcome": "no"})
        return answer

    answer = serve(scenario, model)
    assert (409, "outcome_taken", "outcomes") == error_of(answer)
    assert "(a)" in answer.text
    assert ["yes", "no"] == logged(model).sort_values("x")["@outcome"].tolist()


WRONG = [
    ({"outcomes": []}, (400, "wrong_shape", "outcomes")),
    ({"outcomes": [{"id": "a"}]}, (422, "wrong_shape", "outcomes[0]")),
    ({"outcomes": [{"id": "", "outcome": "yes"}]}, (422, "invalid_id", "outcomes[0].id")),
    ({"outcomes": [{"id": "a", "outcome": None}]}, (422, "wrong_type", "outcomes[0].outcome")),
    ({"outcomes": [{"id": "a", "outcome": [1]}]}, (422, "wrong_type", "outcomes[0].outcome")),
    ({"outcomes": [{"id": "a", "outcome": "banana"}]}, (422, "unknown_class", "outcomes[0].outcome")),
    ({"outcomes": [{"id": "a", "outcome": 3.7}]}, (422, "unknown_class", "outcomes[0].outcome")),
    ({"outcomes": [{"id": "a", "outcome": 10**400}]}, (422, "number_out_of_range", "outcomes[0].outcome")),
    (
        {"outcomes": [{"id": "a", "outcome": "yes", "known_at": "soon"}]},
        (422, "invalid_time", "outcomes[0].known_at[0]"),
    ),
    ({"outcomes": [{"id": "a", "outcome": "yes"}], "more": 1}, (400, "wrong_shape", "outcomes")),
]


def test_wrong_outcomes_are_refused_by_the_field(model):
    async def scenario(client):
        return [error_of(await client.post(OUTCOMES, json=body)) for body, _ in WRONG]

    assert [expected for _, expected in WRONG] == serve(scenario, model)

"""The champion answers; shadows score aside; challengers answer who is theirs, and are sent back when they fail."""

import asyncio
import threading

import numpy as np
import pytest

from evergreen.deployments.service.alias_watcher import AliasWatcher
from evergreen.tasks.core.traffic.state import STOPPED, TRAFFIC
from evergreen.tasks.io.traffic import ramp_variant, set_variants, stop_variants
from tests.support.serving import (
    ROW,
    facts,
    model_of,
    own_scores,
    predicted,
    register_stranger,
    rows,
    serve,
    until,
)

ENTITIES = [f"customer-{number}" for number in range(60)]


@pytest.fixture
def model(monitored):
    return model_of(monitored)


def shadow_scores(model):
    """Return what is in the log of shadows: variant, version and score by prediction id."""
    from sqlalchemy import create_engine, text

    with create_engine(str(model.stores.log.url)).connect() as connection:
        found = connection.execute(text("select prediction_id, variant, version, score from shadows")).all()
    return {row.prediction_id: (row.variant, row.version, float(row.score)) for row in found}


async def variants_live(client, *names):
    """Wait until these variants, beside the champion, are what is served."""
    wanted = {"champion", *names}
    await until(lambda: facts(client), lambda said: wanted == {one["name"] for one in said["variants"]})


async def asked_by(client, entities):
    return await predicted(client, *([ROW] * len(entities)), entities=list(entities))


def test_a_shadow_scores_the_same_rows_and_never_answers(model):
    set_variants(model, challengers=(), shadows=["2"])
    asked = rows(30)

    async def scenario(client):
        await variants_live(client, "v2")
        answers = await predicted(client, *asked)
        await until(lambda: asyncio.to_thread(shadow_scores, model), lambda found: len(found) == len(asked))
        return answers

    answers = serve(scenario, model)
    assert {(1, "champion")} == {(one["version"], one["variant"]) for one in answers}
    said = shadow_scores(model)
    assert {("v2", 2)} == {one[:2] for one in said.values()}
    expected = own_scores(model, 2, asked)
    assert np.allclose(expected, [said[one["id"]][2] for one in answers], rtol=0, atol=1e-12)


def test_what_a_shadow_is_asked_is_logged_before_the_service_has_ended(model, monkeypatch):
    set_variants(model, challengers=(), shadows=["2"])
    ending, end = threading.Event(), AliasWatcher.stop

    class Waits:
        def __init__(self, model):
            self._model = model
            self.signature, self.form = model.signature, "frame"

        def score(self, batch):
            assert ending.wait(60)
            return self._model.score(batch)

    def end_and_say(self):
        end(self)
        ending.set()

    monkeypatch.setattr(AliasWatcher, "stop", end_and_say)

    async def scenario(client):
        await variants_live(client, "v2")
        shadow = client.service.models["tested"].live.arms["v2"].members[0][0]
        object.__setattr__(shadow, "model", Waits(shadow.model))
        return [await predicted(client, ROW) for _ in range(5)]

    answers = serve(scenario, model)
    assert {one["id"] for answer in answers for one in answer} == set(shadow_scores(model))


def test_a_shadow_that_fails_changes_nothing_for_those_who_ask(model):
    set_variants(model, challengers=(), shadows=["2"])

    class Fails:
        def __init__(self, signature):
            self.signature, self.form = signature, "frame"

        def score(self, batch):
            raise KeyError("x")

    async def scenario(client):
        await variants_live(client, "v2")
        live = client.service.models["tested"].live
        shadow = live.arms["v2"].members[0][0]
        object.__setattr__(shadow, "model", Fails(shadow.model.signature))
        answers = await predicted(client, *rows(5))
        counted = 'evergreen_shadow_rows_total{model="tested",outcome="failed",version="2"} 5.0'
        await until(lambda: client.get("/metrics"), lambda answer: counted in answer.text)
        return answers

    assert 5 == len(serve(scenario, model))
    assert {} == shadow_scores(model)


def test_an_entity_keeps_its_variant_across_requests_and_restarts(model):
    set_variants(model, challengers=["2@50%"], shadows=())

    async def scenario(client):
        await variants_live(client, "v2")
        together = await asked_by(client, ENTITIES)
        alone = [(await asked_by(client, [one]))[0] for one in ENTITIES[:10]]
        return together, alone

    together, alone = serve(scenario, model)
    again, _ = serve(scenario, model)
    arms = [one["variant"] for one in together]
    assert arms == [one["variant"] for one in again]
    assert arms[:10] == [one["variant"] for one in alone]
    assert {("champion", 1), ("v2", 2)} == {(one["variant"], one["version"]) for one in together}
    own = {1: own_scores(model, 1, [ROW])[0], 2: own_scores(model, 2, [ROW])[0]}
    assert all(abs(own[one["version"]] - one["score"]) < 1e-12 for one in together)


def test_an_ensemble_answers_by_the_weighted_mean(model):
    set_variants(model, challengers=["blend=1*0.25+2*0.75@100%"], shadows=())

    async def scenario(client):
        await variants_live(client, "blend")
        return await asked_by(client, ENTITIES[:5])

    answers = serve(scenario, model)
    mean = 0.25 * own_scores(model, 1, [ROW])[0] + 0.75 * own_scores(model, 2, [ROW])[0]
    assert {("blend", None, "yes")} == {(one["variant"], one["version"], one["decision"]) for one in answers}
    assert np.allclose(mean, [one["score"] for one in answers], rtol=0, atol=1e-12)


def test_traffic_that_is_stopped_goes_back_to_the_champion_within_seconds(model):
    set_variants(model, challengers=["2@100%"], shadows=())

    async def scenario(client):
        await variants_live(client, "v2")
        before = await asked_by(client, ENTITIES[:5])
        await asyncio.to_thread(stop_variants, model, why="clients complain")
        await variants_live(client)
        return before, await asked_by(client, ENTITIES[:5])

    before, after = serve(scenario, model)
    assert {2} == {one["version"] for one in before}
    assert {1} == {one["version"] for one in after}


def test_a_challenger_that_does_not_load_is_answered_for_by_the_champion(model, tmp_path):
    broken = register_stranger(model, tmp_path)
    model.stores.registry.set_tags("tested", broken, {"validation_status": "approved"})
    set_variants(model, challengers=[f"{broken}@100%"], shadows=())

    async def scenario(client):
        said = await until(lambda: facts(client), lambda one: one["refused"])
        return said, await asked_by(client, ENTITIES[:5])

    said, answers = serve(scenario, model)
    assert [(broken, f"v{broken}")] == [(one["version"], one["wanted_as"]) for one in said["refused"]]
    assert [True, False] == [one["answers"] for one in said["variants"]]
    assert {("champion", 1)} == {(one["variant"], one["version"]) for one in answers}


def test_a_canary_that_fails_is_answered_for_and_sent_back_by_itself(model):
    ramp_variant(model, canary="2", steps=[0.5, 1.0])

    class Fails:
        def __init__(self, signature):
            self.signature, self.form = signature, "frame"

        def score(self, batch):
            raise KeyError("x")

    async def scenario(client):
        await variants_live(client, "v2")
        live = client.service.models["tested"].live
        challenger = live.arms["v2"].members[0][0]
        object.__setattr__(challenger, "model", Fails(challenger.model.signature))
        seen = []

        async def ask():
            fresh = [f"customer-{len(seen)}-{number}" for number in range(100)]
            seen.extend(await asked_by(client, fresh))
            return await facts(client)

        await until(ask, lambda said: len(said["variants"]) == 1)
        return seen

    seen = serve(scenario, model, judge_every_s=0.05)
    assert {("champion", 1)} == {(one["variant"], one["version"]) for one in seen}
    newest = model.stores.ledger.last("tested", TRAFFIC)
    assert STOPPED == newest.kind
    assert ["guardrail_errors"] == [reason["code"] for reason in newest.payload["reasons"]]

"""A restart serves what lies on disk: while the ledger is away, and after a disk was full for a moment."""

import asyncio

import pytest

from evergreen.tasks.io.serving_cache import ServingCache
from evergreen.tasks.io.traffic import set_variants
from tests.support.champions import set_champion
from tests.support.serving import ROW, facts, model_of, predicted, serve, until


class Away:
    """A store that does not answer."""

    def __getattr__(self, name):
        def ask(*_, **__):
            raise ConnectionError("away")

        return ask


@pytest.fixture
def model(monitored):
    return model_of(monitored)


async def answers_and_variants(client):
    said = await facts(client)
    return (await predicted(client, ROW))[0]["version"], [
        (one["name"], one["share"]) for one in said["variants"]
    ]


def test_a_restart_while_the_ledger_is_away_serves_the_traffic_there_was(model):
    set_variants(model, challengers=["2@50%"], shadows=[])
    _, before = serve(answers_and_variants, model)
    model.stores.__dict__["ledger"] = Away()
    _, after = serve(answers_and_variants, model)
    assert (2, before) == (len(after), after)


def test_a_first_start_while_the_ledger_is_away_lets_the_champion_answer_alone(model):
    model.stores.__dict__["ledger"] = Away()
    assert (1, [("champion", 1.0)]) == serve(answers_and_variants, model)


def test_another_champion_gets_no_traffic_of_the_former_one_while_the_ledger_is_away(model):
    set_variants(model, challengers=["2@50%"], shadows=[])
    serve(answers_and_variants, model)
    model.stores.registry.set_alias("tested", "champion", 2)
    model.stores.__dict__["ledger"] = Away()
    assert (2, [("champion", 1.0)]) == serve(answers_and_variants, model)


def test_what_could_not_be_noted_on_a_full_disk_is_noted_afterwards(model, monkeypatch, caplog):
    remember, refused = ServingCache.remember, []

    def full_at_first(self, *given, **noted):
        if len(refused) < 2:
            refused.append(noted)
            raise OSError(28, "No space left on device")
        remember(self, *given, **noted)

    async def scenario(client):
        await asyncio.to_thread(set_champion, model, 2)
        return await until(
            lambda: asyncio.to_thread(ServingCache(model).last_good),
            lambda last: last is not None and last["aliases"]["champion"] == 2,
        )

    serve(lambda client: predicted(client, ROW), model)
    monkeypatch.setattr(ServingCache, "remember", full_at_first)
    serve(scenario, model)
    assert 2 == len(refused)
    assert 1 == caplog.text.count("cannot be written to disk: OSError")

"""Versions that hang, end the process or raise: refused in time, told by kind alone, tried again ever more rarely."""

import asyncio
import threading
from datetime import timedelta
from functools import partial
from types import SimpleNamespace

import pytest

from evergreen.deployments.service.metrics import ServiceMetrics
from evergreen.deployments.service.model_loader import VersionCache, load_version
from evergreen.tasks.core.serving.smoke import SmokeFailed
from evergreen.tasks.io.serving_cache import ServingCache
from evergreen.tasks.io.settings import utc_now
from tests.support.champions import set_champion
from tests.support.serving import ROW, facts, model_of, predicted, serve, until

SECRET = "lookup table /srv/secret/rates.csv on db.internal:5432 lacks customer 'Ada Lovelace'"
SECRETS = ("rates", "internal", "5432", "Ada", "lookup")


@pytest.fixture
def model(monitored):
    return model_of(monitored)


def other_than_first(ask, **options):
    """Make the cache of versions in which a function stands in for loading any version but the first."""

    def load(*given):
        return load_version(*given) if given[2] == 1 else ask(lambda: load_version(*given))

    return partial(VersionCache, load=load, **options)


def test_a_version_that_hangs_is_refused_and_another_is_followed(model):
    go_on, begun = threading.Event(), []

    def hang(take):
        begun.append(threading.current_thread())
        go_on.wait()
        return take()

    async def scenario(client):
        await asyncio.to_thread(set_champion, model, 2)
        said = await until(lambda: facts(client), lambda one: one["refused"])
        await until(lambda: facts(client), lambda one: one["refused"][0]["at"] > said["refused"][0]["at"])
        answers = await predicted(client, ROW)
        await asyncio.to_thread(set_champion, model, 1)
        await until(lambda: facts(client), lambda one: not one["refused"])
        attempts = len(begun)
        go_on.set()
        begun[0].join()
        await asyncio.to_thread(set_champion, model, 2)
        await until(lambda: predicted(client, ROW), lambda found: found[0]["version"] == 2)
        return said["refused"][0]["why"], answers, attempts

    make_versions = other_than_first(hang, limit_s=0.3, again_s=0.1)
    try:
        why, answers, attempts = serve(scenario, model, make_versions=make_versions)
    finally:
        go_on.set()
    assert why.startswith("It did not load and answer its own example within 0.3 s")
    assert (1, 1, 1) == (answers[0]["version"], attempts, len(begun))


def test_a_version_whose_code_would_end_the_process_is_refused(model):
    def leave(_):
        raise SystemExit(3)

    async def scenario(client):
        await asyncio.to_thread(set_champion, model, 2)
        said = await until(lambda: facts(client), lambda one: one["refused"])
        return said["refused"][0]["why"], await predicted(client, ROW)

    why, answers = serve(scenario, model, make_versions=other_than_first(leave))
    assert ("RuntimeError when it was loaded; see the service's log", 1) == (why, answers[0]["version"])


def test_a_version_that_raises_on_its_example_is_told_by_kind_and_its_words_are_in_the_log(
    model, monkeypatch, caplog
):
    def refuse(self, frame):
        raise ValueError(SECRET)

    def take_and_ask(take):
        version = take()
        monkeypatch.setattr(type(version.model), "score", lambda *_: refuse(None, None))
        return take()

    async def scenario(client):
        await asyncio.to_thread(set_champion, model, 2)
        await until(lambda: facts(client), lambda one: one["refused"])
        told = [await client.get(path) for path in ("/ready", "/models", "/models/tested")]
        return [one.text for one in told]

    told = serve(scenario, model, make_versions=other_than_first(take_and_ask))
    assert "ValueError when it was asked for its own example; see" in told[0]
    assert [] == [word for word in SECRETS for text in told if word in text]
    assert "It fails on 5 rows of its own example (ValueError: lookup table" in caplog.text


class Elapsed:
    """A clock that is set by hand."""

    def __init__(self, now):
        self.now = now

    def __call__(self):
        return self.now


def test_a_refused_version_is_tried_ever_more_rarely_and_anew_once_it_was_not_wanted(model):
    tried = []

    def fail(*_):
        tried.append(1)
        raise SmokeFailed("It will not do.")

    clock = Elapsed(utc_now())
    versions = VersionCache(model, ServingCache(model), metrics=ServiceMetrics(), load=fail, now=clock)

    def tries(seconds):
        before = len(tried)
        for _ in range(seconds):
            versions.get(2, "champion")
            clock.now += timedelta(seconds=1)
        return len(tried) - before

    assert [1, 1, 0, 1, 0, 0, 0, 1] == [tries(10) for _ in range(8)]
    tries(600)
    assert 2 == tries(600)
    versions.refusals({1})
    assert [1, 1] == [tries(10) for _ in range(2)]


def test_what_could_not_be_fetched_is_tried_again_every_ten_seconds(model):
    tried = []

    def away(*_):
        tried.append(1)
        raise ConnectionError("away")

    clock = Elapsed(utc_now())
    versions = VersionCache(model, SimpleNamespace(fetch=away), metrics=ServiceMetrics(), now=clock)
    for _ in range(100):
        versions.get(2, "champion")
        clock.now += timedelta(seconds=1)
    assert 10 == len(tried)


def test_files_of_a_version_that_still_loads_are_not_removed(model):
    begun, go = threading.Event(), threading.Event()
    made = []

    def slow(*given):
        begun.set()
        assert go.wait(60)
        made.append(load_version(*given))
        return made[0]

    cache = ServingCache(model)
    versions = VersionCache(model, cache, metrics=ServiceMetrics(), load=slow, limit_s=0.0)
    assert versions.get(2, "champion") is None
    assert begun.wait(60)
    cache.prune(versions.keep(set()))
    go.set()
    (thread,) = [one for one in threading.enumerate() if one.name == "evergreen-take-tested-2"]
    thread.join()
    assert [2] == [one.number for one in made]

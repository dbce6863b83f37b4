"""Aliases are followed without a failed request; what will not do is refused, said, and told; outages are outlived."""

import asyncio
import shutil
from functools import partial

import numpy as np
import skops.io

from evergreen.deployments.service.model_loader import VersionCache, load_version
from evergreen.tasks.core.alerts.alert import HEALTH
from evergreen.tasks.io.mlflow_store.model_files import fetch_model
from evergreen.tasks.io.mlflow_store.models import load_model
from evergreen.tasks.io.mlflow_store.tracking import open_tracker
from evergreen.tasks.io.serving_cache import ServingCache
from tests.support.champions import set_champion
from tests.support.serving import (
    ROW,
    Away,
    error_of,
    facts,
    model_of,
    own_scores,
    predict,
    predicted,
    register_stranger,
    serve,
    until,
)


def register_broken(setup, folder):
    """Register a version that loads, has all its documents, and answers with what is no number; return it."""
    registry = setup.stores.registry
    good = registry.version(setup.model, 2)
    local = fetch_model(f"models:/{setup.model}/2", folder / "fetched", tracker=open_tracker(setup.stores))
    place = folder / "broken"
    shutil.copytree(local, place)
    estimator = load_model(setup, 2).estimator
    _spoil(estimator)
    skops.io.dump(estimator, place / "model.skops")
    tags = {"evergreen.run": good.tags.get("evergreen.run") or good.run_id}
    return registry.register(setup.model, source=str(place), run_id=None, tags=tags).version


def register_again(setup, version):
    """Register a version once more, as the next one; return it."""
    registry = setup.stores.registry
    good = registry.version(setup.model, version)
    tags = {"evergreen.run": good.tags.get("evergreen.run") or good.run_id, "validation_status": "approved"}
    return registry.register(setup.model, source=good.source, run_id=good.run_id, tags=tags).version


def _spoil(estimator):
    parts = [estimator, *estimator.get_params(deep=True).values()]
    linear = [part for part in parts if hasattr(part, "coef_")]
    assert linear
    for part in linear:
        part.coef_ = np.full_like(part.coef_, np.nan)


def health(setup):
    """Return the open alarms of the stream health, by name."""
    last = setup.stores.ledger.last(setup.model, HEALTH)
    return {one["name"]: one["said"] for one in last.payload["alert"]["open"]} if last else {}


def test_a_moved_champion_is_served_without_a_failed_request(monitored):
    model = model_of(monitored)

    async def scenario(client):
        seen, statuses, done = [], set(), asyncio.Event()

        async def load():
            while not done.is_set():
                answer = await predict(client, ROW)
                statuses.add(answer.status_code)
                seen.append(answer.json()["predictions"][0]["version"])
                await asyncio.sleep(0)

        loads = [asyncio.create_task(load()) for _ in range(4)]
        for version in (2, 1, 2):
            await asyncio.to_thread(set_champion, model, version)
            await until(
                lambda: predicted(client, ROW), lambda found, v=version: found[0]["version"] == v, seconds=20
            )
        done.set()
        await asyncio.gather(*loads)
        return statuses, seen, await predicted(client, ROW)

    statuses, seen, last = serve(scenario, model)
    assert {200} == statuses
    assert {1, 2} == set(seen)
    assert abs(own_scores(model, 2, [ROW])[0] - last[0]["score"]) < 1e-12


def test_a_version_that_answers_with_no_number_is_refused_and_the_old_one_goes_on(monitored, tmp_path):
    model = model_of(monitored)
    broken = register_broken(model, tmp_path)

    async def scenario(client):
        await asyncio.to_thread(set_champion, model, broken)
        said = await until(lambda: facts(client), lambda one: one["refused"])
        ready = (await client.get("/ready")).json()
        answers = await predicted(client, ROW)
        opened = await until(lambda: asyncio.to_thread(health, model), lambda open_: "serving" in open_)
        await asyncio.to_thread(set_champion, model, 2)
        await until(lambda: predicted(client, ROW), lambda found: found[0]["version"] == 2)
        await until(lambda: asyncio.to_thread(health, model), lambda open_: "serving" not in open_)
        return said, ready, answers, opened, (await facts(client))["refused"]

    deliveries = []
    said, ready, answers, opened, refused = serve(scenario, model, deliver=deliveries.append)
    assert [(broken, "champion")] == [(one["version"], one["wanted_as"]) for one in said["refused"]]
    assert "finite" in said["refused"][0]["why"]
    assert (1, broken) == (said["version"], said["aliases"]["champion"])
    assert ready["ready"] and ready["models"]["tested"]["refused"]  # noqa: PT018
    assert 1 == answers[0]["version"]
    assert f"version {broken} was refused as champion" in opened["serving"]
    assert ([], 2) == (refused, len(deliveries))


def test_a_version_that_does_not_load_is_refused_also_after_a_restart(monitored, tmp_path):
    model = model_of(monitored)

    async def asked(client):
        return await predicted(client, ROW), (await facts(client))["refused"]

    serve(asked, model)
    set_champion(model, register_stranger(model, tmp_path))
    answers, refused = serve(asked, model)
    assert 1 == answers[0]["version"]
    assert "was not registered by Evergreen" in refused[0]["why"]


def test_a_first_version_that_will_not_do_leaves_the_service_not_ready(monitored, tmp_path):
    model = model_of(monitored)
    set_champion(model, register_broken(model, tmp_path))

    async def scenario(client):
        ready = lambda: client.get("/ready")  # noqa: E731
        return await until(ready, lambda answer: "was refused" in answer.text)

    answer = serve(scenario, model, ready=False)
    assert 503 == answer.status_code


def test_the_last_good_model_outlives_an_outage_of_the_registry_and_a_restart_in_it(monitored):
    model = model_of(monitored)

    async def outage(client):
        before = await predicted(client, ROW)
        model.stores.__dict__["registry"] = Away()
        said = await until(lambda: facts(client), lambda one: one["registry"] != "answers")
        return before, await predicted(client, ROW), said

    async def restart(client):
        return await predicted(client, ROW), await facts(client), (await client.get("/ready")).json()

    before, during, said = serve(outage, model)
    after, told, ready = serve(restart, model)
    assert 1 == len({one[0]["score"] for one in (before, during, after)})
    assert "does not answer: ConnectionError; see the service's log" == said["registry"]
    assert said["registry_away_since"]
    assert (False, True) == (said["from_local_copy"], told["from_local_copy"])
    assert ready["models"]["tested"]["from_local_copy"]
    assert said["registry"] == ready["models"]["tested"]["registry"]


def test_whoever_asks_learns_no_host_and_no_path_of_what_is_wrong_but_the_log_does(monitored, caplog):
    model = model_of(monitored)
    model.stores.__dict__["registry"] = Away()

    async def scenario(client):
        await until(lambda: facts(client), lambda one: one["registry"] != "answers")
        told = [await client.get(path) for path in ("/ready", "/models", "/models/tested", "/health")]
        return [*told, await predict(client, ROW)]

    with caplog.at_level("WARNING"):
        answers = serve(scenario, model, ready=False)
    assert (503, "not_ready", None) == error_of(answers[-1])
    assert "the registry does not answer: ConnectionError" in answers[-1].json()["error"]["message"]
    named = [
        word
        for one in answers
        for word in ("internal", "10.0.0.7", "/srv", str(monitored.folder))
        if word in one.text
    ]
    assert [] == named
    assert "db.internal" in caplog.text


def test_a_refusal_is_told_without_the_path_that_it_is_about(monitored):
    model = model_of(monitored)

    async def scenario(client):
        await asyncio.to_thread(set_champion, model, 2)
        said = await until(lambda: facts(client), lambda one: one["refused"])
        opened = await until(lambda: asyncio.to_thread(health, model), lambda open_: "serving" in open_)
        return said["refused"][0]["why"], opened["serving"]

    told, kept = serve(scenario, model, make_versions=partial(VersionCache, load=lose_file))
    assert "FileNotFoundError when it was loaded; see the service's log" == told
    assert "/srv/models/2.skops" in kept


def lose_file(setup, cache, number, facts):
    if number == 1:
        return load_version(setup, cache, number, facts)
    raise FileNotFoundError("/srv/models/2.skops")


def test_after_the_outage_the_registry_is_followed_again(monitored):
    model = model_of(monitored)
    serve(lambda client: predicted(client, ROW), model)
    registry = model.stores.registry

    async def scenario(client):
        away = await predicted(client, ROW)
        registry.set_alias("tested", "champion", 2)
        model.stores.__dict__["registry"] = registry
        back = await until(lambda: predicted(client, ROW), lambda found: found[0]["version"] == 2)
        return away, back, await until(lambda: facts(client), lambda one: not one["from_local_copy"])

    model.stores.__dict__["registry"] = Away()
    away, back, said = serve(scenario, model)
    assert (1, 2) == (away[0]["version"], back[0]["version"])
    assert ("answers", None) == (said["registry"], said["registry_away_since"])


def test_a_copy_that_was_changed_is_not_served(monitored):
    model = model_of(monitored)
    serve(lambda client: predicted(client, ROW), model)
    cache = ServingCache(model)
    (cache.files(1) / "model.skops").write_bytes(b"something else")
    model.stores.__dict__["registry"] = Away()

    async def scenario(client):
        return await until(lambda: client.get("/ready"), lambda answer: "was refused" in answer.text)

    assert 503 == serve(scenario, model, ready=False).status_code


def test_a_copy_of_another_life_of_the_model_is_fetched_anew(monitored):
    model = model_of(monitored)
    cache = ServingCache(model)
    cache.load(1)
    shutil.copytree(cache.files(1).parent, cache.files(2).parent)
    assert cache.has(2)
    assert 2 == cache.load(2).info.version


def test_a_lost_alias_is_told_and_the_last_champion_goes_on(monitored):
    model = model_of(monitored)

    async def scenario(client):
        await asyncio.to_thread(model.stores.registry.delete_alias, "tested", "champion")
        await until(lambda: asyncio.to_thread(health, model), lambda open_: "serving" in open_)
        return await predicted(client, ROW), (await client.get("/ready")).json()

    deliveries = []
    answers, ready = serve(scenario, model, deliver=deliveries.append)
    assert (1, True) == (answers[0]["version"], ready["ready"])
    assert "answers, without @champion" == ready["models"]["tested"]["registry"]
    assert 1 == len(deliveries)


def test_former_versions_are_kept_for_a_way_back_and_older_ones_are_removed(monitored):
    model = model_of(monitored)
    versions = [register_again(model, 2) for _ in range(3)]

    async def scenario(client):
        for version in (2, *versions):
            await asyncio.to_thread(set_champion, model, version)
            await until(lambda: predicted(client, ROW), lambda found, v=version: found[0]["version"] == v)
        cache = ServingCache(model)
        await until(lambda: asyncio.to_thread(cache.has, 2), lambda there: not there)
        return [cache.has(version) for version in (1, 2, *versions)]

    assert [False, False, True, True, True] == serve(scenario, model)

"""A canary that was sent back stays so: while its stop cannot be written, and whatever other services write."""

import asyncio
import threading
from datetime import timedelta

import pytest
from sqlalchemy.exc import OperationalError

from evergreen.deployments.service.alias_watcher import AliasWatcher
from evergreen.tasks.core.traffic.counts import ArmFigures
from evergreen.tasks.core.traffic.decide import Round, decide_traffic
from evergreen.tasks.core.traffic.state import STOPPED, TRAFFIC
from evergreen.tasks.io.serving_cache import ServingCache
from evergreen.tasks.io.settings import utc_now
from evergreen.tasks.io.traffic import ramp_variant, read_traffic, write_decision
from tests.support.serving import ROW, Away, facts, model_of, predicted, serve, until

QUICK = {"judge_every_s": 0.05}


class Fails:
    """A model that fails on every row."""

    def __init__(self, signature):
        self.signature, self.form = signature, "frame"

    def score(self, batch):
        raise KeyError("x")


class Busy:
    """A ledger that takes no stop (or nothing at all) while it is away."""

    def __init__(self, ledger, *kinds):
        self._ledger, self._kinds, self.away, self.tried = ledger, kinds, True, []

    def __getattr__(self, name):
        return getattr(self._ledger, name)

    def follow(self, **entry):
        if self.away and (not self._kinds or entry["kind"] in self._kinds):
            self.tried.append(entry["kind"])
            raise OperationalError("insert", {}, Exception("database is locked"))
        return self._ledger.follow(**entry)


def make_busy(model, *kinds):
    """Put a busy ledger in place of a model's own; return it."""
    model.stores.__dict__["ledger"] = busy = Busy(model.stores.ledger, *kinds)
    return busy


@pytest.fixture
def model(monitored):
    return model_of(monitored, traffic={"min_rows": 1, "min_time": "1s"})


def another_service_steps(setup):
    """Write the next step of the ramp, as a service that saw nothing wrong."""
    ledger, limits = setup.stores.ledger, setup.config.traffic.limits
    quiet = Round(
        number=1, since=utc_now() - timedelta(minutes=1), figures=(ArmFigures(name="v2", rows=20_000),)
    )
    decision = decide_traffic(read_traffic(ledger, setup.model), quiet, now=utc_now(), limits=limits)
    assert "step" == write_decision(ledger, setup.model, decision, at=utc_now()).kind


def test_a_stop_that_cannot_be_written_is_written_later_over_another_services_step(model):
    ramp_variant(model, canary="2", steps=[0.5, 0.6, 1.0], min_rows=10_000)
    busy = make_busy(model, STOPPED)
    tried = busy.tried

    async def names(client):
        return [one["name"] for one in (await facts(client))["variants"]]

    async def scenario(client):
        await until(lambda: names(client), lambda found: "v2" in found)
        arm = client.service.models["tested"].live.arms["v2"]
        object.__setattr__(arm.members[0][0], "model", Fails(arm.members[0][0].model.signature))
        count = 0

        async def ask():
            nonlocal count
            count += 100
            who = [f"customer-{number}" for number in range(count, count + 100)]
            await predicted(client, *([ROW] * 100), entities=who)
            return len(tried)

        await until(ask, lambda times: times > 1)
        assert ["champion"] == await names(client)
        await asyncio.to_thread(another_service_steps, model)
        looks, seen = len(tried), set()

        async def look():
            seen.update(await names(client))
            return len(tried)

        await until(
            look, lambda times: times > looks + 20
        )  # a second, in which the ledger is read several times
        busy.away = False
        await until(
            lambda: asyncio.to_thread(model.stores.ledger.last, "tested", TRAFFIC),
            lambda newest: newest.kind == STOPPED,
        )
        return seen | set(await names(client))

    assert {"champion"} == serve(scenario, model, **QUICK)
    assert read_traffic(model.stores.ledger, "tested").plan.is_plain
    kinds = [one.kind for one in model.stores.ledger.read(model="tested", stream=TRAFFIC)]
    assert ["set", "step", "stopped"] == kinds


async def names(client):
    """Return who is served."""
    return [one["name"] for one in (await facts(client))["variants"]]


async def fail_until(client, good):
    """Let the challenger fail on all that it is asked for, until something is so."""
    await until(lambda: names(client), lambda found: "v2" in found)
    arm = client.service.models["tested"].live.arms["v2"]
    object.__setattr__(arm.members[0][0], "model", Fails(arm.members[0][0].model.signature))
    count = 0

    async def ask():
        nonlocal count
        count += 100
        who = [f"customer-{number}" for number in range(count, count + 100)]
        await predicted(client, *([ROW] * 100), entities=who)
        return good()

    await until(ask, lambda done: done)


def kinds_of(setup):
    return [one.kind for one in setup.stores.ledger.read(model="tested", stream=TRAFFIC)]


def test_a_stop_that_is_decided_when_the_service_ends_is_written_before_it_has_ended(model, monkeypatch):
    ramp_variant(model, canary="2", steps=[0.5, 1.0])
    decided, ending = threading.Event(), threading.Event()
    take, end = AliasWatcher.stop_challengers, AliasWatcher.stop

    def take_while_ending(self, stop):
        take(self, stop)
        decided.set()
        assert ending.wait(60)

    def end_and_say(self):
        end(self)
        ending.set()

    monkeypatch.setattr(AliasWatcher, "stop_challengers", take_while_ending)
    monkeypatch.setattr(AliasWatcher, "stop", end_and_say)
    serve(lambda client: fail_until(client, decided.is_set), model, **QUICK)
    assert ["set", "stopped"] == kinds_of(model)


def test_a_stop_that_a_service_could_never_write_holds_after_a_restart_and_is_written_then(model):
    ramp_variant(model, canary="2", steps=[0.5, 1.0])
    busy = make_busy(model, STOPPED)
    tried = busy.tried
    serve(lambda client: fail_until(client, lambda: tried), model, drain_s=0.0, **QUICK)
    assert ["set"] == kinds_of(model)

    async def restarted(client):
        looks, seen = len(tried), set(await names(client))

        async def look():
            seen.update(await names(client))
            return len(tried)

        await until(look, lambda times: times > looks + 5)
        busy.away = False
        await until(lambda: asyncio.to_thread(kinds_of, model), lambda kinds: "stopped" in kinds)
        cache = ServingCache(model)
        await until(lambda: asyncio.to_thread(cache.read_stop), lambda kept: kept is None)
        return seen

    assert {"champion"} == serve(restarted, model, **QUICK)
    assert ["set", "stopped"] == kinds_of(model)


def test_a_stop_is_on_disk_before_it_takes_effect(model, monkeypatch):
    """So that kill -9 at any moment undoes none that anybody has seen."""
    ramp_variant(model, canary="2", steps=[0.5, 1.0])
    kept, live, keep = [], [], ServingCache.store_stop

    def keep_and_look(self, stop):
        keep(self, stop)
        kept.append(self.read_stop())
        live.extend(live_of())

    monkeypatch.setattr(ServingCache, "store_stop", keep_and_look)

    def live_of():
        return [service.models["tested"].live.plan.is_plain for service in services]

    services = []

    async def scenario(client):
        services.append(client.service)
        await fail_until(client, lambda: kept)

    serve(scenario, model, **QUICK)
    assert [False] == live
    assert ["guardrail_errors"] == [reason["code"] for reason in kept[0]["reasons"]]


def test_a_stop_holds_in_a_restart_without_the_registry_whose_note_of_what_was_live_is_older(monitored):
    model = model_of(monitored, traffic={"min_rows": 1, "min_time": "1s"}, serving={"poll": "1h"})
    ramp_variant(model, canary="2", steps=[0.5, 1.0])
    serve(lambda client: fail_until(client, lambda: "stopped" in kinds_of(model)), model, **QUICK)
    assert 1 < len(ServingCache(model).last_good()["traffic"]["variants"])
    model.stores.__dict__["registry"] = Away()
    assert ["champion"] == serve(names, model, **QUICK)


def test_what_a_person_sets_while_a_service_is_down_is_not_undone_by_a_stop_of_before(model):
    ramp_variant(model, canary="2", steps=[0.5, 1.0])
    gone = make_busy(model)
    serve(lambda client: fail_until(client, lambda: gone.tried), model, drain_s=0.0, **QUICK)
    gone.away = False
    ramp_variant(model, canary="2", steps=[0.4, 1.0], why="it is mended")
    assert {"champion", "v2"} == set(serve(names, model, **QUICK))
    assert ["set", "set"] == kinds_of(model)

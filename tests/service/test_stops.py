"""A canary that was sent back stays so: while its stop cannot be written, and whatever other services write."""

import asyncio
from datetime import timedelta

import pytest
from sqlalchemy.exc import OperationalError

from deployments.service import canary as canary_module
from tasks.core.traffic.decide import Round, decide_traffic
from tasks.core.traffic.figures import ArmFigures
from tasks.core.traffic.state import STOPPED, TRAFFIC
from tasks.io.clock import utc_now
from tasks.io.ledger import SqlLedger
from tasks.traffic import ramp_variant, read_traffic, write_decision
from tests.support.serving import ROW, facts, model_of, predicted, serve, until


class Fails:
    """A model that fails on every row."""

    def __init__(self, signature):
        self.signature, self.form = signature, "frame"

    def score(self, batch):
        raise KeyError("x")


@pytest.fixture
def model(watched):
    return model_of(watched, traffic={"min_rows": 1, "min_time": "1s"})


def another_service_steps(setup):
    """Write the next step of the ramp, as a service that saw nothing wrong."""
    ledger, limits = setup.stores.ledger, setup.config.traffic.limits
    quiet = Round(
        number=1, since=utc_now() - timedelta(minutes=1), figures=(ArmFigures(name="v2", rows=20_000),)
    )
    decision = decide_traffic(read_traffic(ledger, setup.model), quiet, now=utc_now(), limits=limits)
    assert "step" == write_decision(ledger, setup.model, decision, at=utc_now()).kind


def test_a_stop_that_cannot_be_written_is_written_later_over_another_services_step(model, monkeypatch):
    monkeypatch.setattr(canary_module, "_EVERY_S", 0.05)
    ramp_variant(model, canary="2", steps=[0.5, 0.6, 1.0], min_rows=10_000)
    away, tried, follow = [], [], SqlLedger.follow

    def busy(self, **entry):
        if away and entry["kind"] == STOPPED:
            tried.append(entry["kind"])
            raise OperationalError("insert", {}, Exception("database is locked"))
        return follow(self, **entry)

    monkeypatch.setattr(SqlLedger, "follow", busy)
    away.append(True)

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
        away.clear()
        await until(
            lambda: asyncio.to_thread(model.stores.ledger.last, "tested", TRAFFIC),
            lambda newest: newest.kind == STOPPED,
        )
        return seen | set(await names(client))

    assert {"champion"} == serve(scenario, model)
    assert read_traffic(model.stores.ledger, "tested").plan.is_plain
    kinds = [one.kind for one in model.stores.ledger.read(model="tested", stream=TRAFFIC)]
    assert ["set", "step", "stopped"] == kinds

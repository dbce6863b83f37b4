"""Canary ramps with made-up requests: counted alone, or by the service's own code without HTTP."""

import asyncio
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import numpy as np

from evergreen.deployments.service.batching import PendingRequest, predict_isolated
from evergreen.deployments.service.canary import Canary, LatencyProbe
from evergreen.deployments.service.live import Live, ServedArm, ServedModel, ServedVersion
from evergreen.tasks.core.config.serving import Ramp, TrafficConfig
from evergreen.tasks.core.serving.answers import Answers, model_refuses
from evergreen.tasks.core.serving.batch import Batch
from evergreen.tasks.core.serving.signature import Column, Signature
from evergreen.tasks.core.traffic.plan import plan_traffic
from evergreen.tasks.core.traffic.state import DONE, SET, STOPPED, TRAFFIC, TrafficState
from evergreen.tasks.core.traffic.variant import Role, Variant
from evergreen.tasks.io.traffic import read_traffic
from tests.support.memory_stores import MemoryLedger

START = datetime(2026, 1, 1, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
CANARY = Variant(name="v8", role=Role.CHALLENGER, share=0.01, members=((8, 1.0),))


SIGNATURE = Signature(columns=(Column("x", "number"),))


@dataclass(frozen=True)
class Version:
    """How a version behaves: it takes ``call + row * n`` seconds for n rows, and refuses rows below ``refuses``."""

    call: float = 50e-6
    row: float = 5e-6
    spread: float = 0.3
    """Standard deviation of the logarithm of the time, from call to call."""
    refuses: float = 0.0
    """Rows are uniform in 0..1; of each version its own part is refused."""
    beyond: float = 0.0
    """Where the part that is refused begins."""


class Timed:
    """A model that moves the clock on instead of taking time; its answers are its rows."""

    def __init__(self, version, clock, rng):
        self.signature, self.form = SIGNATURE, "linear"
        self._version, self._clock, self._rng = version, clock, rng
        self.asked = []

    def score(self, batch):
        own, x = self._version, batch.numbers[:, 0]
        self.asked.append(batch.n)
        self._clock.now += (own.call + own.row * batch.n) * self._rng.lognormal(0.0, own.spread)
        if own.refuses and ((x >= own.beyond) & (x < own.beyond + own.refuses)).any():
            raise model_refuses("a bad row")
        return Answers(x.copy(), [None] * batch.n)


class Here(Executor):
    def submit(self, function, /, *args, **options):
        done = Future()
        done.set_result(function(*args, **options))
        return done


class Stage:
    """A champion (version 7) and ``v8``, watched; what the ledger says is what is live.

    Parameters
    ----------
    champion, canary : Version
        How they behave.
    steps : sequence of float
        Shares of the canary; one: no ramp, a plan that stays.
    """

    def __init__(self, champion, canary, *, steps, rng, **traffic):
        self.rng, self.clock = rng, SimpleNamespace(now=0.0)
        config = TrafficConfig(**traffic)
        self.ledger = MemoryLedger()
        stores = SimpleNamespace(ledger=self.ledger)
        setup = SimpleNamespace(model="fraud", config=SimpleNamespace(traffic=config), stores=stores)
        self._models = {7: Timed(champion, self.clock, rng), 8: Timed(canary, self.clock, rng)}
        self._versions = {
            number: ServedVersion(number=number, model=model, threshold=0.5, classes=(), since=START)
            for number, model in self._models.items()
        }
        self._begin(list(steps), config)
        self.served = ServedModel(config=setup.config)
        self.follow()
        self.canary = Canary(setup, self.served, stop=lambda stop: None, now=self.now)

    def _begin(self, steps, config):
        arm = Variant(name="v8", role=Role.CHALLENGER, share=steps[0], members=((8, 1.0),))
        salt = f"trial/{self.rng.integers(2**40)}"
        limits = config.limits
        ramp = Ramp(arm="v8", steps=steps, min_rows=limits.min_rows, min_time=limits.min_time)
        state = TrafficState(
            plan=plan_traffic([arm], salt=salt),
            set_at=START,
            ramp=ramp if len(steps) > 1 else None,
            step=0 if len(steps) > 1 else None,
        )
        self.ledger.append(model="fraud", stream=TRAFFIC, kind=SET, payload=state.to_dict(), at=START)

    def now(self):
        return START + timedelta(seconds=self.clock.now)

    def seconds(self):
        return self.clock.now

    def follow(self):
        """Make live what the ledger says; return whether that is new."""
        state = read_traffic(self.ledger, "fraud")
        if self.served.live is not None and self.served.live.traffic.seq == state.seq:
            return False
        arms = {
            one.name: ServedArm(variant=one, members=((self._versions[one.version or 7], 1.0),))
            for one in state.plan.variants
        }
        self.served.live = Live(champion=self._versions[7], traffic=state, arms=arms)
        return True

    def asked(self, x):
        """Return a request with these rows, each of an entity of its own."""
        n = len(x)
        batch = Batch(signature=SIGNATURE, n=n, numbers=np.asarray(x, dtype=np.float64).reshape(n, 1))
        return PendingRequest(
            batch=batch,
            live=self.served.live,
            ids=[f"row-{one}" for one in self.rng.integers(2**60, size=n)],
            digests=None,
            positions=[0.0] * n,
            deadline=0.0,
            future=None,
        )

    def asked_rows(self, number):
        """Return how many rows each call of a version had."""
        return self._models[number].asked

    async def serve(self, probe, rows):
        """Answer one request; the next comes five seconds later."""
        group = [self.asked(self.rng.random(rows))]
        found, routed = predict_isolated(group)
        self.canary.count(group[0].live, found, routed)
        probe.offer(group[0].live, [group[0].batch], routed)
        while probe.running:
            await asyncio.sleep(0)
        self.clock.now += 5.0

    async def play(self, *, rows, looks=20):
        """Serve requests of so many rows until all is over: sent back, done, or (without a ramp) a round long."""
        probe = LatencyProbe(self.canary, pool=Here(), clock=self.seconds)
        await self.canary._check()
        while True:
            share = self.served.live.plan.variant("v8").share
            calls = max(1, round(500 / share / rows / looks))
            for _ in range(calls):
                await self.serve(probe, rows)
            before = self.canary._controller.counts
            await self.canary._check()
            if self.follow():
                if self.served.live.traffic.kind in (STOPPED, DONE):
                    return self.served.live.traffic
                await self.canary._check()
            elif self.canary._controller.counts is not before and self.served.live.traffic.ramp is None:
                return self.served.live.traffic

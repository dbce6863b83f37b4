"""Canary ramps with made-up requests: counted alone, or by the service's own code without HTTP."""

import asyncio
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import numpy as np

from evergreen.deployments.service import canary as canary_module
from evergreen.deployments.service import canary as duels_module
from evergreen.deployments.service.batching import PendingRequest, predict_isolated
from evergreen.deployments.service.canary import Canary, LatencyProbe
from evergreen.deployments.service.live import Live, ServedArm, ServedModel, ServedVersion
from evergreen.tasks.core.config.canary import GuardrailLimits, Ramp
from evergreen.tasks.core.config.traffic import TrafficConfig
from evergreen.tasks.core.serving.answers import Answers, model_refuses
from evergreen.tasks.core.serving.batch import Batch
from evergreen.tasks.core.serving.signature import Column, Signature
from evergreen.tasks.core.traffic.counts import ArmFigures, measure_reference
from evergreen.tasks.core.traffic.decide import Round, TrafficAction, decide_traffic
from evergreen.tasks.core.traffic.guardrails import round_number
from evergreen.tasks.core.traffic.plan import plan_traffic
from evergreen.tasks.core.traffic.state import DONE, SET, STOPPED, TRAFFIC, TrafficState
from evergreen.tasks.core.traffic.variant import Role, Variant
from evergreen.tasks.io.settings import utc_now
from evergreen.tasks.io.traffic import read_traffic
from tests.support.memory_stores import MemoryLedger

START = datetime(2026, 1, 1, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
CANARY = Variant(name="v8", role=Role.CHALLENGER, share=0.01, members=((8, 1.0),))


def bad_round(rows=400):
    """Return a round in which every other row of ``v8`` failed, and none of the champion's."""
    arm = ArmFigures(name="v8", rows=rows, errors=rows // 2, erred=rows // 2)
    return Round(number=1, since=utc_now(), figures=(ArmFigures(name="champion", rows=rows), arm))


@dataclass(frozen=True)
class World:
    """How requests of both arms come out; what differs in the canary is its own."""

    errors: float = 0.01
    canary_errors: float = 0.01
    slower: float = 1.0
    shift: float = 0.0
    """By how much the canary's scores are moved, in ranks of the champion's."""
    spread: float = 0.5
    """Standard deviation of the logarithm of the time that one of the same rows takes, from call to call."""

    def slower_in(self, rng, n, ratio):
        """Return in how many of n duels the canary takes more than ``ratio`` times as long."""
        seconds, usual = rng.lognormal(0.0, self.spread, (2, n))
        return int((self.slower * seconds > ratio * usual).sum())

    def scores(self, rng, n, canary):
        """Return scores whose rank in the canary is higher by ``shift`` on average: u -> 1 - (1 - u)^b."""
        return 1.0 - (1.0 - rng.random(n)) ** np.where(canary, 1.0 / (0.5 - self.shift) - 1.0, 1.0)


def play_ramp(world, rng, *, ramp=None, limits=None, looks=10):
    """Play a ramp to its end, with ``looks`` judgements in the least rows of a round; every row is an entity.

    Returns
    -------
    tuple of (Act, int)
        How it ended, and how many rows the canary answered until then.
    """
    limits = limits or GuardrailLimits(min_rows=200, min_time=MINUTE)
    ramp = ramp or Ramp(arm="v8", min_rows=limits.min_rows, min_time=limits.min_time)
    state = TrafficState(
        plan=plan_traffic([CANARY], salt="s").with_share("v8", ramp.steps[0]), set_at=START, ramp=ramp, step=0
    )
    now, number, served = START, 0, 0
    reference = _reference(world, rng)
    while True:
        number = round_number(set_at=START, now=now, min_time=limits.min_time, before=number)
        tally, since = _Tally(reference), now
        for look in range(1, 100 * looks):
            n = int(np.ceil(ramp.min_rows / looks / state.plan.variant("v8").share))
            served += tally.serve(world, rng, n, share=state.plan.variant("v8").share)
            now = since + look * MINUTE / looks
            decision = decide_traffic(
                state, Round(number=number, since=since, figures=tally.figures()), now=now, limits=limits
            )
            if decision.act in (TrafficAction.STOP, TrafficAction.DONE):
                return decision.act, served
            state = decision.state
            if decision.next_round:
                break
        reference = tally.next_reference()


def rate_of(world, *, trials, seed, wanted=TrafficAction.STOP, **options):
    """Return the share of ramps that end so, and the median of rows the canary answered in these."""
    ends = [play_ramp(world, np.random.default_rng([seed, n]), **options) for n in range(trials)]
    rows = [served for act, served in ends if act is wanted]
    return len(rows) / trials, float(np.median(rows)) if rows else float("nan")


def _reference(world, rng):
    nobody = np.zeros(200, dtype=bool)
    return measure_reference(world.scores(rng, 200, nobody))


class _Tally:
    """Counts like `RoundCounts`, many rows at once."""

    def __init__(self, reference, ratio=1.5):
        self.reference, self.ratio = reference, ratio
        self.sums = np.zeros((2, 5), dtype=int)
        self.ranks = np.zeros((2, len(reference.ranks)), dtype=int)
        self.recent = []

    def serve(self, world, rng, n, *, share):
        canary = rng.random(n) < share
        failed = rng.random(n) < np.where(canary, world.canary_errors, world.errors)
        score = world.scores(rng, n, canary)
        for arm in (0, 1):
            own = canary == bool(arm)
            good = own & ~failed
            self.sums[arm] += [own.sum(), (own & failed).sum(), good.sum(), 0, 0]
            self.ranks[arm] += np.bincount(
                np.searchsorted(self.reference.edges, score[good]), minlength=len(self.reference.ranks)
            )
        self.recent = score[~canary & ~failed][-500:]
        duels = int((canary & ~failed).sum())
        self.sums[1, 3:] += [duels, world.slower_in(rng, duels, self.ratio)]
        return int(canary.sum())

    def figures(self):
        return tuple(
            ArmFigures(
                name=name,
                rows=int(rows),
                errors=int(errors),
                erred=int(errors),
                answered=int(answered),
                duels=int(duels),
                slower=int(slower),
                ranks=tuple(
                    (rank, int(count))
                    for rank, count in zip(self.reference.ranks, ranks, strict=True)
                    if count
                ),
            )
            for name, (rows, errors, answered, duels, slower), ranks in zip(
                ("champion", "v8"), self.sums, self.ranks, strict=True
            )
        )

    def next_reference(self):
        return measure_reference(self.recent) if len(self.recent) >= 200 else self.reference


def literal_rate(world, *, trials, seed, limits=None, looks=10):
    """Return the share of ramps that three fixed-sample tests at 5 % send back, looked at as often."""
    return float(
        np.mean([_literal(world, np.random.default_rng([seed, n]), limits, looks) for n in range(trials)])
    )


def _literal(world, rng, limits, looks):
    limits = limits or GuardrailLimits(min_rows=200, min_time=MINUTE)
    reference = _reference(world, rng)
    for share in (0.01, 0.05, 0.25, 0.5):
        tally = _Tally(reference)
        for _ in range(looks):
            tally.serve(world, rng, int(np.ceil(limits.min_rows / looks / share)), share=share)
            champion, arm = tally.figures()
            tests = (
                _z(arm.errors, arm.rows, champion.errors, champion.rows),
                (2 * arm.slower - arm.duels) / np.sqrt(max(arm.duels, 1)),
                abs(arm.mean_rank - champion.mean_rank) / np.sqrt((1 / arm.scored + 1 / champion.scored) / 12)
                if arm.scored and champion.scored
                else 0.0,
            )
            if max(tests[0] / 1.645, tests[1] / 1.645, tests[2] / 1.96) > 1:
                return True
    return False


def _z(events, n, events_before, n_before):
    """Return the statistic of two proportions, positive where the first is larger."""
    if not n or not n_before:
        return 0.0
    pooled = (events + events_before) / (n + n_before)
    error = np.sqrt(pooled * (1 - pooled) * (1 / n + 1 / n_before))
    return (events / n - events_before / n_before) / error if error else 0.0


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
    """An executor without threads."""

    def submit(self, function, /, *args, **options):
        """Call at once."""
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
    monkeypatch : MonkeyPatch
        Puts the made-up clock in place of the real one.
    """

    def __init__(self, champion, canary, *, steps, rng, monkeypatch, **traffic):
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
        monkeypatch.setattr(duels_module, "time", SimpleNamespace(perf_counter=lambda: self.clock.now))
        monkeypatch.setattr(canary_module, "utc_now", lambda: START + timedelta(seconds=self.clock.now))
        self.canary = Canary(setup, self.served, stop=lambda stop: None)

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

    async def serve(self, duels, rows):
        """Answer one request; the next comes five seconds later."""
        group = [self.asked(self.rng.random(rows))]
        found, routed = predict_isolated(group)
        self.canary.count(group[0].live, found, routed)
        duels.offer(group[0].live, [group[0].batch], routed)
        while duels.running:
            await asyncio.sleep(0)
        self.clock.now += 5.0

    async def play(self, *, rows, looks=20):
        """Serve requests of so many rows until all is over: sent back, done, or (without a ramp) a round long."""
        duels = LatencyProbe(self.canary, pool=Here())
        await self.canary._look()
        while True:
            share = self.served.live.plan.variant("v8").share
            calls = max(1, round(500 / share / rows / looks))
            for _ in range(calls):
                await self.serve(duels, rows)
            before = self.canary._watch.counts
            await self.canary._look()
            if self.follow():
                if self.served.live.traffic.kind in (STOPPED, DONE):
                    return self.served.live.traffic
                await self.canary._look()
            elif self.canary._watch.counts is not before and self.served.live.traffic.ramp is None:
                return self.served.live.traffic


def ends(champion, canary, *, trials, seed, rows, monkeypatch, **options):
    """Return how trials ended: the kind of the newest entry of each, and the guardrails that tripped."""
    kinds, why = [], []
    for trial in range(trials):
        rng = np.random.default_rng([seed, trial])
        stage = Stage(champion, canary, rng=rng, monkeypatch=monkeypatch, **options)
        end = asyncio.run(stage.play(rows=rows))
        kinds.append(end.kind)
        why += [reason.code for reason in end.reasons] if end.kind == STOPPED else []
    return kinds, why

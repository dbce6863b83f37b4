"""Watch challengers: count each row they answer, check the guardrails every second, stop those that fail."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from contextlib import suppress
from datetime import datetime

from evergreen.deployments.service.live import Live, ServedArm, ServedModel
from evergreen.deployments.service.model_loader import reason_of
from evergreen.deployments.service.scoring import CHAMPION, FailedRow, Routed, Scored, answer_arm
from evergreen.tasks.core.serving.batch import Batch, concat
from evergreen.tasks.core.traffic.decide import TrafficAction, TrafficController, TrafficDecision
from evergreen.tasks.io.settings import utc_now
from evergreen.tasks.io.setup import Setup
from evergreen.tasks.io.traffic import write_decision, write_stop

logger = logging.getLogger(__name__)


class Canary:
    """Counts rows and checks the guardrails in the event loop; decides for this process and records it in the ledger.

    Parameters
    ----------
    setup : Setup
        The model.
    served : ServedModel
        What is live.
    stop : callable
        Lets the champion answer everything at once; called from a thread with the decision.
    unwritten : TrafficDecision | None
        A stop that a former process decided, and perhaps did not record.
    every_s : float
        Seconds from one check to the next.
    now : callable
        Returns the time, aware of its zone.
    """

    def __init__(
        self,
        setup: Setup,
        served: ServedModel,
        *,
        stop: Callable[[TrafficDecision], None],
        unwritten: TrafficDecision | None = None,
        every_s: float = 1.0,
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        self._setup, self._served, self._stop = setup, served, stop
        self._every_s, self._now = every_s, now
        self._controller: TrafficController | None = None
        self._unwritten = unwritten
        self._ending = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def count(self, live: Live, rows: Scored, routed: Sequence[Routed]) -> None:
        """Count rows by the variant that answered them; rows of a former plan are not counted."""
        if not self._watches(live):
            return
        counts = self._controller.counts  # type: ignore[union-attr]
        for row, one in zip(rows, routed, strict=True):
            if one.failed:
                counts.add_error(one.index, one.hashed)
            elif one.answered and not isinstance(row, FailedRow):
                counts.add(one.index, one.hashed, _plain(row[0]))

    def watches_latency(self, live: Live) -> bool:
        """Return whether a guardrail limits the latency of the arms of what is live."""
        return self._watches(live) and self._setup.config.traffic.latency_ratio is not None

    def count_latency(self, live: Live, index: int, *, seconds: float, usual: float) -> None:
        """Count the seconds an arm took for some rows, and those the champion took for the same."""
        if self._watches(live):
            self._controller.counts.add_probe(index, seconds=seconds, usual=usual)  # type: ignore[union-attr]

    def _watches(self, live: Live) -> bool:
        return self._controller is not None and live.traffic is self._controller.state

    def start(self) -> None:
        """Begin to check the guardrails of what is live."""
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def finish(self, *, until: float) -> None:
        """Stop checking, and record what is decided, trying again until that time of the loop's clock."""
        self._ending.set()
        loop = asyncio.get_running_loop()
        if self._task is not None:
            await asyncio.wait([self._task], timeout=max(until - loop.time(), 0.0))
            self._task.cancel()
        while self._unwritten is not None:
            await self._write_stop(self._unwritten)
            if loop.time() >= until:
                return
            if self._unwritten is not None:
                await asyncio.sleep(min(self._every_s, until - loop.time()))

    async def _run(self) -> None:
        while not await self._ends_within(self._every_s):
            try:
                await self._check()
            except Exception as error:  # a canary that cannot be checked goes on as it is
                logger.error("%s: the guardrails cannot be checked: %s", self._setup.model, reason_of(error))

    async def _ends_within(self, seconds: float) -> bool:
        with suppress(TimeoutError):
            await asyncio.wait_for(self._ending.wait(), seconds)
        return self._ending.is_set()

    async def _check(self) -> None:
        if self._unwritten is not None:
            await self._write_stop(self._unwritten)
        live = self._served.live
        if live is None or (live.plan.is_plain and self._controller is None):
            return
        now, champion = self._now(), live.champion.number
        if self._controller is None:
            limits = self._setup.config.traffic.limits
            self._controller = TrafficController(live.traffic, champion=champion, limits=limits, now=now)
        elif live.traffic is not self._controller.state or champion != self._controller.champion:
            self._controller.follow(live.traffic, champion=champion, now=now)
            self._controller.state = live.traffic  # equal, perhaps, but rows are counted by what is live
        decision = self._controller.decide(now=now)
        if decision.kind is not None:
            await self._act(decision)

    async def _act(self, decision: TrafficDecision) -> None:
        reasons = "; ".join(reason.message for reason in decision.reasons)
        logger.warning("%s: traffic: %s: %s", self._setup.model, decision.action.value, reasons)
        if decision.action is TrafficAction.STOP:
            self._unwritten = decision  # from here on it is recorded, also when this process is to end
            await asyncio.to_thread(self._stop, decision)
            await self._write_stop(decision)
            return
        ledger, model = self._setup.stores.ledger, self._setup.model
        await asyncio.to_thread(write_decision, ledger, model, decision, at=self._now())

    async def _write_stop(self, stop: TrafficDecision) -> None:
        """Record a stop; one that cannot be recorded is kept, and tried again at the next check."""
        ledger, model = self._setup.stores.ledger, self._setup.model
        try:
            await asyncio.to_thread(write_stop, ledger, model, stop, at=self._now())
        except Exception as error:  # a store that is away may raise anything; the arm is stopped already
            logger.error("%s: the stop is not in the ledger yet: %s", model, reason_of(error))
        else:
            self._unwritten = None


def _plain(score: object) -> float:
    """Return what guardrails compare: P(positive), the largest probability, or the prediction."""
    if isinstance(score, dict):
        return float(max(score.values()))
    return float(score)  # type: ignore[arg-type]


_PAUSE_FACTOR = 20.0
"""A comparison is followed by a pause of so many times its length: it costs a twentieth of a core at most."""
_MOST_ROWS = 128
"""Rows of a comparison; more add nothing."""


class LatencyProbe:
    """Times a challenger and the champion on the same rows, in a thread, one after the other.

    The latency of real requests would depend on shares and hours: an arm with a twentieth of the traffic has a
    twentieth of each request's rows, and each call has a cost of its own.

    Parameters
    ----------
    canary : Canary
        Counts the times.
    pool : Executor
        Where they are scored; no request waits for it.
    clock : callable
        Returns seconds that only grow.
    """

    def __init__(
        self, canary: Canary, *, pool: Executor, clock: Callable[[], float] = time.perf_counter
    ) -> None:
        self._canary, self._pool, self._clock = canary, pool, clock
        self._loop = asyncio.get_running_loop()
        self._compared: Counter[str] = Counter()
        self._running = False
        self._began = self._not_before = 0.0

    @property
    def running(self) -> bool:
        """True while two arms are compared."""
        return self._running

    def offer(self, live: Live, batches: Sequence[Batch], routed: Sequence[Routed]) -> None:
        """Compare one challenger on its rows, unless a comparison runs or ended just now; returns at once."""
        if self._running or self._clock() < self._not_before or not self._canary.watches_latency(live):
            return
        arms = {one.index: live.plan.variants[one.index].name for one in routed if one.index and one.answered}
        if not arms:
            return
        index = min(arms, key=lambda at: self._compared[arms[at]])
        arm = live.arms[arms[index]]
        places = [place for place, one in enumerate(routed) if one.index == index and one.answered]
        rows = concat(batches).take(places[:_MOST_ROWS])
        first = self._compared[arms[index]] % 2 == 0
        self._compared[arms[index]] += 1
        self._running, self._began = True, self._clock()
        compared = (arm, live.arms[CHAMPION], rows, first, self._clock)
        task = self._loop.run_in_executor(self._pool, compare_latency, *compared)
        task.add_done_callback(lambda done: self._record(live, index, done))

    def _record(self, live: Live, index: int, done: asyncio.Future[tuple[float, float] | None]) -> None:
        now = self._clock()
        self._running, self._not_before = False, now + _PAUSE_FACTOR * (now - self._began)
        took = done.result()
        if took is not None:
            self._canary.count_latency(live, index, seconds=took[0], usual=took[1])


def compare_latency(
    arm: ServedArm, champion: ServedArm, rows: Batch, first: bool, clock: Callable[[], float]
) -> tuple[float, float] | None:
    """Return the seconds an arm and the champion take for the same rows; None where one of them fails on them.

    Each is called twice, in the order A B B A, and its shorter time counts: the first call of an arm that is called
    rarely finds the machine's caches cold.

    Parameters
    ----------
    arm, champion : ServedArm
        The arms to compare.
    rows : Batch
        The rows.
    first : bool
        Whether the arm begins; else the champion does.
    clock : callable
        Returns seconds that only grow.
    """
    one, other = (arm, champion) if first else (champion, arm)
    try:
        took = [_seconds(each, rows, clock) for each in (one, other, other, one)]
    except Exception:  # a row that an arm fails on is counted where it was answered
        return None
    outer, inner = min(took[0], took[3]), min(took[1:3])
    return (outer, inner) if first else (inner, outer)


def _seconds(arm: ServedArm, rows: Batch, clock: Callable[[], float]) -> float:
    started = clock()
    answer_arm(arm, rows)
    return clock() - started

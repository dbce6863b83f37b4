"""Watch the arms that answer beside the champion: count each row, judge every second, send back what will not do."""

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
    """Counts and judges in the event loop; it decides for this process and tells the ledger.

    Parameters
    ----------
    setup : Setup
        The model.
    served : ServedModel
        What is live.
    stop : callable
        Takes up at once, from a thread, a decision by which the champion answers everything.
    unwritten : TrafficDecision | None
        A stop that a former process decided, and perhaps did not write.
    every_s : float
        Seconds from one judgement to the next.
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
        self._watch: TrafficController | None = None
        self._unwritten = unwritten
        self._ending = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def count(self, live: Live, rows: Scored, routed: Sequence[Routed]) -> None:
        """Count rows that were answered, with who answered them; rows of a former plan are nobody's."""
        watch = self._watch
        if watch is None or live.traffic is not watch.state:
            return
        counts = watch.counts
        for row, one in zip(rows, routed, strict=True):
            if one.failed:
                counts.add_error(one.index, one.hashed)
            elif one.answered and not isinstance(row, FailedRow):
                counts.add(one.index, one.hashed, _plain(row[0]))

    def watches_time(self, live: Live) -> bool:
        """Return whether it matters how long the arms of what is live take."""
        watch = self._watch
        return (
            watch is not None
            and live.traffic is watch.state
            and self._setup.config.traffic.latency_ratio is not None
        )

    def count_duel(self, live: Live, index: int, *, seconds: float, usual: float) -> None:
        """Count that an arm took so long for some rows, and the champion so long for the same."""
        if self._watch is not None and live.traffic is self._watch.state:
            self._watch.counts.add_duel(index, seconds=seconds, usual=usual)

    def start(self) -> None:
        """Begin to follow what is live, and to judge."""
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def finish(self, *, until: float) -> None:
        """Judge no more, and write what is decided, trying again until that time of the loop's clock."""
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
                await self._look()
            except Exception as error:  # a canary that cannot be judged goes on as it is, and that is said
                logger.error("%s: the traffic cannot be judged: %s", self._setup.model, reason_of(error))

    async def _ends_within(self, seconds: float) -> bool:
        with suppress(TimeoutError):
            await asyncio.wait_for(self._ending.wait(), seconds)
        return self._ending.is_set()

    async def _look(self) -> None:
        if self._unwritten is not None:
            await self._write_stop(self._unwritten)
        live = self._served.live
        if live is None or (live.plan.is_plain and self._watch is None):
            return
        now, champion = self._now(), live.champion.number
        if self._watch is None:
            limits = self._setup.config.traffic.limits
            self._watch = TrafficController(live.traffic, champion=champion, limits=limits, now=now)
        elif live.traffic is not self._watch.state or champion != self._watch.champion:
            self._watch.follow(live.traffic, champion=champion, now=now)
            self._watch.state = live.traffic  # equal, perhaps, but rows are counted by what is live
        decision = self._watch.decide(now=now)
        if decision.kind is not None:
            await self._act(decision)

    async def _act(self, decision: TrafficDecision) -> None:
        said = "; ".join(reason.message for reason in decision.reasons)
        logger.warning("%s: traffic: %s: %s", self._setup.model, decision.action.value, said)
        if decision.action is TrafficAction.STOP:
            self._unwritten = decision  # from here on it is written, also when this process is to end
            await asyncio.to_thread(self._stop, decision)
            await self._write_stop(decision)
            return
        ledger, model = self._setup.stores.ledger, self._setup.model
        await asyncio.to_thread(write_decision, ledger, model, decision, at=self._now())

    async def _write_stop(self, stop: TrafficDecision) -> None:
        """Write a stop; one that cannot be written is kept, and tried again at the next look."""
        ledger, model = self._setup.stores.ledger, self._setup.model
        try:
            await asyncio.to_thread(write_stop, ledger, model, stop, at=self._now())
        except (
            Exception
        ) as error:  # a store that is away raises what it likes; here the arm is stopped already
            logger.error("%s: the stop is not in the ledger yet: %s", model, reason_of(error))
        else:
            self._unwritten = None


def _plain(score: object) -> float:
    """Return what guardrails compare: P(positive), the largest probability, or the prediction."""
    if isinstance(score, dict):
        return float(max(score.values()))
    return float(score)  # type: ignore[arg-type]


# How long challengers take: aside, a challenger and the champion are asked for the same rows, one after the other.


_PAUSE_FACTOR = 20.0
"""After a duel there is none for so many times as long: they cost a twentieth of a core at most."""
_MOST_ROWS = 128
"""Rows of a duel; more tell no more."""


class LatencyProbe:
    """Compares times for equal work, so that neither the size of a call, nor shares, nor the hour are in what is seen.

    What answers cost where they are given says little of a version: an arm with a twentieth of the traffic has a
    twentieth of each request's rows, and each call has a cost of its own.

    Parameters
    ----------
    canary : Canary
        Counts who was slower.
    pool : Executor
        Where they are asked; nobody waits for it.
    clock : callable
        Returns seconds that only grow.
    """

    def __init__(
        self, canary: Canary, *, pool: Executor, clock: Callable[[], float] = time.perf_counter
    ) -> None:
        self._canary, self._pool, self._clock = canary, pool, clock
        self._loop = asyncio.get_running_loop()
        self._fought: Counter[str] = Counter()
        self._running = False
        self._began = self._not_before = 0.0

    @property
    def running(self) -> bool:
        """True while one is fought."""
        return self._running

    def offer(self, live: Live, batches: Sequence[Batch], routed: Sequence[Routed]) -> None:
        """Have the rows of one challenger compared, unless that was done a moment ago; returns at once."""
        if self._running or self._clock() < self._not_before or not self._canary.watches_time(live):
            return
        arms = {one.index: live.plan.variants[one.index].name for one in routed if one.index and one.answered}
        if not arms:
            return
        index = min(arms, key=lambda at: self._fought[arms[at]])
        arm = live.arms[arms[index]]
        places = [place for place, one in enumerate(routed) if one.index == index and one.answered]
        rows = concat(batches).take(places[:_MOST_ROWS])
        first = self._fought[arms[index]] % 2 == 0
        self._fought[arms[index]] += 1
        self._running, self._began = True, self._clock()
        task = self._loop.run_in_executor(
            self._pool, compare_latency, arm, live.arms[CHAMPION], rows, first, self._clock
        )
        task.add_done_callback(lambda done: self._fought_out(live, index, done))

    def _fought_out(self, live: Live, index: int, done: asyncio.Future[tuple[float, float] | None]) -> None:
        now = self._clock()
        self._running, self._not_before = False, now + _PAUSE_FACTOR * (now - self._began)
        took = done.result()
        if took is not None:
            self._canary.count_duel(live, index, seconds=took[0], usual=took[1])


def compare_latency(
    arm: ServedArm, champion: ServedArm, rows: Batch, first: bool, clock: Callable[[], float]
) -> tuple[float, float] | None:
    """Return the seconds an arm and the champion take for the same rows; None where one of them fails on them.

    Each is asked twice, in the order A B B A, and its better time counts: the first call of an arm that is asked
    rarely finds the machine's caches cold.

    Parameters
    ----------
    arm, champion : Arm
        Who is compared.
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

"""How long challengers take: aside, a challenger and the champion are asked for the same rows, one after the other."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import Executor

from deployments.service.apart import answer_arm
from deployments.service.canary import Canary
from deployments.service.live import Arm, Live
from deployments.service.scoring import CHAMPION, Routed
from tasks.core.serving.batch import Batch, concat

_PAUSE = 20.0
"""After a duel there is none for so many times as long: they cost a twentieth of a core at most."""
_MOST_ROWS = 128
"""Rows of a duel; more tell no more."""


class Duels:
    """Compares times for equal work, so that neither the size of a call, nor shares, nor the hour are in what is seen.

    What answers cost where they are given says little of a version: an arm with a twentieth of the traffic has a
    twentieth of each request's rows, and each call has a cost of its own.

    Parameters
    ----------
    canary : Canary
        Counts who was slower.
    pool : Executor
        Where they are asked; nobody waits for it.
    """

    def __init__(self, canary: Canary, *, pool: Executor) -> None:
        self._canary, self._pool = canary, pool
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
        if self._running or time.perf_counter() < self._not_before or not self._canary.watches_time(live):
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
        self._running, self._began = True, time.perf_counter()
        task = self._loop.run_in_executor(self._pool, duel, arm, live.arms[CHAMPION], rows, first)
        task.add_done_callback(lambda done: self._fought_out(live, index, done))

    def _fought_out(self, live: Live, index: int, done: asyncio.Future[tuple[float, float] | None]) -> None:
        now = time.perf_counter()
        self._running, self._not_before = False, now + _PAUSE * (now - self._began)
        took = done.result()
        if took is not None:
            self._canary.count_duel(live, index, seconds=took[0], usual=took[1])


def duel(arm: Arm, champion: Arm, rows: Batch, first: bool) -> tuple[float, float] | None:
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
    """
    one, other = (arm, champion) if first else (champion, arm)
    try:
        took = [_seconds(each, rows) for each in (one, other, other, one)]
    except Exception:  # a row that an arm fails on is counted where it was answered
        return None
    outer, inner = min(took[0], took[3]), min(took[1:3])
    return (outer, inner) if first else (inner, outer)


def _seconds(arm: Arm, rows: Batch) -> float:
    started = time.perf_counter()
    answer_arm(arm, rows)
    return time.perf_counter() - started

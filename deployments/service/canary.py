"""Watch the arms that answer beside the champion: count each row, judge every second, send back what will not do."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from contextlib import suppress

from deployments.service.apart import Failed
from deployments.service.live import Live, ServedModel
from deployments.service.loading import reason_of
from deployments.service.scoring import Routed, Scored
from tasks.core.traffic.decide import Act, TrafficDecision
from tasks.core.traffic.watch import TrafficWatch
from tasks.io.clock import utc_now
from tasks.io.setup import Setup
from tasks.traffic import write_decision
from tasks.traffic_stop import write_stop

logger = logging.getLogger(__name__)

_EVERY_S = 1.0


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
    """

    def __init__(
        self,
        setup: Setup,
        served: ServedModel,
        *,
        stop: Callable[[TrafficDecision], None],
        unwritten: TrafficDecision | None = None,
    ) -> None:
        self._setup, self._served, self._stop = setup, served, stop
        self._watch: TrafficWatch | None = None
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
            elif one.answered and not isinstance(row, Failed):
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
                await asyncio.sleep(min(_EVERY_S, until - loop.time()))

    async def _run(self) -> None:
        while not await self._ends_within(_EVERY_S):
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
        now, champion = utc_now(), live.champion.number
        if self._watch is None:
            limits = self._setup.config.traffic.limits
            self._watch = TrafficWatch(live.traffic, champion=champion, limits=limits, now=now)
        elif live.traffic is not self._watch.state or champion != self._watch.champion:
            self._watch.follow(live.traffic, champion=champion, now=now)
            self._watch.state = live.traffic  # equal, perhaps, but rows are counted by what is live
        decision = self._watch.decide(now=now)
        if decision.kind is not None:
            await self._act(decision)

    async def _act(self, decision: TrafficDecision) -> None:
        said = "; ".join(reason.message for reason in decision.reasons)
        logger.warning("%s: traffic: %s: %s", self._setup.model, decision.act.value, said)
        if decision.act is Act.STOP:
            self._unwritten = decision  # from here on it is written, also when this process is to end
            await asyncio.to_thread(self._stop, decision)
            await self._write_stop(decision)
            return
        ledger, model = self._setup.stores.ledger, self._setup.model
        await asyncio.to_thread(write_decision, ledger, model, decision, at=utc_now())

    async def _write_stop(self, stop: TrafficDecision) -> None:
        """Write a stop; one that cannot be written is kept, and tried again at the next look."""
        ledger, model = self._setup.stores.ledger, self._setup.model
        try:
            await asyncio.to_thread(write_stop, ledger, model, stop, at=utc_now())
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

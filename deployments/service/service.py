"""One service: its models, their followers and desks, the log's writer, the keys; begun and ended with the server."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor

from deployments.service.alarm import Alarm
from deployments.service.answers import mlflow_answer, own_answer
from deployments.service.canary import Canary
from deployments.service.counter import Counter
from deployments.service.desk import Desk
from deployments.service.endpoint import Endpoint
from deployments.service.follower import Follower
from deployments.service.guard import Guard
from deployments.service.live import ServedModel
from deployments.service.loading import reason_of
from deployments.service.metrics import Metrics
from deployments.service.outcomes import Outcomes
from deployments.service.patience import Patience
from deployments.service.positions import Positions
from deployments.service.predict import Predict
from tasks.core.errors import ConfigError
from tasks.core.serving.private import Concealer
from tasks.io.log_delivery import to_loop
from tasks.io.log_writer import LogWriter
from tasks.io.serving_keys import WatchedKeys, keys_path
from tasks.io.serving_secret import private_key
from tasks.io.setup import Setup

logger = logging.getLogger(__name__)

_KEYS_EVERY_S = 1.0
_DRAIN_S = 30.0
_QUEUE_ROWS, _QUEUE_REQUESTS = 10_000, 4


class Service:
    """Everything that runs behind the endpoints.

    Parameters
    ----------
    setups : sequence of Setup
        The models; all of one machine.
    drain_s : float
        Seconds that what waits, and then the log, may take when the service ends.

    Attributes
    ----------
    models : dict of str to ServedModel
        By registered name.
    routes : dict of str to Endpoint
        The raw endpoints, by path; filled when the service starts.
    """

    def __init__(self, setups: Sequence[Setup], *, drain_s: float = _DRAIN_S) -> None:
        self.setups = {setup.model: setup for setup in setups}
        self.models = {setup.model: ServedModel(config=setup.config) for setup in setups}
        self.metrics = Metrics()
        self.guard = Guard(WatchedKeys(keys_path(setups[0].settings)))
        self.routes: dict[str, Endpoint] = {}
        self._drain_s = drain_s
        self.writer: LogWriter | None = None
        self._followers: list[Follower] = []
        self._alarms: list[Alarm] = []
        self._canaries: list[Canary] = []
        self._desks: list[Desk] = []
        self._pool = ThreadPoolExecutor(2, thread_name_prefix="evergreen-score")
        self._aside = ThreadPoolExecutor(2, thread_name_prefix="evergreen-shadow")
        self._watches: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Open the log, begin to follow the aliases, and open the counters."""
        loop = asyncio.get_running_loop()
        self._patience = Patience()
        if any(served.config.serving.log == "durable" for served in self.models.values()):
            url = next(iter(self.setups.values())).settings.log_url
            self.writer = await asyncio.to_thread(
                LogWriter, url, capacity=log_capacity(self.setups.values()), delivery=to_loop(loop)
            )
            self.metrics.watch_queue(lambda: self.writer.state().depth if self.writer else 0.0)
        for name, setup in self.setups.items():
            await self._open(name, setup)
        self._watches.append(loop.create_task(self._watch_keys()))

    async def stop(self) -> None:
        """Answer who still waits, write what is promised, and end."""
        for follower in self._followers:
            follower.stop()
        deadline = asyncio.get_running_loop().time() + self._drain_s
        while any(desk.busy for desk in self._desks) and asyncio.get_running_loop().time() < deadline:
            await asyncio.sleep(0.01)
        await asyncio.gather(*(canary.finish(until=deadline) for canary in self._canaries))
        for alarm in self._alarms:
            await asyncio.to_thread(alarm.close, timeout=self._drain_s)
        for watch in self._watches:
            watch.cancel()
        for desk in self._desks:
            desk.close()
        self._patience.close()
        if self.writer is not None and not await asyncio.to_thread(self.writer.stop, timeout=self._drain_s):
            logger.error(
                "The log did not take all in %g s; nothing that was answered is missing", self._drain_s
            )
        for pool in (self._pool, self._aside):
            await asyncio.to_thread(pool.shutdown)

    def route(self, model: str) -> Endpoint | None:
        """Return ``/invocations`` of a model; None for one that is not served here."""
        return self.routes.get(f"/models/{model}/invocations")

    async def _open(self, name: str, setup: Setup) -> None:
        served, config = self.models[name], setup.config
        writer = self.writer if config.serving.log == "durable" else None
        newest = await asyncio.to_thread(setup.stores.log.newest_position, name) if writer else None
        alarm = Alarm(setup)
        self._alarms.append(alarm)
        follower = Follower(setup, served, metrics=self.metrics, alarm=alarm)
        canary = Canary(setup, served, stop=follower.stop_challengers, unwritten=follower.stopped)
        self._canaries.append(canary)
        canary.start()
        desk = Desk(
            name, config.serving, writer=writer, metrics=self.metrics, pool=self._pool,
            aside=self._aside, canary=canary,
            conceal=Concealer(
                config.data.private, entity=config.data.entity, how=config.serving.private,
                key=private_key(setup.settings),
            ),
        )  # fmt: skip
        positions = Positions(config.data.clock, newest=newest, column=config.data.time)
        counter = Counter(
            served,
            guard=self.guard,
            desk=desk,
            positions=positions,
            metrics=self.metrics,
            patience=self._patience,
        )
        self._desks.append(desk)
        self.routes |= {
            f"/models/{name}/predict": Predict(counter, answer=own_answer, endpoint="predict"),
            f"/models/{name}/invocations": Predict(counter, answer=mlflow_answer, endpoint="invocations"),
            f"/models/{name}/outcomes": Outcomes(counter, writer=writer),
        }
        if len(self.setups) == 1:
            self.routes["/invocations"] = self.routes[f"/models/{name}/invocations"]
        self._followers.append(follower)
        follower.start()

    async def _watch_keys(self) -> None:
        """Read the file of keys again when it changes."""
        while True:
            await asyncio.sleep(_KEYS_EVERY_S)
            try:
                if await asyncio.to_thread(self.guard.keys.refresh):
                    logger.info("The file of keys was read again: %d keys", len(self.guard.keys.ring.keys))
            except ConfigError as error:
                logger.error("The keys stay as they were: %s", reason_of(error))


def log_capacity(setups: Iterable[Setup]) -> int:
    """Return how many rows may wait for the log: some of the largest requests that are allowed, however large."""
    return max(_QUEUE_ROWS, _QUEUE_REQUESTS * max(setup.config.serving.max_rows for setup in setups))

"""One service: its models, their followers and desks, the log's writer, the keys; begun and ended with the server."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor

from evergreen.deployments.service.access import Authenticator
from evergreen.deployments.service.alias_watcher import AliasWatcher, ServingAlarm, deliver_alerts
from evergreen.deployments.service.batching import Batcher
from evergreen.deployments.service.canary import Canary
from evergreen.deployments.service.endpoint import Endpoint, ModelEndpoint
from evergreen.deployments.service.live import ServedModel
from evergreen.deployments.service.metrics import ServiceMetrics
from evergreen.deployments.service.model_loader import VersionCache, reason_of
from evergreen.deployments.service.outcomes import Outcomes
from evergreen.deployments.service.positions import EventTimes
from evergreen.deployments.service.predict import Predict, mlflow_answer, own_answer
from evergreen.deployments.service.request import ReadDeadline
from evergreen.tasks.core.errors import ConfigError
from evergreen.tasks.core.serving.batch import Concealer
from evergreen.tasks.io.prediction_log.writer import LogWriter, to_loop
from evergreen.tasks.io.serving_keys import WatchedKeys, keys_path, private_key
from evergreen.tasks.io.setup import Setup

logger = logging.getLogger(__name__)

_KEYS_EVERY_S = 1.0
_QUEUE_REQUESTS = 4


class Service:
    """Everything that runs behind the endpoints.

    Parameters
    ----------
    setups : sequence of Setup
        The models; all of one machine.
    drain_s : float
        Seconds that what waits, and then the log, may take when the service ends.
    judge_every_s : float
        Seconds from one judgement of a canary to the next.
    queue_rows : int
        Rows that may wait for the log, where the largest requests are smaller.
    make_writer, make_versions : callable
        Make the log's writer, given its URL, and the ``VersionCache`` of a model.
    deliver : callable
        Sends what alarms are due of a model, and returns at once.

    Attributes
    ----------
    models : dict of str to ServedModel
        By registered name.
    routes : dict of str to Endpoint
        The raw endpoints, by path; filled when the service starts.
    """

    def __init__(
        self,
        setups: Sequence[Setup],
        *,
        drain_s: float = 30.0,
        judge_every_s: float = 1.0,
        queue_rows: int = 10_000,
        make_writer: Callable[..., LogWriter] = LogWriter,
        make_versions: Callable[..., VersionCache] = VersionCache,
        deliver: Callable[[Setup], None] = deliver_alerts,
    ) -> None:
        self.setups = {setup.model: setup for setup in setups}
        self.models = {setup.model: ServedModel(config=setup.config) for setup in setups}
        self.metrics = ServiceMetrics()
        self.guard = Authenticator(WatchedKeys(keys_path(setups[0].settings)))
        self.routes: dict[str, Endpoint] = {}
        self._drain_s, self._judge_every_s, self._queue_rows = drain_s, judge_every_s, queue_rows
        self._make_writer, self._make_versions, self._deliver = make_writer, make_versions, deliver
        self.writer: LogWriter | None = None
        self._followers: list[AliasWatcher] = []
        self._alarms: list[ServingAlarm] = []
        self._canaries: list[Canary] = []
        self._desks: list[Batcher] = []
        self._pool = ThreadPoolExecutor(2, thread_name_prefix="evergreen-score")
        self._aside = ThreadPoolExecutor(2, thread_name_prefix="evergreen-shadow")
        self._watches: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Open the log, begin to follow the aliases, and open the counters."""
        loop = asyncio.get_running_loop()
        self._patience = ReadDeadline()
        if any(served.config.serving.log == "durable" for served in self.models.values()):
            url = next(iter(self.setups.values())).settings.log_url
            capacity = log_capacity(self.setups.values(), least=self._queue_rows)
            self.writer = await asyncio.to_thread(
                self._make_writer, url, capacity=capacity, delivery=to_loop(loop)
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
        follower, canary = self._follow(setup, served)
        desk = Batcher(
            name,
            config.serving,
            writer=writer,
            metrics=self.metrics,
            pool=self._pool,
            aside=self._aside,
            canary=canary,
            conceal=_concealer(setup),
        )
        positions = EventTimes(config.data.clock, newest=newest, column=config.data.time)
        counter = ModelEndpoint(
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

    def _follow(self, setup: Setup, served: ServedModel) -> tuple[AliasWatcher, Canary]:
        """Return what follows a model's aliases, and what judges its canaries, which is begun."""
        alarm = ServingAlarm(setup, deliver=self._deliver)
        self._alarms.append(alarm)
        follower = AliasWatcher(
            setup, served, metrics=self.metrics, alarm=alarm, make_versions=self._make_versions
        )
        stop, every_s = follower.stop_challengers, self._judge_every_s
        canary = Canary(setup, served, stop=stop, unwritten=follower.stopped, every_s=every_s)
        self._canaries.append(canary)
        canary.start()
        return follower, canary

    async def _watch_keys(self) -> None:
        """Read the file of keys again when it changes."""
        while True:
            await asyncio.sleep(_KEYS_EVERY_S)
            try:
                if await asyncio.to_thread(self.guard.keys.refresh):
                    logger.info("The file of keys was read again: %d keys", len(self.guard.keys.ring.keys))
            except ConfigError as error:
                logger.error("The keys stay as they were: %s", reason_of(error))


def log_capacity(setups: Iterable[Setup], *, least: int) -> int:
    """Return how many rows may wait for the log: some of the largest requests that are allowed, however large."""
    return max(least, _QUEUE_REQUESTS * max(setup.config.serving.max_rows for setup in setups))


def _concealer(setup: Setup) -> Concealer:
    config = setup.config
    return Concealer(
        config.data.private,
        entity=config.data.entity,
        how=config.serving.private,
        key=private_key(setup.settings),
    )

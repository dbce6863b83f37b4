"""One service: its models, the log's writer, the keys; started and stopped with the server."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from evergreen.deployments.service.access import Authenticator
from evergreen.deployments.service.alias_watcher import AliasWatcher, ServingAlarm, deliver_alerts
from evergreen.deployments.service.batching import Batcher
from evergreen.deployments.service.canary import Canary
from evergreen.deployments.service.endpoint import (
    Endpoint,
    EventTimes,
    ModelEndpoint,
    Outcomes,
    Predict,
    mlflow_answer,
    own_answer,
)
from evergreen.deployments.service.live import ServedModel
from evergreen.deployments.service.metrics import ServiceMetrics
from evergreen.deployments.service.model_loader import VersionCache, reason_of
from evergreen.deployments.service.request import ReadDeadline
from evergreen.tasks.core.errors import ConfigError
from evergreen.tasks.core.serving.batch import Concealer
from evergreen.tasks.io.prediction_log.writer import LogWriter, to_loop
from evergreen.tasks.io.serving_keys import WatchedKeys, keys_path, private_key
from evergreen.tasks.io.setup import Setup

logger = logging.getLogger(__name__)

_KEYS_EVERY_S = 1.0
_QUEUE_REQUESTS = 4
"""How many of the largest allowed requests may wait for the log."""


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
        self.authenticator = Authenticator(WatchedKeys(keys_path(setups[0].settings)))
        self.routes: dict[str, Endpoint] = {}
        self._drain_s, self._judge_every_s, self._queue_rows = drain_s, judge_every_s, queue_rows
        self._make_writer, self._make_versions, self._deliver = make_writer, make_versions, deliver
        self.writer: LogWriter | None = None
        self._watchers: list[AliasWatcher] = []
        self._alarms: list[ServingAlarm] = []
        self._canaries: list[Canary] = []
        self._batchers: list[Batcher] = []
        self._pool = ThreadPoolExecutor(2, thread_name_prefix="evergreen-score")
        self._shadow_pool = ThreadPoolExecutor(2, thread_name_prefix="evergreen-shadow")
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Open the log, watch the aliases, and open the endpoints."""
        loop = asyncio.get_running_loop()
        self._deadline = ReadDeadline()
        if any(served.config.serving.log == "durable" for served in self.models.values()):
            url = next(iter(self.setups.values())).settings.log_url
            most_rows = max(served.config.serving.max_rows for served in self.models.values())
            capacity = max(self._queue_rows, _QUEUE_REQUESTS * most_rows)
            self.writer = await asyncio.to_thread(
                self._make_writer, url, capacity=capacity, delivery=to_loop(loop)
            )
            self.metrics.queue.set_function(lambda: self.writer.state().depth if self.writer else 0.0)
        for name, setup in self.setups.items():
            await self._open(name, setup)
        self._tasks.append(loop.create_task(self._watch_keys()))

    async def stop(self) -> None:
        """Answer the requests that wait, write what was answered, and end."""
        for watcher in self._watchers:
            watcher.stop()
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._drain_s
        while any(batcher.busy for batcher in self._batchers) and loop.time() < deadline:
            await asyncio.sleep(0.01)
        await asyncio.gather(*(canary.finish(until=deadline) for canary in self._canaries))
        for alarm in self._alarms:
            await asyncio.to_thread(alarm.close, timeout=self._drain_s)
        for task in self._tasks:
            task.cancel()
        for batcher in self._batchers:
            batcher.close()
        self._deadline.close()
        if self.writer is not None and not await asyncio.to_thread(self.writer.stop, timeout=self._drain_s):
            logger.error(
                "The log was not written in %g s; no prediction that was answered is missing", self._drain_s
            )
        for pool in (self._pool, self._shadow_pool):
            await asyncio.to_thread(pool.shutdown)

    async def _open(self, name: str, setup: Setup) -> None:
        served, config, data = self.models[name], setup.config, setup.config.data
        writer = self.writer if config.serving.log == "durable" else None
        newest = await asyncio.to_thread(setup.stores.log.newest_position, name) if writer else None
        watcher, canary = self._watch(setup, served)
        how, key = config.serving.private, private_key(setup.settings)
        conceal = Concealer(data.private, entity=data.entity, how=how, key=key)
        batcher = Batcher(
            name,
            config.serving,
            writer=writer,
            metrics=self.metrics,
            pool=self._pool,
            shadow_pool=self._shadow_pool,
            canary=canary,
            conceal=conceal,
        )
        model = ModelEndpoint(
            served=served,
            authenticator=self.authenticator,
            batcher=batcher,
            times=EventTimes(data.clock, newest=newest, column=data.time),
            metrics=self.metrics,
            deadline=self._deadline,
        )
        self.routes |= {
            f"/models/{name}/predict": Predict(model, answer=own_answer, name="predict"),
            f"/models/{name}/invocations": Predict(model, answer=mlflow_answer, name="invocations"),
            f"/models/{name}/outcomes": Outcomes(model, writer=writer),
        }
        if len(self.setups) == 1:
            self.routes["/invocations"] = self.routes[f"/models/{name}/invocations"]
        self._batchers.append(batcher)
        self._watchers.append(watcher)
        canary.start()
        watcher.start()

    def _watch(self, setup: Setup, served: ServedModel) -> tuple[AliasWatcher, Canary]:
        """Return what watches a model's aliases, and what watches its challengers."""
        alarm = ServingAlarm(setup, deliver=self._deliver)
        self._alarms.append(alarm)
        make_versions = self._make_versions
        watcher = AliasWatcher(setup, served, metrics=self.metrics, alarm=alarm, make_versions=make_versions)
        stop, every_s = watcher.stop_challengers, self._judge_every_s
        canary = Canary(setup, served, stop=stop, unwritten=watcher.stopped, every_s=every_s)
        self._canaries.append(canary)
        return watcher, canary

    async def _watch_keys(self) -> None:
        """Read the file of keys again when it changes."""
        keys = self.authenticator.keys
        while True:
            await asyncio.sleep(_KEYS_EVERY_S)
            try:
                if await asyncio.to_thread(keys.refresh):
                    logger.info("The file of keys was read again: %d keys", len(keys.ring.keys))
            except ConfigError as error:
                logger.error("The keys stay as they were: %s", reason_of(error))

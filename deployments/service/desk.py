"""Where requests of one model wait: those of one turn of the loop are predicted together, logged, and answered."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Executor
from typing import Any

from deployments.service.asked import Asked, Conceal, served_rows
from deployments.service.metrics import Metrics
from deployments.service.problems import overloaded, too_slow
from deployments.service.scoring import Row, Shadowed, score_rows
from deployments.service.shadows import Shadows
from deployments.service.trouble import problem_of
from tasks.core.config.serving import ServingConfig
from tasks.core.errors import EvergreenError
from tasks.core.serving.batch import concat
from tasks.io.log_writer import LogWriter
from tasks.io.served import Served

logger = logging.getLogger(__name__)

_INLINE_ROWS = 256
"""Larger batches are scored in a thread, so that the loop goes on answering others."""
_SWEEP_S = 0.25


class Desk:
    """Predicts for requests that wait.

    Parameters
    ----------
    model : str
        Registered model.
    config : ServingConfig
        Its limits.
    writer : LogWriter or None
        The log; None keeps nothing.
    conceal : callable
        Turns the rows of a batch into what the log may hold of them.
    metrics : Metrics
        Where batches are counted.
    pool : Executor
        Scores large batches, and shadows.
    """

    def __init__(
        self,
        model: str,
        config: ServingConfig,
        *,
        writer: LogWriter | None,
        conceal: Conceal,
        metrics: Metrics,
        pool: Executor,
    ) -> None:
        self._model, self._config, self._writer, self._conceal = model, config, writer, conceal
        self._loop = asyncio.get_running_loop()
        self._pool = pool
        self._waiting: deque[Asked] = deque()
        self._open: dict[Asked, None] = {}
        self._due = False
        self._batch_rows = metrics.batch_rows.labels(model)
        self._logged = metrics.logged.labels(model)
        metrics.waiting.labels(model).set_function(lambda: len(self._open))
        self._shadows = Shadows(model, writer=writer, metrics=metrics, pool=pool)
        self._sweeper = self._loop.call_later(_SWEEP_S, self._sweep)

    @property
    def busy(self) -> bool:
        """True while a request waits for its answer."""
        return bool(self._open)

    async def ask(self, asked: Asked) -> Sequence[Served]:
        """Return the rows of a request as they were answered (and logged).

        Raises
        ------
        Problem
            503 when too many wait, or there was no answer in time; what else went wrong, as `problem_of` says it.
        """
        if len(self._open) >= self._config.max_waiting:
            raise overloaded(self._config.max_waiting)
        self._open[asked] = None
        self._waiting.append(asked)
        if not self._due:
            self._due = True
            self._loop.call_soon(self._turn)
        try:
            return await asked.future
        finally:
            self._open.pop(asked, None)

    def close(self) -> None:
        """Stop the clock; who waits has been answered."""
        self._sweeper.cancel()

    def _turn(self) -> None:
        """Predict for all that wait now."""
        self._due = False
        while self._waiting:
            group = self._next_group()
            if sum(asked.batch.n for asked in group) <= _INLINE_ROWS:
                self._finish(group, _predict(group))
            else:
                task = self._loop.run_in_executor(self._pool, _predict, group)
                task.add_done_callback(lambda done, group=group: self._finish(group, done.result()))  # type: ignore[misc]

    def _next_group(self) -> list[Asked]:
        """Take requests that are answered by the same picture, as many as fit in one call; at least one."""
        group = [self._waiting.popleft()]
        rows, live = group[0].batch.n, group[0].live
        while self._waiting and self._waiting[0].live is live:
            rows += self._waiting[0].batch.n
            if rows > self._config.batch_rows:
                break
            group.append(self._waiting.popleft())
        return group

    def _finish(self, group: list[Asked], done: _Predicted | Exception) -> None:
        """Log what was predicted; where a batch failed, each of its requests is asked alone."""
        if isinstance(done, Exception):
            if len(group) == 1:
                _settle(group[0], problem_of(done, self._model))
            else:
                for asked in group:
                    self._finish([asked], _predict([asked]))
            return
        self._batch_rows.observe(len(done.rows))
        features: Sequence[Any] = done.features(self._conceal if self._writer else None)
        place = 0
        for asked in group:
            part = slice(place, place := place + asked.batch.n)
            self._log(asked, served_rows(asked, done.rows[part], features[part]))
        if done.shadowed:
            self._shadows.score(done.whole, done.shadowed, [name for asked in group for name in asked.ids])

    def _log(self, asked: Asked, rows: list[Served]) -> None:
        if self._writer is None:
            _settle(asked, rows)
            return
        try:
            written = self._writer.put(self._model, rows, keyed=asked.keyed)
        except EvergreenError as error:  # the queue is full, or a row is nothing the log can hold
            _settle(asked, problem_of(error, self._model))
        else:
            written.add_done_callback(lambda future: self._written(asked, future))

    def _written(self, asked: Asked, future: asyncio.Future[Sequence[Served]]) -> None:
        error = future.exception()
        if error is None:
            self._logged.inc(asked.batch.n)
        _settle(asked, future.result() if error is None else problem_of(error, self._model))

    def _sweep(self) -> None:
        """Answer those who have waited too long; they stand in the order in which they came."""
        now = self._loop.time()
        for asked in list(self._open):
            if asked.deadline > now:
                break
            _settle(asked, too_slow(self._config.timeout.amount))
        self._sweeper = self._loop.call_later(_SWEEP_S, self._sweep)


class _Predicted:
    """What one call said of the rows of a group."""

    def __init__(self, group: Sequence[Asked]) -> None:
        batches = [asked.batch for asked in group]
        self._batches = batches
        self.whole = concat(batches)
        ids = [name for asked in group for name in asked.ids]
        found: tuple[list[Row], list[Shadowed]] = score_rows(group[0].live, batches, self.whole, ids)
        self.rows, self.shadowed = found

    def features(self, conceal: Conceal | None) -> Sequence[Any]:
        """Return what the log holds of each row; nothing where there is no log."""
        if conceal is None:
            return [b"{}"] * len(self.rows)
        return conceal([row for batch in self._batches for row in batch.rows()])


def _predict(group: Sequence[Asked]) -> _Predicted | Exception:
    try:
        return _Predicted(group)
    except Exception as error:  # whatever a model raises is told to those who asked, and to nobody else
        return error


def _settle(asked: Asked, result: Sequence[Served] | Exception) -> None:
    if asked.future.done():  # nobody waits any more
        return
    if isinstance(result, Exception):
        asked.future.set_exception(result)
    else:
        asked.future.set_result(result)

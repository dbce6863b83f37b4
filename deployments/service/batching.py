"""Micro-batches: requests of one turn of the loop are predicted together, logged, and answered."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Executor
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from evergreen.deployments.service import errors
from evergreen.deployments.service.canary import Canary, LatencyProbe
from evergreen.deployments.service.errors import RequestProblem
from evergreen.deployments.service.live import Live
from evergreen.deployments.service.metrics import ServiceMetrics
from evergreen.deployments.service.scoring import FailedRow, Routed, Row, Scored, score_rows
from evergreen.deployments.service.shadows import Shadows
from evergreen.tasks.core.config.serving import ServingConfig
from evergreen.tasks.core.errors import EvergreenError
from evergreen.tasks.core.serving.batch import Batch, Concealer, concat
from evergreen.tasks.core.serving.idempotency import IdempotentRequest
from evergreen.tasks.io.prediction_log.records import Served
from evergreen.tasks.io.prediction_log.writer import LogWriter


@dataclass(slots=True, eq=False)
class PendingRequest:
    """A request whose rows were checked."""

    batch: Batch
    """Its rows."""
    live: Live
    """What was served when it came; it is answered by that."""
    ids: list[str]
    """Prediction id of each row."""
    digests: list[str] | None
    """Digest of each row as sent, where the client chose the ids, by a key or itself; None where they are fresh."""
    positions: list[float]
    """Position of each row on the model's clock."""
    deadline: float
    """When it is refused as too slow, on the loop's clock."""
    future: asyncio.Future[Sequence[Served]]
    """The rows as they are logged, or what went wrong."""


def served_rows(pending: PendingRequest, rows: Sequence[Row], *, conceal: Concealer | None) -> list[Served]:
    """Return the rows of a request as they are answered, with what the log may hold of them (None: there is no log)."""
    batch = pending.batch
    features: list[Any] = [b"{}"] * batch.n
    entities, nothing = batch.entities, [None] * batch.n
    if conceal is not None:
        entities, features = conceal.entities(entities), conceal.rows(batch.rows())
    return [
        Served(
            prediction_id=name,
            position=position,
            version=version,
            variant=variant,
            entity=entity,
            score=score,
            decision=decision,
            features=row,
            request=digest,
        )
        for name, position, entity, row, digest, (score, decision, version, variant) in zip(
            pending.ids,
            pending.positions,
            entities or nothing,
            features,
            pending.digests or nothing,
            rows,
            strict=True,
        )
    ]


Predicted = tuple[Scored, list[Routed]]
"""Answers of all rows of a group, and the variant each was routed to."""


def predict(group: Sequence[PendingRequest], *, isolate: bool) -> Predicted:
    """Return the answers of all requests of a group; with ``isolate`` also which rows some model fails on."""
    batches = [pending.batch for pending in group]
    ids = [name for pending in group for name in pending.ids]
    return score_rows(group[0].live, batches, concat(batches), ids, isolate=isolate)


def predict_isolated(group: Sequence[PendingRequest]) -> Predicted | Exception:
    """Return the answers of all, or what was raised in the place of those that have none; for a thread."""
    with suppress(Exception):  # of some model on some row: then each row is answered by itself
        return predict(group, isolate=False)
    try:
        return predict(group, isolate=True)
    except Exception as error:  # a bug: failures of models are isolated; the clients still get an answer
        return error


_INLINE_ROWS = 256
"""More rows, and models that are not compiled, are scored in a thread, so that the loop goes on answering others."""
_SWEEP_S = 0.25


class Batcher:
    """Predicts for requests that wait.

    Parameters
    ----------
    model : str
        Registered model.
    config : ServingConfig
        Its limits.
    writer : LogWriter or None
        The log; None keeps nothing.
    conceal : Concealer
        What the log may hold of rows.
    metrics : ServiceMetrics
        Where batches are counted.
    pool : Executor
        Scores large batches, and all of models that are not compiled.
    shadow_pool : Executor
        Where shadows score.
    canary : Canary
        Watches the challengers.
    """

    def __init__(
        self,
        model: str,
        config: ServingConfig,
        *,
        writer: LogWriter | None,
        conceal: Concealer,
        metrics: ServiceMetrics,
        pool: Executor,
        shadow_pool: Executor,
        canary: Canary,
    ) -> None:
        self._model, self._config, self._writer, self.conceal = model, config, writer, conceal
        self._loop = asyncio.get_running_loop()
        self._pool, self._canary, self._latency = pool, canary, LatencyProbe(canary, pool=pool)
        self._waiting: deque[PendingRequest] = deque()
        self._open: dict[PendingRequest, None] = {}
        self._scheduled = False
        self._in_pool = 0
        self._batch_rows = metrics.batch_rows.labels(model)
        self._logged = metrics.logged.labels(model)
        metrics.waiting.labels(model).set_function(lambda: len(self._open))
        self._shadows = Shadows(model, writer=writer, metrics=metrics, pool=shadow_pool) if writer else None
        self._sweeper = self._loop.call_later(_SWEEP_S, self._sweep)

    @property
    def busy(self) -> bool:
        """True while a request waits for its answer, or rows are being scored, by a shadow too."""
        shadows_busy = self._shadows is not None and self._shadows.busy
        return bool(self._open or self._waiting or self._in_pool or shadows_busy)

    async def ask(self, pending: PendingRequest) -> Sequence[Served]:
        """Return the rows of a request as they were answered (and logged).

        Raises
        ------
        RequestProblem
            503 when too many wait, or there was no answer in time; else as `problem_of` returns it.
        """
        if len(self._open) >= self._config.max_waiting:
            raise errors.overloaded(self._config.max_waiting)
        self._open[pending] = None
        self._waiting.append(pending)
        self._schedule()
        try:
            return await pending.future
        finally:
            self._open.pop(pending, None)

    async def first_answers(self, claim: IdempotentRequest) -> Sequence[Served] | None:
        """Return what a request was answered when it came before; None where it never was.

        Raises
        ------
        RequestProblem
            409 when its key or ids stand for another one, 503 when the log does not answer.
        """
        if self._writer is None:
            return None
        try:
            digests = dict(zip(claim.ids, claim.digests, strict=True))
            return await self._writer.find(self._model, digests)  # type: ignore[no-any-return]
        except EvergreenError as error:
            raise errors.log_problem_of(error, self._model) from None

    def close(self) -> None:
        """Stop the sweep; every request has been answered."""
        self._sweeper.cancel()

    def _schedule(self) -> None:
        """Have the requests that wait predicted in the next turn of the loop."""
        if self._waiting and not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._turn)

    def _turn(self) -> None:
        """Predict once, for as many requests as fit in one call; the others wait for the next turn."""
        self._scheduled = False
        compiled = self._waiting[0].live.compiled
        if self._in_pool and not compiled:
            return  # the end of that call begins the next turn
        group = self._next_group()
        predicted = None
        if compiled and sum(pending.batch.n for pending in group) <= _INLINE_ROWS:
            with suppress(Exception):  # of a model; the thread finds on which rows
                predicted = predict(group, isolate=False)
        if predicted is None:
            self._in_pool += 1
            task = self._loop.run_in_executor(self._pool, predict_isolated, group)
            task.add_done_callback(lambda done: self._predicted(group, done))
        else:
            self._finish(group, predicted)
        self._schedule()

    def _predicted(self, group: list[PendingRequest], done: asyncio.Future[Predicted | Exception]) -> None:
        self._in_pool -= 1
        self._finish(group, done.result())
        self._schedule()

    def _next_group(self) -> list[PendingRequest]:
        """Take requests that the same `Live` answers, as many as fit in one call; at least one."""
        group = [self._waiting.popleft()]
        rows, live = group[0].batch.n, group[0].live
        while self._waiting and self._waiting[0].live is live:
            rows += self._waiting[0].batch.n
            if rows > self._config.batch_rows:
                break
            group.append(self._waiting.popleft())
        return group

    def _finish(self, group: list[PendingRequest], done: Predicted | Exception) -> None:
        """Log what was predicted; a request with a row that has no answer is refused."""
        if isinstance(done, Exception):
            for pending in group:
                _settle(pending, errors.problem_of(done, self._model))
            return
        scored, routed = done
        self._batch_rows.observe(len(scored))
        if routed:
            self._canary.count(group[0].live, scored, routed)
            self._latency.offer(group[0].live, [pending.batch for pending in group], routed)
        place = 0
        for pending in group:
            rows = scored[place : (place := place + pending.batch.n)]
            answers = [row for row in rows if not isinstance(row, FailedRow)]
            if len(answers) < len(rows):
                _settle(pending, self._problem(rows))
            else:
                conceal = self.conceal if self._writer else None
                self._log(pending, served_rows(pending, answers, conceal=conceal))

    def _problem(self, rows: Scored) -> RequestProblem:
        """Return why the first row without an answer has none, and which row it is."""
        at, failed = next((at, row) for at, row in enumerate(rows) if isinstance(row, FailedRow))
        problem = errors.problem_of(failed.error, self._model)
        if failed.alone and len(rows) > 1 and problem.field is None:
            problem.field = f"records[{at}]"
        return problem

    def _log(self, pending: PendingRequest, rows: list[Served]) -> None:
        if self._writer is None:
            _settle(pending, rows)
            return
        try:
            written = self._writer.put(self._model, rows, keyed=pending.digests is not None)
        except EvergreenError as error:  # the queue is full, or a row is nothing the log can hold
            _settle(pending, errors.log_problem_of(error, self._model))
        else:
            written.add_done_callback(lambda future: self._written(pending, rows, future))

    def _written(
        self, pending: PendingRequest, rows: list[Served], future: asyncio.Future[Sequence[Served]]
    ) -> None:
        error = future.exception()
        if error is not None:
            _settle(pending, errors.log_problem_of(error, self._model))
            return
        _settle(pending, future.result())
        if future.result() is rows:  # not one that was answered before
            self._logged.inc(pending.batch.n)
            if self._shadows and pending.live.plan.shadows:
                self._shadows.add(pending.live, pending.batch, pending.ids)

    def _sweep(self) -> None:
        """Refuse requests that have waited too long; the oldest come first."""
        now = self._loop.time()
        for pending in list(self._open):
            if pending.deadline > now:
                break
            _settle(pending, errors.too_slow(self._config.timeout.amount))
        self._sweeper = self._loop.call_later(_SWEEP_S, self._sweep)


def _settle(pending: PendingRequest, result: Sequence[Served] | Exception) -> None:
    if pending.future.done():  # refused as too slow, or the client is gone
        return
    if isinstance(result, Exception):
        pending.future.set_exception(result)
    else:
        pending.future.set_result(result)

"""One request that waits for its answer, and the rows the log gets for it."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Executor
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from evergreen.deployments.service.canary import Canary, LatencyProbe
from evergreen.deployments.service.errors import (
    RequestProblem,
    log_problem_of,
    overloaded,
    problem_of,
    too_slow,
)
from evergreen.deployments.service.live import Live
from evergreen.deployments.service.metrics import ServiceMetrics
from evergreen.deployments.service.scoring import FailedRow, Routed, Row, Scored, score_rows
from evergreen.deployments.service.shadows import Shadows
from evergreen.tasks.core.config.serving import ServingConfig
from evergreen.tasks.core.errors import EvergreenError
from evergreen.tasks.core.serving.batch import Batch, Concealer, concat
from evergreen.tasks.core.serving.idempotency import IdempotentRequest
from evergreen.tasks.io.prediction_log.records import Served, fresh_id
from evergreen.tasks.io.prediction_log.writer import LogWriter

_NOTHING: list[Any] = [b"{}"]


@dataclass(slots=True, eq=False)
class PendingRequest:
    """A request whose rows were checked.

    Attributes
    ----------
    batch : Batch
        Its rows.
    live : Live
        What was served when it came; it is answered by that.
    ids : list of str
        Prediction id of each row.
    digests : list of str | None
        Digest of each row as sent, where the client chose the ids, by a key or itself; None where they are fresh.
    positions : list of float
        Where each row stands on the model's clock.
    deadline : float
        When nobody waits any more, on the loop's clock.
    future : Future
        The rows as they are logged, or what went wrong.
    """

    batch: Batch
    live: Live
    ids: list[str]
    digests: list[str] | None
    positions: list[float]
    deadline: float
    future: asyncio.Future[Sequence[Served]]


def ids_of(batch: Batch, claim: IdempotentRequest | None) -> list[str]:
    """Return the prediction id of each row: what the client claims, else fresh ones."""
    return [fresh_id() for _ in range(batch.n)] if claim is None else claim.ids


def served_rows(asked: PendingRequest, rows: Sequence[Row], *, conceal: Concealer | None) -> list[Served]:
    """Return the rows of a request as they are answered, with what the log may hold of them (None: there is no log)."""
    batch = asked.batch
    entities, features = batch.entities, _NOTHING * batch.n
    nobody = [None] * batch.n
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
            features=known,
            request=digest,
        )
        for name, position, entity, known, digest, (score, decision, version, variant) in zip(
            asked.ids,
            asked.positions,
            entities or nobody,
            features,
            asked.digests or nobody,
            rows,
            strict=True,
        )
    ]


# Predict for requests that were taken together.


Predicted = tuple[Scored, list[Routed]]
"""Answers of all rows of a group, and who was meant to give them."""


class ModelFailed(Exception):
    """Some model failed on some row of a group; asking apart tells which."""


def predict_at_once(group: Sequence[PendingRequest]) -> Predicted:
    """Return the answers of all; `ModelFails` where some model fails."""
    try:
        return _score(group, apart=False)
    except Exception as error:
        raise ModelFailed from error


def predict_isolated(group: Sequence[PendingRequest]) -> Predicted | Exception:
    """Return the answers of all, or what was raised in the place of those that have none; for a thread."""
    with suppress(ModelFailed):
        return predict_at_once(group)
    try:
        return _score(group, apart=True)
    except Exception as error:  # none of a model's, those are told apart: whoever asked must hear something
        return error


def _score(group: Sequence[PendingRequest], *, apart: bool) -> Predicted:
    batches = [asked.batch for asked in group]
    ids = [name for asked in group for name in asked.ids]
    return score_rows(group[0].live, batches, concat(batches), ids, apart=apart)


# Where requests of one model wait: those of one turn of the loop are predicted together, logged, and answered.


logger = logging.getLogger(__name__)

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
    metrics : Metrics
        Where batches are counted.
    pool : Executor
        Scores large batches, and all of models that are not compiled.
    aside : Executor
        Where shadows score.
    canary : Canary
        Watches who answers beside the champion.
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
        aside: Executor,
        canary: Canary,
    ) -> None:
        self._model, self._config, self._writer, self._conceal = model, config, writer, conceal
        self._loop = asyncio.get_running_loop()
        self._pool, self._canary, self._duels = pool, canary, LatencyProbe(canary, pool=pool)
        self._waiting: deque[PendingRequest] = deque()
        self._open: dict[PendingRequest, None] = {}
        self._due = False
        self._in_pool = 0
        self._batch_rows = metrics.batch_rows.labels(model)
        self._logged = metrics.logged.labels(model)
        metrics.waiting.labels(model).set_function(lambda: len(self._open))
        self._shadows = Shadows(model, writer=writer, metrics=metrics, pool=aside) if writer else None
        self._sweeper = self._loop.call_later(_SWEEP_S, self._sweep)

    @property
    def busy(self) -> bool:
        """True while a request waits for its answer, or rows are being scored, by a shadow too."""
        aside = self._shadows is not None and self._shadows.busy
        return bool(self._open or self._waiting or self._in_pool or aside)

    async def ask(self, asked: PendingRequest) -> Sequence[Served]:
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
        self._come()
        try:
            return await asked.future
        finally:
            self._open.pop(asked, None)

    @property
    def digest_key(self) -> bytes:
        """What digests of requests are keyed with."""
        return self._conceal.digest_key

    async def first_answers(self, claim: IdempotentRequest) -> Sequence[Served] | None:
        """Return what a request was answered when it came before; None where it never was.

        Raises
        ------
        Problem
            409 when its key or ids stand for another one, 503 when the log does not answer.
        """
        if self._writer is None:
            return None
        try:
            digests = dict(zip(claim.ids, claim.digests, strict=True))
            found: Sequence[Served] | None = await self._writer.find(self._model, digests)
        except EvergreenError as error:
            raise log_problem_of(error, self._model) from None
        return found

    def close(self) -> None:
        """Stop the clock; who waits has been answered."""
        self._sweeper.cancel()

    def _come(self) -> None:
        """Have those who wait predicted for in the next turn of the loop."""
        if self._waiting and not self._due:
            self._due = True
            self._loop.call_soon(self._turn)

    def _turn(self) -> None:
        """Predict once, for as many as fit; others come in between, and who waits longer is joined to more."""
        self._due = False
        compiled = self._waiting[0].live.compiled
        if self._in_pool and not compiled:
            return  # the end of that call begins the next turn
        group = self._next_group()
        if not compiled or sum(asked.batch.n for asked in group) > _INLINE_ROWS:
            self._send(group)
        else:
            try:
                self._finish(group, predict_at_once(group))
            except ModelFailed:
                self._send(group)
        self._come()

    def _send(self, group: list[PendingRequest]) -> None:
        """Predict in a thread."""
        self._in_pool += 1
        task = self._loop.run_in_executor(self._pool, predict_isolated, group)
        task.add_done_callback(lambda done: self._came(group, done))

    def _came(self, group: list[PendingRequest], done: asyncio.Future[Predicted | Exception]) -> None:
        self._in_pool -= 1
        self._finish(group, done.result())
        self._come()

    def _next_group(self) -> list[PendingRequest]:
        """Take requests that are answered by the same picture, as many as fit in one call; at least one."""
        group = [self._waiting.popleft()]
        rows, live = group[0].batch.n, group[0].live
        while self._waiting and self._waiting[0].live is live:
            rows += self._waiting[0].batch.n
            if rows > self._config.batch_rows:
                break
            group.append(self._waiting.popleft())
        return group

    def _finish(self, group: list[PendingRequest], done: Predicted | Exception) -> None:
        """Log what was predicted; a request with a row that has no answer hears why."""
        if isinstance(done, Exception):
            for asked in group:
                _settle(asked, problem_of(done, self._model))
            return
        found, routed = done
        self._batch_rows.observe(len(found))
        if routed:
            self._canary.count(group[0].live, found, routed)
            self._duels.offer(group[0].live, [asked.batch for asked in group], routed)
        place = 0
        for asked in group:
            rows = found[place : (place := place + asked.batch.n)]
            answers = [row for row in rows if not isinstance(row, FailedRow)]
            if len(answers) < len(rows):
                _settle(asked, self._problem(rows))
            else:
                self._log(asked, served_rows(asked, answers, conceal=self._conceal if self._writer else None))

    def _problem(self, rows: Scored) -> RequestProblem:
        """Return what the first row without an answer is refused with, and which it is."""
        at, failed = next((at, row) for at, row in enumerate(rows) if isinstance(row, FailedRow))
        problem = problem_of(failed.error, self._model)
        if failed.alone and len(rows) > 1 and problem.field is None:
            problem.field = f"records[{at}]"
        return problem

    def _log(self, asked: PendingRequest, rows: list[Served]) -> None:
        if self._writer is None:
            _settle(asked, rows)
            return
        try:
            written = self._writer.put(self._model, rows, keyed=asked.digests is not None)
        except EvergreenError as error:  # the queue is full, or a row is nothing the log can hold
            _settle(asked, log_problem_of(error, self._model))
        else:
            written.add_done_callback(lambda future: self._written(asked, rows, future))

    def _written(
        self, asked: PendingRequest, rows: list[Served], future: asyncio.Future[Sequence[Served]]
    ) -> None:
        error = future.exception()
        if error is not None:
            _settle(asked, log_problem_of(error, self._model))
            return
        _settle(asked, future.result())
        if future.result() is rows:  # not one that was answered before
            self._logged.inc(asked.batch.n)
            if self._shadows and asked.live.plan.shadows:
                self._shadows.add(asked.live, asked.batch, asked.ids)

    def _sweep(self) -> None:
        """Answer those who have waited too long; they stand in the order in which they came."""
        now = self._loop.time()
        for asked in list(self._open):
            if asked.deadline > now:
                break
            _settle(asked, too_slow(self._config.timeout.amount))
        self._sweeper = self._loop.call_later(_SWEEP_S, self._sweep)


def _settle(asked: PendingRequest, result: Sequence[Served] | Exception) -> None:
    if asked.future.done():  # nobody waits any more
        return
    if isinstance(result, Exception):
        asked.future.set_exception(result)
    else:
        asked.future.set_result(result)

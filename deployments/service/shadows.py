"""Shadows: they score the rows that others answered, afterwards and in a thread; no request waits for them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor

from evergreen.deployments.service.errors import place_of
from evergreen.deployments.service.live import Live, ServedArm
from evergreen.deployments.service.metrics import ServiceMetrics
from evergreen.deployments.service.scoring import (
    FailedRow,
    Row,
    Scored,
    answer_arm,
    isolate_failures,
    row_keys,
)
from evergreen.tasks.core.errors import EvergreenError
from evergreen.tasks.core.serving.batch import Batch, concat
from evergreen.tasks.io.prediction_log.records import ShadowScore
from evergreen.tasks.io.prediction_log.writer import LogWriter

logger = logging.getLogger(__name__)

_MOST_ROWS = 4096
"""Rows that may wait for shadows; further ones are left out, and counted."""
_ISOLATED_ROWS = 256
"""Rows of one call where a shadow fails; failures are isolated within them."""


class Shadows:
    """Scores all rows that wait at once in a thread, and logs what the shadows answer.

    Parameters
    ----------
    model : str
        Registered model.
    writer : LogWriter
        The log, which alone holds what shadows answer.
    metrics : ServiceMetrics
        Counts rows scored, failed and left out.
    pool : Executor
        Where they are scored.
    """

    def __init__(self, model: str, *, writer: LogWriter, metrics: ServiceMetrics, pool: Executor) -> None:
        self._model, self._writer, self._pool = model, writer, pool
        self._rows = metrics.shadow_rows
        self._loop = asyncio.get_running_loop()
        self._pending: dict[ServedArm, list[tuple[str, Batch]]] = {}
        self._waiting = 0
        self._running = False

    @property
    def busy(self) -> bool:
        """True while rows wait or are scored; all others are with the log's writer."""
        return self._running or bool(self._pending)

    def add(self, live: Live, batch: Batch, ids: Sequence[str]) -> None:
        """Queue logged rows for their shadows; returns at once."""
        for place, key in enumerate(row_keys([batch], ids)):
            for shadow in live.assigner.route(key).shadows:
                if shadow.name in live.arms:
                    one = batch if batch.n == 1 else batch.take([place])
                    self._add(live.arms[shadow.name], one, ids[place])
        self._start()

    def _add(self, arm: ServedArm, row: Batch, name: str) -> None:
        if self._waiting >= _MOST_ROWS:
            self._count(arm, "left_out", 1)
            return
        self._waiting += 1
        self._pending.setdefault(arm, []).append((name, row))

    def _start(self) -> None:
        if self._running or not self._pending:
            return
        self._running = True
        pending, self._pending, self._waiting = self._pending, {}, 0
        task = self._loop.run_in_executor(self._pool, _score_shadows, pending)
        task.add_done_callback(self._scored)

    def _scored(self, done: asyncio.Future[list[tuple[ServedArm, list[str], Scored]]]) -> None:
        self._running = False
        for arm, ids, rows in done.result():
            failed = [row for row in rows if isinstance(row, FailedRow)]
            if failed:
                self._count(arm, "failed", len(failed))
                kind, place = type(failed[0].error).__name__, place_of(failed[0].error)
                logger.warning("%s: shadow '%s' fails: %s at %s", self._model, arm.variant.name, kind, place)
            good = {name: row for name, row in zip(ids, rows, strict=True) if not isinstance(row, FailedRow)}
            if good:
                self._log(arm, good)
        self._start()

    def _log(self, arm: ServedArm, rows: Mapping[str, Row]) -> None:
        scores = {
            name: ShadowScore(variant=variant, version=version, score=score, decision=decision)
            for name, (score, decision, version, variant) in rows.items()
        }
        try:
            self._writer.put_shadows(self._model, scores)
        except EvergreenError:  # the queue is full: predictions come first
            self._count(arm, "left_out", len(scores))
        else:
            self._count(arm, "scored", len(scores))

    def _count(self, arm: ServedArm, outcome: str, rows: int) -> None:
        self._rows.labels(self._model, str(arm.version or "ensemble"), outcome).inc(rows)


def _score_shadows(
    pending: dict[ServedArm, list[tuple[str, Batch]]],
) -> list[tuple[ServedArm, list[str], Scored]]:
    return [
        (arm, [name for name, _ in waiting], _score_shadow(arm, concat([row for _, row in waiting])))
        for arm, waiting in pending.items()
    ]


def _score_shadow(arm: ServedArm, batch: Batch) -> Scored:
    """Return a shadow's answers, and in the place of a row it fails on what was raised.

    Once it fails on all rows of a call, failures are not isolated any more: it may fail on everything.
    """
    try:
        return [*answer_arm(arm, batch)]
    except Exception as error:  # a shadow's failure is counted, and touches no answer
        if batch.n == 1:
            return [FailedRow(error, alone=True)]
    answers: Scored = []
    hopeless = False
    for begin in range(0, batch.n, _ISOLATED_ROWS):
        part = batch.take(range(begin, min(begin + _ISOLATED_ROWS, batch.n)))
        units = [0] * part.n if hopeless else [-place - 1 for place in range(part.n)]
        rows = isolate_failures(arm, part, units)
        hopeless = all(isinstance(row, FailedRow) for row in rows)
        answers += rows
    return answers

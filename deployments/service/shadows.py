"""Shadows: they score the rows that others answered, afterwards and aside; nobody waits for them."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from concurrent.futures import Executor, Future
from typing import Any

from deployments.service.metrics import Metrics
from deployments.service.scoring import Row, Shadowed, answer_arm_rows
from deployments.service.trouble import place_of
from tasks.core.errors import EvergreenError
from tasks.core.serving.batch import Batch
from tasks.io.log_writer import LogWriter
from tasks.io.served import ShadowScore

logger = logging.getLogger(__name__)

_MOST_AT_ONCE = 64
"""Batches that may wait for shadows; further ones are left out, and counted."""


class Shadows:
    """Asks shadows in a thread, and logs what they say.

    Parameters
    ----------
    model : str
        Registered model.
    writer : LogWriter or None
        The log; without it nobody would learn what shadows say, so they are not asked.
    metrics : Metrics
        Counts rows scored, failed and left out.
    pool : Executor
        Where they are scored.
    """

    def __init__(self, model: str, *, writer: LogWriter | None, metrics: Metrics, pool: Executor) -> None:
        self._model, self._writer, self._pool = model, writer, pool
        self._rows = metrics.shadow_rows
        self._waiting = 0

    def score(self, batch: Batch, shadowed: Sequence[Shadowed], ids: Sequence[str]) -> None:
        """Have the shadows score their rows; returns at once. Called by the event loop."""
        if self._writer is None:
            return
        for one in shadowed:
            if self._waiting >= _MOST_AT_ONCE:
                self._count(one, "left_out")
                continue
            self._waiting += 1
            future = self._pool.submit(self._ask, batch, one, ids)
            future.add_done_callback(self._done)

    def _ask(self, batch: Batch, one: Shadowed, ids: Sequence[str]) -> None:
        try:
            rows = answer_arm_rows(one.arm, batch.take(one.places))
        except Exception as error:  # a shadow's failure is its own: it is counted, and nobody's answer is touched
            logger.warning(
                "%s: shadow '%s' fails: %s at %s",
                self._model,
                one.arm.variant.name,
                type(error).__name__,
                place_of(error),
            )
            self._count(one, "failed")
            return
        self._keep(one, rows, [ids[place] for place in one.places])

    def _keep(self, one: Shadowed, rows: Sequence[Row], ids: Sequence[str]) -> None:
        said = {
            name: ShadowScore(variant=variant, version=version, score=score, decision=decision)
            for name, (score, decision, version, variant) in zip(ids, rows, strict=True)
        }
        try:
            self._writer.put_shadows(self._model, said)  # type: ignore[union-attr]
        except EvergreenError:
            self._count(one, "left_out")
        else:
            self._count(one, "scored")

    def _count(self, one: Shadowed, outcome: str) -> None:
        version = str(one.arm.version or "ensemble")
        self._rows.labels(self._model, version, outcome).inc(len(one.places))

    def _done(self, future: Future[Any]) -> None:
        self._waiting -= 1

"""One request that waits for its answer, and the rows the log gets for it."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from deployments.service.apart import Row
from deployments.service.live import Live
from tasks.core.serving.batch import Batch
from tasks.core.serving.private import Concealer
from tasks.io.log_ids import fresh_id
from tasks.io.served import Served

_NOTHING: list[Any] = [b"{}"]


@dataclass(slots=True, eq=False)
class Asked:
    """A request whose rows were checked.

    Attributes
    ----------
    batch : Batch
        Its rows.
    live : Live
        What was served when it came; it is answered by that.
    ids : list of str
        Prediction id of each row.
    keyed : bool
        True when the client chose them, by ids or an idempotency key.
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
    keyed: bool
    positions: list[float]
    deadline: float
    future: asyncio.Future[Sequence[Served]]


def ids_of(batch: Batch, *, key: str | None, who: str) -> tuple[list[str], bool]:
    """Return the prediction id of each row, and whether the client chose them.

    Parameters
    ----------
    batch : Batch
        The rows; their own ids win.
    key : str or None
        The request's idempotency key.
    who : str
        Whose it is: two clients may use the same one.
    """
    if batch.ids is not None:
        return batch.ids, True
    if key is None:
        return [fresh_id() for _ in range(batch.n)], False
    digest = hashlib.sha256(f"{who}\0{key}".encode()).hexdigest()[:40]
    return [f"{digest}-{row}" for row in range(batch.n)], True


def served_rows(asked: Asked, rows: Sequence[Row], *, conceal: Concealer | None) -> list[Served]:
    """Return the rows of a request as they are answered, with what the log may hold of them (None: there is no log)."""
    batch = asked.batch
    entities, features = batch.entities, _NOTHING * batch.n
    if conceal is not None:
        entities, features = conceal.entities(entities), conceal.rows(batch.rows())
    return [
        Served(
            prediction_id=name, position=position, version=version, variant=variant, entity=entity,
            score=score, decision=decision, features=known,
        )
        for name, position, entity, known, (score, decision, version, variant) in zip(
            asked.ids, asked.positions, entities or [None] * batch.n, features, rows, strict=True
        )
    ]  # fmt: skip

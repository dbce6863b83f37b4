"""One request that waits for its answer, and the rows the log gets for it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from deployments.service.apart import Row
from deployments.service.live import Live
from tasks.core.serving.batch import Batch
from tasks.core.serving.claims import Claim
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


def ids_of(batch: Batch, claim: Claim | None) -> list[str]:
    """Return the prediction id of each row: what the client claims, else fresh ones."""
    return [fresh_id() for _ in range(batch.n)] if claim is None else claim.ids


def served_rows(asked: Asked, rows: Sequence[Row], *, conceal: Concealer | None) -> list[Served]:
    """Return the rows of a request as they are answered, with what the log may hold of them (None: there is no log)."""
    batch = asked.batch
    entities, features = batch.entities, _NOTHING * batch.n
    nobody = [None] * batch.n
    if conceal is not None:
        entities, features = conceal.entities(entities), conceal.rows(batch.rows())
    return [
        Served(
            prediction_id=name, position=position, version=version, variant=variant, entity=entity,
            score=score, decision=decision, features=known, request=digest,
        )
        for name, position, entity, known, digest, (score, decision, version, variant) in zip(
            asked.ids, asked.positions, entities or nobody, features, asked.digests or nobody, rows, strict=True
        )
    ]  # fmt: skip

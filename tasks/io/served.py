"""Rows as a service hands them to the log's writer, what it hears back, and its refusals."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tasks.core.errors import EvergreenError


@dataclass(frozen=True, slots=True, kw_only=True)
class ShadowScore:
    """What a shadow said of a row it did not answer.

    Attributes
    ----------
    variant : str
        Name of the shadow; one score a row of each.
    version : int | None
        Its version; None for an ensemble.
    score, decision : object
        As of a served row.
    """

    variant: str
    version: int | None
    score: float | Mapping[str, float] | None = None
    decision: Any = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """One row as it was answered; cheap to make.

    Attributes
    ----------
    prediction_id : str
        Its own name, 1 to 255 characters: a fresh one (`tasks.io.log_ids.fresh_id`), or the claim of a client.
    position : float
        Where it stands on the model's clock.
    version : int | None
        Version that answered; None for an ensemble.
    variant : str
        Arm that answered, at most 64 characters.
    entity : str | None
        Who it was about, at most 255 characters.
    score : float | mapping of str to float | None
        The score; one a class where there are more than two. NaN is logged as null.
    decision : object
        The answer given: a class or a number; None where there is only a score.
    features : mapping or bytes
        What was asked, by column; or its JSON object, ready made.
    shadows : tuple of ShadowScore
        What shadows said of the same row.
    request : str | None
        Digest of the row as it was sent, where a client claims that it is one request (`tasks.core.serving.claims`).
    """

    prediction_id: str
    position: float
    version: int | None
    variant: str
    entity: str | None = None
    score: float | Mapping[str, float] | None = None
    decision: Any = None
    features: Mapping[str, Any] | bytes
    shadows: tuple[ShadowScore, ...] = ()
    request: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class OutcomeReceipt:
    """What became of a batch of outcomes; all but the refused are in the log.

    Attributes
    ----------
    written : int
        New ones.
    known : int
        Those that were there with the same value: nothing was changed.
    refused : tuple of str
        Ids whose outcome is there with another value: it stays.
    """

    written: int
    known: int
    refused: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class WriterState:
    """How the writer is doing.

    Attributes
    ----------
    depth, capacity : int
        Rows that wait or are being written, and how many may.
    batches, rows : int
        Transactions since the start, and rows they held.
    failed : int
        Requests that were told that the database failed.
    retries : int
        Tries that were made again.
    down : bool
        Whether the last try failed.
    """

    depth: int
    capacity: int
    batches: int
    rows: int
    failed: int
    retries: int
    down: bool


class QueueFull(EvergreenError):
    """The writer cannot take more for now; nothing was written. A service answers 503 with ``Retry-After``.

    Attributes
    ----------
    retry_after : float
        Seconds after which trying again is worthwhile.
    """

    code = "queue_full"

    def __init__(self, message: str, *, retry_after: float) -> None:
        super().__init__(message)
        self.retry_after = retry_after

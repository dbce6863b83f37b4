"""What the log's writer does to a database: one kept connection, raw statements, a transaction a batch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

from tasks.core.serving.once import Key, OutcomeRecord, Record
from tasks.io.log_encode import ShadowRecord

PROBE = Record(
    "", "", 0.0, version=None, variant=None, entity=None, score="null", decision="null", features="{}"
)
"""A row of no model, written only to be taken back in the same transaction."""


class LogStore(Protocol):
    """A connection that is opened by ``begin`` when there is none, and dropped by ``drop`` after any failure.

    Attributes
    ----------
    failures : tuple of type
        All that the driver raises: the database's trouble, worth trying again with a new connection, unless it is
        ``unfit``.
    unfit : tuple of type
        Raised for values the database cannot hold: the trouble of the one request that has them.
    """

    failures: tuple[type[Exception], ...]
    unfit: tuple[type[Exception], ...]

    def begin(self) -> None:
        """Begin a transaction."""

    def predictions(self, keys: Iterable[Key]) -> Mapping[Key, Record]:
        """Return those that are there."""

    def outcomes(self, keys: Iterable[Key]) -> Mapping[Key, OutcomeRecord]:
        """Return those that are there."""

    def insert_predictions(self, records: Sequence[Record], *, at: str) -> int:
        """Insert what is not there; return how many that were."""

    def insert_shadows(self, records: Sequence[ShadowRecord]) -> None:
        """Insert what is not there, of predictions that are."""

    def insert_outcomes(self, records: Sequence[OutcomeRecord], *, at: str) -> int:
        """Insert what is not there; return how many that were."""

    def commit(self) -> None:
        """Commit, and return when the disk has it."""

    def prove(self, *, at: str) -> None:
        """Write `PROBE`, take it back and commit that: whether writes are allowed, and reach the disk."""

    def drop(self) -> None:
        """Close the connection, with it whatever was not committed."""


def by_model(keys: Iterable[Key]) -> dict[str, list[str]]:
    """Return the ids of each model."""
    ids: dict[str, list[str]] = {}
    for model, name in keys:
        ids.setdefault(model, []).append(name)
    return ids

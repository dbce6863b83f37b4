"""One batch of the log's writer: one try to write it, in one transaction."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tasks.core.serving.once import (
    IdTaken,
    Key,
    OutcomeRecord,
    Placement,
    Record,
    find_first,
    place,
    place_outcomes,
)
from tasks.io.log_encode import ShadowRecord
from tasks.io.log_store import LogStore
from tasks.io.served import OutcomeReceipt, Served


@dataclass(slots=True, eq=False)
class Put:
    """What one call put, encoded, and the future that waits for it.

    Attributes
    ----------
    rows : int
        How many.
    given : sequence
        As they were given.
    records, shadows : list
        Predictions to be stored.
    outcomes : list | None
        Outcomes to be stored; None where predictions are put.
    sought : mapping | None
        Digests of rows whose first answers are asked for, by model and id; nothing is put then.
    keyed : bool
        Whether predictions may be there already.
    future : future
        Settled with the result, or an exception.
    """

    rows: int
    given: Sequence[Any]
    records: list[Record] = field(default_factory=list)
    shadows: list[ShadowRecord] = field(default_factory=list)
    outcomes: list[OutcomeRecord] | None = None
    sought: Mapping[Key, str] | None = None
    keyed: bool = False
    future: Any = None


class Interfered(Exception):
    """Another writer was there first, between the look and the writing; nothing was written. Look again."""


def write_batch(store: LogStore, puts: Sequence[Put], *, at: str, look: bool) -> list[Any]:
    """Write puts in one transaction; return what each one's future gets, in order, once all is on the disk.

    Parameters
    ----------
    store : LogStore
        Where to.
    puts : sequence of Put
        What.
    at : str
        The time of writing.
    look : bool
        Look for fresh ids too: after a try whose end is unknown they may be there.

    Raises
    ------
    Interfered
        See there. Whatever the store's driver raises; the store must be dropped then.
    """
    store.begin()
    placement = _place(store, puts, look=look)
    fresh = [puts[number] for number in placement.fresh]
    records = [record for put in fresh for record in put.records]
    outcomes, counts = _place_outcomes(store, puts)
    if records and store.insert_predictions(records, at=at) != len(records):
        raise Interfered
    if shadows := [shadow for put in fresh for shadow in put.shadows]:
        store.insert_shadows(shadows)
    if outcomes and store.insert_outcomes(outcomes, at=at) != len(outcomes):
        raise Interfered
    sought = [key for put in puts for key in put.sought or ()]
    found = store.predictions(sought) if sought else {}
    store.commit()
    return [
        _result(number, put, placement, counts) if put.sought is None else _first(put.sought, found)
        for number, put in enumerate(puts)
    ]


def _place(store: LogStore, puts: Sequence[Put], *, look: bool) -> Placement:
    wanted = [record[:2] for put in puts if put.keyed or look for record in put.records]
    if not wanted:
        return Placement(fresh=list(range(len(puts))))
    return place([put.records for put in puts], store.predictions(wanted))


def _place_outcomes(store: LogStore, puts: Sequence[Put]) -> tuple[list[OutcomeRecord], list[Any]]:
    wanted = [record[:2] for put in puts for record in put.outcomes or ()]
    return place_outcomes([put.outcomes or [] for put in puts], store.outcomes(wanted) if wanted else {})


def _result(number: int, put: Put, placement: Placement, counts: list[Any]) -> Any:
    if put.outcomes is not None:
        written, known, refused = counts[number]
        return OutcomeReceipt(written=written, known=known, refused=refused)
    if number in placement.refused:
        return IdTaken(placement.refused[number])
    if number in placement.again:
        return tuple(_served(record) for record in placement.again[number])
    return put.given


def _first(sought: Mapping[Key, str], found: Mapping[Key, Record]) -> Any:
    first = find_first(sought, found)
    return tuple(_served(record) for record in first) if isinstance(first, list) else first


def _served(record: Record) -> Served:
    return Served(
        prediction_id=record.prediction_id,
        position=record.position,
        version=record.version,
        variant=record.variant or "",
        entity=record.entity,
        score=json.loads(record.score),
        decision=json.loads(record.decision),
        features=record.features.encode(),
    )

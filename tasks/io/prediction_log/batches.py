"""One batch of the log's writer: one try to write it, in one transaction."""

from __future__ import annotations

import json
import logging
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from evergreen.tasks.core.errors import InputError, Unreachable
from evergreen.tasks.core.redact import without_credentials
from evergreen.tasks.core.serving.idempotency import (
    IdConflict,
    Key,
    OutcomeRecord,
    Placement,
    Record,
    find_first,
    place,
    place_outcomes,
)
from evergreen.tasks.io.prediction_log.drivers import LogStore
from evergreen.tasks.io.prediction_log.encode import ShadowRecord
from evergreen.tasks.io.prediction_log.records import OutcomeReceipt, Served

logger = logging.getLogger(__name__)

_FIRST_PAUSE, _LONGEST_PAUSE = 0.02, 0.5
"""Seconds between tries: the first pause, which doubles, and the longest."""


@dataclass(slots=True, eq=False)
class Put:
    """The encoded rows of one call, and the future that waits for their writing."""

    count: int
    """How many rows."""
    rows: Sequence[Any]
    """The rows as they were handed over."""
    records: list[Record] = field(default_factory=list)
    """Predictions to be stored."""
    shadows: list[ShadowRecord] = field(default_factory=list)
    """Shadow scores to be stored."""
    outcomes: list[OutcomeRecord] | None = None
    """Outcomes to be stored; None where predictions are put."""
    digests: Mapping[Key, str] | None = None
    """Digests of rows whose first answers are asked for, by model and id; nothing is written then."""
    keyed: bool = False
    """Whether predictions may be in the log already."""
    future: Any = None
    """Settled with the result, or an exception."""


class WriteConflict(Exception):
    """Another writer wrote the same ids between reading and writing; nothing was written, and it is read again."""


def write_batch(store: LogStore, puts: Sequence[Put], *, at: str, recheck: bool) -> list[Any]:
    """Write puts in one transaction; return what each one's future gets, in order, once all is on the disk.

    Parameters
    ----------
    store : LogStore
        Where to.
    puts : sequence of Put
        What.
    at : str
        The time of writing.
    recheck : bool
        Read fresh ids too: after a try whose end is unknown they may be there.

    Raises
    ------
    WriteConflict
        When another writer was faster. Whatever the store's driver raises; the store must be dropped then.
    """
    store.begin()
    ids = [record[:2] for put in puts if put.keyed or recheck for record in put.records]
    placement = Placement(fresh=list(range(len(puts))))
    if ids:
        placement = place([put.records for put in puts], store.predictions(ids))
    fresh = [puts[number] for number in placement.fresh]
    records = [record for put in fresh for record in put.records]
    ids = [record[:2] for put in puts for record in put.outcomes or ()]
    outcomes, counts = place_outcomes(
        [put.outcomes or [] for put in puts], store.outcomes(ids) if ids else {}
    )
    if records and store.insert_predictions(records, at=at) != len(records):
        raise WriteConflict
    if shadows := [shadow for put in fresh for shadow in put.shadows]:
        store.insert_shadows(shadows)
    if outcomes and store.insert_outcomes(outcomes, at=at) != len(outcomes):
        raise WriteConflict
    ids = [key for put in puts for key in put.digests or ()]
    stored = store.predictions(ids) if ids else {}
    store.commit()
    return [_result(number, put, placement, counts, stored) for number, put in enumerate(puts)]


def _result(
    number: int, put: Put, placement: Placement, counts: list[Any], stored: Mapping[Key, Record]
) -> Any:
    if put.digests is not None:
        first = find_first(put.digests, stored)
        return tuple(map(_served, first)) if isinstance(first, list) else first
    if put.outcomes is not None:
        written, known, refused = counts[number]
        return OutcomeReceipt(written=written, known=known, refused=refused)
    if number in placement.refused:
        return IdConflict(placement.refused[number])
    if number in placement.again:
        return tuple(map(_served, placement.again[number]))
    return put.rows


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


class RetryingStore:
    """Writes batches to a store that may fail: it tries again for a while, then fails the futures of the batch.

    Parameters
    ----------
    store : LogStore
        Where to.
    patience : float
        Seconds a batch is tried again while the database fails. As long as it stays down, later batches are tried once:
        else a queue of them would take hours to fail.

    Attributes
    ----------
    down : bool
        Whether the last try, or the last probe, failed.
    retries : int
        Tries that failed or met another writer.
    """

    def __init__(self, store: LogStore, *, patience: float) -> None:
        self._store, self._patience = store, patience
        self.down, self.retries = False, 0

    def write(self, puts: Sequence[Put], *, at: Callable[[], str]) -> list[Any]:
        """Return what each put's future gets; what cannot be written becomes that put's exception, and only its."""
        try:
            return self._try(puts, at)
        except self._store.value_errors as error:
            self._store.drop()
            if len(puts) == 1:
                kind = type(error).__name__  # the driver's words may name hosts, sockets and files
                logger.error("The log cannot hold a request: %s", kind)
                return [
                    InputError(
                        f"The log cannot hold a value of this request ({kind}), so it was not written. Correct the "
                        "value; numbers must fit into 64 bits."
                    )
                ]
        except self._store.failures as error:
            logger.error("%d requests were not written to the log: %s", len(puts), _driver_message(error))
            kind = type(error).__name__
            message = f"The log did not accept the request ({kind}). Try again; the same id may be used."
            return [Unreachable(message)] * len(puts)
        except Exception as error:  # handed to whoever put it; the thread that serves all others lives on
            self._store.drop()
            if len(puts) == 1:
                where = "".join(traceback.format_tb(error.__traceback__))
                logger.error("A request was not written to the log: %s\n%s", type(error).__name__, where)
                return [error]
        return [result for put in puts for result in self.write([put], at=at)]

    def probe(self, *, at: Callable[[], str]) -> None:
        """Check whether the database takes rows while there are none, so that ``down`` stays true.

        While it is up an empty transaction is enough, which costs it next to nothing; while it is down a write that is
        rolled back, since a database may answer and take nothing: a standby, a full disk, a right that was withdrawn.
        """
        for _ in range(1 if self.down else 2):  # a connection that was cut while idle is made anew
            try:
                if self.down:
                    self._store.probe(at=at())
                else:
                    self._store.begin()
                    self._store.commit()
            except (
                Exception
            ) as error:  # whatever it is, no request is to blame; the thread that asks lives on
                self._store.drop()
                message = _driver_message(error)
            else:
                if self.down:
                    logger.warning("The log can be written again.")
                self.down = False
                return
        if not self.down:
            logger.error("The log does not answer: %s", message)
        self.down = True

    def close(self) -> None:
        """Close the connection."""
        self._store.drop()

    def _try(self, puts: Sequence[Put], at: Callable[[], str]) -> list[Any]:
        """Write; repeat while the database fails and time is left."""
        deadline = time.monotonic() + (0.0 if self.down else self._patience)
        pause, recheck = _FIRST_PAUSE, False
        while True:
            try:
                results = write_batch(self._store, puts, at=at(), recheck=recheck)
            except WriteConflict:
                self._store.drop()
                self.retries += 1
            except self._store.value_errors:
                raise
            except self._store.failures as error:
                self._store.drop()
                self.retries += 1
                self.down = True
                if time.monotonic() + pause > deadline:
                    raise
                logger.warning("The log does not take a batch (%s); trying again.", _driver_message(error))
                time.sleep(pause)
                pause = min(2 * pause, _LONGEST_PAUSE)
            else:
                self.down = False
                return results
            recheck = True


def _driver_message(error: Exception) -> str:
    """Return the driver's first line: those after it may quote what a client sent."""
    return without_credentials((str(error).strip() or type(error).__name__).splitlines()[0])

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
from evergreen.tasks.io.prediction_log.encode import LogStore, ShadowRecord
from evergreen.tasks.io.prediction_log.records import OutcomeReceipt, Served


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


class WriteConflict(Exception):
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
        raise WriteConflict
    if shadows := [shadow for put in fresh for shadow in put.shadows]:
        store.insert_shadows(shadows)
    if outcomes and store.insert_outcomes(outcomes, at=at) != len(outcomes):
        raise WriteConflict
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
        return IdConflict(placement.refused[number])
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


# How the log's writer meets a database that fails: again for a while, then each put is told.


logger = logging.getLogger(__name__)

_FIRST_PAUSE, _LONGEST_PAUSE = 0.02, 0.5


class RetryingStore:
    """Writes batches to a store that may fail.

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
        Whether the last try, or the last look, failed.
    retries : int
        Tries that failed or met another writer.
    """

    def __init__(self, store: LogStore, *, patience: float) -> None:
        self._store, self._patience = store, patience
        self.down, self.retries = False, 0

    def write(self, puts: Sequence[Put], *, at: Callable[[], str]) -> list[Any]:
        """Return what each put's future gets; what nobody can write becomes that put's exception, and only its."""
        try:
            return self._try(puts, at)
        except self._store.unfit as error:
            self._store.drop()
            if len(puts) == 1:
                logger.error("The log cannot hold a request: %s", type(error).__name__)
                return [_unfit(error)]
        except self._store.failures as error:
            logger.error("%d requests were not written to the log: %s", len(puts), _driver_message(error))
            return [_unwritten(error)] * len(puts)
        except Exception as error:  # handed to whoever put it; the thread that serves all others lives on
            self._store.drop()
            if len(puts) == 1:
                where = "".join(traceback.format_tb(error.__traceback__))
                logger.error("A request was not written to the log: %s\n%s", type(error).__name__, where)
                return [error]
        return [result for put in puts for result in self.write([put], at=at)]

    def look(self, *, at: Callable[[], str]) -> None:
        """See whether the database takes rows while there are none, so that ``down`` stays true to it.

        While it is up an empty transaction is enough, which costs it next to nothing; while it is down a write that is
        taken back, since a database may answer and take nothing: a standby, a full disk, a right that was withdrawn.
        """
        for _ in range(1 if self.down else 2):  # a connection that was cut while idle is made anew
            try:
                if self.down:
                    self._store.prove(at=at())
                else:
                    self._store.begin()
                    self._store.commit()
            except (
                Exception
            ) as error:  # whatever it is, no request is to blame; the thread that asks lives on
                self._store.drop()
                said = _driver_message(error)
            else:
                if self.down:
                    logger.warning("The log takes rows again.")
                self.down = False
                return
        if not self.down:
            logger.error("The log does not answer: %s", said)
        self.down = True

    def close(self) -> None:
        """Close the connection."""
        self._store.drop()

    def _try(self, puts: Sequence[Put], at: Callable[[], str]) -> list[Any]:
        """Write, again and again while the database fails and patience lasts."""
        deadline = time.monotonic() + (0.0 if self.down else self._patience)
        pause, look = _FIRST_PAUSE, False
        while True:
            try:
                results = write_batch(self._store, puts, at=at(), look=look)
            except WriteConflict:
                self._store.drop()
                self.retries += 1
            except self._store.unfit:
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
            look = True


def _unwritten(error: Exception) -> Unreachable:
    """Return what whoever put it gets: the kind alone, since the driver's words name hosts, sockets and files."""
    kind = type(error).__name__
    return Unreachable(f"The log did not take the request ({kind}). Try again; the same id may be used.")


def _unfit(error: Exception) -> InputError:
    """Return what whoever put it gets, by kind alone as well."""
    kind = type(error).__name__
    return InputError(
        f"The log cannot hold a value of this request ({kind}), so it was not written. Correct the value; numbers must "
        "fit into 64 bits."
    )


def _driver_message(error: Exception) -> str:
    """Return the driver's first line: those after it may quote what a client sent."""
    return without_credentials((str(error).strip() or type(error).__name__).splitlines()[0])

"""The log's writer: one thread that commits whatever waits, on SQLite or PostgreSQL; what it reports is on the disk."""

from __future__ import annotations

import asyncio
import logging
import queue
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent import futures
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from evergreen.tasks.core.errors import Unreachable
from evergreen.tasks.core.promotion.ledger import instant
from evergreen.tasks.io.databases import LOG
from evergreen.tasks.io.prediction_log.batches import Put, RetryingStore
from evergreen.tasks.io.prediction_log.drivers import LogStore, PostgresStore, SqliteStore
from evergreen.tasks.io.prediction_log.encode import (
    encode_outcomes,
    encode_rows,
    encode_shadows,
    shadow_record,
)
from evergreen.tasks.io.prediction_log.records import (
    KnownOutcome,
    QueueFull,
    Served,
    ShadowScore,
    WriterState,
)
from evergreen.tasks.io.settings import utc_now


def open_store(url: str, *, timeout: float) -> LogStore:
    """Return the store of a log, which is migrated when needed; it waits at most ``timeout`` seconds for others' locks.

    Raises
    ------
    ConfigError
        For a URL of another kind. ``Unreachable`` when the database does not answer.
    """
    parsed = LOG.parse_url(url)
    LOG.migrate(LOG.make_engine(parsed))
    if parsed.drivername.startswith("sqlite"):
        return SqliteStore(str(parsed.database), timeout=timeout)
    return PostgresStore(parsed, schema=str(LOG.schema), timeout=timeout)


# How the log's writer hands results over: to threads that wait, or to an event loop, one wake-up a batch.


logger = logging.getLogger(__name__)

Settled = Sequence[tuple[Any, Any]]
"""Futures, each with its result, or with the exception to raise."""


@dataclass(frozen=True, kw_only=True)
class Delivery:
    """Where results go."""

    make: Callable[[], Any]
    """Return a new future; called by whoever puts."""
    hand_over: Callable[[Settled], None]
    """Settle the futures of a batch; called by the writer's thread."""


def to_threads() -> Delivery:
    """Return a delivery by `concurrent.futures.Future`: whoever put may wait in any thread."""
    return Delivery(make=futures.Future, hand_over=settle)


def to_loop(loop: asyncio.AbstractEventLoop) -> Delivery:
    """Return a delivery by futures of an event loop, to be awaited there; a batch wakes the loop once."""

    def hand_over(settled: Settled) -> None:
        try:
            loop.call_soon_threadsafe(settle, settled)
        except RuntimeError:  # the loop was closed: no caller waits any more
            logger.warning("%d results of the log's writer found their event loop closed.", len(settled))

    return Delivery(make=loop.create_future, hand_over=hand_over)


def settle(settled: Settled) -> None:
    """Give each future its result; those that were given up are left alone."""
    for future, result in settled:
        try:
            if isinstance(result, BaseException):
                future.set_exception(result)
            else:
                future.set_result(result)
        except (asyncio.InvalidStateError, futures.InvalidStateError):
            continue  # cancelled: whoever asked has gone, what was written stays written


# The log's writer: what it says is written is on the disk. One thread, one commit for whatever waits.


IDLE = 5
"""How much longer a database that did not fail goes without being probed."""


class LogWriter:
    """Writes served rows and outcomes to the log, durably and in groups.

    Whatever waits is committed together, so the price of a sync to disk is shared. ``put`` never waits: it raises
    `QueueFull`, or returns a future that is settled when the rows are on the disk of the database.

    Parameters
    ----------
    log : str or LogStore
        URL of the log, which is migrated when needed; or a store of one's own.
    capacity : int
        Most rows that may wait or be in the making; of shadows' scores half as many, so that predictions find room.
    most_rows : int
        Most rows a transaction, unless one request alone has more.
    patience : float
        Seconds a batch is tried again when the database fails, before its futures do; as long as it stays down, later
        batches are tried once.
    probe : float
        Seconds between probes of a database that failed, while nothing is put; of one that did not, `IDLE` times that.
    delivery : Delivery, optional
        How results come back: to threads by default, `evergreen.tasks.io.prediction_log.writer.to_loop` for an
        event loop.
    now : callable, optional
        The clock that dates rows.

    Raises
    ------
    ConfigError
        For a URL of another kind. ``Unreachable`` when the database does not answer.
    """

    def __init__(
        self,
        log: str | LogStore,
        *,
        capacity: int = 10_000,
        most_rows: int = 512,
        patience: float = 5.0,
        probe: float = 1.0,
        delivery: Delivery | None = None,
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        store = open_store(log, timeout=patience / 2) if isinstance(log, str) else log
        self._store = RetryingStore(store, patience=patience)
        self._capacity, self._most_rows, self._patience, self._now = capacity, most_rows, patience, now
        self._probe = probe
        self._delivery = to_threads() if delivery is None else delivery
        self._queue: queue.SimpleQueue[Put | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._depth = self._batches = self._rows = self._failed = 0
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="evergreen-log-writer", daemon=True)
        self._thread.start()

    def put(self, model: str, rows: Sequence[Served], *, keyed: bool = False) -> Any:
        """Take the rows of one request; they are written all or none.

        Parameters
        ----------
        model : str
            Registered model.
        rows : sequence of Served
            With different ids.
        keyed : bool
            Whether the ids are made from a client's key, so that they may be there already; fresh ids need no look.

        Returns
        -------
        Future of sequence of Served
            ``rows`` itself once they are written; where the same request was written before, its *first* answers as
            they are stored (without shadows, features as bytes). It raises ``IdTaken``, naming the id, where an id
            stands for other features, another entity or a request of other rows: nothing is written then;
            ``Unreachable`` when the database failed for longer than ``patience``: the rows may be there or not, and
            the same ids may be put again; ``InputError`` for a value that this database cannot hold.

        Raises
        ------
        QueueFull
            At once, when more would wait than ``capacity``, or the writer is stopping.
        InputError
            At once, when a row is nothing the log can hold.
        """
        records = encode_rows(model, rows)
        shadows = encode_shadows(model, rows)
        return self._enqueue(Put(len(rows), rows, records=records, shadows=shadows, keyed=keyed))

    def find(self, model: str, digests: Mapping[str, str]) -> Any:
        """Ask for the first answers to a request that may have been put before, by what its rows were as sent.

        Parameters
        ----------
        model : str
            Registered model.
        digests : mapping of str to str
            `Served.request` of each row, by prediction id.

        Returns
        -------
        Future of tuple of Served, or None
            As `put` returns them; None where none of the rows was put. It raises ``IdTaken`` where an id stands for
            another row, ``Unreachable`` as `put` does.

        Raises
        ------
        QueueFull
            As `put`.
        """
        keys = {(model, name): digest for name, digest in digests.items()}
        return self._enqueue(Put(1, (), digests=keys))

    def put_outcomes(self, model: str, outcomes: Sequence[KnownOutcome]) -> Any:
        """Take outcomes, known before or after their predictions are; each is written once.

        Returns
        -------
        Future of OutcomeReceipt
            How many are new, how many were known, and the ids whose outcome is there with *another value*: those stay
            as they are, all others of the batch are written. When it became known counts from the first time.

        Raises
        ------
        QueueFull, InputError
            As `put`.
        """
        return self._enqueue(Put(len(outcomes), outcomes, outcomes=encode_outcomes(model, outcomes)))

    def put_shadows(self, model: str, answers: Mapping[str, ShadowScore]) -> None:
        """Take a shadow's answers to predictions that were put before, by id, without waiting until they are written.

        Shadows leave half of the queue to predictions and outcomes.

        Answers to a prediction that is not in the log are dropped; the first answer of a variant stays.

        Raises
        ------
        QueueFull, InputError
            As `put`.
        """
        shadows = [shadow_record(model, name, each) for name, each in answers.items()]
        self._enqueue(Put(len(answers), (), shadows=shadows), awaited=False)

    def state(self) -> WriterState:
        """Return depth, capacity and counters, for metrics and readiness."""
        return WriterState(
            depth=self._depth,
            capacity=self._capacity,
            batches=self._batches,
            rows=self._rows,
            failed=self._failed,
            retries=self._store.retries,
            down=self._store.down,
        )

    def stop(self, *, timeout: float | None = None) -> bool:
        """Take nothing more, write what waits, and close; return whether that was done within ``timeout`` seconds."""
        with self._lock:
            already, self._stopping = self._stopping, True
            if not already:
                self._queue.put(None)
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def _enqueue(self, put: Put, *, awaited: bool = True) -> Any:
        if awaited:
            put.future = self._delivery.make()
        with self._lock:
            if self._stopping:
                raise QueueFull("The log's writer is stopping. Ask another instance.", retry_after=1.0)
            room = self._capacity if awaited else self._capacity // 2
            if self._depth + put.count > room:
                raise self._full(put.count, room)
            self._depth += put.count
            self._queue.put(put)
        return put.future

    def _full(self, rows: int, room: int) -> QueueFull:
        return QueueFull(
            f"{self._depth} rows wait for the log, {rows} more are too many: at most {room} may. "
            "Try again, or send fewer rows at once.",
            retry_after=self._patience if self._store.down else 1.0,
        )

    def _run(self) -> None:
        while True:
            try:
                first = self._queue.get(timeout=self._probe * (1 if self._store.down else IDLE))
            except queue.Empty:
                self._store.probe(at=self._at)
                continue
            if first is None:  # stopped, and all is written
                break
            self._write(self._take(first))
        self._store.close()

    def _take(self, first: Put) -> list[Put]:
        """Return a put and all others that wait."""
        puts, rows = [first], first.count
        with suppress(queue.Empty):
            while rows < self._most_rows:
                put = self._queue.get_nowait()
                if put is None:
                    self._queue.put(None)  # the end: found again once these are written
                    break
                puts.append(put)
                rows += put.count
        return puts

    def _write(self, puts: list[Put]) -> None:
        """Write puts and deliver their results."""
        results = self._store.write(puts, at=self._at)
        rows = sum(put.count for put in puts)
        with self._lock:
            self._depth -= rows
        failed = sum(isinstance(result, Unreachable) for result in results)
        self._batches, self._rows, self._failed = self._batches + 1, self._rows + rows, self._failed + failed
        settled = [(put.future, result) for put, result in zip(puts, results, strict=True)]
        self._delivery.hand_over([pair for pair in settled if pair[0] is not None])

    def _at(self) -> str:
        return instant(self._now())

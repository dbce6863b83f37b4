"""The log's writer: what it says is written is on the disk. One thread, one commit for whatever waits."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

from tasks.core.errors import Unreachable
from tasks.core.reign.ledger import instant
from tasks.io.clock import utc_now
from tasks.io.log_batch import Put
from tasks.io.log_database import LOG
from tasks.io.log_delivery import Delivery, to_threads
from tasks.io.log_encode import encode_outcomes, encode_rows, encode_shadow, encode_shadows
from tasks.io.log_records import KnownOutcome
from tasks.io.log_retry import PatientStore
from tasks.io.log_store import make_store
from tasks.io.served import QueueFull, Served, ShadowScore, WriterState


class LogWriter:
    """Writes served rows and outcomes to the log, durably and in groups.

    Whatever waits is committed together, so the price of a sync to disk is shared. ``put`` never waits: it raises
    `QueueFull`, or returns a future that is settled when the rows are on the disk of the database.

    Parameters
    ----------
    url : str
        The log; migrated when needed.
    capacity : int
        Most rows that may wait or be in the making.
    most_rows : int
        Most rows a transaction, unless one request alone has more.
    patience : float
        Seconds a batch is tried again when the database fails, before its futures do; as long as it stays down, later
        batches are tried once.
    delivery : Delivery, optional
        How results come back: to threads by default, `tasks.io.log_delivery.to_loop` for an event loop.
    now : callable, optional
        The clock that dates rows.

    Raises
    ------
    ConfigError
        For a URL of another kind. ``Unreachable`` when the database does not answer.
    """

    def __init__(
        self,
        url: str,
        *,
        capacity: int = 10_000,
        most_rows: int = 512,
        patience: float = 5.0,
        delivery: Delivery | None = None,
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        parsed = LOG.parse_url(url)
        LOG.migrate(LOG.make_engine(parsed))
        store = make_store(parsed, schema=str(LOG.schema), timeout=patience / 2)
        self._store = PatientStore(store, patience=patience)
        self._capacity, self._most_rows, self._patience, self._now = capacity, most_rows, patience, now
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
            the same ids may be put again.

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

    def put_shadows(self, model: str, said: Mapping[str, ShadowScore]) -> Any:
        """Take what a shadow said of rows that are written already, by prediction id.

        Returns
        -------
        Future
            Settled once they are written; what is there already stays. Errors as `put`.
        """
        shadows = [encode_shadow(model, name, one) for name, one in said.items()]
        return self._enqueue(Put(len(said), (), shadows=shadows))

    def put_outcomes(self, model: str, known: Sequence[KnownOutcome]) -> Any:
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
        return self._enqueue(Put(len(known), known, outcomes=encode_outcomes(model, known)))

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

    def _enqueue(self, put: Put) -> Any:
        put.future = self._delivery.make()
        with self._lock:
            if self._stopping:
                raise QueueFull("The log's writer is stopping. Ask another instance.", retry_after=1.0)
            if self._depth + put.rows > self._capacity:
                raise self._full(put.rows)
            self._depth += put.rows
            self._queue.put(put)
        return put.future

    def _full(self, rows: int) -> QueueFull:
        return QueueFull(
            f"{self._depth} rows wait for the log, {rows} more are too many: at most {self._capacity} may. "
            "Try again, or send fewer rows at once.",
            retry_after=self._patience if self._store.down else 1.0,
        )

    def _run(self) -> None:
        while puts := self._take():
            results = self._store.write(puts, at=lambda: instant(self._now()))
            rows = sum(put.rows for put in puts)
            with self._lock:
                self._depth -= rows
            failed = sum(isinstance(result, Unreachable) for result in results)
            self._batches, self._rows, self._failed = (
                self._batches + 1,
                self._rows + rows,
                self._failed + failed,
            )
            self._delivery.hand_over(
                [(put.future, result) for put, result in zip(puts, results, strict=True)]
            )
        self._store.close()

    def _take(self) -> list[Put]:
        """Wait for a put, and take along whatever is there; nothing when the writer was stopped."""
        puts: list[Put] = []
        rows = 0
        try:
            while rows < self._most_rows:
                put = self._queue.get(block=not puts)
                if put is None:
                    self._queue.put(None)  # the end: found again once these are written
                    break
                puts.append(put)
                rows += put.rows
        except queue.Empty:
            pass
        return puts

"""The ledger: an append-only, hash-chained database of decisions, and the one idiom for claims."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol, TypeVar

from sqlalchemy import (
    Column,
    Engine,
    Integer,
    MetaData,
    Row,
    String,
    Table,
    Text,
    create_engine,
    insert,
    select,
)
from sqlalchemy.engine import URL
from sqlalchemy.exc import IntegrityError
from sqlalchemy.pool import NullPool

from evergreen.tasks.core.errors import UnknownName
from evergreen.tasks.core.promotion.ledger import (
    LedgerEntry,
    canonical_json,
    instant,
    next_entry,
    parse_entry_id,
)
from evergreen.tasks.core.stored_words import has_old_words, in_todays_words
from evergreen.tasks.io.databases import Database
from evergreen.tasks.io.locks import (
    HeldLock,
    advisory_lock_is_held,
    file_lock_is_held,
    hold_advisory_lock,
    hold_file_lock,
)

# The ledger's database: its table, and where its migrations are.


metadata = MetaData()
entries = Table(
    "evergreen_ledger",
    metadata,
    Column("model", String(255), primary_key=True),
    Column("stream", String(64), primary_key=True),
    Column("seq", Integer, primary_key=True, autoincrement=False),
    Column("at", String(32), nullable=False),
    Column("kind", String(64), nullable=False),
    Column("payload", Text, nullable=False),
    Column("prev_hash", String(64), nullable=False),
    Column("hash", String(64), nullable=False),
)

LEDGER = Database(
    name="ledger", variable="EVERGREEN_LEDGER_URL", metadata=metadata, head="0001", migrations="migrations"
)


def make_lock_engine(url: URL) -> Engine:
    """Return a PostgreSQL engine for locks: no pool, autocommit, dead peers noticed by keep-alive."""
    options = {"application_name": "evergreen-lock", "keepalives_idle": 30, "keepalives_interval": 10}
    return create_engine(url, poolclass=NullPool, isolation_level="AUTOCOMMIT", connect_args=options)


Decided = TypeVar("Decided")
Decide = Callable[[Sequence[LedgerEntry]], tuple[str, dict[str, Any]] | None]
"""From a stream as it is now to the (kind, payload) to append, or None to leave it."""


class Ledger(Protocol):
    """What every ledger does; one contract suite runs on each of them."""

    def append(
        self, *, model: str, stream: str, kind: str, payload: dict[str, Any], at: datetime
    ) -> LedgerEntry:
        """Append one entry at the end of a stream, whoever else appends at the same time."""

    def claim(self, *, model: str, stream: str, at: datetime, decide: Decide) -> LedgerEntry | None:
        """Read a stream, decide, append; when another was faster, read and decide again.

        Of many callers whose ``decide`` allows one start, exactly one gets an entry. The others get None.
        """

    def follow(
        self, *, model: str, stream: str, after: int, kind: str, payload: dict[str, Any], at: datetime
    ) -> LedgerEntry | None:
        """Append one entry if the stream still ends in entry number ``after`` (0: is empty).

        None when it does not: another was faster. Unlike ``claim`` it never reads the whole stream.
        """

    def last(self, model: str, stream: str) -> LedgerEntry | None:
        """Return the newest entry of a stream; None when it is empty."""

    def read_tail(self, model: str, stream: str, count: int) -> list[LedgerEntry]:
        """Return at most ``count`` newest entries of a stream, in order of their numbers."""

    def read(self, *, model: str | None = None, stream: str | None = None) -> list[LedgerEntry]:
        """Return entries in order of model, stream and number; all where a filter is None."""

    def get(self, entry_id: str) -> LedgerEntry:
        """Return one entry by its id; ``UnknownName`` when there is none."""

    def lock(self, model: str) -> AbstractContextManager[HeldLock]:
        """Hold the model's lock; ``Blocked("lock_held")`` at once when another holds it."""

    def lock_is_held(self, model: str) -> bool:
        """Return whether anybody holds the model's lock now."""


def claim_next(
    ledger: Ledger,
    model: str,
    stream: str,
    decide: Callable[[LedgerEntry | None], Decided],
    write: Callable[[Decided], tuple[str, dict[str, Any]] | None],
    *,
    at: datetime,
) -> tuple[Decided, LedgerEntry | None]:
    """Decide by a stream's newest entry and append; when another was faster, read and decide again.

    The same as ``Ledger.claim`` where the newest entry says everything: no more is read.

    Parameters
    ----------
    decide : callable
        From the newest entry (None: the stream is empty) to what is decided.
    write : callable
        From what is decided to the (kind, payload) to append, or None to leave the stream.

    Returns
    -------
    tuple
        What was decided, and its entry; None where nothing was to be written.
    """
    while True:
        last = ledger.last(model, stream)
        decided = decide(last)
        wanted = write(decided)
        if wanted is None:
            return decided, None
        after = last.seq if last else 0
        entry = ledger.follow(
            model=model, stream=stream, after=after, kind=wanted[0], payload=wanted[1], at=at
        )
        if entry is not None:
            return decided, entry


class SqlLedger:
    """A ledger in SQLite or PostgreSQL, by SQLAlchemy."""

    def __init__(self, url: str) -> None:
        self.url = LEDGER.parse_url(url)
        self._engine: Engine = LEDGER.make_engine(self.url)
        LEDGER.migrate(self._engine)

    def append(
        self, *, model: str, stream: str, kind: str, payload: dict[str, Any], at: datetime
    ) -> LedgerEntry:
        """Append one entry at the end of a stream, whoever else appends at the same time."""
        while True:
            last = self.last(model, stream)
            entry = next_entry(last, model=model, stream=stream, at=at, kind=kind, payload=payload)
            if self._insert(entry):
                return entry

    def claim(self, *, model: str, stream: str, at: datetime, decide: Decide) -> LedgerEntry | None:
        """Read a stream, decide, append; when another was faster, read and decide again."""
        while True:
            history = self.read(model=model, stream=stream)
            decided = decide(history)
            if decided is None:
                return None
            kind, payload = decided
            last = history[-1] if history else None
            entry = next_entry(last, model=model, stream=stream, at=at, kind=kind, payload=payload)
            if self._insert(entry):
                return entry

    def follow(
        self, *, model: str, stream: str, after: int, kind: str, payload: dict[str, Any], at: datetime
    ) -> LedgerEntry | None:
        """Append one entry if the stream still ends in entry number ``after``; None when it does not."""
        last = self.last(model, stream)
        if (last.seq if last else 0) != after:
            return None
        entry = next_entry(last, model=model, stream=stream, at=at, kind=kind, payload=payload)
        return entry if self._insert(entry) else None

    def last(self, model: str, stream: str) -> LedgerEntry | None:
        """Return the newest entry of a stream; None when it is empty."""
        newest = self.read_tail(model, stream, 1)
        return newest[0] if newest else None

    def read_tail(self, model: str, stream: str, count: int) -> list[LedgerEntry]:
        """Return at most ``count`` newest entries of a stream, in order of their numbers."""
        query = select(entries).where(entries.c.model == model, entries.c.stream == stream)
        with self._engine.connect() as connection:
            newest = connection.execute(query.order_by(entries.c.seq.desc()).limit(count)).all()
        return [_entry(row) for row in reversed(newest)]

    def read(self, *, model: str | None = None, stream: str | None = None) -> list[LedgerEntry]:
        """Return entries in order of model, stream and number; all where a filter is None."""
        query = select(entries).order_by(entries.c.model, entries.c.stream, entries.c.seq)
        if model is not None:
            query = query.where(entries.c.model == model)
        if stream is not None:
            query = query.where(entries.c.stream == stream)
        with self._engine.connect() as connection:
            return [_entry(row) for row in connection.execute(query)]

    def get(self, entry_id: str) -> LedgerEntry:
        """Return one entry by its id; ``UnknownName`` when there is none."""
        model, stream, seq = parse_entry_id(entry_id)
        found = self._one(model, stream, seq)
        if found is None:
            last = self.last(model, stream)
            known = f"{model}/{stream}/1 to {last.seq}" if last else "none of this model and stream"
            raise UnknownName(f"Unknown ledger entry '{entry_id}'. Known: {known}.")
        return found

    def lock(self, model: str) -> AbstractContextManager[HeldLock]:
        """Hold the model's lock; ``Blocked("lock_held")`` at once when another holds it."""
        if self._engine.dialect.name == "sqlite":
            return hold_file_lock(self._lock_folder, model)
        return hold_advisory_lock(make_lock_engine(self.url), model)

    def lock_is_held(self, model: str) -> bool:
        """Return whether anybody holds the model's lock now."""
        if self._engine.dialect.name == "sqlite":
            return file_lock_is_held(self._lock_folder, model)
        return advisory_lock_is_held(self._engine, model)

    @property
    def _lock_folder(self) -> Path:
        return Path(f"{self.url.database}.locks")

    def _one(self, model: str, stream: str, seq: int) -> LedgerEntry | None:
        query = select(entries).where(
            entries.c.model == model, entries.c.stream == stream, entries.c.seq == seq
        )
        with self._engine.connect() as connection:
            row = connection.execute(query).first()
        return None if row is None else _entry(row)

    def _insert(self, entry: LedgerEntry) -> bool:
        """Insert; False when another took the number first. Any other refusal of the database is raised."""
        values = {
            "model": entry.model,
            "stream": entry.stream,
            "seq": entry.seq,
            "at": instant(entry.at),
            "kind": entry.kind,
            "payload": canonical_json(entry.payload),
            "prev_hash": entry.prev_hash,
            "hash": entry.hash,
        }
        try:
            with self._engine.begin() as connection:
                connection.execute(insert(entries).values(values))
        except IntegrityError:
            if self._one(entry.model, entry.stream, entry.seq) is None:
                raise
            return False
        return True


def _entry(row: Row[Any]) -> LedgerEntry:
    """Return a row as an entry; what an earlier version wrote is read in today's words, and kept as it was."""
    stored = json.loads(row.payload)
    payload = in_todays_words(stored) if has_old_words(row.payload) else stored
    return LedgerEntry(
        model=row.model,
        stream=row.stream,
        seq=row.seq,
        at=datetime.fromisoformat(row.at),
        kind=row.kind,
        payload=payload,
        prev_hash=row.prev_hash,
        hash=row.hash,
        stored=None if payload == stored else stored,
    )


def open_ledger(url: str) -> Ledger:
    """Open the ledger at ``sqlite:///path`` or ``postgresql+psycopg://…``, migrating it when needed.

    Raises
    ------
    ConfigError
        For any other URL. ``Unreachable`` when the database does not answer.
    """
    return SqlLedger(url)

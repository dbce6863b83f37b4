"""The ledger: an append-only, hash-chained database of decisions, and the one idiom for claims."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

import sqlalchemy as sa

from evergreen.tasks.core.errors import UnknownName
from evergreen.tasks.core.promotion.ledger import (
    LedgerEntry,
    canonical_json,
    instant,
    next_entry,
    parse_entry_id,
)
from evergreen.tasks.core.stored_words import has_old_words, in_todays_words
from evergreen.tasks.io.databases import LEDGER
from evergreen.tasks.io.locks import (
    HeldLock,
    advisory_lock_is_held,
    file_lock_is_held,
    hold_advisory_lock,
    hold_file_lock,
)

entries = sa.Table(
    "evergreen_ledger",
    LEDGER.metadata,
    sa.Column("model", sa.String(255), primary_key=True),
    sa.Column("stream", sa.String(64), primary_key=True),
    sa.Column("seq", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("at", sa.String(32), nullable=False),
    sa.Column("kind", sa.String(64), nullable=False),
    sa.Column("payload", sa.Text, nullable=False),
    sa.Column("prev_hash", sa.String(64), nullable=False),
    sa.Column("hash", sa.String(64), nullable=False),
)

Decided = TypeVar("Decided")
Decide = Callable[[Sequence[LedgerEntry]], tuple[str, dict[str, Any]] | None]
"""From a stream as it is now to the (kind, payload) to append, or None to leave it."""


class Ledger:
    """A ledger in SQLite or PostgreSQL, by SQLAlchemy; it is migrated when needed.

    Parameters
    ----------
    url : str
        ``sqlite:///path`` or ``postgresql+psycopg://…``.

    Raises
    ------
    ConfigError
        For any other URL. ``Unreachable`` when the database does not answer.
    """

    def __init__(self, url: str) -> None:
        self.url = LEDGER.parse_url(url)
        self._engine = LEDGER.make_engine(self.url)
        LEDGER.migrate(self._engine)

    def append(
        self, *, model: str, stream: str, kind: str, payload: dict[str, Any], at: datetime
    ) -> LedgerEntry:
        """Append one entry at the end of a stream, also while other processes append."""
        while True:
            last = self.last(model, stream)
            entry = next_entry(last, model=model, stream=stream, at=at, kind=kind, payload=payload)
            if self._insert(entry):
                return entry

    def claim(self, *, model: str, stream: str, at: datetime, decide: Decide) -> LedgerEntry | None:
        """Read a stream, decide, append; when another was faster, read and decide again.

        Of many callers whose ``decide`` allows one start, exactly one gets an entry. The others get None.
        """
        while True:
            history = self.read(model=model, stream=stream)
            decided = decide(history)
            if decided is None:
                return None
            kind, payload = decided
            last = next(reversed(history), None)
            entry = next_entry(last, model=model, stream=stream, at=at, kind=kind, payload=payload)
            if self._insert(entry):
                return entry

    def follow(
        self, *, model: str, stream: str, after: int, kind: str, payload: dict[str, Any], at: datetime
    ) -> LedgerEntry | None:
        """Append one entry if the stream still ends in entry number ``after`` (0: is empty).

        None when it does not: another was faster. Unlike ``claim`` it never reads the whole stream.
        """
        last = self.last(model, stream)
        if (last.seq if last else 0) != after:
            return None
        entry = next_entry(last, model=model, stream=stream, at=at, kind=kind, payload=payload)
        return entry if self._insert(entry) else None

    def last(self, model: str, stream: str) -> LedgerEntry | None:
        """Return the newest entry of a stream; None when it is empty."""
        return next(iter(self.read_tail(model, stream, 1)), None)

    def read_tail(self, model: str, stream: str, count: int) -> list[LedgerEntry]:
        """Return at most ``count`` newest entries of a stream, in order of their numbers."""
        query = sa.select(entries).where(entries.c.model == model, entries.c.stream == stream)
        with self._engine.connect() as connection:
            newest = connection.execute(query.order_by(entries.c.seq.desc()).limit(count)).all()
        return [_entry(row) for row in reversed(newest)]

    def read(self, *, model: str | None = None, stream: str | None = None) -> list[LedgerEntry]:
        """Return entries in order of model, stream and number; all where a filter is None."""
        query = sa.select(entries).order_by(entries.c.model, entries.c.stream, entries.c.seq)
        if model is not None:
            query = query.where(entries.c.model == model)
        if stream is not None:
            query = query.where(entries.c.stream == stream)
        with self._engine.connect() as connection:
            return [_entry(row) for row in connection.execute(query)]

    def get(self, entry_id: str) -> LedgerEntry:
        """Return one entry by its id; ``UnknownName`` when there is none."""
        model, stream, seq = parse_entry_id(entry_id)
        entry = self._one(model, stream, seq)
        if entry is None:
            last = self.last(model, stream)
            present = f"{model}/{stream}/1 to {last.seq}" if last else "none of this model and stream"
            raise UnknownName(f"Unknown ledger entry '{entry_id}'. Known: {present}.")
        return entry

    def lock(self, model: str) -> AbstractContextManager[HeldLock]:
        """Hold the model's lock; ``Blocked("lock_held")`` at once when another holds it."""
        if self._engine.dialect.name == "sqlite":
            return hold_file_lock(self._lock_folder, model)
        # dead peers are noticed by keep-alive
        options = {"application_name": "evergreen-lock", "keepalives_idle": 30, "keepalives_interval": 10}
        engine = sa.create_engine(
            self.url, poolclass=sa.NullPool, isolation_level="AUTOCOMMIT", connect_args=options
        )
        return hold_advisory_lock(engine, model)

    def lock_is_held(self, model: str) -> bool:
        """Return whether the model's lock is held now."""
        if self._engine.dialect.name == "sqlite":
            return file_lock_is_held(self._lock_folder, model)
        return advisory_lock_is_held(self._engine, model)

    @property
    def _lock_folder(self) -> Path:
        return Path(f"{self.url.database}.locks")

    def _one(self, model: str, stream: str, seq: int) -> LedgerEntry | None:
        query = sa.select(entries).where(
            entries.c.model == model, entries.c.stream == stream, entries.c.seq == seq
        )
        with self._engine.connect() as connection:
            row = connection.execute(query).first()
        return None if row is None else _entry(row)

    def _insert(self, entry: LedgerEntry) -> bool:
        """Insert; False when another took the number first. Any other refusal of the database is raised."""
        stored = {"at": instant(entry.at), "payload": canonical_json(entry.payload)}
        values = {column.name: getattr(entry, column.name) for column in entries.columns} | stored
        try:
            with self._engine.begin() as connection:
                connection.execute(sa.insert(entries).values(values))
        except sa.exc.IntegrityError:
            if self._one(entry.model, entry.stream, entry.seq) is None:
                raise
            return False
        return True


def _entry(row: sa.Row[Any]) -> LedgerEntry:
    """Return a row as an entry; names of an earlier version are read as today's; the stored row stays as it is."""
    stored = json.loads(row.payload)
    payload = in_todays_words(stored) if has_old_words(row.payload) else stored
    original = None if payload == stored else stored
    at = datetime.fromisoformat(row.at)
    return LedgerEntry(**{**row._mapping, "at": at, "payload": payload, "stored": original})


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

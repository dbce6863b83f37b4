"""The ledger: an append-only, hash-chained database of decisions, and the one idiom for claims."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

from sqlalchemy import Engine, Row, insert, select
from sqlalchemy.exc import IntegrityError

from tasks.core.errors import UnknownName
from tasks.core.reign.ledger import Entry, canonical_json, instant, next_entry, parse_entry_id
from tasks.io.ledger_database import LEDGER, entries, make_lock_engine
from tasks.io.locks import (
    HeldLock,
    advisory_lock_is_held,
    file_lock_is_held,
    hold_advisory_lock,
    hold_file_lock,
)

Decide = Callable[[Sequence[Entry]], tuple[str, dict[str, Any]] | None]
"""From a stream as it is now to the (kind, payload) to append, or None to leave it."""


class Ledger(Protocol):
    """What every ledger does; one contract suite runs on each of them."""

    def append(self, *, model: str, stream: str, kind: str, payload: dict[str, Any], at: datetime) -> Entry:
        """Append one entry at the end of a stream, whoever else appends at the same time."""

    def claim(self, *, model: str, stream: str, at: datetime, decide: Decide) -> Entry | None:
        """Read a stream, decide, append; when another was faster, read and decide again.

        Of many callers whose ``decide`` allows one start, exactly one gets an entry. The others get None.
        """

    def follow(
        self, *, model: str, stream: str, after: int, kind: str, payload: dict[str, Any], at: datetime
    ) -> Entry | None:
        """Append one entry if the stream still ends in entry number ``after`` (0: is empty).

        None when it does not: another was faster. Unlike ``claim`` it never reads the whole stream.
        """

    def last(self, model: str, stream: str) -> Entry | None:
        """Return the newest entry of a stream; None when it is empty."""

    def read_tail(self, model: str, stream: str, count: int) -> list[Entry]:
        """Return at most ``count`` newest entries of a stream, in order of their numbers."""

    def read(self, *, model: str | None = None, stream: str | None = None) -> list[Entry]:
        """Return entries in order of model, stream and number; all where a filter is None."""

    def get(self, entry_id: str) -> Entry:
        """Return one entry by its id; ``UnknownName`` when there is none."""

    def lock(self, model: str) -> AbstractContextManager[HeldLock]:
        """Hold the model's lock; ``Held("lock_held")`` at once when another holds it."""

    def lock_is_held(self, model: str) -> bool:
        """Return whether anybody holds the model's lock now."""


class SqlLedger:
    """A ledger in SQLite or PostgreSQL, by SQLAlchemy."""

    def __init__(self, url: str) -> None:
        self.url = LEDGER.parse_url(url)
        self._engine: Engine = LEDGER.make_engine(self.url)
        LEDGER.migrate(self._engine)

    def append(self, *, model: str, stream: str, kind: str, payload: dict[str, Any], at: datetime) -> Entry:
        """Append one entry at the end of a stream, whoever else appends at the same time."""
        while True:
            last = self.last(model, stream)
            entry = next_entry(last, model=model, stream=stream, at=at, kind=kind, payload=payload)
            if self._insert(entry):
                return entry

    def claim(self, *, model: str, stream: str, at: datetime, decide: Decide) -> Entry | None:
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
    ) -> Entry | None:
        """Append one entry if the stream still ends in entry number ``after``; None when it does not."""
        last = self.last(model, stream)
        if (last.seq if last else 0) != after:
            return None
        entry = next_entry(last, model=model, stream=stream, at=at, kind=kind, payload=payload)
        return entry if self._insert(entry) else None

    def last(self, model: str, stream: str) -> Entry | None:
        """Return the newest entry of a stream; None when it is empty."""
        newest = self.read_tail(model, stream, 1)
        return newest[0] if newest else None

    def read_tail(self, model: str, stream: str, count: int) -> list[Entry]:
        """Return at most ``count`` newest entries of a stream, in order of their numbers."""
        query = select(entries).where(entries.c.model == model, entries.c.stream == stream)
        with self._engine.connect() as connection:
            newest = connection.execute(query.order_by(entries.c.seq.desc()).limit(count)).all()
        return [_entry(row) for row in reversed(newest)]

    def read(self, *, model: str | None = None, stream: str | None = None) -> list[Entry]:
        """Return entries in order of model, stream and number; all where a filter is None."""
        query = select(entries).order_by(entries.c.model, entries.c.stream, entries.c.seq)
        if model is not None:
            query = query.where(entries.c.model == model)
        if stream is not None:
            query = query.where(entries.c.stream == stream)
        with self._engine.connect() as connection:
            return [_entry(row) for row in connection.execute(query)]

    def get(self, entry_id: str) -> Entry:
        """Return one entry by its id; ``UnknownName`` when there is none."""
        model, stream, seq = parse_entry_id(entry_id)
        found = self._one(model, stream, seq)
        if found is None:
            last = self.last(model, stream)
            known = f"{model}/{stream}/1 to {last.seq}" if last else "none of this model and stream"
            raise UnknownName(f"Unknown ledger entry '{entry_id}'. Known: {known}.")
        return found

    def lock(self, model: str) -> AbstractContextManager[HeldLock]:
        """Hold the model's lock; ``Held("lock_held")`` at once when another holds it."""
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

    def _one(self, model: str, stream: str, seq: int) -> Entry | None:
        query = select(entries).where(
            entries.c.model == model, entries.c.stream == stream, entries.c.seq == seq
        )
        with self._engine.connect() as connection:
            row = connection.execute(query).first()
        return None if row is None else _entry(row)

    def _insert(self, entry: Entry) -> bool:
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


def _entry(row: Row[Any]) -> Entry:
    return Entry(
        model=row.model,
        stream=row.stream,
        seq=row.seq,
        at=datetime.fromisoformat(row.at),
        kind=row.kind,
        payload=json.loads(row.payload),
        prev_hash=row.prev_hash,
        hash=row.hash,
    )


def open_ledger(url: str) -> Ledger:
    """Open the ledger at ``sqlite:///path`` or ``postgresql+psycopg://…``, migrating it when needed.

    Raises
    ------
    ConfigError
        For any other URL. ``Unreachable`` when the database does not answer.
    """
    return SqlLedger(url)

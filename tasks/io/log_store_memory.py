"""The log's writer in memory, for tests of services: what is committed is in a `MemoryLog`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from tasks.core.serving.once import Key, OutcomeRecord, Record
from tasks.io.log_encode import ShadowRecord
from tasks.io.log_fake import MemoryLog


class MemoryStore:
    """A store that forgets everything with its process; it never fails by itself."""

    failures: tuple[type[Exception], ...] = (OSError,)
    unfit: tuple[type[Exception], ...] = (OverflowError,)

    def __init__(self, log: MemoryLog) -> None:
        self._log = log
        self._staged: list[tuple[dict[Any, Any], Any, Any]] = []

    def begin(self) -> None:
        """Begin a transaction."""
        self._staged = []

    def predictions(self, keys: Iterable[Key]) -> dict[Key, Record]:
        """Return those that are there, with what was inserted in this transaction."""
        table = self._log.stored_predictions
        staged = {key: row for each, key, row in self._staged if each is table}
        found = {key: table.get(key, staged.get(key)) for key in keys}
        return {key: Record(**row) for key, row in found.items() if row is not None}

    def outcomes(self, keys: Iterable[Key]) -> dict[Key, OutcomeRecord]:
        """Return those that are there."""
        found = {key: self._log.stored_outcomes.get(key) for key in keys}
        return {key: OutcomeRecord(**row) for key, row in found.items() if row is not None}

    def insert_predictions(self, records: Sequence[Record], *, at: str) -> int:
        """Insert what is not there; return how many that were."""
        return self._stage(
            self._log.stored_predictions, [(record[:2], record._asdict()) for record in records]
        )

    def insert_shadows(self, records: Sequence[ShadowRecord]) -> None:
        """Insert what is not there, of predictions that are."""
        there = self._log.stored_predictions.keys() | {key for _, key, _ in self._staged}
        self._stage(
            self._log.stored_shadows, [(record[:3], record) for record in records if record[:2] in there]
        )

    def insert_outcomes(self, records: Sequence[OutcomeRecord], *, at: str) -> int:
        """Insert what is not there; return how many that were."""
        return self._stage(self._log.stored_outcomes, [(record[:2], record._asdict()) for record in records])

    def commit(self) -> None:
        """Make what was inserted visible."""
        for table, key, row in self._staged:
            table.setdefault(key, row)
        self._staged = []

    def prove(self, *, at: str) -> None:
        """Begin and commit: whoever makes either fail makes this fail."""
        self.begin()
        self.commit()

    def drop(self) -> None:
        """Forget what was not committed."""
        self._staged = []

    def _stage(self, table: dict[Any, Any], rows: Sequence[tuple[Any, Any]]) -> int:
        fresh: dict[Any, Any] = {}
        for key, row in rows:
            if key not in table:
                fresh.setdefault(key, row)
        self._staged += [(table, key, row) for key, row in fresh.items()]
        return len(fresh)

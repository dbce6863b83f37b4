"""The log's writer on SQLite: the standard library's driver, prepared statements of many rows."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from functools import cache
from itertools import chain
from typing import Any

from evergreen.tasks.core.serving.idempotency import Key, OutcomeRecord, Record
from evergreen.tasks.io.prediction_log.encode import PROBE, ShadowRecord, by_model

_ROWS = 64
"""Most rows a statement. Statements of each size are prepared once, and kept."""
_AT = "at"
_PREDICTIONS = (*Record._fields, _AT)
_UNCLAIMED = (*Record._fields[:-1], _AT)
"""Without ``request``: binding one null more a row is a tenth of its insertion."""
_OUTCOMES = (*OutcomeRecord._fields, _AT)
_SHADOWS = ("model", "prediction_id", "variant", "version", "score", "decision")
_PREDICTED = "EXISTS (SELECT 1 FROM predictions WHERE model = column1 AND prediction_id = column2)"


class SqliteStore:
    """One SQLite file. Each statement lets other threads run: the fewer there are, the less the writer waits for them.

    Parameters
    ----------
    path : str
        The file; it is there, and migrated.
    timeout : float
        Seconds to wait for other writers.
    """

    failures: tuple[type[Exception], ...] = (sqlite3.Error,)
    unfit: tuple[type[Exception], ...] = (sqlite3.DataError, OverflowError)

    def __init__(self, path: str, *, timeout: float) -> None:
        self._path, self._timeout = path, timeout
        self._open: sqlite3.Connection | None = None

    def begin(self) -> None:
        """Begin a transaction that may write, so that no other writer comes between reading and writing."""
        if self._open is None:
            self._open = sqlite3.connect(
                self._path,
                timeout=self._timeout,
                isolation_level=None,
                cached_statements=256,
                check_same_thread=False,
            )
            # A commit returns when its frames of the WAL are on the disk.
            self._open.execute("PRAGMA synchronous = FULL")
        self._connection.execute("BEGIN IMMEDIATE")

    def predictions(self, keys: Iterable[Key]) -> dict[Key, Record]:
        """Return those that are there."""
        return {row[:2]: Record(*row) for row in self._read("predictions", Record._fields, keys)}

    def outcomes(self, keys: Iterable[Key]) -> dict[Key, OutcomeRecord]:
        """Return those that are there."""
        return {row[:2]: OutcomeRecord(*row) for row in self._read("outcomes", OutcomeRecord._fields, keys)}

    def insert_predictions(self, records: Sequence[Record], *, at: str) -> int:
        """Insert what is not there; return how many that were."""
        if any(record[-1] is not None for record in records):
            return self._insert("predictions", _PREDICTIONS, [(*record, at) for record in records])
        return self._insert("predictions", _UNCLAIMED, [(*record[:-1], at) for record in records])

    def insert_shadows(self, records: Sequence[ShadowRecord]) -> None:
        """Insert what is not there, of predictions that are."""
        self._insert("shadows", _SHADOWS, records, where=_PREDICTED)

    def insert_outcomes(self, records: Sequence[OutcomeRecord], *, at: str) -> int:
        """Insert what is not there; return how many that were."""
        return self._insert("outcomes", _OUTCOMES, [(*record, at) for record in records])

    def commit(self) -> None:
        """Commit, and return when the disk has it."""
        self._connection.execute("COMMIT")

    def prove(self, *, at: str) -> None:
        """Write a row, take it back and commit that: whether writes are allowed, and reach the disk."""
        self.begin()
        self._connection.execute("SAVEPOINT proof")
        self.insert_predictions([PROBE], at=at)
        self._connection.execute("ROLLBACK TO proof")
        self.commit()

    def drop(self) -> None:
        """Close the connection, with it whatever was not committed."""
        connection, self._open = self._open, None
        if connection is not None:
            with suppress(
                sqlite3.Error
            ):  # a broken disk may refuse even that; the file is closed all the same
                connection.close()

    @property
    def _connection(self) -> sqlite3.Connection:
        if self._open is None:
            raise sqlite3.OperationalError("no transaction was begun")
        return self._open

    def _insert(
        self, table: str, columns: tuple[str, ...], rows: Sequence[tuple[Any, ...]], *, where: str = "TRUE"
    ) -> int:
        inserted = 0
        for start in range(0, len(rows), _ROWS):
            part = rows[start : start + _ROWS]
            statement = _insertion(table, columns, len(part), where)
            inserted += self._connection.execute(statement, tuple(chain.from_iterable(part))).rowcount
        return inserted

    def _read(self, table: str, columns: tuple[str, ...], keys: Iterable[Key]) -> Iterator[tuple[Any, ...]]:
        # One parameter however many ids there are: SQLite's number of parameters is limited.
        query = (
            f"SELECT {', '.join(columns)} FROM {table} "
            "WHERE model = ? AND prediction_id IN (SELECT value FROM json_each(?))"
        )
        for model, ids in by_model(keys).items():
            yield from self._connection.execute(query, (model, json.dumps(ids)))


@cache
def _insertion(table: str, columns: tuple[str, ...], rows: int, where: str) -> str:
    values = ", ".join([f"({', '.join('?' * len(columns))})"] * rows)
    chosen = f"SELECT * FROM (VALUES {values}) WHERE {where}"
    return f"INSERT INTO {table} ({', '.join(columns)}) {chosen} ON CONFLICT DO NOTHING"

"""The databases that the log's writer writes to: one open connection, raw statements, one transaction a batch."""

from __future__ import annotations

import json
import sqlite3
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from functools import cache
from itertools import chain
from typing import Any, ClassVar

import msgspec
from sqlalchemy.engine import URL

from evergreen.tasks.core.serving.idempotency import Key, OutcomeRecord, Record
from evergreen.tasks.io.prediction_log.encode import ShadowRecord

Exceptions = tuple[type[Exception], ...]

PROBE = Record(
    "", "", 0.0, version=None, variant=None, entity=None, score="null", decision="null", features="{}"
)
"""A row of no model, written only to be rolled back in the same transaction."""
_SHADOWS = ("model", "prediction_id", "variant", "version", "score", "decision")
_MOST_ROWS = 64
"""Most rows a statement of SQLite. Statements of each size are prepared once, and cached."""


class LogStore(ABC):
    """A connection that is opened by ``begin`` when there is none, and dropped by ``drop`` after any failure."""

    failures: Exceptions
    """All that the driver raises: try again with a new connection, unless it is one of ``value_errors``."""
    value_errors: Exceptions
    """Raised for values the database cannot hold: the fault of the one request that has them."""
    _begin: ClassVar[str] = "BEGIN"
    _by_ids: ClassVar[str]
    _connection: Any = None

    def begin(self) -> None:
        """Begin a transaction."""
        if self._connection is None:
            self._connection = self._connect()
        self._connection.execute(self._begin)

    def predictions(self, keys: Iterable[Key]) -> dict[Key, Record]:
        """Return those that are there."""
        return {row[:2]: Record(*row) for row in self._read("predictions", Record._fields, keys)}

    def outcomes(self, keys: Iterable[Key]) -> dict[Key, OutcomeRecord]:
        """Return those that are there."""
        return {row[:2]: OutcomeRecord(*row) for row in self._read("outcomes", OutcomeRecord._fields, keys)}

    def insert_predictions(self, records: Sequence[Record], *, at: str) -> int:
        """Insert what is not there; return how many that were."""
        return self._insert("predictions", Record._fields, records, at)

    def insert_shadows(self, records: Sequence[ShadowRecord]) -> None:
        """Insert what is not there, of predictions that are."""
        self._insert("shadows", _SHADOWS, records)

    def insert_outcomes(self, records: Sequence[OutcomeRecord], *, at: str) -> int:
        """Insert what is not there; return how many that were."""
        return self._insert("outcomes", OutcomeRecord._fields, records, at)

    def commit(self) -> None:
        """Commit, and return when the disk has it."""
        self._connection.execute("COMMIT")

    def probe(self, *, at: str) -> None:
        """Write `PROBE`, roll it back and commit that: whether writes are allowed, and reach the disk."""
        self.begin()
        self._connection.execute("SAVEPOINT probe")
        self.insert_predictions([PROBE], at=at)
        self._connection.execute("ROLLBACK TO probe")
        self.commit()

    def drop(self) -> None:
        """Close the connection, with it whatever was not committed."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(*self.failures):  # a broken disk may refuse even that; it is closed all the same
                connection.close()

    def _read(self, table: str, columns: Sequence[str], keys: Iterable[Key]) -> Iterator[tuple[Any, ...]]:
        ids: dict[str, list[str]] = {}
        for model, name in keys:
            ids.setdefault(model, []).append(name)
        query = f"SELECT {', '.join(columns)} FROM {table} WHERE {self._by_ids}"
        for model, names in ids.items():
            yield from self._connection.execute(query, (model, self._ids(names)))

    @staticmethod
    def _ids(names: list[str]) -> Any:
        return names

    @abstractmethod
    def _connect(self) -> Any:
        """Open a connection without implicit transactions."""

    @abstractmethod
    def _insert(
        self, table: str, columns: tuple[str, ...], records: Sequence[tuple[Any, ...]], at: str | None = None
    ) -> int:
        """Insert what is not there, dated where ``at`` is given; return how many rows that were."""


class SqliteStore(LogStore):
    """One SQLite file. Each statement lets other threads run: the fewer there are, the less the writer waits for them.

    Parameters
    ----------
    path : str
        The file; it exists, and is migrated.
    timeout : float
        Seconds to wait for other writers.
    """

    failures: Exceptions = (sqlite3.Error,)
    value_errors: Exceptions = (sqlite3.DataError, OverflowError)
    _begin = "BEGIN IMMEDIATE"  # no other writer comes between reading and writing
    # One parameter however many ids there are: SQLite's number of parameters is limited.
    _by_ids = "model = ? AND prediction_id IN (SELECT value FROM json_each(?))"

    def __init__(self, path: str, *, timeout: float) -> None:
        self._path, self._timeout = path, timeout

    @staticmethod
    def _ids(names: list[str]) -> str:
        return json.dumps(names)

    def insert_predictions(self, records: Sequence[Record], *, at: str) -> int:
        """Insert what is not there; return how many that were."""
        if any(record.request is not None for record in records):
            return super().insert_predictions(records, at=at)
        # Without ``request``: binding one null more a row is a tenth of its insertion.
        return self._insert("predictions", Record._fields[:-1], [record[:-1] for record in records], at)

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(
            self._path,
            timeout=self._timeout,
            isolation_level=None,
            cached_statements=256,
            check_same_thread=False,
        )
        # A commit returns when its frames of the WAL are on the disk.
        connection.execute("PRAGMA synchronous = FULL")
        return connection

    def _insert(
        self, table: str, columns: tuple[str, ...], records: Sequence[tuple[Any, ...]], at: str | None = None
    ) -> int:
        if at is not None:
            columns, records = (*columns, "at"), [(*record, at) for record in records]
        inserted = 0
        for start in range(0, len(records), _MOST_ROWS):
            part = records[start : start + _MOST_ROWS]
            statement = _sqlite_insertion(table, columns, len(part))
            inserted += self._connection.execute(statement, tuple(chain.from_iterable(part))).rowcount
        return inserted


@cache
def _sqlite_insertion(table: str, columns: tuple[str, ...], rows: int) -> str:
    values = ", ".join([f"({', '.join('?' * len(columns))})"] * rows)
    where = _predicted("column1", "column2") if table == "shadows" else "TRUE"
    chosen = f"SELECT * FROM (VALUES {values}) WHERE {where}"
    return f"INSERT INTO {table} ({', '.join(columns)}) {chosen} ON CONFLICT DO NOTHING"


def _predicted(model: str, prediction_id: str) -> str:
    """Return the condition that a shadow's row is of a prediction that is there."""
    return f"EXISTS (SELECT 1 FROM predictions AS p WHERE p.model = {model} AND p.prediction_id = {prediction_id})"


class PostgresStore(LogStore):
    """A PostgreSQL database by psycopg 3: one statement a table, whose rows are one JSON parameter.

    Parameters
    ----------
    url : URL
        Of the database; its schema exists and is migrated.
    schema : str
        Where the log's tables are.
    timeout : float
        Seconds to wait for a connection, and for others' locks.
    """

    _by_ids = "model = %s AND prediction_id = ANY(%s)"

    def __init__(self, url: URL, *, schema: str, timeout: float) -> None:
        import psycopg  # a tenth of a second that a log in SQLite does without

        self.failures, self.value_errors = (psycopg.Error,), (psycopg.DataError,)
        self._driver = psycopg
        self._url = url.set(drivername="postgresql").render_as_string(hide_password=False)
        self._schema, self._timeout = schema, timeout

    def _connect(self) -> Any:
        wait = max(1, round(self._timeout))
        connection = self._driver.connect(
            self._url,
            autocommit=True,  # transactions are begun and committed by name
            prepare_threshold=1,
            connect_timeout=max(2, wait),
            application_name="evergreen-log-writer",
            keepalives_idle=5,
            keepalives_interval=2,
            tcp_user_timeout=10_000,
        )
        connection.execute(f"SET search_path TO {self._schema}")
        connection.execute(f"SET lock_timeout TO {wait * 1000}")
        connection.execute(
            "SELECT set_config('synchronous_commit', 'on', false) "
            "WHERE current_setting('synchronous_commit') = 'off'"
        )
        return connection

    def _insert(
        self, table: str, columns: tuple[str, ...], records: Sequence[tuple[Any, ...]], at: str | None = None
    ) -> int:
        dates = () if at is None else (at,)
        statement = _postgres_insertion(table, columns, dated=at is not None)
        rows = msgspec.json.encode(records).decode()
        return int(self._connection.execute(statement, (*dates, rows)).rowcount)


@cache
def _postgres_insertion(table: str, columns: tuple[str, ...], *, dated: bool) -> str:
    types = {"position": "::float8", "known_at": "::float8", "version": "::integer"}
    chosen = [f"(row->>{number}){types.get(name, '')}" for number, name in enumerate(columns)]
    where = _predicted("row->>0", "row->>1") if table == "shadows" else "TRUE"
    head = f"INSERT INTO {table} ({', '.join([*columns, 'at'] if dated else columns)})"
    return (
        f"{head} SELECT {', '.join([*chosen, '%s'] if dated else chosen)} "
        f"FROM json_array_elements(%s::json) AS row WHERE {where} ON CONFLICT DO NOTHING"
    )

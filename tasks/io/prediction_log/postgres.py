"""The log's writer on PostgreSQL: psycopg 3, one statement a table whose rows are one JSON parameter."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from typing import Any

import msgspec
import psycopg
from sqlalchemy.engine import URL

from evergreen.tasks.core.serving.idempotency import Key, OutcomeRecord, Record
from evergreen.tasks.io.prediction_log.encode import PROBE, ShadowRecord, by_model

_TYPES = {"position": "::float8", "known_at": "::float8", "version": "::integer"}
_SHADOWS = ("model", "prediction_id", "variant", "version", "score", "decision")


_PREDICTED = "EXISTS (SELECT 1 FROM predictions AS p WHERE p.model = row->>0 AND p.prediction_id = row->>1)"


def _insertion(table: str, fields: tuple[str, ...], *, dated: bool = True, where: str = "TRUE") -> str:
    chosen = [f"(row->>{number}){_TYPES.get(name, '')}" for number, name in enumerate(fields)]
    columns = [*fields, *(["at"] if dated else [])]
    head = f"INSERT INTO {table} ({', '.join(columns)}) SELECT {', '.join(chosen)}{', %s' if dated else ''}"
    return f"{head} FROM json_array_elements(%s::json) AS row WHERE {where} ON CONFLICT DO NOTHING"


_INTO_PREDICTIONS = _insertion("predictions", Record._fields)
_INTO_OUTCOMES = _insertion("outcomes", OutcomeRecord._fields)
_INTO_SHADOWS = _insertion("shadows", _SHADOWS, dated=False, where=_PREDICTED)
_DURABLE = (
    "SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'"
)


class PostgresStore:
    """One connection to a PostgreSQL database.

    Parameters
    ----------
    url : URL
        Of the database, whose schema is there and migrated.
    schema : str
        Where the log's tables are.
    timeout : float
        Seconds to wait for a connection, and for others' locks.
    """

    failures: tuple[type[Exception], ...] = (psycopg.Error,)
    unfit: tuple[type[Exception], ...] = (psycopg.DataError,)

    def __init__(self, url: URL, *, schema: str, timeout: float) -> None:
        self._url = url.set(drivername="postgresql").render_as_string(hide_password=False)
        self._schema, self._timeout = schema, timeout
        self._open: psycopg.Connection | None = None

    def begin(self) -> None:
        """Begin a transaction."""
        if self._open is None:
            self._open = self._connect()
        self._connection.execute("BEGIN")

    def predictions(self, keys: Iterable[Key]) -> dict[Key, Record]:
        """Return those that are there."""
        return {row[:2]: Record(*row) for row in self._read("predictions", Record._fields, keys)}

    def outcomes(self, keys: Iterable[Key]) -> dict[Key, OutcomeRecord]:
        """Return those that are there."""
        return {row[:2]: OutcomeRecord(*row) for row in self._read("outcomes", OutcomeRecord._fields, keys)}

    def insert_predictions(self, records: Sequence[Record], *, at: str) -> int:
        """Insert what is not there; return how many that were."""
        return self._insert(_INTO_PREDICTIONS, records, at)

    def insert_shadows(self, records: Sequence[ShadowRecord]) -> None:
        """Insert what is not there, of predictions that are."""
        self._insert(_INTO_SHADOWS, records)

    def insert_outcomes(self, records: Sequence[OutcomeRecord], *, at: str) -> int:
        """Insert what is not there; return how many that were."""
        return self._insert(_INTO_OUTCOMES, records, at)

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
            with suppress(psycopg.Error):
                connection.close()

    @property
    def _connection(self) -> psycopg.Connection:
        if self._open is None:
            raise psycopg.InterfaceError("no transaction was begun")
        return self._open

    def _connect(self) -> psycopg.Connection:
        wait = max(1, round(self._timeout))
        connection = psycopg.connect(
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
        connection.execute(_DURABLE)
        return connection

    def _insert(self, statement: str, records: Sequence[tuple[Any, ...]], *dated: str) -> int:
        return self._connection.execute(statement, (*dated, msgspec.json.encode(records).decode())).rowcount

    def _read(self, table: str, columns: tuple[str, ...], keys: Iterable[Key]) -> Iterator[tuple[Any, ...]]:
        query = f"SELECT {', '.join(columns)} FROM {table} WHERE model = %s AND prediction_id = ANY(%s)"
        for model, ids in by_model(keys).items():
            yield from self._connection.execute(query, (model, ids))

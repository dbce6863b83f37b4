"""Tables and queries of a database: the window is a WHERE, the columns a SELECT list; no secret is in a message."""

from __future__ import annotations

import datetime as dt
import math
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd
import sqlalchemy as sa

from evergreen.tasks.core.data.clock import Clock, Window, format_position
from evergreen.tasks.core.errors import ConfigError, DataError, Unreachable, did_you_mean
from evergreen.tasks.io.sources.base import SourceRequest, first_line

_BATCH = 20_000
_ISO_DAY = "____-__-__%"
_REPEATED = re.compile(r"^(.+):\d+$")
_STARTS_WITH_DAY = re.compile(r"^\d{4}-\d{2}-\d{2}")


class SqlLoader:
    """One table, or one query that is wrapped as a subselect.

    Parameters
    ----------
    request : SourceRequest
        Its address is an SQLAlchemy URL (a relative SQLite file starts at ``base``); exactly one of ``table``
        (``schema.table`` works) and ``query`` is set. Where ``shown`` differs from the address, the URL is secret.
    """

    def __init__(self, request: SourceRequest) -> None:
        self.url, self.clock = _parse_url(request.address, request.base), request.clock
        self.table, self.query = request.table, request.query
        is_secret = request.shown != request.address
        self._place = request.shown if is_secret else self.url.render_as_string(hide_password=True)
        if (self.table is None) == (self.query is None):
            has = "both data.table and data.query" if self.table else "neither data.table nor data.query"
            raise ConfigError(
                f"data.source '{self._place}' is a database and the file names {has}. Write one of them."
            )
        if self.clock.by_order:
            raise ConfigError(
                f"Rows of '{self._place}' have no order of their own, so data.clock: rows needs data.time. Name the "
                "column that numbers them."
            )

    @property
    def origin(self) -> str:
        """Name for messages, without a password."""
        return f"table '{self.table}' of '{self._place}'" if self.table else f"the query on '{self._place}'"

    def columns(self) -> list[str]:
        """Return the column names, repeated ones included."""
        return list(self._names)

    def load(self, columns: Sequence[str], window: Window | None) -> pd.DataFrame:
        """Return at least the window's rows; rows without a time come too, so that they are refused by name."""
        relation = self._relation(columns)
        statement = sa.select(*(relation.c[name] for name in columns))
        with self._connect() as connection:
            bounds = self._bounds(connection, relation, window)
            statement = statement if bounds is None else statement.where(bounds)
            rows = [row for batch in _batches(connection, statement) for row in batch]
        return _to_frame(rows, columns)

    def stream(self, columns: Sequence[str]) -> Iterator[pd.DataFrame]:
        """Yield all rows in batches, in the order of the clock where there is one."""
        relation = self._relation(columns)
        statement: Any = sa.select(*(relation.c[name] for name in columns))
        if self.clock.column is not None:
            statement = statement.order_by(relation.c[self.clock.column])
        with self._connect() as connection:
            for batch in _batches(connection, statement):
                yield _to_frame(batch, columns)

    @cached_property
    def _engine(self) -> sa.Engine:
        return make_engine(self.url, self._place)

    @cached_property
    def _names(self) -> tuple[str, ...]:
        with self._connect() as connection:
            if self.table:
                self._require_table(connection)
                nothing: Any = sa.select(sa.text("*")).select_from(self._named_table()).where(sa.false())
            else:
                nothing = sa.text(f"SELECT * FROM ({_escape(self._text)}) AS evergreen_source WHERE 1 = 0")
            with connection.execute(nothing) as result:
                return _as_written(tuple(result.keys()))

    @property
    def _text(self) -> str:
        """The query on separate lines: it may end in a comment."""
        return f"\n{(self.query or '').strip().rstrip(';')}\n"

    def _named_table(self, *columns: Any) -> Any:
        schema, _, name = (self.table or "").rpartition(".")
        return sa.table(name, *columns, schema=schema or None)

    def _require_table(self, connection: sa.Connection) -> None:
        schema, _, name = (self.table or "").rpartition(".")
        names = _table_names(connection, schema)
        if name not in names:
            raise DataError(
                f"There is no table '{self.table}' in '{self._place}'. Tables: {_listed(names)}."
                f"{did_you_mean(name, names)} Correct data.table."
            )

    def _relation(self, columns: Sequence[str]) -> Any:
        names = list(dict.fromkeys([*columns, *([self.clock.column] if self.clock.column else [])]))
        if self.table:
            return self._named_table(*(sa.column(each) for each in names))
        selected = sa.text(_escape(self._text)).columns(*(sa.column(each) for each in self._names))
        return selected.subquery("evergreen_source")

    def _bounds(self, connection: sa.Connection, relation: Any, window: Window | None) -> Any:
        """Return a condition that keeps at least the window's rows; None where the clock cannot be compared."""
        if window is None or self.clock.column is None:
            return None
        field = relation.c[self.clock.column]
        example = connection.execute(sa.select(field).where(field.is_not(None)).limit(1)).scalar()
        start = _limit(window.start, example, self.clock, -1)
        end = _limit(window.end, example, self.clock, 1)
        conditions = [field >= start] if start is not None else []
        conditions += [field <= end] if end is not None else []
        if not conditions:
            return None
        always = [field.is_(None)]
        if isinstance(example, str):
            always.append(field.not_like(_ISO_DAY))
        return sa.or_(sa.and_(*conditions), *always)

    @contextmanager
    def _connect(self) -> Iterator[sa.Connection]:
        with _answered(self._place), self._engine.connect() as connection:
            try:
                yield connection
            except (sa.exc.ProgrammingError, sa.exc.OperationalError, sa.exc.DataError) as error:
                if error.connection_invalidated:
                    raise
                raise DataError(
                    f"{self.origin} cannot be read: {first_line(error)}. Correct data.query or data.table."
                ) from None


def only_table(address: str, *, base: Path) -> str:
    """Return the one table of a database.

    Raises
    ------
    DataError
        When there is no table, several, or a SQLite file is missing.
    ConfigError
        When the address is malformed or its driver is missing.
    Unreachable
        When a server does not answer.
    """
    url = _parse_url(address, base)
    place = url.render_as_string(hide_password=True)
    with _answered(place), make_engine(url, place).connect() as connection:
        names = _table_names(connection)
    if len(names) != 1:
        raise DataError(f"The database holds {len(names)} tables ({_listed(names)}). Name one with --table.")
    return names[0]


def make_engine(url: sa.URL, place: str) -> sa.Engine:
    """Return an engine that keeps no connection; ``ConfigError`` when the driver is missing."""
    try:
        return sa.create_engine(url, poolclass=sa.NullPool)
    except (ImportError, sa.exc.NoSuchModuleError) as error:
        raise ConfigError(f"data.source '{place}' needs a driver: {error}. Install it.") from None


@contextmanager
def _answered(place: str) -> Iterator[None]:
    """Say which database does not answer, or is none."""
    try:
        yield
    except sa.exc.OperationalError as error:
        raise Unreachable(
            f"Database '{place}' does not answer: {first_line(error)}. Start it or correct data.source."
        ) from None
    except sa.exc.DatabaseError as error:
        raise DataError(f"'{place}' is no readable database: {first_line(error)}. Bring another.") from None


def _table_names(connection: sa.Connection, schema: str = "") -> list[str]:
    inspector = sa.inspect(connection)
    return [*inspector.get_table_names(schema or None), *inspector.get_view_names(schema or None)]


def _listed(names: Sequence[str]) -> str:
    return ", ".join(sorted(names)[:20]) or "none"


def _batches(connection: sa.Connection, statement: Any) -> Iterator[list[tuple[Any, ...]]]:
    options = connection.execution_options(stream_results=True, yield_per=_BATCH)
    for batch in options.execute(statement).partitions(_BATCH):
        yield [tuple(row) for row in batch]


def _to_frame(rows: Sequence[tuple[Any, ...]], columns: Sequence[str]) -> pd.DataFrame:
    return pd.DataFrame.from_records(rows, columns=list(columns), coerce_float=True)


def parse_url(address: str) -> sa.URL:
    """Return an SQLAlchemy URL; ``ConfigError`` when the address is none."""
    try:
        return sa.make_url(address)
    except sa.exc.ArgumentError:
        raise ConfigError(
            "data.source is not an SQLAlchemy URL such as postgresql+psycopg://USER@HOST/DATABASE."
        ) from None


def _parse_url(address: str, base: Path) -> sa.URL:
    url = parse_url(address)
    if url.get_backend_name() != "sqlite" or url.database in (None, "", ":memory:"):
        return url
    path = base / str(url.database)
    if not path.exists():
        raise DataError(
            f"There is no database file '{url.database}' (looked at {path}). Correct data.source."
        )
    return url.set(database=str(path))


def _limit(bound: float, example: Any, clock: Clock, side: int) -> Any:
    """Return a bound in the column's own type, moved outwards so that no row of the window is lost."""
    if not math.isfinite(bound) or example is None:
        return None
    if clock.kind != "timestamp":
        return bound if isinstance(example, (int, float)) and not isinstance(example, bool) else None
    if isinstance(example, str):
        usable = clock.time_format is None and _STARTS_WITH_DAY.match(example)
        return format_position(bound + side * 172_800, clock="timestamp")[:10] if usable else None
    if isinstance(example, dt.datetime):
        moment = dt.datetime.fromtimestamp(bound, dt.UTC) + dt.timedelta(seconds=side)
        return moment if example.tzinfo else moment.replace(tzinfo=None)
    return dt.datetime.fromtimestamp(bound, dt.UTC).date() if isinstance(example, dt.date) else None


def _as_written(names: tuple[str, ...]) -> tuple[str, ...]:
    """Return the names with those restored that SQLite renames in a subselect, so that repeats can be seen.

    >>> _as_written(("y", "x", "y:1"))
    ('y', 'x', 'y')
    """
    matches = ((name, _REPEATED.match(name)) for name in names)
    return tuple(match[1] if match and match[1] in names else name for name, match in matches)


def _escape(query: str) -> str:
    """Return a query in which a colon is a colon, not the mark of a parameter."""
    return query.replace(":", "\\:")

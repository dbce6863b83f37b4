"""Predictions into a table of a database, all of them in one transaction."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa
import sqlalchemy as sa

from tasks.core.batch.job import Mode
from tasks.core.errors import ConfigError, DataError, InputError, Unreachable

_CHUNK = 500
ID = "prediction_id"


def write_table(url: str, name: str, tables: Iterator[pa.Table], *, mode: Mode) -> tuple[int, int]:
    """Write predictions; nothing of them is seen by others before all are there.

    The table is made where it is missing, with ``prediction_id`` as its key. ``append`` leaves rows that are there
    already as they are, so that writing again changes nothing; ``replace`` deletes all rows first.

    Returns
    -------
    tuple of int
        Rows written, and rows that were there already (or twice in the batch).

    Raises
    ------
    InputError
        When the URL is none, a driver is missing, or the table has other columns.
    Unreachable
        When the database does not answer.
    """
    engine = _engine(url)
    written = there = 0
    try:
        with engine.begin() as connection:
            target: sa.Table | None = None
            for batch in tables:
                if target is None:
                    target = _target(connection, name, batch.schema, mode)
                fresh, known = _insert(connection, target, batch)
                written, there = written + fresh, there + known
    except sa.exc.OperationalError as error:
        place = engine.url.render_as_string(hide_password=True)
        raise Unreachable(
            f"Database '{place}' could not be written to: {str(error.orig).splitlines()[0]}. Start it, or wait for who "
            "writes to it, and run again: what was scored is kept."
        ) from error
    finally:
        engine.dispose()
    return written, there


def check_url(url: str) -> str:
    """Return a database URL as it may be shown; ``ConfigError`` when it is none, or its driver is missing."""
    engine = _engine(url)
    engine.dispose()
    return engine.url.render_as_string(hide_password=True)


def _engine(url: str) -> sa.Engine:
    try:
        parsed = sa.make_url(url)
    except sa.exc.ArgumentError:
        raise ConfigError(
            "--to is no SQLAlchemy URL such as postgresql+psycopg://USER@HOST/DATABASE. Correct it."
        ) from None
    shown = parsed.render_as_string(hide_password=True)
    try:
        return sa.create_engine(parsed, poolclass=sa.NullPool)
    except (ImportError, sa.exc.NoSuchModuleError) as error:
        raise ConfigError(f"--to '{shown}' needs a driver: {error}. Install it.") from None


def _target(connection: sa.Connection, name: str, schema: pa.Schema, mode: Mode) -> sa.Table:
    space, _, plain = name.rpartition(".")
    columns = [
        sa.Column(
            field.name, sa.String(64) if field.name == ID else _type(field), primary_key=field.name == ID
        )
        for field in schema
    ]
    table = sa.Table(plain, sa.MetaData(), *columns, schema=space or None)
    known = sa.inspect(connection)
    if not known.has_table(plain, schema=space or None):
        table.create(connection)
        return table
    there = {column["name"] for column in known.get_columns(plain, schema=space or None)}
    missing = [field.name for field in schema if field.name not in there]
    if missing:
        raise DataError(
            f"Table '{name}' has no column {', '.join(map(repr, missing))}; it has: {', '.join(sorted(there))}. "
            "Add it, leave it out of --keep, or name another table."
        )
    if mode == "replace":
        connection.execute(sa.delete(table))
    return table


def _insert(connection: sa.Connection, target: sa.Table, batch: pa.Table) -> tuple[int, int]:
    fresh = 0
    for start in range(0, batch.num_rows, _CHUNK):
        rows = {row[ID]: row for row in batch.slice(start, _CHUNK).to_pylist()}
        key = target.c[ID]
        known = set(connection.execute(sa.select(key).where(key.in_(list(rows)))).scalars())
        new = [row for name, row in rows.items() if name not in known]
        if new:
            connection.execute(sa.insert(target), new)
        fresh += len(new)
    return fresh, batch.num_rows - fresh


def _type(field: pa.Field) -> Any:
    kinds: Sequence[tuple[Any, Any]] = (
        (pa.types.is_boolean, sa.Boolean()),
        (pa.types.is_integer, sa.BigInteger()),
        (pa.types.is_floating, sa.Float(53)),
        (pa.types.is_date, sa.Date()),
        (pa.types.is_string, sa.Text()),
        (pa.types.is_large_string, sa.Text()),
        (pa.types.is_null, sa.Text()),
    )
    if pa.types.is_timestamp(field.type):
        return sa.DateTime(timezone=field.type.tz is not None)
    for test, kind in kinds:
        if test(field.type):
            return kind
    raise InputError(
        f"Column '{field.name}' of type {field.type} cannot be written to a table. Leave it out of --keep."
    )

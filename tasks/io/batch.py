"""The rows of a batch, part by part: memory holds at most one part, whatever the source yields."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import sqlalchemy as sa

from evergreen.tasks.core.data.clock import Clock, Window
from evergreen.tasks.core.data.columns import require_distinct
from evergreen.tasks.core.data.rows import Rows, normalise
from evergreen.tasks.core.errors import DataError, InputError, Unreachable
from evergreen.tasks.core.scoring.batch import BatchJob, Mode
from evergreen.tasks.io.locks import hold_file_lock
from evergreen.tasks.io.sources.base import require_present
from evergreen.tasks.io.sources.open import Source, named_as
from evergreen.tasks.io.sources.sql import make_engine, parse_url


def read_parts(
    source: Source, *, columns: Sequence[str], rows: int, window: Window, at: float | None = None
) -> Iterator[Rows]:
    """Yield the rows of a slice of the clock in parts of exactly ``rows`` (the last may be smaller).

    Parameters
    ----------
    source : Source
        Its loader streams; columns the configuration names that are not read here (such as the target) may be
        missing.
    columns : sequence of str
        Columns to read; the clock's is added.
    rows : int
        Rows of a part.
    window : Window
        Slice of the clock.
    at : float | None
        Position of every row where there is no clock.

    Raises
    ------
    DataError
        When a column is missing or a row has no place on the clock.
    """
    clock = source.clock
    present = source.loader.columns()
    require_distinct(present, origin=source.origin)
    wanted = list(dict.fromkeys([*columns, *([clock.column] if clock.column else [])]))
    why = " Scoring needs the version's features, the clock and the columns of --keep."
    require_present(wanted, present, origin=source.origin, why=why)
    held: list[Rows] = []
    count = offset = 0
    for loaded in source.loader.stream(wanted):
        frame = normalise(loaded, numeric=source.config.data.numeric or ())
        frame = frame.set_axis(pd.RangeIndex(offset, offset + len(frame)))
        offset += len(frame)
        inside = _inside(frame, clock, window, at)
        held.append(inside)
        count += len(inside)
        while count >= rows:
            part, rest = _cut(held, rows)
            yield part
            held, count = [rest], len(rest)
    if count:
        yield _cut(held, count)[0]


def _inside(frame: pd.DataFrame, clock: Clock, window: Window, at: float | None) -> Rows:
    positions = clock.positions(frame)
    if positions is None:
        return Rows(frame, np.full(len(frame), 0.0 if at is None else at))
    mask = window.mask(positions)
    return Rows(frame, positions) if mask.all() else Rows(frame[mask], positions[mask])


def _cut(held: list[Rows], rows: int) -> tuple[Rows, Rows]:
    """Return the first ``rows`` rows in memory, and the rest."""
    filled = [one for one in held if len(one)] or held[:1]
    frame = pd.concat([one.frame for one in filled]) if len(filled) > 1 else filled[0].frame
    positions = np.concatenate([np.asarray(one.positions) for one in filled])
    return Rows(frame.iloc[:rows], positions[:rows]), Rows(frame.iloc[rows:], positions[rows:])


# Finished parts of a batch, stored until all are finished: a run after a crash does not repeat them.


_ROWS = b"evergreen.rows"


class BatchStage:
    """A folder of one job with a Parquet file for each finished part.

    Parameters
    ----------
    folder : Path
        Folder of the job; no other process writes there while `hold_stage` holds it.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def is_done(self, number: int, rows: str) -> bool:
        """Return whether a part is there and was made of exactly these rows."""
        path = self._path(number)
        try:
            return path.exists() and (pq.read_schema(path).metadata or {}).get(_ROWS) == rows.encode()
        except pa.ArrowException:
            return False

    def put(self, number: int, rows: str, frame: pd.DataFrame) -> None:
        """Write a part; it appears whole or not at all."""
        table = pa.Table.from_pandas(frame, preserve_index=False)
        write_whole(self._path(number), [table.replace_schema_metadata({_ROWS: rows.encode()})])

    def tables(self, count: int) -> Iterator[pa.Table]:
        """Yield the first parts in order, of one schema: a column may widen from part to part."""
        paths = [self._path(number) for number in range(count)]
        schemas = [pq.read_schema(path).remove_metadata() for path in paths]
        try:
            schema = pa.unify_schemas(schemas, promote_options="permissive")
        except pa.ArrowException as error:
            raise DataError(
                f"Columns of --keep differ in type between parts: {error}. Leave them out of --keep, or write one type."
            ) from error
        for path in paths:
            yield pq.read_table(path).replace_schema_metadata(None).cast(schema)

    def remove(self) -> None:
        """Remove the folder."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def _path(self, number: int) -> Path:
        return self._folder / f"part-{number:06d}.parquet"


@contextmanager
def hold_stage(home: Path, job: BatchJob) -> Iterator[BatchStage]:
    """Hold the folder of a job; ``Blocked("lock_held")`` at once when another run of the same job holds it."""
    root = home / "scoring"
    with hold_file_lock(root / "locks", job.id):
        folder = root / job.id
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "job.json").write_text(json.dumps(job.to_dict(), indent=2), encoding="utf-8")
        yield BatchStage(folder)


def write_whole(path: Path, tables: Iterator[pa.Table] | list[pa.Table]) -> int:
    """Write tables as one Parquet file that appears whole or not at all; return its rows.

    Written beside it under another name, synced to disk, then renamed.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    rows = 0
    try:
        with partial.open("wb") as file, ExitStack() as stack:
            writer = None
            for table in tables:
                writer = writer or stack.enter_context(pq.ParquetWriter(file, table.schema))
                writer.write_table(table)
                rows += table.num_rows
            stack.close()
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    _sync_folder(path.parent)
    return rows


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


# Predictions into a table of a database, all of them in one transaction.


_CHUNK = 500
ID = "prediction_id"


def write_table(url: str, name: str, tables: Iterator[pa.Table], *, mode: Mode) -> tuple[int, int]:
    """Write predictions in one transaction: others see all of them or none.

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
                fresh, old = _insert(connection, target, batch)
                written, there = written + fresh, there + old
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
    with named_as("--to"):
        parsed = parse_url(url)
        return make_engine(parsed, parsed.render_as_string(hide_password=True))


def _target(connection: sa.Connection, name: str, schema: pa.Schema, mode: Mode) -> sa.Table:
    space, _, plain = name.rpartition(".")
    columns = [
        sa.Column(
            field.name, sa.String(64) if field.name == ID else _type(field), primary_key=field.name == ID
        )
        for field in schema
    ]
    table = sa.Table(plain, sa.MetaData(), *columns, schema=space or None)
    inspector = sa.inspect(connection)
    if not inspector.has_table(plain, schema=space or None):
        table.create(connection)
        return table
    there = {column["name"] for column in inspector.get_columns(plain, schema=space or None)}
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
        present = set(connection.execute(sa.select(key).where(key.in_(list(rows)))).scalars())
        new = [row for name, row in rows.items() if name not in present]
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
    if kind := next((kind for is_type, kind in kinds if is_type(field.type)), None):
        return kind
    raise InputError(
        f"Column '{field.name}' of type {field.type} cannot be written to a table. Leave it out of --keep."
    )

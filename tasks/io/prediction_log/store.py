"""The log: windows the monitor judged, with their profiles, and served predictions; decisions are in the ledger."""

from __future__ import annotations

import json
import math
import zlib
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from itertools import islice
from typing import Any, TypeVar

import numpy as np
from sqlalchemy import ColumnElement, Engine, Row, Table, and_, delete, func, select, tuple_
from sqlalchemy.dialects import postgresql, sqlite

from evergreen.tasks.core.arrays import FloatArray
from evergreen.tasks.core.data.clock import Window
from evergreen.tasks.core.drift.types import Phase
from evergreen.tasks.core.errors import InputError, UnknownName
from evergreen.tasks.core.profiles.grid import Grid
from evergreen.tasks.core.promotion.ledger import canonical_json, instant
from evergreen.tasks.core.serving.idempotency import IdConflict, same_value
from evergreen.tasks.core.stored_words import has_old_words, in_todays_words
from evergreen.tasks.io.databases import LOG
from evergreen.tasks.io.prediction_log.encode import shadow_record
from evergreen.tasks.io.prediction_log.records import (
    KnownOutcome,
    LoggedRows,
    Prediction,
    ShadowScore,
    WindowRecord,
    grids,
    logged_rows,
    outcome_values,
    outcomes,
    prediction_values,
    predictions,
    shadows,
    windows,
)

"""Rows a transaction writes or deletes: whoever waits for it waits for milliseconds."""
_JSON = {"score", "decision", "features", "outcome"}
Item = TypeVar("Item")


class Log:
    """The log in SQLite or PostgreSQL, by SQLAlchemy; it is migrated when needed.

    Parameters
    ----------
    url : str
        ``sqlite:///path`` or ``postgresql+psycopg://…``.
    chunk : int
        Rows that are written or deleted in one transaction.

    Raises
    ------
    ConfigError
        For any other URL. ``Unreachable`` when the database does not answer.
    """

    def __init__(self, url: str, *, chunk: int = 500) -> None:
        self.url, self._chunk = LOG.parse_url(url), chunk
        self._engine: Engine = LOG.make_engine(self.url)
        LOG.migrate(self._engine)

    def put_window(self, record: WindowRecord, *, grids: Iterable[Grid] = ()) -> None:
        """Write the result of a window, and grids that are not there yet; a second time replaces the first."""
        values = window_values(record)
        statement = self._insert(windows).values(values)
        keys = [column.name for column in windows.primary_key]
        fresh = {name: statement.excluded[name] for name in values if name not in keys}
        with self._engine.begin() as connection:
            connection.execute(statement.on_conflict_do_update(index_elements=keys, set_=fresh))
            for grid in grids:
                self._put_grid(connection, grid)

    def get_window(self, model: str, phase: Phase, window: Window) -> WindowRecord | None:
        """Return the result of a window; None when it was never judged (or was purged)."""
        at = (windows.c.start == window.start, windows.c.end == window.end)
        return next(iter(self._read_windows(model, phase, *at)), None)

    def windows(
        self, model: str, phase: Phase, *, since: float = -math.inf, until: float = math.inf
    ) -> list[WindowRecord]:
        """Return windows that start in ``[since, until)``, in time order."""
        return self._read_windows(model, phase, *_inside(windows.c.start, Window(since, until)))

    def grid(self, grid_id: str) -> Grid:
        """Return a grid; ``UnknownName`` when it is not there."""
        for row in self._rows(select(grids.c.grid).where(grids.c.grid_id == grid_id)):
            return Grid.from_dict(unpack(row.grid))
        raise unknown_grid(grid_id)

    def purge_windows(
        self, model: str, *, before: float | None = None, written_before: datetime | None = None
    ) -> int:
        """Delete windows that end by a position, or were written before a moment, chunk by chunk; return how many."""
        if (before is None) == (written_before is None):
            raise InputError(
                "Say either before which position windows end, or before which moment they were written."
            )
        old = windows.c.end <= before if written_before is None else windows.c.at < instant(written_before)
        return self._purge([windows], model, old, keys=("phase", "start", "end"))

    def append_predictions(self, model: str, served: Iterable[Prediction], *, at: datetime) -> int:
        """Write predictions that are not there yet; return how many those were.

        Raises
        ------
        InputError
            Naming the first id that is there with another content; what came before it may be written.
        """
        values = (prediction_values(model, each) for each in served)
        return sum(self._append(predictions, model, chunk, at) for chunk in _chunks(values, self._chunk))

    def append_outcomes(self, model: str, known: Iterable[KnownOutcome], *, at: datetime) -> int:
        """Write outcomes that are not there yet, before or after their predictions; errors likewise.

        When the same outcome became known counts from the first time.
        """
        values = (outcome_values(model, each) for each in known)
        return sum(self._append(outcomes, model, chunk, at) for chunk in _chunks(values, self._chunk))

    def append_shadows(self, model: str, answers: Iterable[tuple[str, ShadowScore]]) -> int:
        """Write what shadows answered to predictions that are there, by id, each once; return how many were new."""
        return sum(self._append_shadows(model, chunk) for chunk in _chunks(answers, self._chunk))

    def read_predictions(
        self,
        model: str,
        window: Window,
        *,
        known_by: float = math.inf,
        target: str | None = None,
        numeric: Sequence[str] = (),
        variant: str | None = None,
    ) -> LoggedRows:
        """Return a window's predictions in clock order, each served one once; of one variant where that is asked.

        The frame holds the features, ``@score`` (or ``@score:<class>``), ``@decision``, ``@version``, ``@variant``,
        ``@entity``, ``@prediction_id``, ``@known_at``, and in column ``target`` (``@outcome`` by default) the outcome,
        null where it was not known by ``known_by``.
        """
        stored = self._stored(predictions, predictions.c, model, window, variant)
        return logged_rows(stored, known_by=known_by, target=target, numeric=tuple(numeric))

    def read_shadows(
        self,
        model: str,
        window: Window,
        *,
        known_by: float = math.inf,
        target: str | None = None,
        numeric: Sequence[str] = (),
        variant: str | None = None,
    ) -> LoggedRows:
        """Return what shadows answered to a window's predictions, as if each had served them: the same columns.

        Score, decision, version and variant are the shadow's; the rest is of the served row, so that
        ``@prediction_id`` pairs both. A row comes once for each shadow that scored it, in clock order.
        """
        own = {"variant", "version", "score", "decision"}
        served = [column for column in predictions.c if column.name not in own]
        answered = [column for column in shadows.c if column.name in own]
        stored = self._stored(shadows, [*served, *answered], model, window, variant)
        return logged_rows(stored, known_by=known_by, target=target, numeric=tuple(numeric))

    def newest_position(
        self, model: str, *, until: float = math.inf, variants: Collection[str] | None = None
    ) -> float | None:
        """Return the position of the newest prediction (of some variants) not past ``until``; None without any."""
        place = predictions.c.position
        query = select(func.max(place)).where(predictions.c.model == model)
        if variants is not None:
            query = query.where(predictions.c.variant.in_(list(variants)))
        ((newest,),) = self._rows(query if until == math.inf else query.where(place <= until))
        return None if newest is None else float(newest)

    def positions(self, model: str, *, since: float = -math.inf) -> FloatArray:
        """Return the positions of all predictions from ``since`` on, ascending."""
        place = predictions.c.position
        query = select(place).where(predictions.c.model == model, *_inside(place, Window(since)))
        with self._engine.connect() as connection:
            return np.fromiter(connection.execute(query.order_by(place)).scalars(), dtype=np.float64)

    def purge_predictions(self, model: str, *, before: float) -> int:
        """Delete predictions before a position, with outcomes and shadow scores, chunk by chunk; return how many."""
        deleted = self._purge([predictions, outcomes, shadows], model, predictions.c.position < before)
        self._purge([outcomes], model, outcomes.c.known_at < before)  # whose predictions never came
        return deleted

    def _stored(
        self, table: Table, columns: Iterable[Any], model: str, window: Window, variant: str | None
    ) -> list[dict[str, Any]]:
        """Return served rows with their outcomes, in clock order; of shadows a row for each that scored it."""
        place = predictions.c.position
        query = select(*columns, outcomes.c.outcome, outcomes.c.known_at).select_from(predictions)
        if table is shadows:
            query = query.join(shadows, _same(shadows))
        query = query.join(outcomes, _same(outcomes), isouter=True)
        query = query.where(predictions.c.model == model, *_inside(place, window))
        if variant is not None:
            query = query.where(table.c.variant == variant)
        query = query.order_by(place, predictions.c.prediction_id, table.c.variant)
        return [dict(row._mapping) for row in self._rows(query)]

    def _rows(self, query: Any) -> Sequence[Row[Any]]:
        with self._engine.connect() as connection:
            return connection.execute(query).all()

    def _append_shadows(self, model: str, answers: list[tuple[str, ShadowScore]]) -> int:
        there = self._there(predictions, model, dict(answers))
        records = [shadow_record(model, name, each) for name, each in answers if name in there]
        new = self._insert(shadows).on_conflict_do_nothing().execution_options(preserve_rowcount=True)
        with self._engine.begin() as connection:
            values = [dict(zip(shadows.c.keys(), record, strict=True)) for record in records]
            return sum(connection.execute(new, each).rowcount for each in values)

    def _append(self, table: Table, model: str, chunk: list[dict[str, Any]], at: datetime) -> int:
        """Insert what is missing, then read all back and check that they are the rows that were to be written."""
        meant: dict[str, dict[str, Any]] = {}
        for values in chunk:
            if not same_content(meant.setdefault(values["prediction_id"], values), values):
                raise IdConflict(values["prediction_id"])
        there = self._there(table, model, meant)
        fresh = [{**values, "at": instant(at)} for name, values in meant.items() if name not in there]
        if fresh:
            statement = self._insert(table).on_conflict_do_nothing()
            with self._engine.begin() as connection:
                connection.execute(statement, fresh)
            there = self._there(table, model, meant)
        for name, values in meant.items():
            if not same_content(there[name], values):
                raise IdConflict(name)
        return len(fresh)

    def _there(self, table: Table, model: str, meant: Iterable[str]) -> dict[str, dict[str, Any]]:
        query = select(table).where(table.c.model == model, table.c.prediction_id.in_(list(meant)))
        rows = [dict(row._mapping) for row in self._rows(query)]
        return {row["prediction_id"]: {name: row[name] for name in row if name != "at"} for row in rows}

    def _purge(
        self,
        tables: Sequence[Table],
        model: str,
        old: ColumnElement[bool],
        keys: Sequence[str] = ("prediction_id",),
    ) -> int:
        """Delete what is old in the first table, and the rows of the same keys in the others, chunk by chunk."""
        first, deleted = tables[0].c, 0
        query = select(*(first[key] for key in keys)).where(first.model == model, old).limit(self._chunk)
        while True:
            rows = [tuple(row) for row in self._rows(query)]
            if not rows:
                return deleted
            with self._engine.begin() as connection:
                for table in tables:
                    chosen = tuple_(*(table.c[key] for key in keys)).in_(rows)
                    connection.execute(delete(table).where(table.c.model == model, chosen))
            deleted += len(rows)

    def _put_grid(self, connection: Any, grid: Grid) -> None:
        if connection.execute(select(grids.c.grid_id).where(grids.c.grid_id == grid.id)).first() is None:
            values = {"grid_id": grid.id, "grid": pack(grid.to_dict())}
            connection.execute(self._insert(grids).values(values).on_conflict_do_nothing())

    def _read_windows(self, model: str, phase: Phase, *conditions: ColumnElement[bool]) -> list[WindowRecord]:
        query = select(windows).where(windows.c.model == model, windows.c.phase == phase.value, *conditions)
        return [_record(row) for row in self._rows(query.order_by(windows.c.start, windows.c.end))]

    def _insert(self, table: Table) -> Any:
        """Return an INSERT of this database that knows ON CONFLICT."""
        dialect = sqlite if self._engine.dialect.name == "sqlite" else postgresql
        return dialect.insert(table)


def _inside(place: ColumnElement[Any], window: Window) -> list[ColumnElement[bool]]:
    bounds = [place >= window.start] if math.isfinite(window.start) else []
    return [*bounds, place < window.end] if math.isfinite(window.end) else bounds


def _chunks(values: Iterable[Item], size: int) -> Iterator[list[Item]]:
    rest = iter(values)
    while chunk := list(islice(rest, size)):
        yield chunk


def _same(table: Table) -> ColumnElement[bool]:
    return and_(table.c.model == predictions.c.model, table.c.prediction_id == predictions.c.prediction_id)


def same_content(old: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
    """Whether two stored rows mean the same; an outcome is the same whenever it became known."""
    return all(
        old[name] == new[name] or (name in _JSON and same_value(old[name], new[name]))
        for name in new
        if name != "known_at"
    )


def window_values(record: WindowRecord) -> dict[str, Any]:
    """Return a record as the log stores it.

    Raises
    ------
    InputError
        When its window is open, its time naive, or its payload nothing JSON can say.
    """
    start, end = record.window.start, record.window.end
    if not (math.isfinite(start) and math.isfinite(end)):
        raise InputError(f"Window [{start}, {end}) is open; only finite windows are logged. Give both ends.")
    return {
        "model": record.model,
        "phase": record.phase.value,
        "start": start,
        "end": end,
        "version": record.version,
        "at": instant(record.at),
        "payload": pack({"payload": record.payload, "profiles": record.profiles}),
    }


def pack(plain: dict[str, Any]) -> bytes:
    """Return JSON, compressed."""
    return zlib.compress(canonical_json(plain).encode())


def unpack(packed: bytes) -> dict[str, Any]:
    """Return what was packed."""
    plain: dict[str, Any] = json.loads(zlib.decompress(packed))
    return plain


def unknown_grid(grid_id: str) -> UnknownName:
    """Return the error for a grid that was never written."""
    return UnknownName(
        f"Unknown grid '{grid_id}'. Known: those written with a window. Pass it to put_window."
    )


def _record(row: Row[Any]) -> WindowRecord:
    text = zlib.decompress(row.payload).decode()
    plain = json.loads(text)
    payload = in_todays_words(plain["payload"]) if has_old_words(text) else plain["payload"]
    return WindowRecord(
        model=row.model,
        phase=Phase(row.phase),
        window=Window(row.start, row.end),
        version=row.version,
        at=datetime.fromisoformat(row.at),
        payload=payload,
        profiles=plain["profiles"],
    )

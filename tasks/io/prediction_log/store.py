"""The log: windows the monitor looked at, with their profiles, and served predictions; decisions are in the ledger."""

from __future__ import annotations

import json
import math
import zlib
from collections.abc import Iterable
from datetime import datetime
from typing import Any, Protocol

from sqlalchemy import ColumnElement, Engine, Row, delete, select, tuple_

from evergreen.tasks.core.data.clock import Window
from evergreen.tasks.core.drift.types import Phase
from evergreen.tasks.core.errors import InputError, UnknownName
from evergreen.tasks.core.profiles.grid import Grid
from evergreen.tasks.core.promotion.ledger import canonical_json, instant
from evergreen.tasks.core.stored_words import has_old_words, in_todays_words
from evergreen.tasks.io.databases import LOG
from evergreen.tasks.io.prediction_log.read import CHUNK, PredictionLog, SqlPredictions
from evergreen.tasks.io.prediction_log.records import WindowRecord, grids, windows


class WindowLog(Protocol):
    """What every log of windows does; one contract suite runs on each of them."""

    def put_window(self, record: WindowRecord, *, grids: Iterable[Grid] = ()) -> None:
        """Write what a look found, and grids that are not there yet, at once; a second time replaces the first."""

    def get_window(self, model: str, phase: Phase, window: Window) -> WindowRecord | None:
        """Return what a look found; None when there was none (or it was purged)."""

    def windows(
        self, model: str, phase: Phase, *, since: float = -math.inf, until: float = math.inf
    ) -> list[WindowRecord]:
        """Return windows that start in ``[since, until)``, in time order."""

    def grid(self, grid_id: str) -> Grid:
        """Return a grid; ``UnknownName`` when it is not there."""

    def purge_windows(
        self, model: str, *, before: float | None = None, written_before: datetime | None = None
    ) -> int:
        """Delete windows that end by a position, or were written before a moment, chunk by chunk; return how many."""


class Log(WindowLog, PredictionLog, Protocol):
    """Both in one."""


class SqlLog(SqlPredictions):
    """A log in SQLite or PostgreSQL, by SQLAlchemy."""

    def __init__(self, url: str) -> None:
        self.url = LOG.parse_url(url)
        self._engine: Engine = LOG.make_engine(self.url)
        LOG.migrate(self._engine)

    def put_window(self, record: WindowRecord, *, grids: Iterable[Grid] = ()) -> None:
        """Write what a look found, and grids that are not there yet, at once; a second time replaces the first."""
        values = window_values(record)
        statement = self._insert(windows).values(values)
        keys = [column.name for column in windows.primary_key]
        fresh = {name: statement.excluded[name] for name in values if name not in keys}
        with self._engine.begin() as connection:
            connection.execute(statement.on_conflict_do_update(index_elements=keys, set_=fresh))
            for grid in grids:
                self._put_grid(connection, grid)

    def get_window(self, model: str, phase: Phase, window: Window) -> WindowRecord | None:
        """Return what a look found; None when there was none (or it was purged)."""
        found = self._read(
            model,
            windows.c.phase == phase.value,
            windows.c.start == window.start,
            windows.c.end == window.end,
        )
        return found[0] if found else None

    def windows(
        self, model: str, phase: Phase, *, since: float = -math.inf, until: float = math.inf
    ) -> list[WindowRecord]:
        """Return windows that start in ``[since, until)``, in time order."""
        bounds = [windows.c.start >= since] if math.isfinite(since) else []
        bounds += [windows.c.start < until] if math.isfinite(until) else []
        return self._read(model, windows.c.phase == phase.value, *bounds)

    def grid(self, grid_id: str) -> Grid:
        """Return a grid; ``UnknownName`` when it is not there."""
        with self._engine.connect() as connection:
            found = connection.execute(select(grids.c.grid).where(grids.c.grid_id == grid_id)).scalar()
        if found is None:
            raise unknown_grid(grid_id)
        return Grid.from_dict(unpack(found))

    def purge_windows(
        self, model: str, *, before: float | None = None, written_before: datetime | None = None
    ) -> int:
        """Delete windows that end by a position, or were written before a moment, chunk by chunk."""
        old = _old(before, written_before)
        keys = (windows.c.phase, windows.c.start, windows.c.end)
        deleted = 0
        while True:
            with self._engine.connect() as connection:
                found = connection.execute(
                    select(*keys).where(windows.c.model == model, old).limit(CHUNK)
                ).all()
            if not found:
                return deleted
            chosen = tuple_(*keys).in_([tuple(row) for row in found])
            with self._engine.begin() as connection:
                connection.execute(delete(windows).where(windows.c.model == model, chosen))
            deleted += len(found)

    def _put_grid(self, connection: Any, grid: Grid) -> None:
        if connection.execute(select(grids.c.grid_id).where(grids.c.grid_id == grid.id)).first() is None:
            values = {"grid_id": grid.id, "grid": pack(grid.to_dict())}
            connection.execute(self._insert(grids).values(values).on_conflict_do_nothing())

    def _read(self, model: str, *conditions: ColumnElement[bool]) -> list[WindowRecord]:
        query = select(windows).where(windows.c.model == model, *conditions)
        with self._engine.connect() as connection:
            found = connection.execute(query.order_by(windows.c.start, windows.c.end)).all()
        return [_record(row) for row in found]


def open_log(url: str) -> Log:
    """Open the log at ``sqlite:///path`` or ``postgresql+psycopg://…``, migrating it when needed.

    Raises
    ------
    ConfigError
        For any other URL. ``Unreachable`` when the database does not answer.
    """
    return SqlLog(url)


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


def _old(before: float | None, written_before: datetime | None) -> ColumnElement[bool]:
    if (before is None) == (written_before is None):
        raise InputError(
            "Say either before which position windows end, or before which moment they were written."
        )
    return windows.c.end <= before if written_before is None else windows.c.at < instant(written_before)

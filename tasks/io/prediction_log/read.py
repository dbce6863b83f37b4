"""What every log of predictions does."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from itertools import islice
from typing import Any, Protocol, TypeVar

import numpy as np
from sqlalchemy import ColumnElement, Engine, Integer, Table, and_, cast, delete, func, select
from sqlalchemy.dialects import postgresql, sqlite

from evergreen.tasks.core.arrays import FloatArray
from evergreen.tasks.core.data.clock import Window
from evergreen.tasks.core.promotion.ledger import instant
from evergreen.tasks.core.serving.idempotency import IdConflict, same_value
from evergreen.tasks.io.prediction_log.encode import shadow_record
from evergreen.tasks.io.prediction_log.records import (
    KnownOutcome,
    LoggedRows,
    Prediction,
    ShadowScore,
    logged_rows,
    outcome_values,
    outcomes,
    prediction_values,
    predictions,
    shadows,
)


class PredictionLog(Protocol):
    """What every log of predictions does; one contract suite runs on each of them."""

    def append_predictions(self, model: str, served: Iterable[Prediction], *, at: datetime) -> int:
        """Write predictions that are not there yet; return how many those were.

        Raises
        ------
        InputError
            Naming the first id that is there with another content; what came before it may be written.
        """

    def append_outcomes(self, model: str, known: Iterable[KnownOutcome], *, at: datetime) -> int:
        """Write outcomes that are not there yet, before or after their predictions; errors likewise.

        When the same outcome became known counts from the first time.
        """

    def append_shadows(self, model: str, said: Iterable[tuple[str, ShadowScore]]) -> int:
        """Write what shadows said of predictions that are there, by id, each once; return how many were new."""

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
        """Return what shadows said of a window's predictions, as if each had served them: the same columns.

        Score, decision, version and variant are the shadow's; the rest is of the served row, so that
        ``@prediction_id`` pairs both. A row comes once for each shadow that scored it, in clock order.
        """

    def newest_position(
        self, model: str, *, until: float = math.inf, variants: Collection[str] | None = None
    ) -> float | None:
        """Return the position of the newest prediction (of some variants) not past ``until``; None without any."""

    def positions(self, model: str, *, since: float = -math.inf) -> FloatArray:
        """Return the positions of all predictions from ``since`` on, ascending."""

    def count_predictions(self, model: str, window: Window, *, by: float = 3600.0) -> dict[float, int]:
        """Return how many predictions each stretch of length ``by`` holds, by its start; empty ones are left out."""

    def purge_predictions(self, model: str, *, before: float) -> int:
        """Delete predictions before a position, with outcomes and shadow scores, chunk by chunk; return how many."""


# The prediction log: what was served, what came true, read as the rows of a window.


CHUNK = 500
"""Rows a transaction writes or deletes: whoever waits for it waits for milliseconds."""

_JSON = {"score", "decision", "features", "outcome"}

Item = TypeVar("Item")


class SqlPredictions:
    """A log of predictions in SQLite or PostgreSQL, by SQLAlchemy."""

    _engine: Engine

    def append_predictions(self, model: str, served: Iterable[Prediction], *, at: datetime) -> int:
        """Write predictions that are not there yet; return how many those were."""
        values = (prediction_values(model, each) for each in served)
        return sum(self._append(predictions, model, chunk, at) for chunk in _chunks(values))

    def append_outcomes(self, model: str, known: Iterable[KnownOutcome], *, at: datetime) -> int:
        """Write outcomes that are not there yet, before or after their predictions."""
        values = (outcome_values(model, each) for each in known)
        return sum(self._append(outcomes, model, chunk, at) for chunk in _chunks(values))

    def append_shadows(self, model: str, said: Iterable[tuple[str, ShadowScore]]) -> int:
        """Write what shadows said of predictions that are there, by id, each once; return how many were new."""
        return sum(self._append_shadows(model, chunk) for chunk in _chunks(said))

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
        """Return a window's predictions in clock order, each served one once."""
        chosen = [] if variant is None else [predictions.c.variant == variant]
        query = select(predictions, outcomes.c.outcome, outcomes.c.known_at)
        query = query.join_from(predictions, outcomes, _same(outcomes), isouter=True)
        stored = self._stored(query, model, window, *chosen)
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
        """Return what shadows said of a window's predictions, as if each had served them."""
        chosen = [] if variant is None else [shadows.c.variant == variant]
        own = {"variant", "version", "score", "decision"}
        served = [column for column in predictions.c if column.name not in own]
        said = [column for column in shadows.c if column.name in own]
        query = select(*served, *said, outcomes.c.outcome, outcomes.c.known_at)
        query = query.join_from(predictions, shadows, _same(shadows))
        query = query.join(outcomes, _same(outcomes), isouter=True)
        stored = self._stored(query, model, window, *chosen, then=shadows.c.variant)
        return logged_rows(stored, known_by=known_by, target=target, numeric=tuple(numeric))

    def newest_position(
        self, model: str, *, until: float = math.inf, variants: Collection[str] | None = None
    ) -> float | None:
        """Return the position of the newest prediction (of some variants) not past ``until``; None without any."""
        place = predictions.c.position
        query = select(func.max(place)).where(predictions.c.model == model)
        if variants is not None:
            query = query.where(predictions.c.variant.in_(list(variants)))
        with self._engine.connect() as connection:
            found = connection.execute(query if until == math.inf else query.where(place <= until)).scalar()
        return None if found is None else float(found)

    def positions(self, model: str, *, since: float = -math.inf) -> FloatArray:
        """Return the positions of all predictions from ``since`` on, ascending."""
        place = predictions.c.position
        query = select(place).where(predictions.c.model == model, *_inside(Window(since))).order_by(place)
        with self._engine.connect() as connection:
            return np.fromiter(connection.execute(query).scalars(), dtype=np.float64)

    def count_predictions(self, model: str, window: Window, *, by: float = 3600.0) -> dict[float, int]:
        """Return how many predictions each stretch of length ``by`` holds, by its start."""
        stretch = self._floor(predictions.c.position / by)
        query = select(stretch, func.count()).where(predictions.c.model == model, *_inside(window))
        with self._engine.connect() as connection:
            found = connection.execute(query.group_by(stretch).order_by(stretch)).all()
        return {float(number) * by: int(count) for number, count in found}

    def purge_predictions(self, model: str, *, before: float) -> int:
        """Delete predictions before a position, with outcomes and shadow scores, chunk by chunk."""
        deleted = self._purge(predictions, model, predictions.c.position < before, also=(outcomes, shadows))
        self._purge(outcomes, model, outcomes.c.known_at < before)  # whose predictions never came
        return deleted

    def _stored(
        self, query: Any, model: str, window: Window, *chosen: ColumnElement[bool], then: Any = None
    ) -> list[dict[str, Any]]:
        query = query.where(predictions.c.model == model, *_inside(window), *chosen)
        order = [predictions.c.position, predictions.c.prediction_id, *([] if then is None else [then])]
        with self._engine.connect() as connection:
            return [dict(row) for row in connection.execute(query.order_by(*order)).mappings()]

    def _append_shadows(self, model: str, said: list[tuple[str, ShadowScore]]) -> int:
        there = self._there(predictions, model, dict(said))
        records = [shadow_record(model, name, each) for name, each in said if name in there]
        new = self._insert(shadows).on_conflict_do_nothing().execution_options(preserve_rowcount=True)
        with self._engine.begin() as connection:
            values = [dict(zip(shadows.c.keys(), record, strict=True)) for record in records]
            return sum(connection.execute(new, each).rowcount for each in values)

    def _append(self, table: Table, model: str, chunk: list[dict[str, Any]], at: datetime) -> int:
        """Insert what is missing, then read all back: whoever was faster, what is there is what was meant."""
        meant = _by_id(chunk)
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
        with self._engine.connect() as connection:
            rows = connection.execute(query).mappings().all()
        return {row["prediction_id"]: {name: row[name] for name in row if name != "at"} for row in rows}

    def _purge(
        self, table: Table, model: str, old: ColumnElement[bool], *, also: Sequence[Table] = ()
    ) -> int:
        deleted = 0
        while True:
            query = select(table.c.prediction_id).where(table.c.model == model, old).limit(CHUNK)
            with self._engine.connect() as connection:
                names = list(connection.execute(query).scalars())
            if not names:
                return deleted
            with self._engine.begin() as connection:
                for each in (table, *also):
                    connection.execute(
                        delete(each).where(each.c.model == model, each.c.prediction_id.in_(names))
                    )
            deleted += len(names)

    def _floor(self, number: ColumnElement[Any]) -> ColumnElement[Any]:
        if self._engine.dialect.name != "sqlite":
            return func.floor(number)
        cut = cast(number, Integer)  # towards zero; SQLite need not have been built with floor()
        return cut - cast(number < cut, Integer)

    def _insert(self, table: Table) -> Any:
        """Return an INSERT of this database that knows ON CONFLICT."""
        dialect = sqlite if self._engine.dialect.name == "sqlite" else postgresql
        return dialect.insert(table)


def _inside(window: Window) -> list[ColumnElement[bool]]:
    place = predictions.c.position
    bounds = [place >= window.start] if math.isfinite(window.start) else []
    return [*bounds, place < window.end] if math.isfinite(window.end) else bounds


def _chunks(values: Iterable[Item]) -> Iterator[list[Item]]:
    rest = iter(values)
    while chunk := list(islice(rest, CHUNK)):
        yield chunk


def _by_id(chunk: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    meant: dict[str, dict[str, Any]] = {}
    for values in chunk:
        if not same_content(meant.setdefault(values["prediction_id"], values), values):
            raise IdConflict(values["prediction_id"])
    return meant


def _same(table: Table) -> ColumnElement[bool]:
    return and_(table.c.model == predictions.c.model, table.c.prediction_id == predictions.c.prediction_id)


def same_content(old: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
    """Whether two stored rows mean the same; an outcome is the same whenever it became known."""
    return all(
        old[name] == new[name] or (name in _JSON and same_value(old[name], new[name]))
        for name in new
        if name != "known_at"
    )

"""A model's labelled history in memory, cut off as of any moment without copying what came before."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np

from evergreen.tasks.core.arrays import FloatArray
from evergreen.tasks.core.config import ModelConfig
from evergreen.tasks.core.data.clock import Window
from evergreen.tasks.core.data.columns import clock_columns
from evergreen.tasks.core.data.rows import Parts, Rows
from evergreen.tasks.core.data.split import assign_parts, plan_split, rows_needed_from
from evergreen.tasks.core.errors import DataError, InputError
from evergreen.tasks.core.promotion.ledger import LedgerEntry, next_entry
from evergreen.tasks.core.retraining.decide import known_labels
from evergreen.tasks.core.retraining.types import Labels


@dataclass(frozen=True, kw_only=True, eq=False)
class History:
    """All rows of a model, each with the label it has in the end."""

    rows: Rows
    """In clock order, with every column the model needs."""
    slim: Rows
    """The same rows with the few columns that a split is planned from."""
    positions: FloatArray
    """Shape (n,). Ascending places on the clock."""

    @classmethod
    def of(cls, rows: Rows, config: ModelConfig) -> History:
        """Return the history of a model's rows.

        Raises
        ------
        InputError
            When the model has no clock to replay by.
        DataError
            When there are no rows, or they are not in clock order.
        """
        if rows.positions is None or not config.timed:
            raise InputError(
                f"'{config.model}' has no clock that its rows are divided by, so there is no past to replay. Name "
                "data.time, or write data.clock: rows; leave split.method at auto or time."
            )
        if not len(rows):
            raise DataError(f"The data of '{config.model}' hold no rows, so there is no past to replay.")
        positions = np.asarray(rows.positions, dtype=np.float64)
        if (positions[1:] < positions[:-1]).any():
            raise DataError("The rows of a history must be in clock order. Sort them by their positions.")
        slim = Rows(rows.frame[clock_columns(config)], positions)
        return cls(rows=Rows(rows.frame, positions), slim=slim, positions=positions)

    def __len__(self) -> int:
        return len(self.positions)

    def count(self, until: float) -> int:
        """Return how many rows lie before a position."""
        return int(np.searchsorted(self.positions, until, side="left"))

    def rows_until(self, since: float, until: float) -> FloatArray:
        """Return the positions from ``since`` to ``until``, both included."""
        first = np.searchsorted(self.positions, since, side="left")
        return self.positions[first : np.searchsorted(self.positions, until, side="right")]

    def between(self, window: Window) -> Rows:
        """Return the rows of a slice of the clock, numbered from 0."""
        first, last = self.count(window.start), self.count(window.end)
        return Rows(self.rows.frame.iloc[first:last].reset_index(drop=True), self.positions[first:last])

    def before(self, until: float) -> History:
        """Return the history as if nothing from a position on had happened yet."""
        count = self.count(until)
        rows, slim = _first_rows(self.rows, count), _first_rows(self.slim, count)
        return History(rows=rows, slim=slim, positions=self.positions[:count])

    def labels(self, config: ModelConfig, *, until: float) -> Labels:
        """Return the rows whose label is known as of a moment."""
        return known_labels(_first_rows(self.slim, self.count(until)), config, until=until)

    def parts(
        self, config: ModelConfig, *, until: float, refit: bool = False, change_at: float | None = None
    ) -> Parts:
        """Return training, holdout and evaluation rows as of a moment, as `evergreen.tasks.data.load_parts` reads them.

        Raises
        ------
        NotLearnable
            When a part would be empty.
        """
        slim = _first_rows(self.slim, self.count(until))
        plan = plan_split(slim, config, until=until, refit=refit, change_at=change_at)
        rows = self.between(Window(rows_needed_from(slim, plan), until))
        return assign_parts(rows, plan, drop_duplicates=config.data.drop_duplicates)


def _first_rows(rows: Rows, count: int) -> Rows:
    positions = None if rows.positions is None else rows.positions[:count]
    return dataclasses.replace(rows, frame=rows.frame.iloc[:count], positions=positions)


# The simulated clock: which moment of the calendar a place on the model's clock stands for.


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, kw_only=True)
class Step:
    """One step of the simulated clock."""

    number: int
    """1 for the first window."""
    until: float
    """As-of position: rows before it have come, and labels known by it."""
    at: datetime
    """The same on the calendar, aware and in UTC."""
    window: Window
    """The window that has just become full; for the first training, which has none, an empty one."""


@dataclass(frozen=True, kw_only=True)
class SimulatedClock:
    """Turns places on the model's clock into moments."""

    kind: str
    """One of ``timestamp``, ``seconds``, ``rows``. Timestamps are themselves, seconds count from 1970. Row
    numbers say nothing of time: there a window takes one ``monitoring.interval``."""
    interval: float
    """``monitoring.interval`` in seconds."""

    @classmethod
    def of(cls, config: ModelConfig) -> SimulatedClock:
        """Return the clock of a model."""
        return cls(kind=config.data.clock, interval=config.monitoring.interval.amount)

    def at(self, position: float, *, number: int) -> datetime:
        """Return the moment of a position that is reached with window ``number``.

        >>> SimulatedClock(kind="rows", interval=3600.0).at(5000.0, number=2).isoformat()
        '1970-01-01T02:00:00+00:00'
        """
        passed = number * self.interval if self.kind == "rows" else position
        return _EPOCH + timedelta(microseconds=round(passed * 1e6))

    def step(self, window: Window, positions: FloatArray, *, number: int) -> Step:
        """Return the step at which a window becomes full: on a clock of time with the first row past its end."""
        until = window.end
        if self.kind != "rows":
            place = int(np.searchsorted(positions, window.end, side="left"))
            until = float(positions[place]) if place < len(positions) else math.inf
        return Step(number=number, until=until, at=self.at(until, number=number), window=window)


# The ledger of a replay: the entries that would have been written live, in memory.


@dataclass(kw_only=True)
class ReplayLedger:
    """Streams of one model under one policy."""

    model: str
    """The model."""
    streams: dict[str, list[LedgerEntry]] = field(default_factory=dict)
    """Entries by stream, oldest first."""

    def read(self, stream: str) -> list[LedgerEntry]:
        """Return a stream's entries."""
        return self.streams.get(stream, [])

    def append(self, stream: str, kind: str, payload: Mapping[str, Any], *, at: datetime) -> LedgerEntry:
        """Append what happened; numbered and chained as in the real ledger, so that it reads the same."""
        entries = self.streams.setdefault(stream, [])
        last = entries[-1] if entries else None
        entry = next_entry(last, model=self.model, stream=stream, at=at, kind=kind, payload=payload)
        entries.append(entry)
        return entry

    def copy(self) -> ReplayLedger:
        """Return a ledger that goes on by itself from here."""
        streams = {name: list(entries) for name, entries in self.streams.items()}
        return ReplayLedger(model=self.model, streams=streams)

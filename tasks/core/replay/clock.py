"""The simulated clock: which moment of the calendar a place on the model's clock stands for."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np

from tasks.core.config import ModelConfig
from tasks.core.data.clock import Window
from tasks.core.metrics.scored import FloatArray

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, kw_only=True)
class Tick:
    """One step of the simulated clock.

    Attributes
    ----------
    number : int
        1 for the first window.
    until : float
        As-of position: rows before it have come, and labels known by it.
    at : datetime
        The same on the calendar, aware and in UTC.
    window : Window
        The window that has just become full; for the first training, which has none, an empty one.
    """

    number: int
    until: float
    at: datetime
    window: Window


@dataclass(frozen=True, kw_only=True)
class SimulatedClock:
    """Turns places on the model's clock into moments.

    Attributes
    ----------
    kind : {'timestamp', 'seconds', 'rows'}
        Timestamps are themselves, seconds count from 1970. Row numbers say nothing of time: there a window takes one
        ``monitoring.interval``.
    interval : float
        ``monitoring.interval`` in seconds.
    """

    kind: str
    interval: float

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

    def tick(self, window: Window, positions: FloatArray, *, number: int) -> Tick:
        """Return the step at which a window becomes full: on a clock of time with the first row past its end."""
        until = window.end
        if self.kind != "rows":
            place = int(np.searchsorted(positions, window.end, side="left"))
            until = float(positions[place]) if place < len(positions) else math.inf
        return Tick(number=number, until=until, at=self.at(until, number=number), window=window)

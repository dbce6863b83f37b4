"""How a model's clock is cut into windows: by durations, by row numbers, or by counting rows along time."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from tasks.core.config import ModelConfig
from tasks.core.config.units import Span
from tasks.core.data.clock import Window, span_length
from tasks.core.errors import ConfigError
from tasks.core.metrics.scored import FloatArray


@dataclass(frozen=True, kw_only=True)
class Cutting:
    """How a model's clock is cut into windows.

    Attributes
    ----------
    clock : {'timestamp', 'seconds', 'rows'}
        What positions count.
    window, label_delay : Span
        ``monitoring.window`` and ``data.label_delay``.
    """

    clock: str
    window: Span
    label_delay: Span

    def __post_init__(self) -> None:
        if self.window.amount <= 0:
            raise ConfigError(
                f"monitoring.window is '{self.window}', which covers nothing. Write 1h, 1d or '500 rows'."
            )
        if not self.counts_rows:
            span_length(self.window, clock=self.clock)
        if not self.waits_rows:
            span_length(self.label_delay, clock=self.clock)

    @classmethod
    def of(cls, config: ModelConfig) -> Cutting:
        """Return the cutting of a model.

        The log of served predictions has a clock of time even where the model's data have none.

        Raises
        ------
        ConfigError
            When the model has no clock, or its window or label delay has no length on it.
        """
        data, monitoring = config.data, config.monitoring
        if not data.ordered and monitoring.source == "data":
            raise ConfigError(
                f"Model '{config.model}' has no clock (data.time is not set), so its data have no windows to monitor. "
                "Name data.time, write data.clock: rows, or watch served predictions by monitoring.source: log."
            )
        clock = data.clock if data.ordered else "timestamp"
        return cls(clock=clock, window=monitoring.window, label_delay=data.label_delay)

    @property
    def counts_rows(self) -> bool:
        """True where a window is so many rows, but positions are times: rows must be seen to cut it."""
        return self.window.unit == "rows" and self.clock != "rows"

    @property
    def waits_rows(self) -> bool:
        """True where labels are known so many rows later, but positions are times."""
        return self.label_delay.unit == "rows" and self.clock != "rows"

    def full_to(self, seen: FloatArray) -> float:
        """Return where the clock is full to, by its rows: row number 9 fills the place from 9 to 10.

        Parameters
        ----------
        seen : array, shape (n,)
            Ascending positions of rows, at least one; likewise below.
        """
        newest = float(seen[-1])
        return math.floor(newest) + 1.0 if self.clock == "rows" else newest

    def known_to(self, seen: FloatArray, until: float) -> float:
        """Return the position before which labels are due, at the newest row or ``until`` if that is earlier."""
        if self.waits_rows:
            place = len(seen) - 1 - int(self.label_delay.amount)
            return float(seen[place]) if place >= 0 else -math.inf
        return min(self.full_to(seen), until) - span_length(self.label_delay, clock=self.clock)

    def known_by(self, end: float, seen: FloatArray) -> float:
        """Return the position at which the labels of a window that ends at ``end`` are due; infinity: not yet."""
        if self.waits_rows:
            place = int(np.searchsorted(seen, end, side="left")) + int(self.label_delay.amount)
            return float(seen[place]) if place < len(seen) else math.inf
        return end + span_length(self.label_delay, clock=self.clock)

    def floor(self, position: float) -> float:
        """Return where the window begins that is the first to hold a row at this position."""
        if self.counts_rows:
            return position
        if self.clock == "rows":
            return float(math.floor(position))
        return math.floor(position / self.window.amount) * self.window.amount

    def cut(
        self, seen: FloatArray, *, start: float, ready: float, most: int | None = None
    ) -> tuple[list[Window], int]:
        """Return the first ``most`` windows from ``start`` on that end by ``ready``, and how many there are in all.

        ``start`` is rounded up: durations begin at multiples of their length from position 0, row numbers at a whole
        number.
        """
        if not start < ready:
            return [], 0
        if self.counts_rows:
            found = _cut_rows(seen[seen >= start], int(self.window.amount), start, ready)
            return found[:most], len(found)
        length, origin = self.window.amount, math.ceil(start) if self.clock == "rows" else 0.0
        first = math.ceil((start - origin) / length)
        total = max(math.floor((ready - origin) / length) - first, 0)
        kept = total if most is None else min(total, most)
        edges = [origin + (first + step) * length for step in range(kept + 1)]
        return [Window(left, right) for left, right in pairwise(edges)], total


def _cut_rows(seen: FloatArray, count: int, start: float, ready: float) -> list[Window]:
    """Cut after every ``count`` rows; a window ends where the next row is, so that equal positions stay together."""
    found: list[Window] = []
    place = 0
    while place + count < len(seen):
        place = int(np.searchsorted(seen, seen[place + count - 1], side="right"))
        if place == len(seen) or seen[place] > ready:
            break
        end = float(seen[place])
        found.append(Window(start, end))
        start = end
    return found

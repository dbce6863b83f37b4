"""When each row happened, when its label became known, and which rows belong together."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd

from evergreen.tasks.core.arrays import FloatArray
from evergreen.tasks.core.config import ModelConfig
from evergreen.tasks.core.config.units import Span
from evergreen.tasks.core.data.clock import Window, span_length
from evergreen.tasks.core.data.rows import Rows, SplitPlan, draft_plan
from evergreen.tasks.core.data.times import to_positions
from evergreen.tasks.core.errors import DataError


@dataclass(frozen=True, kw_only=True)
class Timeline:
    """One entry per row; all arrays of shape (n,).

    Attributes
    ----------
    positions : where the row is on the clock.
    first, last : earliest and latest position of the row's group; the position itself where rows have no group.
    ready : position from which a later part may begin: the label is known and the purge is over (of the whole group).
    usable : whether the row has a label that was known as of the plan's ``until``.
    """

    positions: np.ndarray
    first: np.ndarray
    last: np.ndarray
    ready: np.ndarray
    usable: np.ndarray

    @property
    def grain(self) -> float:
        """Grain of the clock: the greatest step of whole units that reaches every row, at most a day; else 1."""
        steps = np.diff(np.unique(self.positions))
        if len(steps) == 0 or (steps != np.rint(steps)).any():
            return 1.0
        return float(min(np.gcd.reduce(steps.astype(np.int64)), 86400))

    def after(self, places: np.ndarray, limit: float | None = None) -> float:
        """Return the first whole grain past the last of some places, at most ``limit``; -inf without places."""
        if len(places) == 0:
            return -math.inf
        end = math.floor(places.max()) + self.grain
        return end if limit is None else min(end, limit)

    def inside(self, window: Window) -> np.ndarray:
        """Return the usable rows whose whole group lies in the window."""
        return self.usable & (self.first >= window.start) & (self.last < window.end)


def make_timeline(frame: pd.DataFrame, positions: np.ndarray, plan: SplitPlan) -> Timeline:
    """Return the timeline of a frame that holds the plan's target, label time and group.

    Raises
    ------
    DataError
        When the label time cannot be read.
    """
    label_at = labels_known_at(frame, positions, plan)
    usable = frame[plan.target].notna().to_numpy() if plan.target else np.ones(len(frame), dtype=bool)
    ready = label_at + (delayed(positions, plan.purge, clock=plan.clock) - positions)
    first = last = positions
    if plan.group is not None:
        codes = pd.factorize(frame[plan.group], use_na_sentinel=False)[0]
        first, last = _per_group(np.minimum, positions, codes), _per_group(np.maximum, positions, codes)
        ready, label_at = _per_group(np.maximum, ready, codes), _per_group(np.maximum, label_at, codes)
    if plan.until is not None:
        usable = usable & (label_at <= plan.until) & (last < plan.until)
    return Timeline(positions=positions, first=first, last=last, ready=ready, usable=usable)


def newest_from(places: np.ndarray, span: Span, *, end: float, clock: str) -> float:
    """Return the position at which the newest ``span`` before ``end`` begins.

    Raises
    ------
    ConfigError
        When the span is a duration and the clock counts rows.
    """
    if span.unit == "rows" and clock != "rows":
        return newest_rows_from(places, math.ceil(span.amount))
    return end - span_length(span, clock=clock)


def newest_rows_from(places: np.ndarray, count: int) -> float:
    """Return the position at which the newest ``count`` rows begin; -inf without rows.

    Rows at one position stay whole; where there are fewer rows, it is that of the first.

    >>> newest_rows_from(np.array([0.0, 1.0, 1.0, 2.0]), 2)
    1.0
    """
    if len(places) == 0:
        return -math.inf
    return float(np.sort(places)[-min(max(count, 1), len(places))])


def delayed(positions: np.ndarray, span: Span, *, clock: str) -> np.ndarray:
    """Return each position moved on by a span.

    A number of rows on a clock of time leads to the position of the row that comes so many rows later, infinity
    where there is none yet.
    """
    if span.amount == 0:
        return positions.astype(np.float64)
    if span.unit == "rows" and clock != "rows":
        order = np.append(np.sort(positions), math.inf)
        places = np.searchsorted(order[:-1], positions, side="left") + int(span.amount)
        return np.asarray(order[np.minimum(places, len(positions))])
    return positions + span_length(span, clock=clock)


def labels_known_at(frame: pd.DataFrame, positions: np.ndarray, plan: SplitPlan) -> np.ndarray:
    """Return when each label became known: that of the column, else the position and the label delay.

    Raises
    ------
    DataError
        When the label time cannot be read.
    """
    by_delay = delayed(positions, plan.label_delay, clock=plan.clock)
    if plan.label_time is None:
        return by_delay
    column = frame[plan.label_time]
    label_at = to_positions(column, clock=plan.clock, time_format=plan.time_format, allow_null=True)
    return np.where(np.isnan(label_at), by_delay, np.maximum(label_at, positions))


def _per_group(reduce: np.ufunc, values: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """Return each group's least or greatest value, repeated for its rows."""
    if len(values) == 0:
        return values
    order = np.argsort(codes, kind="stable")
    starts = np.flatnonzero(np.diff(codes[order], prepend=-1))
    return np.asarray(reduce.reduceat(values[order], starts)[codes])


# When the outcome of a row became known, by a configuration.


def outcomes_known_at(rows: Rows, *, config: ModelConfig) -> FloatArray:
    """Return when each row's outcome became known, shape (n,), on the clock of the positions.

    That is ``data.label_time`` where it is given (and not null, and never before the row), else
    ``data.label_delay`` after the row. A delay in rows on a clock of time ends at the row so many places later
    among these rows; infinity where there is none yet.

    Raises
    ------
    DataError
        When the rows have no clock.
    """
    if rows.positions is None:
        raise DataError("Without a clock it is unknown when an outcome became known; set data.time.")
    return labels_known_at(rows.frame, rows.positions, draft_plan(config))


def purge_after(rows: Rows, *, config: ModelConfig) -> FloatArray:
    """Return how long after each row's outcome a later part may begin (``split.purge``), shape (n,)."""
    if rows.positions is None:
        raise DataError("Without a clock there is no gap between rows; set data.time.")
    ends = delayed(rows.positions, config.split.purge, clock=config.data.clock)
    return ends - rows.positions

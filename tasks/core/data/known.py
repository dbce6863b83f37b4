"""When the outcome of a row became known, as a configuration says."""

from __future__ import annotations

from tasks.core.config import ModelConfig
from tasks.core.data import timeline
from tasks.core.data.rows import Rows
from tasks.core.data.split_plan import SplitPlan
from tasks.core.errors import DataError
from tasks.core.metrics.scored import FloatArray


def known_at(rows: Rows, *, config: ModelConfig) -> FloatArray:
    """Return when each row's outcome became known, shape (n,), on the clock of the positions.

    That is ``data.label_time`` where it is given (and not null, and never before the row), else
    ``data.label_delay`` after the row. A delay in rows on a clock of time ends at the row so many places later
    among these rows; infinity where there is none yet.

    Raises
    ------
    DataError
        When the rows have no clock.
    """
    data = config.data
    if rows.positions is None:
        raise DataError("Without a clock nobody can say when an outcome became known; set data.time.")
    plan = SplitPlan(
        method="time",
        clock=data.clock,
        time_format=data.time_format,
        label_time=data.label_time,
        label_delay=data.label_delay,
    )
    return timeline.known_at(rows.frame, rows.positions, plan)


def purge_after(rows: Rows, *, config: ModelConfig) -> FloatArray:
    """Return how long after each row's outcome a later part may begin (``split.purge``), shape (n,)."""
    if rows.positions is None:
        raise DataError("Without a clock there is no gap between rows; set data.time.")
    ends = timeline.delayed(rows.positions, config.split.purge, clock=config.data.clock)
    return ends - rows.positions

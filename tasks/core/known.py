"""When the outcome of a row became known."""

from __future__ import annotations

import numpy as np

from tasks.core.clock import span_length, to_positions
from tasks.core.config import ModelConfig
from tasks.core.errors import DataError
from tasks.core.rows import Rows
from tasks.core.schema import Schema
from tasks.core.scored import FloatArray


def known_at(rows: Rows, *, schema: Schema, config: ModelConfig) -> FloatArray:
    """Return when each row's outcome became known, shape (n,), on the clock of the positions.

    That is ``data.label_time`` where it is given (and not null), else ``data.label_delay`` after the row.

    Raises
    ------
    DataError
        When the rows have no clock.
    """
    if rows.positions is None:
        raise DataError("Without a clock nobody can say when an outcome became known; set data.time.")
    delayed = rows.positions + span_length(config.data.label_delay, clock=config.data.clock)
    if schema.label_time is None:
        return np.asarray(delayed)
    told = to_positions(
        rows.frame[schema.label_time],
        clock=config.data.clock,
        time_format=config.data.time_format,
        allow_null=True,
    )
    return np.where(np.isnan(told), delayed, told)

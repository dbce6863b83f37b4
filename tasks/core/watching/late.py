"""Labels as they were known when a window's outcomes are judged: what came later is unknown, and counted."""

from __future__ import annotations

import numpy as np

from tasks.core.config import ModelConfig
from tasks.core.data.clock import to_positions
from tasks.core.data.rows import Rows
from tasks.core.metrics.scored import FloatArray


def label_times(rows: Rows, *, config: ModelConfig) -> FloatArray | None:
    """Return the position at which each label became known, shape (n,); None without ``data.label_time``.

    NaN where the column says nothing: such a label counts as known after ``data.label_delay``, that is in time.

    Raises
    ------
    DataError
        When a label time is not on the clock.
    """
    data = config.data
    if data.label_time is None:
        return None
    return to_positions(
        rows.frame[data.label_time], clock=data.clock, time_format=data.time_format, allow_null=True
    )


def hide_late_labels(
    rows: Rows, *, target: str, known: FloatArray | None, known_by: float
) -> tuple[Rows, int]:
    """Return the rows with those labels missing that became known after ``known_by``, and how many these are.

    Parameters
    ----------
    rows : Rows
        Left as they are.
    target : str
        Column of the label.
    known : array, shape (n,), or None
        When each label became known; NaN or None: in time.
    known_by : float
        Position as of which labels count.

    Examples
    --------
    >>> import pandas as pd
    >>> rows = Rows(pd.DataFrame({"y": [1, 0]}), np.array([0.0, 1.0]))
    >>> shown, late = hide_late_labels(rows, target="y", known=np.array([5.0, 7.0]), known_by=6.0)
    >>> shown.frame["y"].tolist(), late
    ([1.0, nan], 1)
    """
    if known is None:
        return rows, 0
    late = (known > known_by) & rows.frame[target].notna().to_numpy()
    if not late.any():
        return rows, 0
    labels = rows.frame[target].where(~late)
    return Rows(rows.frame.assign(**{target: labels}), rows.positions), int(np.count_nonzero(late))

"""Which rows have a label that is known now."""

from __future__ import annotations

import numpy as np

from tasks.core.config import ModelConfig
from tasks.core.data.rows import Rows
from tasks.core.data.split import draft_plan
from tasks.core.data.timeline import make_timeline
from tasks.core.retraining.words import Labels


def known_labels(rows: Rows, config: ModelConfig, *, until: float | None = None) -> Labels:
    """Return the places of rows whose label is known.

    Parameters
    ----------
    rows : Rows
        With the columns that a split is planned from (`tasks.core.data.columns.clock_columns`).
    until : float, optional
        As of this position: no row at or after it, no label known after it.

    Returns
    -------
    Labels
        Positions on the clock; without a clock the labelled rows are counted from 0 on.
    """
    if rows.positions is None:
        count = int(rows.frame[config.data.target].notna().sum())
        return Labels(positions=np.arange(count, dtype=np.float64))
    line = make_timeline(rows.frame, rows.positions, draft_plan(config, until=until))
    return Labels(positions=np.sort(rows.positions[line.usable]))

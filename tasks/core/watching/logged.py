"""Answers as they were served, from the log of predictions."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd

from tasks.core.data.rows import Rows
from tasks.core.metrics.scored import Scored
from tasks.core.profiles.reference import DECISION, SCORE

VERSION = "@version"
"""Column of logged rows: the version that answered."""


def with_logged_answers(scored: Scored, rows: Rows, *, version: int) -> Scored:
    """Return answers with those that a version gave itself in place of what it would say now.

    Parameters
    ----------
    scored : Scored
        What the version says of the rows.
    rows : Rows
        Logged rows with ``@version`` and ``@score`` (or one ``@score:<class>`` a class), perhaps ``@decision``.
    version : int
        The version; answers of others are not its own.
    """
    frame = rows.frame
    names = [SCORE] if scored.require("score").ndim == 1 else [f"{SCORE}:{label}" for label in scored.classes]
    if frame.empty or VERSION not in frame or any(name not in frame for name in names):
        return scored
    given = frame[names].to_numpy(dtype=np.float64, na_value=np.nan)
    own = (pd.to_numeric(frame[VERSION], errors="coerce") == version).to_numpy() & np.isfinite(given).all(
        axis=1
    )
    score = scored.require("score").astype(np.float64).reshape(len(frame), -1).copy()
    score[own] = given[own]
    label = scored.label
    if label is not None and DECISION in frame:
        known = own & frame[DECISION].notna().to_numpy()
        label = np.where(known, frame[DECISION].to_numpy(), label)
    return replace(scored, score=score[:, 0] if len(names) == 1 else score, label=label)

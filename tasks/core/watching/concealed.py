"""Private columns that the log of served predictions holds hashed or not at all: not watched, and never scored anew.

The champion cannot be asked again without them, so that its answers to logged rows are the served ones alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from tasks.core.config import ModelConfig
from tasks.core.data.rows import Rows
from tasks.core.data.schema import Schema
from tasks.core.drift.reference import Reference
from tasks.core.errors import DataError
from tasks.core.learning.scorer import Scorer
from tasks.core.learning.scoring import frame_scores
from tasks.core.metrics.scored import BoolArray, Scored
from tasks.core.profiles.reference import SCORE
from tasks.core.verdict import Reason
from tasks.core.watching.logged import VERSION, with_logged_answers
from tasks.core.watching.past import Past, take_signals

_HELD = {"hash": "a keyed hash of each value", "leave_out": "nothing"}


def concealed_features(config: ModelConfig, schema: Schema) -> tuple[str, ...]:
    """Return the features that windows of the model cannot show; none where the data source is watched."""
    if config.monitoring.source != "log":
        return ()
    return tuple(name for name in schema.features if name in config.data.private)


def say_concealed(columns: Sequence[str], config: ModelConfig) -> Reason:
    """Say which columns are not watched, and why."""
    message = (
        f"Not watched: {', '.join(columns)}. The log of served predictions holds {_HELD[config.serving.private]} of "
        "data.private columns (serving.private), so that neither their drift nor their link with the outcome can be "
        "measured. Watch the data instead by monitoring.source: data, where it may be read."
    )
    return Reason(code="private_columns", message=message, observed=", ".join(columns), n=len(columns))


def without_columns(reference: Reference, columns: Sequence[str]) -> Reference:
    """Return the reference without the profiles of some features; its grid stays the model's own."""
    kept = {name: one for name, one in reference.inputs.columns.items() if name not in columns}
    return replace(reference, inputs=replace(reference.inputs, columns=kept))


def past_without(past: Past, columns: Sequence[str]) -> Past:
    """Return a version's past without the signals of some features."""
    if not columns:
        return past
    series = {
        kind: take_signals(one, tuple(key for key in one.keys if key.column not in columns))
        for kind, one in past.series.items()
    }
    return replace(past, series={kind: one for kind, one in series.items() if one.keys})


def show_missing(rows: Rows, columns: Sequence[str], config: ModelConfig) -> Rows:
    """Return logged rows whose concealed columns are missing values, instead of hashes or no columns at all."""
    if not columns or VERSION not in rows.frame:
        return rows
    value = [config.data.value] if config.data.value in config.data.private else []
    return replace(rows, frame=rows.frame.assign(**{str(name): np.nan for name in (*columns, *value)}))


def own_answers(
    model: Scorer, rows: Rows, *, version: int, config: ModelConfig
) -> tuple[Scored, BoolArray | None]:
    """Return what a version answered itself, and to which of the rows.

    Parameters
    ----------
    model : Scorer
        The version; it is not asked.
    rows : Rows
        Logged rows with ``@version`` and ``@score`` (or one ``@score:<class>`` a class), perhaps ``@decision``.
    version : int
        Its number.

    Returns
    -------
    Scored
        Of m rows.
    array of bool, shape (n,)
        The m rows.

    Raises
    ------
    DataError
        When the log does not hold the columns of the score, or of a ranking's group.
    """
    several = config.problem == "multiclass"
    names = [f"{SCORE}:{label}" for label in model.classes] if several else [SCORE]
    needed = [*names, *([str(config.data.group)] if config.problem == "ranking" else [])]
    absent = [name for name in needed if name not in rows.frame]
    if absent:
        raise DataError(
            f"Logged rows have no column {', '.join(map(repr, absent))}, and cannot be scored anew without private "
            "columns. Send the group with each row, and keep it by serving.private: hash."
        )
    given = (
        rows.frame[names].apply(pd.to_numeric, errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)
    )
    by = pd.to_numeric(rows.frame[VERSION], errors="coerce")
    own = (by == version).to_numpy(dtype=np.bool_) & np.isfinite(given).all(axis=1)
    taken, score = rows.take(own), given[own]
    scored = frame_scores(
        taken, score if several else score[:, 0], schema=model.schema, config=config, classes=model.classes,
        threshold=model.threshold,
    )  # fmt: skip
    return with_logged_answers(scored, taken, version=version), own

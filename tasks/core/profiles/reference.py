"""The reference: profiles frozen with a version, so that later decisions never need its training rows."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from tasks.core.config import ModelConfig
from tasks.core.data.rows import Rows
from tasks.core.data.schema import Schema
from tasks.core.learning.features import feature_frame, outcomes
from tasks.core.metrics.scored import Scored
from tasks.core.profiles.grid import Grid, make_grid
from tasks.core.profiles.profile import Profile, measure_profile

OUTCOME, SCORE, DECISION, LOSS = "@outcome", "@score", "@decision", "@loss"
"""Names of the columns that are no features; no column of a data set can be mistaken for them in a report."""


def reference_profiles(
    rows: Rows, scored: Scored, *, schema: Schema, config: ModelConfig, score_source: str
) -> dict[str, Any]:
    """Return the reference of a version in its JSON form.

    Parameters
    ----------
    rows : Rows
        Training rows: features and outcome are counted on them.
    scored : Scored
        Answers on rows the answering model had not seen: score and decision are counted on them.
    score_source : str
        Where ``scored`` comes from, e.g. ``out_of_fold``.

    Returns
    -------
    dict
        ``inputs`` (features and ``@outcome``, jointly) and ``answers`` (``@score…``, ``@decision``,
        ``@outcome``): two profiles, each over a grid of its own, since their rows differ.
    """
    frame, private = answer_frame(scored), frozenset(config.data.private)
    hashed = frozenset({DECISION, OUTCOME}) if config.data.target in private else frozenset()
    categorical = frozenset({DECISION, OUTCOME} if _has_classes(config) else ()) & frozenset(frame.columns)
    answers = make_grid(frame, categorical=categorical, private=hashed, outcome=OUTCOME)
    return {
        "inputs": input_profile(rows, schema=schema, config=config).to_dict(),
        "answers": measure_profile(frame, answers).to_dict(),
        "score_source": score_source,
    }


def input_profile(rows: Rows, *, schema: Schema, config: ModelConfig, grid: Grid | None = None) -> Profile:
    """Return the profile of features and ``@outcome``, over a grid that is given or laid over these rows."""
    frame = feature_frame(rows.frame, schema).assign(**{OUTCOME: outcomes(rows.frame, schema, config)})
    return measure_profile(frame, input_grid(frame, schema=schema, config=config) if grid is None else grid)


def input_grid(frame: pd.DataFrame, *, schema: Schema, config: ModelConfig) -> Grid:
    """Lay a grid over features and ``@outcome``."""
    private = frozenset(config.data.private)
    return make_grid(
        frame,
        categorical=frozenset([*schema.categorical, *([OUTCOME] if _has_classes(config) else [])]),
        private=private | ({OUTCOME} if config.data.target in private else frozenset()),
        outcome=OUTCOME,
    )


def answer_frame(scored: Scored) -> pd.DataFrame:
    """Return score, decision and outcome as columns: ``@score`` or one ``@score:<class>`` a class."""
    score = scored.require("score")
    columns: dict[str, Any] = {OUTCOME: scored.y}
    if score.ndim == 1:
        columns[SCORE] = score.astype(np.float64)
    else:
        columns |= {f"{SCORE}:{label}": score[:, place] for place, label in enumerate(scored.classes)}
    if scored.label is not None:
        columns[DECISION] = scored.label
    return pd.DataFrame(columns)


def _has_classes(config: ModelConfig) -> bool:
    return config.problem in ("binary", "multiclass")

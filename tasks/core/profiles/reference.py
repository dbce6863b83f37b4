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
from tasks.core.profiles.grid import make_grid
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
    private = frozenset(config.data.private)
    classes = config.problem in ("binary", "multiclass")
    inputs = _profile(
        feature_frame(rows.frame, schema).assign(**{OUTCOME: outcomes(rows.frame, schema, config)}),
        categorical=frozenset([*schema.categorical, *([OUTCOME] if classes else [])]),
        private=private,
    )
    answers = _profile(
        answer_frame(scored),
        categorical=frozenset([DECISION, OUTCOME]) if classes else frozenset(),
        private=private,
    )
    return {"inputs": inputs.to_dict(), "answers": answers.to_dict(), "score_source": score_source}


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


def _profile(frame: pd.DataFrame, *, categorical: frozenset[str], private: frozenset[str]) -> Profile:
    present = categorical & frozenset(map(str, frame.columns))
    return measure_profile(frame, make_grid(frame, categorical=present, private=private, outcome=OUTCOME))

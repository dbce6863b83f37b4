"""The reference: profiles frozen with a version, so that later decisions never need its training rows."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from tasks.core.config import ModelConfig
from tasks.core.data.rows import Rows
from tasks.core.data.schema import Schema
from tasks.core.learning.features import feature_frame, outcomes
from tasks.core.metrics.scored import Scored
from tasks.core.profiles.grid import Grid, make_grid
from tasks.core.profiles.keep import keep_grid, schema_change
from tasks.core.profiles.profile import Profile, measure_profile

OUTCOME, SCORE, DECISION, LOSS = "@outcome", "@score", "@decision", "@loss"
"""Names of the columns that are no features; no column of a data set can be mistaken for them in a report."""


class Fitting(NamedTuple):
    """A profile over the grid that fits it: an earlier one, or one laid anew, and why."""

    profile: Profile
    reason: str


def reference_profiles(
    rows: Rows,
    scored: Scored,
    *,
    schema: Schema,
    config: ModelConfig,
    score_source: str,
    earlier: Grid | None = None,
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
    earlier : Grid, optional
        The inputs' grid of an earlier version, kept while it fits (`fit_inputs`).

    Returns
    -------
    dict
        ``inputs`` (features and ``@outcome``, jointly) and ``answers`` (``@score…``, ``@decision``,
        ``@outcome``): two profiles, each over a grid of its own, since their rows differ; ``grid`` says why the
        inputs' grid is what it is.
    """
    frame, private = answer_frame(scored, config=config), frozenset(config.data.private)
    hashed = frozenset({DECISION, OUTCOME}) if config.data.target in private else frozenset()
    categorical = frozenset({DECISION, OUTCOME} if _has_classes(config) else ()) & frozenset(frame.columns)
    answers = make_grid(frame, categorical=categorical, private=hashed, outcome=OUTCOME)
    inputs = fit_inputs(rows, schema=schema, config=config, earlier=earlier)
    return {
        "inputs": inputs.profile.to_dict(),
        "answers": measure_profile(frame, answers).to_dict(),
        "score_source": score_source,
        "grid": inputs.reason,
    }


def fit_inputs(rows: Rows, *, schema: Schema, config: ModelConfig, earlier: Grid | None = None) -> Fitting:
    """Return the profile of features and ``@outcome``: over an earlier grid while that fits, else over a fresh one.

    A grid belongs to the model: while versions share it, their windows' profiles add up. It fits while the schema is
    the same, no cell holds more than 2 % of a column's rows (`tasks.core.profiles.keep.keep_grid`), and no class is
    new.
    """
    frame = feature_frame(rows.frame, schema).assign(**{OUTCOME: outcomes(rows.frame, schema, config)})
    fresh = _input_grid(frame, schema=schema, config=config)
    if earlier is None:
        return Fitting(measure_profile(frame, fresh), "laid over these rows: the model had none")
    reason = schema_change(earlier, fresh)
    if not reason:
        profile = measure_profile(frame, earlier)
        kept = keep_grid(earlier, profile)
        if kept.keep and not _new_classes(profile):
            return Fitting(profile, f"kept from the version before: {kept.reason}")
        reason = "the outcome has a new class" if kept.keep else kept.reason
    return Fitting(measure_profile(frame, fresh), f"laid anew: {reason}")


def answer_frame(scored: Scored, *, config: ModelConfig) -> pd.DataFrame:
    """Return score, decision and outcome as columns: ``@score``, or one ``@score:<class>`` a class.

    Of a private target the classes are numbered.
    """
    hidden = config.data.target in config.data.private
    score = scored.require("score")
    columns: dict[str, Any] = {OUTCOME: scored.y}
    if score.ndim == 1:
        columns[SCORE] = score.astype(np.float64)
    else:
        names = range(1, score.shape[1] + 1) if hidden else scored.classes
        columns |= {f"{SCORE}:{name}": score[:, place] for place, name in enumerate(names)}
    if scored.label is not None:
        columns[DECISION] = scored.label
    return pd.DataFrame(columns)


def _has_classes(config: ModelConfig) -> bool:
    return config.problem in ("binary", "multiclass")


def _input_grid(frame: pd.DataFrame, *, schema: Schema, config: ModelConfig) -> Grid:
    private = frozenset(config.data.private)
    return make_grid(
        frame,
        categorical=frozenset([*schema.categorical, *([OUTCOME] if _has_classes(config) else [])]),
        private=private | ({OUTCOME} if config.data.target in private else frozenset()),
        outcome=OUTCOME,
    )


def _new_classes(profile: Profile) -> bool:
    """Tell whether an outcome is of a class that the grid does not know."""
    categorical = profile.grid.columns[OUTCOME].kind == "categorical"
    return categorical and profile.columns[OUTCOME].counts[-1] > 0

"""Score rows with a model: the one way from an estimator and rows to what metrics and tests take."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from tasks.core.config import ModelConfig
from tasks.core.data.rows import Rows
from tasks.core.data.schema import Schema
from tasks.core.errors import DataError, NotLearnable
from tasks.core.learning.answers import answer
from tasks.core.learning.features import feature_frame, group_codes, outcomes
from tasks.core.metrics.scored import Array, FloatArray, Scored


def score_rows(
    estimator: Any,
    rows: Rows,
    *,
    schema: Schema,
    config: ModelConfig,
    classes: tuple[Any, ...],
    threshold: float = 0.5,
) -> Scored:
    """Score labelled rows.

    Parameters
    ----------
    estimator : object
        Fitted; anything `tasks.core.learning.answers.answer` understands.
    rows : Rows
        Rows with features and target, in any order of columns.
    schema : Schema
        The version's own schema.
    config : ModelConfig
        The model's configuration.
    classes : tuple
        (negative, positive) for binary, all classes for multiclass, else empty.
    threshold : float
        Decision threshold on P(positive) (binary).

    Raises
    ------
    DataError
        When a column is missing or the answer cannot be read.
    """
    if rows.frame.empty:
        return frame_scores(rows, np.zeros((0,)), schema=schema, config=config, classes=classes)
    score = answer(
        estimator, feature_frame(rows.frame, schema), problem=config.problem.value, classes=classes
    )
    return frame_scores(rows, score, schema=schema, config=config, classes=classes, threshold=threshold)


def frame_scores(
    rows: Rows,
    score: FloatArray,
    *,
    schema: Schema,
    config: ModelConfig,
    classes: tuple[Any, ...],
    threshold: float = 0.5,
) -> Scored:
    """Put scores beside the rows' outcome, group, value and clock, in the roles the configuration gives now."""
    schema = schema.with_roles_of(config)
    label = decide_labels(score, classes=classes, threshold=threshold)
    if config.problem == "binary":
        score, classes = towards_positive(score, classes, config)
    return Scored(
        y=outcomes(rows.frame, schema, config),
        score=score,
        label=label,
        classes=classes,
        positive_class=classes[1] if config.problem == "binary" else None,
        group=group_codes(rows.frame, schema) if config.problem == "ranking" else None,
        value=_value(rows.frame, schema),
        positions=rows.positions,
    )


def decide_labels(score: FloatArray, *, classes: tuple[Any, ...], threshold: float) -> Array | None:
    """Turn scores into classes: P(positive) >= threshold, or the most likely one; None without classes."""
    if not classes:
        return None
    names = np.asarray(classes)
    if score.ndim == 1:
        return names[(score >= threshold).astype(np.int64)]
    return names[score.argmax(axis=1)]


def decided_by(scored: Scored, threshold: float) -> Scored:
    """Return the same scores, decided by a threshold on P(positive); unchanged where nothing is decided so."""
    if scored.score is None or len(scored.classes) != 2:
        return scored
    return replace(scored, label=decide_labels(scored.score, classes=scored.classes, threshold=threshold))


def is_turned(classes: tuple[Any, ...], config: ModelConfig) -> bool:
    """Tell whether a version was trained with the other class as the positive one (binary).

    Raises
    ------
    NotLearnable
        ``classes_changed``: the configuration's positive class is none of the version's.
    """
    positive = config.data.positive_class
    positive = max(classes) if positive is None else positive
    if positive not in classes:
        raise NotLearnable(
            "classes_changed",
            f"data.positive_class {positive!r} is unknown to a version that learned the classes "
            f"{', '.join(map(repr, classes))}. Train a new version, or restore data.positive_class.",
            observed=str(positive),
        )
    return bool(positive != classes[1])


def towards_positive(
    score: FloatArray, classes: tuple[Any, ...], config: ModelConfig
) -> tuple[FloatArray, tuple[Any, ...]]:
    """Return P(positive) and its classes, where a version was trained with the other class as the positive one."""
    return (1.0 - score, classes[::-1]) if is_turned(classes, config) else (score, classes)


def _value(frame: pd.DataFrame, schema: Schema) -> FloatArray | None:
    if schema.value is None:
        return None
    if schema.value not in frame.columns:
        raise DataError(f"Missing column '{schema.value}'. Add it to the data, or correct data.value.")
    return frame[schema.value].to_numpy(dtype=np.float64)

"""Logged rows as answers of a live test: which variant answered what, and the outcomes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from evergreen.tasks.core.ab_testing.evidence import LoggedAnswers
from evergreen.tasks.core.arrays import Array, BoolArray, FloatArray, ObjectArray
from evergreen.tasks.core.config import ModelConfig
from evergreen.tasks.core.data.rows import Rows
from evergreen.tasks.core.errors import DataError
from evergreen.tasks.core.metrics.scored import Scored
from evergreen.tasks.core.profiles.reference import DECISION, SCORE
from evergreen.tasks.core.traffic.assign import entity_key
from evergreen.tasks.core.training.scoring import decide_labels

KEY, VARIANT, ENTITY, KNOWN_AT = "@prediction_id", "@variant", "@entity", "@known_at"
"""Columns of logged rows beside the features, the score and the decision."""


def join_rows(parts: Sequence[Rows]) -> Rows:
    """Return several reads of the log as one; without any row an empty frame."""
    filled = [part for part in parts if len(part)]
    if not filled:
        return parts[0] if parts else Rows(pd.DataFrame(), np.zeros(0))
    frame = pd.concat([part.frame.astype(object) for part in filled], ignore_index=True)
    return Rows(frame, np.concatenate([np.asarray(part.positions) for part in filled]))


def read_answers(rows: Rows, *, config: ModelConfig, classes: tuple[Any, ...]) -> LoggedAnswers:
    """Read what the variants answered from rows of the log.

    Parameters
    ----------
    rows : Rows
        ``@prediction_id``, ``@variant``, ``@entity``, ``@known_at``, ``@score`` (or one ``@score:<class>`` a class),
        perhaps ``@decision``, the target (null: unknown), and the columns of group and value.
    classes : tuple
        (negative, positive) for binary, all classes for multiclass, else empty.

    Raises
    ------
    DataError
        When a column is missing.
    """
    if config.problem == "ranking" and len(rows):  # a row without a group cannot be compared with any other
        groups = _column(rows.frame, str(config.data.group))
        rows = rows.take(np.array([entity_key(one) is not None for one in groups], dtype=np.bool_))
    frame, empty = rows.frame, np.empty(0, dtype=object)
    if not len(rows):
        scored = Scored(y=np.zeros(0), score=np.zeros(0), classes=classes)
        numbers = dict.fromkeys(("positions", "known_at"), np.zeros(0))
        return LoggedAnswers(keys=empty, variants=empty, units=empty, **numbers, scored=scored)
    labelled = _column(frame, config.data.target).notna().to_numpy()
    return LoggedAnswers(
        keys=_column(frame, KEY).astype(str).to_numpy(dtype=object),
        variants=_column(frame, VARIANT).astype(object).to_numpy(),
        units=_units(frame, config),
        positions=np.zeros(0) if rows.positions is None else np.asarray(rows.positions, dtype=np.float64),
        known_at=np.where(labelled, _numbers(frame, KNOWN_AT), np.nan),
        scored=_scored(frame, labelled, config=config, classes=classes),
    )


def _scored(
    frame: pd.DataFrame, labelled: BoolArray, *, config: ModelConfig, classes: tuple[Any, ...]
) -> Scored:
    """Return outcomes and answers; an unknown outcome has a value in its place that nothing reads."""
    data, group, value = config.data, None, None
    if config.problem == "multiclass":
        score = np.column_stack([_numbers(frame, f"{SCORE}:{label}") for label in classes])
    else:
        score = _numbers(frame, SCORE)
    if config.problem == "ranking":
        group = np.array([entity_key(one) for one in frame[str(data.group)]], dtype=object)
    if data.value_column is not None and data.value_column in frame:
        value = _numbers(frame, data.value_column)
    return Scored(
        y=_outcomes(frame[data.target], labelled, numbers=config.problem in ("regression", "ranking")),
        score=score,
        label=_labels(frame, score, classes=classes),
        classes=classes,
        positive_class=classes[1] if config.problem == "binary" else None,
        group=group,
        value=value,
    )


def _outcomes(target: pd.Series, labelled: BoolArray, *, numbers: bool) -> Array:
    if numbers:
        values = pd.to_numeric(target, errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)
        return np.where(labelled, values, 0.0)
    present = target[labelled].tolist()
    filler = present[0] if present else 0
    return np.array([one if yes else filler for one, yes in zip(target.tolist(), labelled, strict=True)])


def _labels(frame: pd.DataFrame, score: FloatArray, *, classes: tuple[Any, ...]) -> Array | None:
    """Return the decisions as they were served; what the score says where none was logged."""
    if not classes:
        return None
    by_score = decide_labels(np.nan_to_num(score), classes=classes, threshold=0.5)
    decided = frame[DECISION].tolist() if DECISION in frame else [None] * len(frame)
    by_name = {str(label): label for label in classes}
    missing = ~np.isfinite(score.reshape(len(frame), -1)).all(axis=1)
    named = [by_name.get(str(one), one) if _is_there(one) else None for one in decided]
    guessed = [None if gone else label for gone, label in zip(missing, by_score, strict=True)]  # type: ignore[arg-type]
    whole = [one if one is not None else other for one, other in zip(named, guessed, strict=True)]
    return np.array(whole) if None not in whole else np.array(whole, dtype=object)


def _units(frame: pd.DataFrame, config: ModelConfig) -> ObjectArray:
    """Return the entity each row is about, as it was logged, else from the configured column; None without."""
    logged = _column(frame, ENTITY)
    name = config.data.entity
    if not logged.notna().any() and name is not None and name in frame:
        logged = frame[name]
    return np.array([str(one) if _is_there(one) else None for one in logged.tolist()], dtype=object)


def _is_there(value: Any) -> bool:
    return value is not None and value is not pd.NA and not (isinstance(value, float) and np.isnan(value))


def _column(frame: pd.DataFrame, name: str) -> pd.Series:
    if name not in frame.columns:
        raise DataError(
            f"Logged rows have no column '{name}', which the live test needs. Send it with each row, or correct the "
            "configuration."
        )
    return frame[name]


def _numbers(frame: pd.DataFrame, name: str) -> FloatArray:
    numbers = pd.to_numeric(_column(frame, name), errors="coerce")
    return np.asarray(numbers.to_numpy(dtype=np.float64, na_value=np.nan))

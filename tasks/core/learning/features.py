"""From rows to what an estimator takes: a feature frame of plain types, the outcome, its classes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from tasks.core.config import ModelConfig
from tasks.core.data.schema import Schema
from tasks.core.errors import ConfigError, DataError, NotLearnable
from tasks.core.metrics.scored import Array


def feature_frame(frame: pd.DataFrame, schema: Schema) -> pd.DataFrame:
    """Return a new frame of the features alone: numbers as float64, categories as objects, missing as NaN.

    Parameters
    ----------
    frame : DataFrame, shape (n, …)
        Rows with at least the features; left untouched.
    schema : Schema
        Names of the features.

    Raises
    ------
    DataError
        When a feature is missing, or a numeric one holds something else.
    """
    absent = [name for name in schema.features if name not in frame.columns]
    if absent:
        raise DataError(
            f"Missing column{'s' if len(absent) > 1 else ''} {', '.join(map(repr, absent))}: the model learns "
            f"from {', '.join(schema.features)}. Add it to the data, or remove it from the configuration."
        )
    columns = {name: _numbers(frame[name], name) for name in schema.numeric}
    columns |= {name: _categories(frame[name]) for name in schema.categorical}
    return pd.DataFrame(columns, index=frame.index, columns=list(columns))


def signature_features(frame: pd.DataFrame, schema: Schema, *, most: int = 1000) -> pd.DataFrame:
    """Return feature rows that show every column's type: the first ones, and the first value of each column."""
    features = feature_frame(frame, schema).reset_index(drop=True)
    firsts = [features[name].first_valid_index() for name in features]
    chosen = sorted({*range(min(most, len(features))), *(first for first in firsts if first is not None)})
    return features.loc[chosen].reset_index(drop=True)


def flexible_columns(features: pd.DataFrame) -> tuple[str, ...]:
    """Return the columns that a signature must not type: whole numbers, and categories that are no text.

    MLflow refuses whole numbers where a signature says double, and missing ones where it says long; a data frame
    of tomorrow may hold either.
    """
    return tuple(str(name) for name in features if _is_flexible(features[name].dropna()))


def _is_flexible(present: pd.Series) -> bool:
    if present.dtype == object:
        return not all(isinstance(value, str) for value in present)
    finite = present[np.isfinite(present)]
    return bool((finite == finite.round()).all())


def outcomes(frame: pd.DataFrame, schema: Schema, config: ModelConfig) -> Array:
    """Return the target as an array, shape (n,): floats for regression and ranking, else the classes.

    Raises
    ------
    DataError
        When the target is missing from the frame or holds no numbers where numbers are needed.
    """
    if schema.target not in frame.columns:
        raise DataError(f"Missing target column '{schema.target}'. Add it, or correct data.target.")
    target = frame[schema.target]
    if config.problem in ("regression", "ranking"):
        return _numbers(target, schema.target).to_numpy()
    plain = target.astype(object) if isinstance(target.dtype, pd.CategoricalDtype) else target
    if pd.api.types.is_extension_array_dtype(plain.dtype):
        plain = pd.Series(plain.tolist(), index=plain.index)
    return plain.to_numpy()


def class_labels(y: Array, config: ModelConfig) -> tuple[Any, ...]:
    """Return the classes in order: (negative, positive) for binary, sorted for multiclass, else empty.

    Raises
    ------
    NotLearnable
        ``one_class``, or ``too_many_classes`` for a binary problem.
    ConfigError
        When ``data.positive_class`` is not among them.
    """
    if config.problem not in ("binary", "multiclass"):
        return ()
    classes = tuple(np.unique(y).tolist())
    if len(classes) < 2:
        raise NotLearnable(
            "one_class",
            f"The target '{config.data.target}' holds one class ({', '.join(map(repr, classes)) or 'none'}); "
            "two are needed to learn.",
            observed=float(len(classes)),
            limit=2.0,
            n=len(y),
        )
    return classes if config.problem == "multiclass" else _binary(classes, config)


def group_codes(frame: pd.DataFrame, schema: Schema) -> Array | None:
    """Return integer codes of the ranking groups, shape (n,), in order of appearance; None without a group."""
    if schema.group is None:
        return None
    return np.asarray(pd.factorize(frame[schema.group])[0])


def _binary(classes: tuple[Any, ...], config: ModelConfig) -> tuple[Any, ...]:
    if len(classes) > 2:
        raise NotLearnable(
            "too_many_classes",
            f"The target '{config.data.target}' holds {len(classes)} classes and problem is binary; "
            "set problem: multiclass.",
            observed=float(len(classes)),
            limit=2.0,
        )
    positive = config.data.positive_class
    if positive is None:
        return classes
    if positive not in classes:
        listed = ", ".join(map(repr, classes))
        raise ConfigError(f"data.positive_class {positive!r} is not a class of the target; it has {listed}.")
    return (classes[1 - classes.index(positive)], classes[classes.index(positive)])


def _numbers(column: pd.Series, name: str) -> pd.Series:
    try:
        return pd.to_numeric(column, errors="raise").astype(np.float64)
    except (ValueError, TypeError):
        known = pd.to_numeric(column, errors="coerce")
        wrong = np.flatnonzero((known.isna() & column.notna()).to_numpy())
        where = f"row {int(wrong[0])}: {column.iloc[wrong[0]]!r}" if len(wrong) else f"type {column.dtype}"
        raise DataError(
            f"Column '{name}' should hold numbers and does not ({where}). "
            "Correct the data, or list the column under data.categorical."
        ) from None


def _categories(column: pd.Series) -> pd.Series:
    plain = column.astype(object)
    return plain.where(plain.notna(), np.nan)

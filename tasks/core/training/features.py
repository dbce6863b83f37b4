"""From rows to what an estimator takes: a feature frame of plain types, the outcome, its classes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from evergreen.tasks.core.arrays import Array, FloatArray
from evergreen.tasks.core.config import ModelConfig
from evergreen.tasks.core.data.schema import Schema
from evergreen.tasks.core.errors import ConfigError, DataError, NotLearnable
from evergreen.tasks.core.metrics.scored import Classes


@dataclass(frozen=True, eq=False)
class ModelSpec:
    """What a model answers: the roles of its columns, its configuration, its classes."""

    schema: Schema
    config: ModelConfig
    classes: Classes = ()
    """(negative, positive) for binary, all classes for multiclass, else empty."""


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
    objects = {name: frame[name].astype(object) for name in schema.categorical}
    columns |= {name: column.where(column.notna(), np.nan) for name, column in objects.items()}
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
    flexible = []
    for name, present in ((name, features[name].dropna()) for name in features):
        if present.dtype == object:
            is_typed = all(isinstance(value, str) for value in present)
        else:
            finite = present[np.isfinite(present)]
            is_typed = bool((finite != finite.round()).any())
        if not is_typed:
            flexible.append(str(name))
    return tuple(flexible)


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


def class_labels(y: Array, config: ModelConfig) -> Classes:
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
    listed, count = ", ".join(map(repr, classes)) or "none", float(len(classes))
    if len(classes) < 2:
        message = f"The target '{config.data.target}' holds one class ({listed}); two are needed to learn."
        raise NotLearnable("one_class", message, observed=count, limit=2.0, n=len(y))
    positive = config.data.positive_class
    if config.problem == "multiclass" or (positive is None and len(classes) == 2):
        return classes
    if len(classes) > 2:
        message = (
            f"The target '{config.data.target}' holds {len(classes)} classes and problem is binary; "
            "set problem: multiclass."
        )
        raise NotLearnable("too_many_classes", message, observed=count, limit=2.0)
    if positive not in classes:
        raise ConfigError(f"data.positive_class {positive!r} is not a class of the target; it has {listed}.")
    return (classes[1 - classes.index(positive)], classes[classes.index(positive)])


def group_codes(frame: pd.DataFrame, schema: Schema) -> Array | None:
    """Return integer codes of the ranking groups, shape (n,), in order of appearance; None without a group."""
    return None if schema.group is None else np.asarray(pd.factorize(frame[schema.group])[0])


def _numbers(column: pd.Series, name: str) -> pd.Series:
    try:
        return pd.to_numeric(column, errors="raise").astype(np.float64)
    except (ValueError, TypeError):
        numbers = pd.to_numeric(column, errors="coerce")
        wrong = np.flatnonzero((numbers.isna() & column.notna()).to_numpy())
        where = f"row {int(wrong[0])}: {column.iloc[wrong[0]]!r}" if len(wrong) else f"type {column.dtype}"
        raise DataError(
            f"Column '{name}' should hold numbers and does not ({where}). "
            "Correct the data, or list the column under data.categorical."
        ) from None


# A model's predictions for feature rows, in one form for every kind of estimator.


def answer(estimator: Any, features: pd.DataFrame, *, problem: str, classes: Classes) -> FloatArray:
    """Ask a model for its scores.

    Parameters
    ----------
    estimator : object
        Anything with ``predict``; ``predict_proba`` or ``decision_function`` are preferred for classes.
    features : DataFrame, shape (n, p)
        Feature rows.
    problem : str
        ``binary``, ``multiclass``, ``regression`` or ``ranking``.
    classes : tuple
        Classes in the order wanted: (negative, positive) for binary.

    Returns
    -------
    array, shape (n,) or (n, k)
        Binary: P(positive). Multiclass: probabilities in the order of ``classes``. Else predictions.

    Raises
    ------
    DataError
        When the answer has a shape or values that cannot be read for this problem.
    """
    if problem in ("regression", "ranking"):
        values: Array = np.asarray(estimator.predict(features))
        if values.size != len(features) or values.dtype.kind not in "fiub":
            what = f"{values.size} values of type {values.dtype} for {len(features)} rows"
            raise _unreadable(what, "regression")
        return values.reshape(-1).astype(np.float64)
    if hasattr(estimator, "predict_proba"):
        trained = tuple(np.asarray(estimator.classes_).tolist())
        return _aligned(np.asarray(estimator.predict_proba(features)), trained, classes, problem)
    return read_prediction(estimator.predict(features), n=len(features), problem=problem, classes=classes)


def read_prediction(output: Any, *, n: int, problem: str, classes: Classes) -> FloatArray:
    """Read what a foreign ``predict`` returned for classes: probabilities, one column of P(positive), or labels.

    Columns named after the classes are put in order. A single column whose values are all classes is taken
    as labels, unless it holds fractions; labels become probabilities of 0 and 1.

    Raises
    ------
    DataError
        When it is none of these.

    Examples
    --------
    >>> read_prediction([0.2, 0.9], n=2, problem="binary", classes=(0, 1))
    array([0.2, 0.9])
    >>> read_prediction(["no", "yes"], n=2, problem="binary", classes=("no", "yes"))
    array([0., 1.])
    """
    if isinstance(output, pd.DataFrame) and output.shape[1] == len(classes):
        by_name = {str(name): name for name in output.columns}
        if all(str(label) in by_name for label in classes):
            output = output[[by_name[str(label)] for label in classes]]
    values = np.asarray(output)
    if values.ndim == 2 and values.shape == (n, len(classes)) and len(classes) > 1:
        return _aligned(values.astype(np.float64), classes, classes, problem)
    values = values.reshape(-1)
    if len(values) != n:
        raise _unreadable(f"{values.size} values for {n} rows", problem)
    if bool(np.isin(values, np.asarray(classes)).all()):
        hits = np.column_stack([values == label for label in classes]).astype(np.float64)
        return hits[:, 1] if problem == "binary" else hits
    if problem == "binary" and values.dtype.kind == "f" and values.min() >= 0 and values.max() <= 1:
        return values.astype(np.float64)
    raise _unreadable(f"values such as {values[0]!r}", problem)


def _aligned(probabilities: FloatArray, trained: Classes, wanted: Classes, problem: str) -> FloatArray:
    """Put probability columns in the order wanted; a class the model never met has probability 0."""
    foreign = [label for label in trained if label not in wanted]
    if foreign and problem == "binary":
        raise _unreadable(f"classes {trained}", problem)
    wide = np.zeros((len(probabilities), len(wanted)))
    for column, label in enumerate(trained):
        if label in wanted:
            wide[:, wanted.index(label)] = probabilities[:, column]
    return wide[:, 1] if problem == "binary" else wide


def _unreadable(what: str, problem: str) -> DataError:
    allowed = "one number a row"
    if problem in ("binary", "multiclass"):
        allowed = "class labels, one probability column a class, or P(positive) within 0..1"
    return DataError(
        f"The model answers with {what}. Allowed for problem {problem}: {allowed}. Wrap the model's predict."
    )

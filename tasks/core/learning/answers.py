"""What a model answers for feature rows, in one form for every kind of estimator."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from tasks.core.errors import DataError
from tasks.core.metrics.scored import Array, FloatArray


def answer(estimator: Any, features: pd.DataFrame, *, problem: str, classes: tuple[Any, ...]) -> FloatArray:
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
        return _column(estimator.predict(features), len(features))
    if hasattr(estimator, "predict_proba"):
        known = tuple(np.asarray(estimator.classes_).tolist())
        return _aligned(np.asarray(estimator.predict_proba(features)), known, classes, problem)
    return read_prediction(estimator.predict(features), n=len(features), problem=problem, classes=classes)


def read_prediction(output: Any, *, n: int, problem: str, classes: tuple[Any, ...]) -> FloatArray:
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


def _aligned(
    probabilities: FloatArray, known: tuple[Any, ...], wanted: tuple[Any, ...], problem: str
) -> FloatArray:
    """Put probability columns in the order wanted; a class the model never met has probability 0."""
    foreign = [label for label in known if label not in wanted]
    if foreign and problem == "binary":
        raise _unreadable(f"classes {known}", problem)
    wide = np.zeros((len(probabilities), len(wanted)))
    for column, label in enumerate(known):
        if label in wanted:
            wide[:, wanted.index(label)] = probabilities[:, column]
    return wide[:, 1] if problem == "binary" else wide


def _column(output: Any, n: int) -> npt.NDArray[np.float64]:
    values: Array = np.asarray(output)
    if values.size != n or values.dtype.kind not in "fiub":
        raise _unreadable(f"{values.size} values of type {values.dtype} for {n} rows", "regression")
    return values.reshape(-1).astype(np.float64)


def _unreadable(what: str, problem: str) -> DataError:
    allowed = "one number a row"
    if problem in ("binary", "multiclass"):
        allowed = "class labels, one probability column a class, or P(positive) within 0..1"
    return DataError(
        f"The model answers with {what}. Allowed for problem {problem}: {allowed}. Wrap the model's predict."
    )

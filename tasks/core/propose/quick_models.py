"""Two quick models, a linear one and small boosted trees, and what each loses row by row."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import pandas as pd
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression, Ridge

from tasks.core.data.schema import Schema
from tasks.core.learning.preprocess import build_preprocessor
from tasks.core.metrics.scored import FloatArray

Kind = Literal["linear", "trees"]
KINDS: tuple[Kind, ...] = ("linear", "trees")
MOST_CATEGORIES = 50
LEAST_LIKELY = 0.001
"""Least probability that is charged: a class that a model never saw costs log 1000, not infinity."""

_TREES = {"max_iter": 50, "learning_rate": 0.1, "max_leaf_nodes": 15, "early_stopping": False}


def encode(frame: pd.DataFrame, kind: Kind, *, numeric: Sequence[str], categorical: Sequence[str]) -> Any:
    """Return features as numbers, shape (n, p); coded once for all rows, which looks at no outcome.

    Indicators, imputed and scaled numbers for ``linear``; category codes and NaN for ``trees``.
    """
    schema = Schema(target="", numeric=tuple(numeric), categorical=tuple(categorical))
    style = "onehot" if kind == "linear" else "ordinal"
    steps: Any = build_preprocessor(
        schema, style=style, impute=kind == "linear", max_categories=MOST_CATEGORIES
    )
    return np.asarray(steps.fit_transform(frame), dtype=np.float64)


def outcome_codes(target: pd.Series, *, problem: str, group: np.ndarray | None = None) -> FloatArray:
    """Return outcomes as numbers whose losses can be averaged, shape (n,).

    Classes are numbered. Numbers are centred and scaled, for a ranking within their group, for only the order there
    counts; a group whose members are all alike is 0.

    >>> outcome_codes(pd.Series([1, 3, 5, 5]), problem="ranking", group=np.array([0, 0, 1, 1])).tolist()
    [-1.0, 1.0, 0.0, 0.0]
    """
    if problem in ("binary", "multiclass"):
        return pd.factorize(target, sort=True)[0].astype(np.float64)
    y = target.to_numpy(dtype=np.float64)
    codes = np.zeros(len(y), dtype=np.int64) if group is None else pd.factorize(group)[0]
    size = np.bincount(codes)
    y = y - (np.bincount(codes, weights=y) / size)[codes]
    spread = np.sqrt(np.bincount(codes, weights=y**2) / size)[codes]
    return np.divide(y, spread, out=np.zeros_like(y), where=spread > 0)


def fit_quick(kind: Kind, x: FloatArray, y: FloatArray, *, classes: bool, coded_from: int) -> Any:
    """Fit a quick model.

    Parameters
    ----------
    x, y : ndarray of shape (n, p) and (n,)
        Features from ``encode``, outcomes from ``outcome_codes``.
    classes : bool
        Whether outcomes are class numbers, at least two of them.
    coded_from : int
        First column of ``x`` that holds category codes (trees).
    """
    if kind == "linear":
        model = LogisticRegression(max_iter=200) if classes else Ridge()
        with warnings.catch_warnings():
            # the last digits of a fit that takes longer change no loss that is looked at
            warnings.simplefilter("ignore", ConvergenceWarning)
            return model.fit(x, y)
    coded = list(range(coded_from, x.shape[1])) or None
    trees = HistGradientBoostingClassifier if classes else HistGradientBoostingRegressor
    return trees(categorical_features=coded, random_state=0, **_TREES).fit(x, y)


def row_losses(model: Any, x: FloatArray, y: FloatArray, *, classes: bool) -> FloatArray:
    """Return the loss of each row, shape (n,): the log loss of classes (in nats), the squared error of numbers."""
    if not classes:
        return (model.predict(x) - y) ** 2
    chances = model.predict_proba(x)
    place = np.searchsorted(model.classes_, y).clip(max=len(model.classes_) - 1)
    known = model.classes_[place] == y
    right = np.where(known, chances[np.arange(len(y)), place], 0.0)
    return -np.log(np.maximum(right, LEAST_LIKELY))

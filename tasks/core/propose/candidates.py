"""The problem a target poses, and a few fast candidates for it."""

from __future__ import annotations

from typing import Any

import pandas as pd

from tasks.core.data.inspect_columns import is_whole
from tasks.core.errors import DataError, NotLearnable

MOST_CLASSES = 50
"""More classes than this are no classes."""
WHOLE_CLASSES = 10
"""Whole numbers of at most so many values are read as classes."""
METRICS = {"binary": "roc_auc", "multiclass": "log_loss", "regression": "rmse", "ranking": "ndcg_at_3"}
"""Metric that decides, by problem."""

_TREES = {"max_iter": 150, "learning_rate": 0.08, "max_leaf_nodes": 31, "min_samples_leaf": 20}
_FOREST = {"n_estimators": 80, "max_depth": 12, "min_samples_leaf": 5, "max_features": "sqrt"}


def guess_problem(target: pd.Series, *, group: str | None = None) -> tuple[str, str]:
    """Return the kind of problem and why.

    Raises
    ------
    DataError
        When the target holds text of too many values to be classes, or text where a ranking needs numbers.
    NotLearnable
        ``no_labels`` when the target is empty, ``one_class`` when it holds one value.
    """
    known = target.dropna()
    distinct = int(known.nunique())
    if distinct == 0:
        raise NotLearnable(
            "no_labels",
            f"Target column '{target.name}' holds no value at all. Name another target.",
            observed=0.0,
        )
    if distinct == 1:
        raise NotLearnable(
            "one_class",
            f"Target column '{target.name}' holds one value only ({known.iloc[0]!s:.40}); two are needed to learn. "
            "Name another target, or bring more rows.",
            observed=1.0, limit=2.0, n=len(known),
        )  # fmt: skip
    numbers = pd.api.types.is_numeric_dtype(known.dtype) and not pd.api.types.is_bool_dtype(known.dtype)
    if group is not None:
        return _ranking(target, numbers=numbers, group=group, distinct=distinct)
    if distinct == 2:
        return "binary", "the target has two values"
    if not numbers:
        return _classes(target, distinct, len(known))
    if distinct <= WHOLE_CLASSES and is_whole(known.to_numpy(dtype=float)):
        return (
            "multiclass",
            f"the target has {distinct} whole values; write regression if they measure a quantity",
        )
    return "regression", f"the target is a number of {distinct:,} values"


def _ranking(target: pd.Series, *, numbers: bool, group: str, distinct: int) -> tuple[str, str]:
    if not numbers:
        raise DataError(
            f"Target column '{target.name}' holds text, but --group '{group}' asks for a ranking, which needs "
            "numbers (higher is better). Name a numeric target, or leave out --group."
        )
    return "ranking", f"rows are ordered within '{group}' by a target of {distinct} values (higher is better)"


def _classes(target: pd.Series, distinct: int, rows: int) -> tuple[str, str]:
    if distinct > MOST_CLASSES or distinct > 0.2 * rows:
        raise DataError(
            f"Target column '{target.name}' holds text of {distinct} different values in {rows} rows: too many "
            f"to be classes (at most {MOST_CLASSES}). Name another target, or group its values first."
        )
    return "multiclass", f"the target has {distinct} classes"


def propose_candidates(problem: str, *, rows: int) -> list[dict[str, Any]]:
    """Return candidates that train within seconds, the simplest first; the forest only where rows are few."""
    few = rows <= 20_000
    forest = {"name": "forest", "params": dict(_FOREST)}
    trees = {"name": "boosted_trees", "params": dict(_TREES)}
    if problem in ("binary", "multiclass"):
        linear = {"name": "logistic", "params": {"max_iter": 500}}
        paths = (
            "sklearn.linear_model.LogisticRegression",
            "sklearn.ensemble.HistGradientBoostingClassifier",
            "sklearn.ensemble.RandomForestClassifier",
        )
    else:
        linear = {"name": "ridge", "params": {"alpha": 1.0}}
        paths = (
            "sklearn.linear_model.Ridge",
            "sklearn.ensemble.HistGradientBoostingRegressor",
            "sklearn.ensemble.RandomForestRegressor",
        )
    chosen = [linear, trees, *([forest] if few else [])]
    return [
        {"name": one["name"], "estimator": path, "params": one["params"]}
        for one, path in zip(chosen, paths, strict=False)
    ]

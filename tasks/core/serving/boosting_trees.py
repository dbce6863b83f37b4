"""The trees inside scikit-learn's histogram gradient boosting."""

from __future__ import annotations

from typing import Any

import numpy as np

from tasks.core.metrics.scored import FloatArray
from tasks.core.serving.trees import Ensemble, NotCompiled, Tree


def boosting_ensemble(model: Any) -> Ensemble:
    """Return the trees of a fitted ``HistGradientBoosting…``, asking for the columns it was fitted on.

    Parameters
    ----------
    model : HistGradientBoostingClassifier or HistGradientBoostingRegressor
        Fitted; its inner recoding of categories is undone, so that trees ask for the values it is given.

    Raises
    ------
    NotCompiled
        When it is not laid out as scikit-learn 1.9 lays it out.

    Notes
    -----
    Such a model puts its categorical columns first and recodes each by the order of its values. The layout is private
    to scikit-learn: whoever uses this compares answers with the model's own (`tasks.core.serving.verify`).
    """
    predictors, base = getattr(model, "_predictors", None), getattr(model, "_baseline_prediction", None)
    if not predictors or base is None:
        raise NotCompiled("the boosting's trees are not where they were expected")
    order, categories = _columns(model)
    trees = tuple(_tree(predictor, order, categories) for iteration in predictors for predictor in iteration)
    return Ensemble(
        trees=trees,
        base=np.asarray(base, dtype=np.float64).reshape(-1),
        features=len(order),
        categories=categories,
    )


def _columns(model: Any) -> tuple[list[int], dict[int, FloatArray]]:
    """Return which given column each inner one is, and the known values of those that are categories."""
    width = int(model.n_features_in_)
    recoder = getattr(model, "_preprocessor", None)
    if recoder is None:
        return list(range(width)), {}
    chosen = np.asarray(model.is_categorical_, dtype=bool)
    coded = [int(at) for at in np.flatnonzero(chosen)]
    order = [*coded, *(int(at) for at in np.flatnonzero(~chosen))]
    known = {}
    for at, values in zip(coded, recoder.named_transformers_["encoder"].categories_, strict=True):
        numbers = np.asarray(values)
        if numbers.dtype.kind not in "fiu":
            raise NotCompiled("the boosting takes categories that are no numbers")
        finite = numbers[~np.isnan(numbers)].astype(np.float64)
        if not np.isfinite(finite).all() or (np.diff(finite) <= 0).any():
            raise NotCompiled("the boosting's categories are not in order")
        known[at] = finite
    return order, known


def _tree(predictor: Any, order: list[int], categories: dict[int, FloatArray]) -> Tree:
    nodes = predictor.nodes
    leaf = nodes["is_leaf"].astype(bool)
    feature = np.where(leaf, -1, np.asarray(order)[np.where(leaf, 0, nodes["feature_idx"])])
    chosen = np.flatnonzero(~leaf & nodes["is_categorical"].astype(bool))
    lefts = {}
    for node in chosen.tolist():
        bits = predictor.raw_left_cat_bitsets[nodes["bitset_idx"][node]]
        values = categories[int(feature[node])]
        lefts[node] = frozenset(v for i, v in enumerate(values.tolist()) if bits[i // 32] >> (i % 32) & 1)
    return Tree(
        feature=feature.astype(np.int64),
        threshold=nodes["num_threshold"].astype(np.float64),
        missing_left=nodes["missing_go_to_left"].astype(bool),
        left=nodes["left"].astype(np.int64),
        right=nodes["right"].astype(np.int64),
        value=nodes["value"].astype(np.float64),
        left_categories=lefts,
    )

"""The trees inside scikit-learn's histogram gradient boosting."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from evergreen.tasks.core.arrays import FloatArray
from evergreen.tasks.core.serving.trees import Ensemble, NotCompiled, Tree


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
    to scikit-learn: whoever uses this compares answers with the model's own (`evergreen.tasks.core.serving.compile`).
    """
    predictors, base = getattr(model, "_predictors", None), getattr(model, "_baseline_prediction", None)
    if not predictors or base is None:
        raise NotCompiled("the boosting's trees are not where they were expected")
    order, categories = _boosting_columns(model)
    trees = tuple(
        _boosting_tree(predictor, order, categories) for iteration in predictors for predictor in iteration
    )
    return Ensemble(
        trees=trees,
        base=np.asarray(base, dtype=np.float64).reshape(-1),
        features=len(order),
        categories=categories,
    )


def _boosting_columns(model: Any) -> tuple[list[int], dict[int, FloatArray]]:
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


def _boosting_tree(predictor: Any, order: list[int], categories: dict[int, FloatArray]) -> Tree:
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


# The trees inside a LightGBM model.


_ZERO = float(np.float32(1e-35))


def lightgbm_ensemble(dumped: Mapping[str, Any]) -> Ensemble:
    """Return the trees of a model as ``Booster.dump_model`` describes it.

    Raises
    ------
    NotCompiled
        Where it holds categories of its own, takes zeros for missing, averages its trees, or fits lines in its leaves.

    Notes
    -----
    Where a node does not expect missing values, LightGBM takes NaN for zero; and everywhere numbers within 1e-35 of it.
    """
    if dumped.get("average_output") or any("leaf_coeff" in str(tree) for tree in dumped["tree_info"][:1]):
        raise NotCompiled("LightGBM that averages its trees, or fits lines in leaves, has no faster form")
    trees = tuple(_lightgbm_tree(one["tree_structure"]) for one in dumped["tree_info"])
    if not trees:
        raise NotCompiled("LightGBM without trees has no faster form")
    outputs = int(dumped["num_tree_per_iteration"])
    return Ensemble(trees=trees, base=np.zeros(outputs), features=int(dumped["max_feature_idx"]) + 1)


def _lightgbm_tree(root: Mapping[str, Any]) -> Tree:
    nodes: list[Mapping[str, Any]] = [root]
    left, right = [], []
    for node in nodes:  # grows while it is walked
        is_leaf = "leaf_value" in node
        left.append(-1 if is_leaf else len(nodes))
        right.append(-1 if is_leaf else len(nodes) + 1)
        if not is_leaf:
            nodes += [node["left_child"], node["right_child"]]
    return Tree(
        feature=np.array([node.get("split_feature", -1) for node in nodes], dtype=np.int64),
        threshold=np.array([_threshold(node) for node in nodes]),
        missing_left=np.array([_missing_left(node) for node in nodes], dtype=bool),
        left=np.array(left, dtype=np.int64),
        right=np.array(right, dtype=np.int64),
        value=np.array([float(node.get("leaf_value", 0.0)) for node in nodes]),
    )


def _threshold(node: Mapping[str, Any]) -> float:
    if "leaf_value" in node:
        return 0.0
    if node["decision_type"] != "<=" or node["missing_type"] not in ("None", "NaN"):
        raise NotCompiled("LightGBM with categories of its own, or zeros for missing, has no faster form")
    threshold = float(node["threshold"])
    if abs(threshold) > _ZERO:
        return threshold
    return _ZERO if threshold >= 0 else float(np.nextafter(-_ZERO, -np.inf))


def _missing_left(node: Mapping[str, Any]) -> bool:
    if "leaf_value" in node:
        return False
    return bool(node["default_left"] if node["missing_type"] == "NaN" else node["threshold"] >= 0.0)

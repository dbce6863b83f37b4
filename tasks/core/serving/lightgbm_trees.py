"""The trees inside a LightGBM model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from tasks.core.serving.trees import Ensemble, NotCompiled, Tree

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
    trees = tuple(_tree(one["tree_structure"]) for one in dumped["tree_info"])
    if not trees:
        raise NotCompiled("LightGBM without trees has no faster form")
    outputs = int(dumped["num_tree_per_iteration"])
    return Ensemble(trees=trees, base=np.zeros(outputs), features=int(dumped["max_feature_idx"]) + 1)


def _tree(root: Mapping[str, Any]) -> Tree:
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

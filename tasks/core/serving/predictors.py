"""From a matrix to scores: what comes after the columns."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, cast

import numpy as np
import pandas as pd
from scipy.special import expit
from sklearn.ensemble import (
    ExtraTreesClassifier,
    ExtraTreesRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.linear_model import LogisticRegression, LogisticRegressionCV
from sklearn.linear_model._base import LinearModel
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor
from sklearn.utils.extmath import softmax

from evergreen.tasks.core.arrays import FloatArray
from evergreen.tasks.core.errors import InputError
from evergreen.tasks.core.serving.answers import model_raised, model_refuses
from evergreen.tasks.core.serving.trees import (
    Ensemble,
    MaskTables,
    NotCompiled,
    Tree,
    boosting_link,
    lightgbm_link,
    make_masks,
)
from evergreen.tasks.core.training.features import answer

_BOOSTING = (HistGradientBoostingClassifier, HistGradientBoostingRegressor)
_FORESTS = (RandomForestClassifier, RandomForestRegressor, ExtraTreesClassifier, ExtraTreesRegressor)
_TREES = (DecisionTreeClassifier, DecisionTreeRegressor)
_LOGISTIC = (LogisticRegression, LogisticRegressionCV)


class Predictor(ABC):
    """A fitted model of a matrix."""

    form: ClassVar[str]
    """Its name for people."""

    @abstractmethod
    def outputs(self, matrix: FloatArray) -> FloatArray:
        """Return P(second class), shape (n,), probabilities, shape (n, k), or predictions, shape (n,).

        Raises
        ------
        RequestRefused
            Where the estimator refuses the rows, too.
        """

    def edges(self, column: int) -> FloatArray:
        """Return values of a column at which outputs jump, as far as they are known."""
        return np.empty(0)


@dataclass(frozen=True, kw_only=True, eq=False)
class BoostingPredictor(Predictor):
    """Boosted trees as tables of bits, and what turns sums of shape (n, k) into answers."""

    tables: MaskTables
    link: Callable[[FloatArray], FloatArray]
    form: ClassVar[str] = "trees as bits"

    def outputs(self, matrix: FloatArray) -> FloatArray:
        """Return P(second class), probabilities or predictions."""
        return self.link(self.tables.sums(matrix))

    def edges(self, column: int) -> FloatArray:
        """Return the thresholds of a column."""
        return self.tables.edges[column]


@dataclass(frozen=True, kw_only=True, eq=False)
class LinearPredictor(Predictor):
    """A weighted sum a class, each row for itself: who shares its batch changes no bit of a row's answer."""

    weights: FloatArray
    """Shape (k, columns): weights."""
    offsets: FloatArray
    """Shape (k,): intercepts."""
    kind: str
    """``binary``, ``classes`` or ``number``."""
    form: ClassVar[str] = "linear"

    def outputs(self, matrix: FloatArray) -> FloatArray:
        """Return P(second class), probabilities or predictions; `RequestRefused` where the estimator refuses, too."""
        _require_finite(matrix)
        with np.errstate(over="ignore", invalid="ignore"):
            if len(self.weights) == 1:
                sums = (matrix * self.weights[0]).sum(axis=1) + self.offsets[0]
            else:
                sums = (matrix[:, None, :] * self.weights).sum(axis=2) + self.offsets
        if self.kind == "classes":
            found: FloatArray = softmax(sums, copy=False)
            return found
        return expit(sums) if self.kind == "binary" else sums


@dataclass(frozen=True, kw_only=True, eq=False)
class ForestPredictor(Predictor):
    """Trees of scikit-learn asked one by one, without the checks and threads around each."""

    trees: tuple[Any, ...]
    takes_missing: bool
    kind: str
    form: ClassVar[str] = "trees"

    def outputs(self, matrix: FloatArray) -> FloatArray:
        """Return P(second class), probabilities or predictions; `RequestRefused` where the estimator refuses, too."""
        with np.errstate(over="ignore"):
            narrow = matrix.astype(np.float32)
        _require_finite(narrow, but_missing=self.takes_missing)
        found = self.trees[0].predict(narrow)
        for tree in self.trees[1:]:
            found += tree.predict(narrow)
        found /= len(self.trees)
        column = {"binary": 1, "number": 0}.get(self.kind)
        values: FloatArray = found if column is None else found[:, column]
        return values

    def edges(self, column: int) -> FloatArray:
        """Return the thresholds of a column."""
        return np.unique(np.concatenate([tree.threshold[tree.feature == column] for tree in self.trees]))


@dataclass(frozen=True, kw_only=True, eq=False)
class ArrayPredictor(Predictor):
    """Any estimator, given an array."""

    estimator: Any
    problem: str
    classes: tuple[Any, ...]
    form: ClassVar[str] = "estimator on arrays"

    def outputs(self, matrix: FloatArray) -> FloatArray:
        """Return what the estimator answers; `RequestRefused` where it refuses."""
        given = cast(pd.DataFrame, matrix)
        try:
            with np.errstate(over="ignore", invalid="ignore"):
                return answer(self.estimator, given, problem=self.problem, classes=self.classes)
        except (InputError, ValueError, TypeError) as error:
            raise model_raised(error) from error


def compile_predictor(model: Any, *, kind: str) -> Predictor:
    """Return the faster form of a fitted estimator.

    Parameters
    ----------
    model : object
        Fitted on a matrix.
    kind : str
        ``binary``, ``classes`` or ``number``: what it answers.

    Raises
    ------
    NotCompiled
        When it has none.
    """
    if type(model) in _BOOSTING:
        return BoostingPredictor(tables=make_masks(boosting_ensemble(model)), link=boosting_link(model, kind))
    if type(model).__module__.startswith("lightgbm.") and hasattr(model, "booster_"):
        dumped = model.booster_.dump_model()
        tables = make_masks(lightgbm_ensemble(dumped))
        return BoostingPredictor(tables=tables, link=lightgbm_link(dumped, kind))
    if type(model) in _FORESTS:
        return _forest([one.tree_ for one in model.estimators_], model, kind)
    if type(model) in _TREES:
        return _forest([model.tree_], model, kind)
    if type(model) in _LOGISTIC or (isinstance(model, LinearModel) and np.ndim(model.coef_) == 1):
        weights = np.atleast_2d(np.asarray(model.coef_, dtype=np.float64))
        offsets = np.atleast_1d(np.asarray(model.intercept_, dtype=np.float64))
        if (len(weights) == 1) is (kind == "classes"):
            raise NotCompiled("the linear model has another number of outputs than expected")
        offsets = np.broadcast_to(offsets, len(weights)).copy()
        return LinearPredictor(weights=weights, offsets=offsets, kind=kind)
    raise NotCompiled(f"{type(model).__name__} has no faster form")


def _forest(trees: list[Any], model: Any, kind: str) -> ForestPredictor:
    if np.ndim(model.n_outputs_) or model.n_outputs_ != 1:
        raise NotCompiled("trees of several outputs have no faster form")
    missing = bool(model.__sklearn_tags__().input_tags.allow_nan)
    return ForestPredictor(trees=tuple(trees), takes_missing=missing, kind=kind)


def _require_finite(matrix: Any, *, but_missing: bool = False) -> None:
    sound = np.isfinite(matrix)
    if but_missing:
        sound |= np.isnan(matrix)
    if not sound.all():
        row = int(np.argmin(sound.all(axis=1)))
        raise model_refuses(f"row {row} holds a missing value, or one too great for the model's arithmetic")


# The trees inside scikit-learn's histogram gradient boosting.


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
    trees = tuple(_boosting_tree(one, order, categories) for iteration in predictors for one in iteration)
    sums = np.asarray(base, dtype=np.float64).reshape(-1)
    return Ensemble(trees=trees, base=sums, features=len(order), categories=categories)


def _boosting_columns(model: Any) -> tuple[list[int], dict[int, FloatArray]]:
    """Return which given column each inner one is, and the known values of those that are categories."""
    width = int(model.n_features_in_)
    recoder = getattr(model, "_preprocessor", None)
    if recoder is None:
        return list(range(width)), {}
    chosen = np.asarray(model.is_categorical_, dtype=bool)
    coded = [int(at) for at in np.flatnonzero(chosen)]
    order = [*coded, *(int(at) for at in np.flatnonzero(~chosen))]
    categories = {}
    for at, values in zip(coded, recoder.named_transformers_["encoder"].categories_, strict=True):
        numbers = np.asarray(values)
        if numbers.dtype.kind not in "fiu":
            raise NotCompiled("the boosting takes categories that are no numbers")
        finite = numbers[~np.isnan(numbers)].astype(np.float64)
        if not np.isfinite(finite).all() or (np.diff(finite) <= 0).any():
            raise NotCompiled("the boosting's categories are not in order")
        categories[at] = finite
    return order, categories


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

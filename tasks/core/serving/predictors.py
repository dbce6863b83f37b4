"""From a matrix to scores: what comes after the columns."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, cast

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
from evergreen.tasks.core.serving.tree_models import boosting_ensemble, lightgbm_ensemble
from evergreen.tasks.core.serving.trees import (
    MaskTables,
    NotCompiled,
    boosting_link,
    lightgbm_link,
    make_masks,
)
from evergreen.tasks.core.training.features import answer

_BOOSTING = (HistGradientBoostingClassifier, HistGradientBoostingRegressor)
_FORESTS = (RandomForestClassifier, RandomForestRegressor, ExtraTreesClassifier, ExtraTreesRegressor)
_TREES = (DecisionTreeClassifier, DecisionTreeRegressor)
_LOGISTIC = (LogisticRegression, LogisticRegressionCV)
_NO_EDGES = np.empty(0)


class Predictor(Protocol):
    """A fitted model of a matrix."""

    @property
    def form(self) -> str:
        """Its name, for people."""

    def outputs(self, matrix: FloatArray) -> FloatArray:
        """Return P(second class), shape (n,), probabilities, shape (n, k), or predictions, shape (n,)."""

    def edges(self, column: int) -> FloatArray:
        """Return values of a column at which outputs jump."""


@dataclass(frozen=True, kw_only=True, eq=False)
class BoostingPredictor:
    """Boosted trees as tables of bits, and what turns sums of shape (n, k) into answers."""

    tables: MaskTables
    link: Callable[[FloatArray], FloatArray]
    form: str = "trees as bits"

    def outputs(self, matrix: FloatArray) -> FloatArray:
        """Return P(second class), probabilities or predictions."""
        return self.link(self.tables.sums(matrix))

    def edges(self, column: int) -> FloatArray:
        """Return the thresholds of a column."""
        return self.tables.edges[column]


@dataclass(frozen=True, kw_only=True, eq=False)
class LinearPredictor:
    """A weighted sum a class, each row for itself: who shares its batch changes no bit of a row's answer.

    Attributes
    ----------
    weights : array, shape (k, columns)
        Weights.
    offsets : array, shape (k,)
        Intercepts.
    kind : str
        ``binary``, ``classes`` or ``number``.
    """

    weights: FloatArray
    offsets: FloatArray
    kind: str
    form: str = "linear"

    def outputs(self, matrix: FloatArray) -> FloatArray:
        """Return P(second class), probabilities or predictions; `Refused` where the estimator refuses, too."""
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

    def edges(self, column: int) -> FloatArray:
        """Return nothing: outputs do not jump."""
        return _NO_EDGES


@dataclass(frozen=True, kw_only=True, eq=False)
class ForestPredictor:
    """Trees of scikit-learn asked one by one, without the checks and threads around each."""

    trees: tuple[Any, ...]
    takes_missing: bool
    kind: str
    form: str = "trees"

    def outputs(self, matrix: FloatArray) -> FloatArray:
        """Return P(second class), probabilities or predictions; `Refused` where the estimator refuses, too."""
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
class ArrayPredictor:
    """Any estimator, given an array."""

    estimator: Any
    problem: str
    classes: tuple[Any, ...]
    form: str = "estimator on arrays"

    def outputs(self, matrix: FloatArray) -> FloatArray:
        """Return what the estimator answers; `Refused` where it refuses."""
        given = cast(pd.DataFrame, matrix)
        try:
            with np.errstate(over="ignore", invalid="ignore"):
                return answer(self.estimator, given, problem=self.problem, classes=self.classes)
        except (InputError, ValueError, TypeError) as error:
            raise model_raised(error) from error

    def edges(self, column: int) -> FloatArray:
        """Return nothing: they are not known."""
        return _NO_EDGES


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
        return BoostingPredictor(
            tables=make_masks(lightgbm_ensemble(dumped)), link=lightgbm_link(dumped, kind)
        )
    if type(model) in _FORESTS:
        return _forest([one.tree_ for one in model.estimators_], model, kind)
    if type(model) in _TREES:
        return _forest([model.tree_], model, kind)
    if type(model) in _LOGISTIC or (isinstance(model, LinearModel) and np.ndim(model.coef_) == 1):
        weights = np.atleast_2d(np.asarray(model.coef_, dtype=np.float64))
        offsets = np.atleast_1d(np.asarray(model.intercept_, dtype=np.float64))
        if (len(weights) == 1) is (kind == "classes"):
            raise NotCompiled("the linear model has another number of outputs than expected")
        return LinearPredictor(
            weights=weights, offsets=np.broadcast_to(offsets, len(weights)).copy(), kind=kind
        )
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

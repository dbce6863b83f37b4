"""How the sums of boosted trees become answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from scipy.special import expit
from sklearn.utils.extmath import softmax

from tasks.core.metrics.scored import FloatArray
from tasks.core.serving.trees import NotCompiled

Link = Callable[[FloatArray], FloatArray]
_SAME = {"regression", "regression_l1", "huber", "fair", "quantile", "mape", "lambdarank", "rank_xendcg"}
_EXPONENTIAL = {"poisson", "gamma", "tweedie"}


def boosting_link(model: Any, kind: str) -> Link:
    """Return the link of scikit-learn's boosting, from its own loss.

    Parameters
    ----------
    model : HistGradientBoostingClassifier or HistGradientBoostingRegressor
        Fitted.
    kind : str
        ``binary``, ``classes`` or ``number``.
    """
    if kind == "binary":
        return logistic
    loss = model._loss
    if kind == "classes":
        found: Link = loss.predict_proba
        return found
    return lambda sums: loss.link.inverse(sums[:, 0])


def lightgbm_link(dumped: Mapping[str, Any], kind: str) -> Link:
    """Return the link of a LightGBM model as ``Booster.dump_model`` describes it.

    Raises
    ------
    NotCompiled
        For an objective not known here, or one that does not answer what is asked.
    """
    name, *options = str(dumped.get("objective", "")).split()
    if kind == "binary" and name == "binary" and "sigmoid:1" in options:
        return logistic
    if kind == "classes" and name == "multiclass":
        return lambda sums: softmax(sums, copy=False)
    if kind == "number" and "sqrt" not in options and name in _SAME | _EXPONENTIAL:
        return _first if name in _SAME else _exponential
    raise NotCompiled(f"LightGBM's objective '{name}' has no faster form")


def logistic(sums: FloatArray) -> FloatArray:
    """Return P(second class) for log-odds of shape (n, 1)."""
    found: FloatArray = expit(sums[:, 0])
    return found


def _first(sums: FloatArray) -> FloatArray:
    return sums[:, 0]


def _exponential(sums: FloatArray) -> FloatArray:
    found: FloatArray = np.exp(sums[:, 0])
    return found

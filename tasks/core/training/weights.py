"""Weights of training rows: a column, class weights, the strategy of retraining; their product."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd

from evergreen.tasks.core.arrays import Array, BoolArray, FloatArray
from evergreen.tasks.core.config import ModelConfig
from evergreen.tasks.core.config.units import Span
from evergreen.tasks.core.data.clock import span_length
from evergreen.tasks.core.data.rows import Rows
from evergreen.tasks.core.data.schema import Schema
from evergreen.tasks.core.data.strategy import strategy
from evergreen.tasks.core.data.timeline import newest_from, newest_rows_from
from evergreen.tasks.core.errors import ConfigError
from evergreen.tasks.core.registry import STRATEGIES, plugged

_FEWEST = 100
"""Rows that the newest window must hold, and that must lie before it, for the two to be distinguished."""
_BOUNDS = (0.05, 20.0)
"""Least and greatest density ratio that a row counts by: none is lost, and none decides alone."""


def strategy_weights(rows: Rows, *, schema: Schema, config: ModelConfig) -> FloatArray | None:
    """Return the weight of each training row by ``retraining.weighted``, shape (n,), mean 1.

    None when all count alike: for ``none``, and for rows without a clock, which have no newest ones. The rows'
    labels are not used.

    Raises
    ------
    ConfigError
        When ``retraining.half_life`` or ``monitoring.window`` is no length on the model's clock.
    DataError
        When a feature is missing.
    """
    weighted = config.retraining.weighted
    if not weighted or rows.positions is None or len(rows) == 0:
        return None
    ((name, options),) = plugged([weighted]).items()
    chosen = STRATEGIES.get(name, key="retraining.weighted")
    weights = chosen.call("weights", rows, schema=schema, config=config, options=options)
    return None if weights is None else np.asarray(weights, dtype=np.float64)


@strategy("recency", of="weights")
def _by_recency(rows: Rows, *, schema: Schema, config: ModelConfig) -> FloatArray:
    """Count newer rows more, by ``retraining.half_life``."""
    assert rows.positions is not None
    return recency_weights(rows.positions, half_life=config.retraining.half_life, clock=config.data.clock)


@strategy("similarity", of="weights")
def _by_similarity(rows: Rows, *, schema: Schema, config: ModelConfig) -> FloatArray:
    """Count rows more that are like the newest window."""
    assert rows.positions is not None
    newest = newest_window(rows.positions, config.monitoring.window, clock=config.data.clock)
    most = config.training.max_categories
    return similarity_weights(rows.frame, newest, schema=schema, max_categories=most)


def recency_weights(
    positions: FloatArray, *, half_life: Span | None = None, clock: str = "timestamp"
) -> FloatArray:
    """Return weights that halve with each half-life back from the newest row, shape (n,), mean 1.

    Parameters
    ----------
    positions : array, shape (n,)
        Positions on the clock, in any order.
    half_life : Span, optional
        A length on the clock, or a number of rows: on a clock of time those are counted, and a row is as old as
        the number of rows that are newer. Default: half the length from the oldest to the newest row.

    Raises
    ------
    ConfigError
        When the half-life is zero, or a duration on a clock of row numbers.

    Examples
    --------
    >>> recency_weights(np.array([0.0, 50.0, 100.0])).round(3).tolist()
    [0.429, 0.857, 1.714]
    """
    if len(positions) == 0:
        return np.ones(0)
    age = positions.max() - positions
    if half_life is None:
        length = float(age.max()) / 2
    elif half_life.amount == 0:
        raise ConfigError(
            f"retraining.half_life '{half_life}' is no length: no row but the newest would count. Write a duration "
            "such as 30d or a number of rows such as '500 rows', or leave it out."
        )
    elif half_life.unit == "rows" and clock != "rows":
        age = len(positions) - np.searchsorted(np.sort(positions), positions, side="right")
        length = half_life.amount
    else:
        length = span_length(half_life, clock=clock)
    weights = 0.5 ** (age / length) if length > 0 else np.ones(len(positions))
    return np.asarray(weights / weights.mean())


def newest_window(positions: FloatArray, window: Span, *, clock: str) -> BoolArray:
    """Return which rows lie in the newest window, at least a hundred of them, bool of shape (n,).

    >>> newest_window(np.arange(500.0), Span(200.0, "rows", "200 rows"), clock="rows")[299:301].tolist()
    [False, True]
    """
    if len(positions) == 0:
        return np.zeros(0, dtype=bool)
    end = float(np.nextafter(positions.max(), math.inf))
    start = newest_from(positions, window, end=end, clock=clock)
    return np.asarray(positions >= min(start, newest_rows_from(positions, _FEWEST)))


def similarity_weights(
    frame: pd.DataFrame, newest: BoolArray, *, schema: Schema, max_categories: int = 50
) -> FloatArray:
    """Return how much likelier each row is in the newest window than among all rows, shape (n,), mean 1.

    The density ratio of the features: learning with these weights is learning as if all rows had been drawn like the
    newest, where what follows from the features has stayed the same (covariate shift). A logistic regression tells
    the newest rows from the older ones; p / (share of the newest rows) is the ratio to all rows, of which the newest
    are a part. The ratio to the older ones alone, in proportion to p / (1 - p), would count the newest twice and
    has no bound; this one cannot exceed n / (rows of the window). It is clipped to [0.05, 20] before its mean is
    made 1.

    Being linear it sees that means and shares of categories have moved, not that a spread alone has.

    Parameters
    ----------
    frame : DataFrame, shape (n, …)
        Rows with the schema's features, in any order; missing values and infinities are a value of their own.
        Labels are not used.
    newest : array of bool, shape (n,)
        The rows of the newest window.
    schema : Schema
        Names and kinds of the features.
    max_categories : int
        Rarer categories of a column are pooled.

    Returns
    -------
    array, shape (n,)
        All ones where the two cannot be distinguished: fewer than a hundred rows in the window or before it, no
        features, or constant ones.

    Raises
    ------
    DataError
        When a feature is missing, or a numeric one holds text.

    References
    ----------
    Shimodaira 2000, "Improving predictive inference under covariate shift by weighting the log-likelihood function",
    J. Statistical Planning and Inference 90; Bickel, Brückner & Scheffer 2009, "Discriminative learning under
    covariate shift", J. Machine Learning Research 10 (the ratio by a classifier).

    See Also
    --------
    recency_weights : for what follows from the features changing with time, which this cannot see.

    Examples
    --------
    Of 300 older rows a third has x = 1, of the 100 newest a half: 50 of 150 with x = 1 are new, and 1/3 / (1/4) = 4/3.

    >>> frame = pd.DataFrame({"x": [0.0] * 200 + [1.0] * 100 + [0.0] * 50 + [1.0] * 50})
    >>> found = similarity_weights(frame, np.arange(400) >= 300, schema=Schema(target="y", numeric=("x",)))
    >>> found[[0, 200]].round(2).tolist()
    [0.8, 1.33]
    """
    from sklearn.linear_model import LogisticRegression  # lazy: a plan of rows needs no classifier

    if min(int(newest.sum()), int((~newest).sum())) < _FEWEST or not schema.features:
        return np.ones(len(frame))
    features = _encode(frame, schema, max_categories)
    classifier = LogisticRegression(solver="newton-cholesky", tol=1e-8).fit(features, newest)
    ratio = classifier.predict_proba(features)[:, 1] / newest.mean()
    weights = np.clip(ratio, *_BOUNDS)
    return np.asarray(weights / weights.mean())


def _encode(frame: pd.DataFrame, schema: Schema, max_categories: int) -> FloatArray:
    """Return finite, scaled numbers and indicators of categories, shape (n, k)."""
    from evergreen.tasks.core.training.estimators import build_preprocessor
    from evergreen.tasks.core.training.features import feature_frame

    coder = build_preprocessor(schema, style="onehot", impute=True, max_categories=max_categories)
    assert not isinstance(coder, str)
    return np.asarray(coder.fit_transform(feature_frame(frame, schema)), dtype=np.float64)


def training_weights(
    rows: Rows, y: Array, *, schema: Schema, config: ModelConfig, class_weights: bool
) -> FloatArray | None:
    """Return the weight of each training row, shape (n,), mean 1; None when all are equal.

    Parameters
    ----------
    rows : Rows
        Training rows.
    y : array, shape (n,)
        Their outcome.
    class_weights : bool
        Apply ``training.class_weight`` here (for estimators without that parameter).

    Raises
    ------
    ConfigError
        When the column's weights are no weights, or ``retraining.weighted`` has no length on the model's clock.

    See Also
    --------
    evergreen.tasks.core.training.weights.strategy_weights : ``retraining.weighted``, by recency or by similarity.
    """
    weights = np.ones(len(y))
    if schema.weight is not None:
        weights *= rows.frame[schema.weight].to_numpy(dtype=np.float64)
    if class_weights and config.training.class_weight is not None:
        weights *= class_weight_of_rows(y, config.training.class_weight)
    by_strategy = strategy_weights(rows, schema=schema, config=config)
    if by_strategy is not None:
        weights *= by_strategy
    if not (np.isfinite(weights).all() and (weights >= 0).all() and weights.sum() > 0):
        raise ConfigError(
            f"Weights in column '{schema.weight}' must be finite and >= 0, and some > 0. "
            "Correct the column, or remove data.weight."
        )
    return None if np.all(weights == weights[0]) else weights / weights.mean()


def class_weight_of_rows(y: Array, class_weight: str | dict[str, float]) -> FloatArray:
    """Return each row's class weight: ``balanced`` is n / (k · n_class), as in scikit-learn.

    >>> class_weight_of_rows(np.array([0, 0, 0, 1]), "balanced").round(3).tolist()
    [0.667, 0.667, 0.667, 2.0]
    """
    labels, codes, counts = np.unique(y, return_inverse=True, return_counts=True)
    if class_weight == "balanced":
        return (len(y) / (len(labels) * counts))[codes]
    by_label = match_labels(labels.tolist(), class_weight)
    return np.asarray([by_label.get(label, 1.0) for label in labels.tolist()], dtype=np.float64)[codes]


def match_labels(labels: list[Any], class_weight: str | dict[str, float]) -> dict[Any, float]:
    """Match class names written in a configuration (always text) with the classes of the data.

    Raises
    ------
    ConfigError
        When a name is no class of the target.
    """
    assert isinstance(class_weight, dict)
    by_text = {str(label): label for label in labels}
    wrong = [name for name in class_weight if name not in by_text]
    if wrong:
        raise ConfigError(
            f"training.class_weight names the class '{wrong[0]}'; the target has {', '.join(sorted(by_text))}. "
            "Correct the name."
        )
    return {by_text[name]: float(weight) for name, weight in class_weight.items()}

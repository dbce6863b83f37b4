"""Weights of training rows: a column, class weights, the strategy of retraining; their product."""

from __future__ import annotations

from typing import Any

import numpy as np

from tasks.core.config import ModelConfig
from tasks.core.data.rows import Rows
from tasks.core.data.schema import Schema
from tasks.core.errors import ConfigError
from tasks.core.metrics.scored import Array, FloatArray
from tasks.core.strategy import strategy_weights


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
    tasks.core.strategy.strategy_weights : ``retraining.weighted``, by recency or by similarity.
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

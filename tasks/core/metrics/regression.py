"""Metrics of predicted numbers, by scikit-learn's names or their usual short forms."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from evergreen.tasks.core.arrays import FloatArray
from evergreen.tasks.core.metrics.base import (
    Components,
    Metric,
    MetricParts,
    error_metric,
    mean_of_first,
    ratio,
    row_parts,
)
from evergreen.tasks.core.metrics.scored import Scored

REGRESSION = frozenset({"regression"})


def regression_metrics() -> list[Metric]:
    """Return every regression metric."""
    means: dict[str, Callable[[FloatArray, FloatArray], FloatArray]] = {
        "mse": lambda y, p: (y - p) ** 2,
        "mae": lambda y, p: np.abs(y - p),
        "mape": lambda y, p: np.abs(y - p) / np.maximum(np.abs(y), np.finfo(np.float64).eps),
        "mean_poisson_deviance": _poisson,
        "mean_gamma_deviance": _gamma,
    }
    roots = {"rmse": means["mse"], "rmsle": _squared_log}
    by_function = {"median_absolute_error": _median_absolute_error, "max_error": _max_error}
    r2 = Metric(name="r2", problems=REGRESSION, components=_r2_parts, combine=_r2)
    return [
        *(error_metric(name, REGRESSION, components=_loss_parts(loss)) for name, loss in means.items()),
        *(
            error_metric(name, REGRESSION, components=_loss_parts(loss), combine=_root_of_mean)
            for name, loss in roots.items()
        ),
        r2,
        *(error_metric(name, REGRESSION, function=function) for name, function in by_function.items()),
    ]


def _loss_parts(loss: Callable[[FloatArray, FloatArray], FloatArray]) -> Components:
    def components(scored: Scored) -> MetricParts:
        return row_parts(scored, loss(*_numbers(scored)))

    return components


def _numbers(scored: Scored) -> tuple[FloatArray, FloatArray]:
    """Return outcome and prediction as floats."""
    return scored.y.astype(np.float64), scored.require("score").astype(np.float64)


def _root_of_mean(sums: FloatArray) -> FloatArray:
    return np.sqrt(mean_of_first(sums))


def _poisson(y: FloatArray, p: FloatArray) -> FloatArray:
    """Return 2 (y ln(y/p) - y + p); nan for a prediction <= 0 or an outcome < 0."""
    bad = (p <= 0) | (y < 0)
    safe, outcome = np.where(bad, 1.0, p), np.where(bad, 1.0, y)
    log = np.log(np.where(outcome > 0, outcome, 1.0) / safe)
    return np.where(bad, np.nan, 2 * (outcome * log - outcome + safe))


def _gamma(y: FloatArray, p: FloatArray) -> FloatArray:
    """Return 2 (ln(p/y) + y/p - 1); nan for a prediction or an outcome <= 0."""
    bad = (p <= 0) | (y <= 0)
    safe, outcome = np.where(bad, 1.0, p), np.where(bad, 1.0, y)
    return np.where(bad, np.nan, 2 * (np.log(safe / outcome) + outcome / safe - 1))


def _squared_log(y: FloatArray, p: FloatArray) -> FloatArray:
    """Return (ln(1+y) - ln(1+p))²; nan for either <= -1."""
    bad = (p <= -1) | (y <= -1)
    return np.where(bad, np.nan, (np.log1p(np.where(bad, 0.0, y)) - np.log1p(np.where(bad, 0.0, p))) ** 2)


def _r2_parts(scored: Scored) -> MetricParts:
    y, p = _numbers(scored)
    centred = y - y.mean()  # the same shift for both models of a pair; keeps the sums small
    return row_parts(scored, (y - p) ** 2, centred, centred**2)


def _r2(sums: FloatArray) -> FloatArray:
    """Return 1 - unexplained / total variation; nan for a constant outcome."""
    unexplained, first, second, weight = (sums[..., i] for i in range(4))
    return 1.0 - ratio(unexplained, second - ratio(first**2, weight))


def _median_absolute_error(scored: Scored) -> float:
    y, p = _numbers(scored)
    if scored.weight is None:
        return float(np.median(np.abs(y - p)))
    from sklearn.metrics import median_absolute_error

    return float(median_absolute_error(y, p, sample_weight=scored.weight))


def _max_error(scored: Scored) -> float:
    y, p = _numbers(scored)
    return float(np.abs(y - p).max())

"""Metrics that can be followed live: means over rows or groups, one value each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from evergreen.tasks.core.arrays import FloatArray, IntArray
from evergreen.tasks.core.errors import DataError, InputError
from evergreen.tasks.core.metrics.base import Metric, mean_of_first
from evergreen.tasks.core.metrics.classification import class_codes
from evergreen.tasks.core.metrics.registry import get_metric, metric_names
from evergreen.tasks.core.metrics.scored import Scored

_HITS = frozenset({"accuracy", "f1_micro", "precision_micro", "recall_micro"})
_STAND_INS = {"roc_auc": "brier_score", "average_precision": "brier_score", "rmse": "mse"}
_LEAST = 100  # values that a quantile of clipping is read from


def is_live(metric: Metric) -> bool:
    """Tell whether a metric is a mean of one value a row (or group)."""
    return metric.combine is mean_of_first or metric.name in _HITS


def is_hits(metric: Metric) -> bool:
    """Tell whether each value is right or wrong, so that pairs are judged exactly."""
    return metric.name in _HITS


def live_metric(name: str, *, problem: str, custom: Mapping[str, Metric] | None = None) -> Metric:
    """Return a metric by name that can be followed live.

    Raises
    ------
    UnknownName
        When no metric has this name for this problem.
    InputError
        When it is no mean over rows or groups (AUC, F1, precision, RMSE, a team's own …), naming those that are.

    >>> live_metric("accuracy", problem="binary").name
    'accuracy'
    """
    metric = get_metric(name, problem=problem, custom=custom)
    if is_live(metric):
        return metric
    allowed = [each for each in metric_names(problem) if is_live(get_metric(each, problem=problem))]
    hint = f" Use '{_STAND_INS[metric.name]}' in its place." if metric.name in _STAND_INS else ""
    raise InputError(
        f"'{metric.name}' is no mean over rows, which a live test needs: it has no value for a single row. "
        f"Allowed for a {problem} model: {', '.join(allowed)}.{hint}"
    )


def live_metric_name(name: str, *, problem: str, custom: Mapping[str, Metric] | None = None) -> str:
    """Return the name itself where the metric can be followed live, else that of its nearest relative.

    >>> live_metric_name("roc_auc", problem="binary"), live_metric_name("rmse", problem="regression")
    ('brier_score', 'mse')
    """
    metric = get_metric(name, problem=problem, custom=custom)
    fallback = {"binary": "brier_score", "multiclass": "accuracy", "regression": "mse", "ranking": "ndcg"}
    return metric.name if is_live(metric) else _STAND_INS.get(metric.name, fallback[problem])


def live_values(metric: Metric, scored: Scored) -> tuple[FloatArray, IntArray]:
    """Return one value a row (or defined group), greater always better, and the row it belongs to.

    Parameters
    ----------
    metric : Metric
        From ``live_metric``; values of losses and errors are negated.
    scored : Scored
        Answers with outcomes; weights are not used. Of a ranking: whole groups.

    Returns
    -------
    (array, array), shapes (u,)
        NaN where the metric is undefined for a row. Groups that say nothing about an order are left out.
    """
    plain = replace(scored, weight=None)
    if len(plain) == 0:
        return np.empty(0), np.empty(0, dtype=np.int64)
    if is_hits(metric):
        truth, called, _ = class_codes(plain)
        return (truth == called).astype(np.float64), np.arange(len(plain))
    if metric.components is None:
        raise TypeError(f"Metric '{metric.name}' has no value a row.")
    parts = metric.components(plain)
    return metric.sign * parts.values[:, 0] / parts.values[:, -1], parts.rows


def choose_clip(values: Any, *, quantile: float = 0.99) -> tuple[float, float]:
    """Return the bounds to clip a metric to, from values that were known *before* the test begins.

    Parameters
    ----------
    values : array, shape (n,)
        The metric a row (`live_values`) of past predictions; NaN are left out.
    quantile : float
        Share of them that lies below the upper bound, and as many above the lower one, in (0.5, 1).

    Raises
    ------
    InputError
        For another quantile, or with fewer than 100 values.
    DataError
        When the values do not vary between these quantiles.

    >>> choose_clip(np.arange(1001.0), quantile=0.75)
    (250.0, 750.0)
    """
    if not 0.5 < quantile < 1:
        raise InputError(
            f"The quantile of clipping is {quantile}. Allowed: above 0.5 and below 1, e.g. 0.99."
        )
    x = np.asarray(values, dtype=np.float64)
    x = x[np.isfinite(x)]
    if x.size < _LEAST:
        raise InputError(
            f"{x.size} past values are too few to fix a quantile of clipping; {_LEAST} are needed. "
            "Give both bounds by hand, or collect outcomes first."
        )
    low, high = (float(bound) for bound in np.quantile(x, [1 - quantile, quantile]))
    if low == high:
        raise DataError(
            f"Past values do not vary between the quantiles {1 - quantile:g} and {quantile:g} (both {low:g}). "
            "Raise the quantile, or give both bounds by hand."
        )
    return low, high


def span_of(metric: Metric, clip: tuple[float, float] | None) -> float:
    """Return the greatest difference of two values of a row: 1 for metrics bounded by 0 and 1, 0 where unbounded."""
    if clip is not None:
        return clip[1] - clip[0]
    return 1.0 if metric.bounded else 0.0


def clip_values(values: FloatArray, clip: tuple[float, float] | None) -> FloatArray:
    """Return values within bounds; as they are without any. NaN stays NaN."""
    return values if clip is None else np.clip(values, *clip)

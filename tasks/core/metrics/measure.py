"""Which metrics a model is measured by, and measuring them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from tasks.core.config import ModelConfig
from tasks.core.metrics.business import business_metric
from tasks.core.metrics.registry import Metric, default_metric, get_metric
from tasks.core.metrics.scored import Scored

_SHOWN = {
    "binary": [
        "roc_auc", "average_precision", "log_loss", "brier_score", "accuracy", "balanced_accuracy",
        "f1", "precision", "recall", "matthews_corrcoef",
    ],
    "multiclass": ["accuracy", "balanced_accuracy", "f1_macro", "f1_weighted", "log_loss", "roc_auc_ovr"],
    "regression": ["rmse", "mae", "median_absolute_error", "mape", "r2"],
    "ranking": ["ndcg_at_1", "ndcg_at_3", "ndcg_at_5", "mrr", "win_rate"],
}  # fmt: skip


def deciding_metric(config: ModelConfig, *, custom: Mapping[str, Metric] | None = None) -> Metric:
    """Return the metric that decides: ``evaluation.metric``, else the default of the problem.

    Raises
    ------
    UnknownName
        When no metric has this name for this problem.
    """
    problem = config.problem.value
    own = {**(custom or {}), **business_of(config)}
    return get_metric(config.evaluation.metric or default_metric(problem), problem=problem, custom=own)


def metrics_of(config: ModelConfig, *, custom: Mapping[str, Metric] | None = None) -> tuple[Metric, ...]:
    """Return all metrics a model is measured by, the deciding one first.

    These are ``evaluation.metric``, ``evaluation.metrics``, the team's own, the business metric where it is
    configured, and the usual ones of the problem.

    Raises
    ------
    UnknownName
        When a name is unknown for this problem.
    """
    problem = config.problem.value
    own = {**(custom or {}), **business_of(config)}
    names = [*config.evaluation.metrics, *own, *_SHOWN[problem]]
    found = [deciding_metric(config, custom=own)]
    found += [get_metric(name, problem=problem, custom=own) for name in names]
    return tuple({metric.name: metric for metric in found}.values())


def measure(scored: Scored, metrics: Sequence[Metric]) -> dict[str, float]:
    """Measure every metric that is defined on these rows; an undefined one (NaN) is left out."""
    values = {metric.name: metric(scored) for metric in metrics if _measurable(scored, metric)}
    return {name: value for name, value in values.items() if np.isfinite(value)}


def business_of(config: ModelConfig) -> dict[str, Metric]:
    """Return the business metric by its name where it is configured."""
    business = config.evaluation.business
    if business is None:
        return {}
    return {"business_value": business_metric(config.problem.value, **business.model_dump())}


def _measurable(scored: Scored, metric: Metric) -> bool:
    return not (metric.needs == "value" and scored.value is None)

"""Metrics by name (scikit-learn's, ``ndcg@k``, a team's own): those of regression, and which a model measures."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy as np

from evergreen.tasks.core.arrays import FloatArray
from evergreen.tasks.core.config import ModelConfig
from evergreen.tasks.core.errors import ConfigError, UnknownName, unknown_name
from evergreen.tasks.core.metrics.base import (
    PROBLEMS,
    Components,
    Metric,
    MetricParts,
    error_metric,
    mean_of_first,
    ratio,
    row_parts,
)
from evergreen.tasks.core.metrics.classification import business_metric, label_metrics, probability_metrics
from evergreen.tasks.core.metrics.ranking import mean_reciprocal_rank, ndcg_at, win_rate
from evergreen.tasks.core.metrics.scored import Scored
from evergreen.tasks.core.registry import METRICS, require_type

_DEFAULTS = {"binary": "roc_auc", "multiclass": "log_loss", "regression": "rmse", "ranking": "ndcg_at_3"}
_ALIASES = {
    "root_mean_squared_error": "rmse",
    "mean_squared_error": "mse",
    "mean_absolute_error": "mae",
    "mean_absolute_percentage_error": "mape",
    "root_mean_squared_log_error": "rmsle",
    "poisson_deviance": "mean_poisson_deviance",
    "gamma_deviance": "mean_gamma_deviance",
    "brier_score_loss": "brier_score",
    "brier": "brier_score",
    "r2_score": "r2",
    "accuracy_score": "accuracy",
    "f1_score": "f1",
    "auc": "roc_auc",
    "roc_auc_score": "roc_auc",
    "mcc": "matthews_corrcoef",
    "mean_reciprocal_rank": "mrr",
    "value": "business_value",
}
_NDCG = re.compile(r"ndcg(?:_at_|@)([1-9]\d{0,5})")


def canonical_name(name: str) -> str:
    """Return the one name a metric is logged by.

    >>> canonical_name("ndcg@3"), canonical_name("neg_root_mean_squared_error")
    ('ndcg_at_3', 'rmse')
    """
    plain = name.strip().lower().replace("@", "_at_").removeprefix("neg_")
    return _ALIASES.get(plain, plain)


def get_metric(name: str, *, problem: str, custom: Mapping[str, Metric] | None = None) -> Metric:
    """Look a metric up.

    Parameters
    ----------
    name : str
        A name or alias; ``ndcg@3`` and ``neg_…`` are translated.
    problem : str
        ``binary``, ``multiclass``, ``regression`` or ``ranking``.
    custom : mapping of str to Metric, optional
        A team's own metrics (`custom_metric`), looked up first and by their exact names.

    Raises
    ------
    UnknownName
        When no metric has this name for this problem; the message lists those which do.

    Examples
    --------
    >>> get_metric("ndcg@5", problem="ranking").name
    'ndcg_at_5'
    """
    if custom and name in custom:
        return custom[name]
    built_in = _by_problem(problem)
    plain = canonical_name(name)
    if plain in built_in:
        return built_in[plain]
    match = _NDCG.fullmatch(plain)
    if match and problem == "ranking":
        return ndcg_at(int(match[1]))
    if name in METRICS.names() and problem in (offered := METRICS.get(name)).problems:
        return offered
    raise _unknown(plain, problem=problem, names=[*built_in, *METRICS.names(), *(custom or {})])


@METRICS.reader
def _as_metric(name: str, thing: Any) -> Metric:
    what = f"The metric '{name}' of a package is"
    maker = "evergreen.tasks.core.metrics.base.custom_metric"
    return replace(require_type(thing, Metric, what=what, allowed=f"what {maker} makes."), name=name)


def _unknown(name: str, *, problem: str, names: list[str]) -> UnknownName:
    """Return the error of a name that is unknown, or known for other problems only."""
    others = [p for p in PROBLEMS if p != problem and name in _by_problem(p)]
    if others:
        return UnknownName(
            f"Metric '{name}' is not defined for a {problem} model (only: {', '.join(others)}). "
            f"Allowed: {', '.join(sorted(names))}. Choose one of these, such as '{_DEFAULTS[problem]}'."
        )
    return unknown_name(f"{problem} metric", name, names)


def metric_names(problem: str) -> list[str]:
    """Return the known names for a problem, sorted; NDCG exists for every k."""
    return sorted(_by_problem(problem))


def default_metric(problem: str) -> str:
    """Return the metric a model of this problem is judged by unless its configuration says otherwise."""
    _check_problem(problem)
    return _DEFAULTS[problem]


@lru_cache(maxsize=len(PROBLEMS))
def _by_problem(problem: str) -> dict[str, Metric]:
    """Return the built-in metrics of a problem by name."""
    _check_problem(problem)
    ranking = [*(ndcg_at(k) for k in (1, 3, 5, 10, None)), mean_reciprocal_rank(), win_rate()]
    everything = [*label_metrics(), *probability_metrics(), *regression_metrics(), *ranking]
    if problem != "regression":
        everything.append(business_metric(problem))
    return {metric.name: metric for metric in everything if problem in metric.problems}


def _check_problem(problem: str) -> None:
    if problem not in PROBLEMS:
        allowed = f"{', '.join(PROBLEMS)}. Set 'problem' to one of them."
        raise ConfigError(f"Unknown problem '{problem}'. Allowed: {allowed}")


# Metrics of predicted numbers.


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


# Which metrics a model is measured by, and measuring them.


_SHOWN = {
    "binary": "roc_auc average_precision log_loss brier_score accuracy balanced_accuracy f1 precision recall "
    "matthews_corrcoef",
    "multiclass": "accuracy balanced_accuracy f1_macro f1_weighted log_loss roc_auc_ovr",
    "regression": "rmse mae median_absolute_error mape r2",
    "ranking": "ndcg_at_1 ndcg_at_3 ndcg_at_5 mrr win_rate",
}
"""Metrics that every model of a problem is measured by."""


def deciding_metric(config: ModelConfig, *, custom: Mapping[str, Metric] | None = None) -> Metric:
    """Return the metric that decides: ``evaluation.metric``, else the default of the problem.

    Raises
    ------
    UnknownName
        When no metric has this name for this problem.
    """
    problem, own = config.problem.value, own_metrics(config, custom)
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
    problem, own = config.problem.value, own_metrics(config, custom)
    names = [*config.evaluation.metrics, *own, *_SHOWN[problem].split()]
    metrics = [deciding_metric(config, custom=own)]
    metrics += [get_metric(name, problem=problem, custom=own) for name in names]
    return tuple({metric.name: metric for metric in metrics}.values())


def measure(scored: Scored, metrics: Sequence[Metric]) -> dict[str, float]:
    """Measure every metric that is defined on these rows; an undefined one (NaN) is left out."""
    measurable = [metric for metric in metrics if metric.needs != "value" or scored.value is not None]
    values = {metric.name: metric(scored) for metric in measurable}
    return {name: value for name, value in values.items() if np.isfinite(value)}


def own_metrics(config: ModelConfig, custom: Mapping[str, Metric] | None) -> dict[str, Metric]:
    """Return a team's metrics and, where it is configured, the business metric, by name."""
    own, business = dict(custom or {}), config.evaluation.business
    if business is not None:
        own["business_value"] = business_metric(config.problem.value, **business.model_dump())
    return own

"""Metrics by name: scikit-learn's names, their aliases, ``ndcg@k``, and a team's own."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy as np

from evergreen.tasks.core.config import ModelConfig
from evergreen.tasks.core.errors import ConfigError, UnknownName, unknown_name
from evergreen.tasks.core.metrics.base import PROBLEMS, Metric
from evergreen.tasks.core.metrics.classification import business_metric, label_metrics, probability_metrics
from evergreen.tasks.core.metrics.ranking import mean_reciprocal_rank, ndcg_at, win_rate
from evergreen.tasks.core.metrics.regression import regression_metrics
from evergreen.tasks.core.metrics.scored import Scored
from evergreen.tasks.core.registry import METRICS

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
    known = _by_problem(problem)
    plain = canonical_name(name)
    if plain in known:
        return known[plain]
    found = _NDCG.fullmatch(plain)
    if found and problem == "ranking":
        return ndcg_at(int(found[1]))
    if name in METRICS.names() and problem in (offered := METRICS.get(name)).problems:
        return offered
    raise _unknown(plain, problem=problem, known=[*known, *METRICS.names(), *(custom or {})])


@METRICS.reader
def _as_metric(name: str, thing: Any) -> Metric:
    if not isinstance(thing, Metric):
        raise ConfigError(
            f"The metric '{name}' of a package is a {type(thing).__name__}, allowed is what "
            "evergreen.tasks.core.metrics.base.custom_metric makes."
        )
    return replace(thing, name=name)


def _unknown(name: str, *, problem: str, known: list[str]) -> UnknownName:
    """Return the error of a name that is unknown, or known for other problems only."""
    others = [p for p in PROBLEMS if p != problem and name in _by_problem(p)]
    if others:
        return UnknownName(
            f"Metric '{name}' is not defined for a {problem} model (only: {', '.join(others)}). "
            f"Allowed: {', '.join(sorted(known))}. Choose one of these, such as '{_DEFAULTS[problem]}'."
        )
    return unknown_name(f"{problem} metric", name, known)


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
    names = [*config.evaluation.metrics, *own, *_SHOWN[problem].split()]
    found = [deciding_metric(config, custom=own)]
    found += [get_metric(name, problem=problem, custom=own) for name in names]
    return tuple({metric.name: metric for metric in found}.values())


def measure(scored: Scored, metrics: Sequence[Metric]) -> dict[str, float]:
    """Measure every metric that is defined on these rows; an undefined one (NaN) is left out."""
    measurable = [metric for metric in metrics if metric.needs != "value" or scored.value is not None]
    values = {metric.name: metric(scored) for metric in measurable}
    return {name: value for name, value in values.items() if np.isfinite(value)}


def business_of(config: ModelConfig) -> dict[str, Metric]:
    """Return the business metric by its name where it is configured."""
    business = config.evaluation.business
    if business is None:
        return {}
    return {"business_value": business_metric(config.problem.value, **business.model_dump())}

"""Metrics by name: scikit-learn's names, their aliases, ``ndcg@k``, and a team's own."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache

from tasks.core.errors import ConfigError, UnknownName, unknown_name
from tasks.core.metrics.base import PROBLEMS, Metric, Parts, custom_metric
from tasks.core.metrics.business import business_metric
from tasks.core.metrics.labels import label_metrics
from tasks.core.metrics.probability import probability_metrics
from tasks.core.metrics.ranking import mean_reciprocal_rank, ndcg_at, win_rate
from tasks.core.metrics.regression import regression_metrics

__all__ = [
    "PROBLEMS",
    "Metric",
    "Parts",
    "business_metric",
    "canonical_name",
    "custom_metric",
    "default_metric",
    "get_metric",
    "metric_names",
]

_DEFAULTS = {
    "binary": "roc_auc",
    "multiclass": "log_loss",
    "regression": "rmse",
    "ranking": "ndcg_at_3",
}
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
    raise _unknown(plain, problem=problem, known=[*known, *(custom or {})])


def _unknown(name: str, *, problem: str, known: list[str]) -> UnknownName:
    """Say whether the name is unknown, or known for other problems only."""
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
        raise ConfigError(
            f"Unknown problem '{problem}'. Allowed: {', '.join(PROBLEMS)}. Set 'problem' to one of them."
        )

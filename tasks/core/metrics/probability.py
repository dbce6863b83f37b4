"""Metrics of probabilities, by scikit-learn's names."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from tasks.core.metrics.base import Metric, Parts, mean_of_first, ratio, row_parts
from tasks.core.metrics.labels import BINARY, CLASSIFICATION, class_codes
from tasks.core.metrics.scored import FloatArray, Scored
from tasks.core.stats.auc import auc_influence, roc_auc

MULTICLASS = frozenset({"multiclass"})
_EPS = float(np.finfo(np.float64).eps)


def _log_loss_parts(scored: Scored) -> Parts:
    """Return -ln P(outcome) per row; nan for an outcome the model has no column for."""
    score = scored.require("score")
    if scored.is_binary:
        p = np.clip(scored.positive_score, _EPS, 1 - _EPS)
        return row_parts(scored, -np.log(np.where(scored.truth, p, 1 - p)))
    truth, _, _ = class_codes(scored)
    clipped = np.clip(score, _EPS, 1 - _EPS)
    known = truth < clipped.shape[1]
    chosen = clipped[np.arange(len(truth)), np.where(known, truth, 0)]
    return row_parts(scored, np.where(known, -np.log(chosen), np.nan))


def _brier_parts(scored: Scored) -> Parts:
    """Return the squared distance of probabilities and outcome per row."""
    score = scored.require("score")
    if scored.is_binary:
        return row_parts(scored, (scored.positive_score - scored.truth) ** 2)
    truth, _, k = class_codes(scored)
    wide = np.zeros((len(scored), k))
    wide[:, : score.shape[1]] = score
    return row_parts(scored, ((wide - np.eye(k)[truth]) ** 2).sum(axis=1))


def _roc_auc(scored: Scored) -> float:
    return roc_auc(scored.truth, scored.positive_score, weight=scored.weight)


def _roc_auc_influence(scored: Scored) -> FloatArray:
    return auc_influence(scored.truth, scored.positive_score)


def average_precision(scored: Scored) -> float:
    """Return the step-wise area under the precision-recall curve; ``nan`` without a positive row."""
    truth, score = scored.truth, scored.positive_score
    weight = np.ones(len(scored)) if scored.weight is None else np.asarray(scored.weight, dtype=np.float64)
    order = np.argsort(-score, kind="stable")
    found = np.cumsum((weight * truth)[order])
    seen = np.cumsum(weight[order])
    last_of_tie = np.append(np.diff(score[order]) != 0, True)
    found, seen = found[last_of_tie], seen[last_of_tie]
    if found[-1] == 0:
        return float("nan")
    precision = np.nan_to_num(ratio(found, seen))
    return float((np.diff(found, prepend=0.0) * precision).sum() / found[-1])


def _roc_auc_ovr(scored: Scored, *, weighted: bool = False) -> float:
    """Return the mean of each class's AUC against the rest; nan when a class has no outcome."""
    truth, _, k = class_codes(scored)
    score = scored.require("score")
    if k > score.shape[1]:
        return float("nan")
    areas = [roc_auc(truth == c, score[:, c], weight=scored.weight) for c in range(k)]
    weight = np.ones(len(scored)) if scored.weight is None else scored.weight
    shares = np.bincount(truth, weights=weight, minlength=k)
    return float(np.average(areas, weights=shares if weighted else None))


def probability_metrics() -> list[Metric]:
    """Return the metrics of probabilities."""
    return [
        _loss("log_loss", _log_loss_parts),
        _loss("brier_score", _brier_parts),
        _ranked("roc_auc", BINARY, _roc_auc, influence=_roc_auc_influence),
        _ranked("average_precision", BINARY, average_precision),
        _ranked("roc_auc_ovr", MULTICLASS, _roc_auc_ovr),
        _ranked("roc_auc_ovr_weighted", MULTICLASS, lambda scored: _roc_auc_ovr(scored, weighted=True)),
    ]


def _loss(name: str, components: Callable[[Scored], Parts]) -> Metric:
    return Metric(
        name=name,
        problems=CLASSIFICATION,
        greater_is_better=False,
        bounded=False,
        needs="score",
        components=components,
        combine=mean_of_first,
    )


def _ranked(
    name: str,
    problems: frozenset[str],
    function: Callable[[Scored], float],
    *,
    influence: Callable[[Scored], FloatArray] | None = None,
) -> Metric:
    return Metric(
        name=name,
        problems=problems,
        greater_is_better=True,
        bounded=True,
        needs="score",
        function=function,
        influence=influence,
    )

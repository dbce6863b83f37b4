"""Metrics of classes: of decided ones, of probabilities, and the business value of decisions."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from evergreen.tasks.core.arrays import Array, FloatArray, IntArray
from evergreen.tasks.core.errors import ConfigError
from evergreen.tasks.core.metrics.base import (
    Combine,
    Metric,
    MetricParts,
    error_metric,
    mean_of_first,
    ratio,
    row_parts,
)
from evergreen.tasks.core.metrics.ranking import value_of_first
from evergreen.tasks.core.metrics.scored import Scored
from evergreen.tasks.core.stats.auc import auc_influence, average_precision, roc_auc

# Metrics of decided classes, by scikit-learn's names: all of them follow from counts per class.


BINARY = frozenset({"binary"})
CLASSIFICATION = frozenset({"binary", "multiclass"})


def class_codes(scored: Scored) -> tuple[IntArray, IntArray, int]:
    """Return outcome codes, predicted codes (each (n,)) and the number of classes.

    Two classes are coded 0 and 1 = positive. Outcomes that are no class of the model get codes of their own after its
    classes.
    """
    if scored.is_binary:
        return scored.truth.astype(np.int64), scored.says_positive.astype(np.int64), 2
    called = scored.predicted
    labels = [*scored.classes, *np.unique(scored.y).tolist(), *np.unique(called).tolist()]
    classes = list(dict.fromkeys(labels))
    return _codes(scored.y, classes), _codes(called, classes), len(classes)


def _codes(column: Array, classes: list[object]) -> IntArray:
    """Return the place of each entry in ``classes``."""
    uniques, inverse = np.unique(column, return_inverse=True)
    places = np.array([classes.index(entry) for entry in uniques.tolist()], dtype=np.int64)
    return places[inverse]


def class_parts(scored: Scored) -> MetricParts:
    """Return per row, class by class: hit, outcome, prediction; (n, 3 k) in the order hits, truths, calls."""
    truth, called, k = class_codes(scored)
    n = len(scored)
    values = np.zeros((n, 3 * k))
    weight = np.ones(n) if scored.weight is None else np.asarray(scored.weight, dtype=np.float64)
    rows = np.arange(n)
    values[rows, truth] = weight * (truth == called)
    values[rows, k + truth] = weight
    values[rows, 2 * k + called] = weight
    return MetricParts(values=values, rows=rows)


def split_counts(sums: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Split ``(…, 3 k)`` sums into hits, truths and calls, each (…, k)."""
    k = sums.shape[-1] // 3
    return sums[..., :k], sums[..., k : 2 * k], sums[..., 2 * k :]


def _accuracy(sums: FloatArray) -> FloatArray:
    hits, truths, _ = split_counts(sums)
    return ratio(hits.sum(-1), truths.sum(-1))


def _balanced_accuracy(sums: FloatArray) -> FloatArray:
    hits, truths, _ = split_counts(sums)
    recall = ratio(hits, truths)  # nan for a class without outcomes: left out, as scikit-learn does
    return ratio(np.nansum(recall, -1), (truths > 0).sum(-1))


def _of_positives(name: str) -> Combine:
    """Return precision, recall, f1 or jaccard of the positive class; nan without rows (precision), else positives."""

    def combine(sums: FloatArray) -> FloatArray:
        hits, truths, calls = (counts[..., 1] for counts in split_counts(sums))
        rows = split_counts(sums)[1].sum(-1)
        score = {
            "precision": np.nan_to_num(ratio(hits, calls)),  # nothing called positive: 0
            "recall": ratio(hits, truths),
            "f1": ratio(2 * hits, truths + calls),
            "jaccard": ratio(hits, truths + calls - hits),
        }[name]
        return np.where((rows if name == "precision" else truths) > 0, score, np.nan)

    return combine


def _specificity(sums: FloatArray) -> FloatArray:
    hits, truths, _ = split_counts(sums)
    return ratio(hits[..., 0], truths[..., 0])


def _matthews(sums: FloatArray) -> FloatArray:
    hits, truths, calls = split_counts(sums)
    s, c = truths.sum(-1), hits.sum(-1)
    top = c * s - (truths * calls).sum(-1)
    bottom = np.sqrt((s**2 - (calls**2).sum(-1)) * (s**2 - (truths**2).sum(-1)))
    one_class = (truths > 0).sum(-1) < 2
    return np.where(one_class, np.nan, np.nan_to_num(ratio(top, bottom)))  # one class called: 0


def _kappa(sums: FloatArray) -> FloatArray:
    hits, truths, calls = split_counts(sums)
    s = truths.sum(-1)
    chance = ratio((truths * calls).sum(-1), s**2)
    return ratio(ratio(hits.sum(-1), s) - chance, 1 - chance)


def _averaged(kind: str, *, weighted: bool) -> Combine:
    """Return the mean of f1, precision or recall over classes, by support or alike for all that are present."""

    def combine(sums: FloatArray) -> FloatArray:
        hits, truths, calls = split_counts(sums)
        bottom = {"f1": (truths + calls) / 2, "precision": calls, "recall": truths}[kind]
        score = np.nan_to_num(ratio(hits, bottom))  # 0 where nothing is defined
        weight = truths if weighted else (truths + calls) > 0
        return ratio((score * weight).sum(-1), weight.sum(-1))

    return combine


def label_metrics() -> list[Metric]:
    """Return the metrics of decided classes."""
    both: dict[str, Combine] = {
        "accuracy": _accuracy,
        "balanced_accuracy": _balanced_accuracy,
        "matthews_corrcoef": _matthews,
        "cohen_kappa": _kappa,
    }
    for kind in ("f1", "precision", "recall"):
        both[f"{kind}_macro"] = _averaged(kind, weighted=False)
        both[f"{kind}_weighted"] = _averaged(kind, weighted=True)
        both[f"{kind}_micro"] = _accuracy
    binary = {name: _of_positives(name) for name in ("precision", "recall", "f1", "jaccard")}
    binary["specificity"] = _specificity
    return [
        Metric(name=name, problems=problems, needs="label", components=class_parts, combine=combine)
        for problems, metrics in ((CLASSIFICATION, both), (BINARY, binary))
        for name, combine in metrics.items()
    ]


def business_metric(
    problem: str,
    *,
    true_positive: float = 1.0,
    false_positive: float = 0.0,
    false_negative: float = 0.0,
    true_negative: float = 0.0,
    action_cost: float = 0.0,
) -> Metric:
    """Make ``business_value``, the mean worth of a row's decision in the unit of the value column.

    Parameters
    ----------
    problem : str
        ``binary``: the gain of the row's outcome times its value. ``multiclass``: ``true_positive`` where
        the class is right, ``false_positive`` where it is wrong. ``ranking``: the value of the row ranked
        first in each group (ties share); only ``action_cost`` applies.
    true_positive, false_positive, false_negative, true_negative : float
        Multiples of the row's value gained (negative: lost).
    action_cost : float
        Fixed cost of each positive decision (ranking: of each group).

    Raises
    ------
    ConfigError
        For regression, where no decision is taken.
    """
    if problem == "ranking":
        return value_of_first(cost=action_cost)
    if problem not in ("binary", "multiclass"):
        raise ConfigError(
            f"business_value is not defined for a {problem} model. Allowed: binary, multiclass, ranking. "
            "Remove evaluation.business, or name a custom metric."
        )
    gains = np.array([[true_negative, false_positive], [false_negative, true_positive]])

    def components(scored: Scored) -> MetricParts:
        value = scored.require("value").astype(np.float64)
        truth, called, _ = class_codes(scored)
        if scored.is_binary:
            return row_parts(scored, value * gains[truth, called] - action_cost * called)
        gain = np.where(truth == called, true_positive, false_positive)
        return row_parts(scored, value * gain - action_cost)

    kind: dict[str, Any] = {"problems": frozenset({problem}), "bounded": False, "needs": "value"}
    return Metric(name="business_value", **kind, components=components, combine=mean_of_first)


# Metrics of probabilities, by scikit-learn's names.


MULTICLASS = frozenset({"multiclass"})
_EPS = float(np.finfo(np.float64).eps)


def _log_loss_parts(scored: Scored) -> MetricParts:
    """Return -ln P(outcome) per row; nan for an outcome the model has no column for."""
    score = scored.require("score")
    if scored.is_binary:
        p = np.clip(scored.positive_score, _EPS, 1 - _EPS)
        return row_parts(scored, -np.log(np.where(scored.truth, p, 1 - p)))
    truth, _, _ = class_codes(scored)
    clipped = np.clip(score, _EPS, 1 - _EPS)
    predicted = truth < clipped.shape[1]
    chosen = clipped[np.arange(len(truth)), np.where(predicted, truth, 0)]
    return row_parts(scored, np.where(predicted, -np.log(chosen), np.nan))


def _brier_parts(scored: Scored) -> MetricParts:
    """Return the squared distance of probabilities and outcome per row."""
    score = scored.require("score")
    if scored.is_binary:
        return row_parts(scored, (scored.positive_score - scored.truth) ** 2)
    truth, _, k = class_codes(scored)
    wide = np.zeros((len(scored), k))
    wide[:, : score.shape[1]] = score
    return row_parts(scored, ((wide - np.eye(k)[truth]) ** 2).sum(axis=1))


def _area(area: Callable[..., float]) -> Callable[[Scored], float]:
    """Return a metric of two classes from an area under a curve."""

    def function(scored: Scored) -> float:
        return area(scored.truth, scored.positive_score, weight=scored.weight)

    return function


def _roc_auc_influence(scored: Scored) -> FloatArray:
    return auc_influence(scored.truth, scored.positive_score)


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
    weighted = partial(_roc_auc_ovr, weighted=True)
    return [
        error_metric("log_loss", CLASSIFICATION, components=_log_loss_parts),
        error_metric("brier_score", CLASSIFICATION, components=_brier_parts),
        Metric(name="roc_auc", problems=BINARY, function=_area(roc_auc), influence=_roc_auc_influence),
        Metric(name="average_precision", problems=BINARY, function=_area(average_precision)),
        Metric(name="roc_auc_ovr", problems=MULTICLASS, function=_roc_auc_ovr),
        Metric(name="roc_auc_ovr_weighted", problems=MULTICLASS, function=weighted),
    ]

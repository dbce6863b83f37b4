"""What decisions are worth: the business metric, by a value per row."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from evergreen.tasks.core.arrays import Array, BoolArray, FloatArray, IntArray
from evergreen.tasks.core.errors import ConfigError
from evergreen.tasks.core.metrics.base import Metric, MetricParts, mean_of_first, ratio, row_parts
from evergreen.tasks.core.metrics.ranking import value_of_first
from evergreen.tasks.core.metrics.scored import Scored
from evergreen.tasks.core.stats.auc import auc_influence, average_precision, roc_auc

# Metrics of decided classes, by scikit-learn's names: all of them follow from counts per class.


BINARY = frozenset({"binary"})
CLASSIFICATION = frozenset({"binary", "multiclass"})


def class_codes(scored: Scored) -> tuple[IntArray, IntArray, int]:
    """Return outcome codes, predicted codes (each (n,)) and the number of classes.

    Two classes are coded 0 and 1 = positive. Outcomes that the model has never heard of get codes of
    their own after its classes.
    """
    if scored.is_binary:
        return scored.truth.astype(np.int64), scored.says_positive.astype(np.int64), 2
    called = scored.predicted
    known = list(scored.classes)
    known += [c for c in np.unique(scored.y).tolist() if c not in known]
    known += [c for c in np.unique(called).tolist() if c not in known]
    return _codes(scored.y, known), _codes(called, known), len(known)


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


def _precision(sums: FloatArray) -> FloatArray:
    hits, truths, calls = split_counts(sums)
    precision = np.nan_to_num(ratio(hits[..., 1], calls[..., 1]))  # nothing called positive: 0
    return np.where(truths.sum(-1) > 0, precision, np.nan)


def _recall(sums: FloatArray) -> FloatArray:
    hits, truths, _ = split_counts(sums)
    return ratio(hits[..., 1], truths[..., 1])


def _specificity(sums: FloatArray) -> FloatArray:
    hits, truths, _ = split_counts(sums)
    return ratio(hits[..., 0], truths[..., 0])


def _f1(sums: FloatArray) -> FloatArray:
    hits, truths, calls = split_counts(sums)
    f1 = ratio(2 * hits[..., 1], truths[..., 1] + calls[..., 1])
    return np.where(truths[..., 1] > 0, f1, np.nan)


def _jaccard(sums: FloatArray) -> FloatArray:
    hits, truths, calls = split_counts(sums)
    found = ratio(hits[..., 1], truths[..., 1] + calls[..., 1] - hits[..., 1])
    return np.where(truths[..., 1] > 0, found, np.nan)


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


def _per_class(sums: FloatArray, *, kind: str) -> tuple[FloatArray, BoolArray, FloatArray]:
    """Return the per-class score (0 where nothing is defined), presence and support, each (…, k)."""
    hits, truths, calls = split_counts(sums)
    bottom = {"f1": (truths + calls) / 2, "precision": calls, "recall": truths}[kind]
    return np.nan_to_num(ratio(hits, bottom)), (truths + calls) > 0, truths


def _macro(kind: str) -> Callable[[FloatArray], FloatArray]:
    def combine(sums: FloatArray) -> FloatArray:
        score, present, _ = _per_class(sums, kind=kind)
        return ratio((score * present).sum(-1), present.sum(-1))

    return combine


def _weighted(kind: str) -> Callable[[FloatArray], FloatArray]:
    def combine(sums: FloatArray) -> FloatArray:
        score, _, support = _per_class(sums, kind=kind)
        return ratio((score * support).sum(-1), support.sum(-1))

    return combine


def label_metrics() -> list[Metric]:
    """Return the metrics of decided classes."""
    both: dict[str, Callable[[FloatArray], FloatArray]] = {
        "accuracy": _accuracy,
        "balanced_accuracy": _balanced_accuracy,
        "matthews_corrcoef": _matthews,
        "cohen_kappa": _kappa,
    }
    for kind in ("f1", "precision", "recall"):
        both[f"{kind}_macro"], both[f"{kind}_weighted"] = _macro(kind), _weighted(kind)
        both[f"{kind}_micro"] = _accuracy
    binary: dict[str, Callable[[FloatArray], FloatArray]] = {
        "precision": _precision,
        "recall": _recall,
        "specificity": _specificity,
        "f1": _f1,
        "jaccard": _jaccard,
    }
    return [_label_metric(name, combine, CLASSIFICATION) for name, combine in both.items()] + [
        _label_metric(name, combine, BINARY) for name, combine in binary.items()
    ]


def _label_metric(name: str, combine: Callable[[FloatArray], FloatArray], problems: frozenset[str]) -> Metric:
    return Metric(
        name=name,
        problems=problems,
        greater_is_better=True,
        bounded=True,
        needs="label",
        components=class_parts,
        combine=combine,
    )


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
        return row_parts(
            scored, value * np.where(truth == called, true_positive, false_positive) - action_cost
        )

    return Metric(
        name="business_value",
        problems=frozenset({problem}),
        greater_is_better=True,
        bounded=False,
        needs="value",
        components=components,
        combine=mean_of_first,
    )


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
    known = truth < clipped.shape[1]
    chosen = clipped[np.arange(len(truth)), np.where(known, truth, 0)]
    return row_parts(scored, np.where(known, -np.log(chosen), np.nan))


def _brier_parts(scored: Scored) -> MetricParts:
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


def _average_precision(scored: Scored) -> float:
    return average_precision(scored.truth, scored.positive_score, weight=scored.weight)


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
        _ranked("average_precision", BINARY, _average_precision),
        _ranked("roc_auc_ovr", MULTICLASS, _roc_auc_ovr),
        _ranked("roc_auc_ovr_weighted", MULTICLASS, lambda scored: _roc_auc_ovr(scored, weighted=True)),
    ]


def _loss(name: str, components: Callable[[Scored], MetricParts]) -> Metric:
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

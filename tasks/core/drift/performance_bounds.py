"""How well rows know a metric: its standard error and an interval, by the kind of metric.

Shares of rows (accuracy, precision, recall, specificity) have Wilson's interval, the area under the ROC curve DeLong's
error. Means and functions of sums (losses, RMSE, F1, NDCG by group) have the jackknife with a t quantile, which for a
mean is the usual t interval; a median has its order statistics; other metrics have a jackknife over 100 interleaved
groups of rows (20 of more than 20,000). Metrics that lie within 0..1 are bounded on the logit scale, losses on the
log scale: both keep to the possible values, and hold what they promise with fewer rows. A largest error has no
interval.

References: Wilson 1927; DeLong, DeLong & Clarke-Pearson 1988; Efron & Tibshirani 1993, ch. 11; Conover 1999, ch. 3.2.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from scipy.stats import binom, norm, t

from tasks.core.challenge.dependence import (
    STRONG_CORRELATION,
    join_neighbours,
    measure_dependence,
    variance_inflation,
)
from tasks.core.metrics.base import Metric
from tasks.core.metrics.labels import class_parts, split_counts
from tasks.core.metrics.scored import FloatArray, IntArray, Scored
from tasks.core.stats.auc import influence_error
from tasks.core.stats.intervals import wilson_interval
from tasks.core.stats.resampling import block_sums, pseudo_values

_GROUPS, _FEW_GROUPS, _MANY_ROWS = 100, 20, 20_000
_ACCURACY = ("accuracy", "f1_micro", "precision_micro", "recall_micro")
_UNIT = ("roc_auc", "average_precision", "f1", "precision", "recall", "jaccard", "balanced_accuracy")


class Bounds(NamedTuple):
    """Standard error, interval, number of independent units, and how they were found."""

    se: float
    low: float
    high: float
    n: int
    method: str


def bound_metric(
    rows: Scored, metric: Metric, value: float, *, level: float, blocks: IntArray | None = None
) -> Bounds:
    """Bound a metric whose value on the rows is known and finite.

    Parameters
    ----------
    rows : Scored
        Labelled rows.
    level : float
        Confidence.
    blocks : array of int, shape (n,), optional
        Block of each row, in time order.
    """
    if metric.name == "max_error":
        return Bounds(math.nan, math.nan, math.nan, len(rows), "undefined")
    if blocks is not None:
        return _by_blocks(rows, metric, value, np.unique(blocks, return_inverse=True)[1], level=level)
    shares = _share(rows, metric)
    if shares is not None:
        low, high = wilson_interval(*shares, level=1 - level)
        return Bounds(math.sqrt(value * (1 - value) / shares[1]), low, high, len(rows), "wilson")
    if metric.name == "median_absolute_error" and rows.weight is None:
        return _by_order(rows, level=level)
    return _by_spread(rows, metric, value, level=level)


def _share(rows: Scored, metric: Metric) -> tuple[float, float] | None:
    """Return hits and trials of a metric that is a share of rows, else None."""
    if rows.weight is not None or metric.needs != "label" or metric.components is None:
        return None
    hits, truths, calls = split_counts(class_parts(rows).values.sum(axis=0))
    if metric.name in _ACCURACY:
        return float(hits.sum()), float(truths.sum())
    place = {"recall": (1, truths), "precision": (1, calls), "specificity": (0, truths)}.get(metric.name)
    if place is None or not place[1][place[0]]:
        return None
    return float(hits[place[0]]), float(place[1][place[0]])


def _by_order(rows: Scored, *, level: float) -> Bounds:
    """Bound a median by the order statistics that hold it with this confidence."""
    errors = np.sort(np.abs(rows.y.astype(np.float64) - rows.require("score").astype(np.float64)))
    n = len(errors)
    place = int(binom.ppf((1 - level) / 2, n, 0.5))
    low, high = float(errors[max(place - 1, 0)]), float(errors[min(n - place, n - 1)])
    return Bounds((high - low) / (2 * float(norm.isf((1 - level) / 2))), low, high, n, "order_statistics")


def _by_spread(rows: Scored, metric: Metric, value: float, *, level: float) -> Bounds:
    """Take the standard error from rows, groups of a ranking, or interleaved groups of rows."""
    n, df = len(rows), math.inf
    if metric.components is not None and metric.combine is not None:
        parts = metric.components(rows).values
        n, method = len(parts), "jackknife_t"
        se, df = _jackknife(pseudo_values(metric.combine, parts))
    elif metric.influence is not None and metric.name == "roc_auc" and rows.weight is None:
        se, method = influence_error(rows.truth, metric.influence(rows)), "delong"
    else:
        codes = np.arange(n) % min(_FEW_GROUPS if n > _MANY_ROWS else _GROUPS, n)
        (se, df), method = _jackknife(_left_out(rows, metric, value, codes)), "grouped_t"
    return Bounds(se, *_interval(rows, metric, value, se=se, df=df, level=level), n, method)


def _by_blocks(rows: Scored, metric: Metric, value: float, codes: IntArray, *, level: float) -> Bounds:
    """Jackknife over blocks; neighbours that hang together are joined, or the error is widened."""
    if metric.components is not None and metric.combine is not None:
        parts = metric.components(rows)
        used = np.unique(codes[parts.rows], return_inverse=True)[1]
        pseudo = pseudo_values(metric.combine, block_sums(parts.values, used))
    else:
        pseudo = _left_out(rows, metric, value, codes)
    if len(pseudo) < 2 or not np.isfinite(pseudo).all():
        return Bounds(math.nan, math.nan, math.nan, len(rows), "blocked_t")
    found = measure_dependence(pseudo)
    joined, inflation = join_neighbours(pseudo, found.join), found.inflation
    if found.correlation > 0 and not found.sufficient:
        strong = max(found.correlation, STRONG_CORRELATION)
        joined, inflation = pseudo, variance_inflation(strong, 1)
    error, df = _jackknife(joined)
    se = error * math.sqrt(inflation)
    return Bounds(se, *_interval(rows, metric, value, se=se, df=df, level=level), len(rows), "blocked_t")


def _left_out(rows: Scored, metric: Metric, value: float, codes: IntArray) -> FloatArray:
    """Return the pseudo-values of a metric measured anew without each group."""
    groups = int(codes.max()) + 1
    without = np.array([metric(rows.take(codes != group)) for group in range(groups)])
    return groups * value - (groups - 1) * without


def _jackknife(pseudo: FloatArray) -> tuple[float, float]:
    """Return standard error and degrees of freedom; NaN below two pseudo-values."""
    g = len(pseudo)
    return (float(pseudo.std(ddof=1) / math.sqrt(g)), g - 1.0) if g > 1 else (math.nan, 1.0)


def _interval(
    rows: Scored, metric: Metric, value: float, *, se: float, df: float, level: float
) -> tuple[float, float]:
    """Return value ± t · se, on the log scale for losses, the logit scale for metrics within 0..1."""
    if not math.isfinite(se):
        return math.nan, math.nan
    half = float(norm.isf((1 - level) / 2) if math.isinf(df) else t.isf((1 - level) / 2, df)) * se
    if not metric.bounded and not metric.greater_is_better and value > 0:
        return value * math.exp(-half / value), value * math.exp(half / value)
    if metric.name.split("_macro")[0].split("_weighted")[0].removesuffix("_ovr") not in _UNIT:
        return value - half, value + half
    if 0 < value < 1:
        logit, wide = math.log(value / (1 - value)), half / (value * (1 - value))
        return _expit(logit - wide), _expit(logit + wide)
    rarest = int(np.unique(rows.y, return_counts=True)[1].min())
    return wilson_interval(value * rarest, rarest, level=1 - level)


def _expit(x: float) -> float:
    return 1 / (1 + math.exp(-x))

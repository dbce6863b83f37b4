"""Performance on labelled rows: a metric, how well so few rows can know it, and how far it fell."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.stats import binom, norm, t

from evergreen.tasks.core.arrays import BoolArray, FloatArray, IntArray
from evergreen.tasks.core.metrics.base import Metric
from evergreen.tasks.core.metrics.classification import class_parts, split_counts
from evergreen.tasks.core.metrics.scored import Scored
from evergreen.tasks.core.serial import Struct
from evergreen.tasks.core.stats.auc import influence_error
from evergreen.tasks.core.stats.dependence import (
    STRONG_CORRELATION,
    join_neighbours,
    measure_dependence,
    variance_inflation,
)
from evergreen.tasks.core.stats.resampling import block_sums, pseudo_values, wilson_interval

# How well rows know a metric: its standard error and an interval, by the kind of metric.
#
# Shares of rows (accuracy, precision, recall, specificity) have Wilson's interval, the area under the ROC curve
# DeLong's
# error. Means and functions of sums (losses, RMSE, F1, NDCG by group) have the jackknife with a t quantile, which for a
# mean is the usual t interval; a median has its order statistics; other metrics have a jackknife over 100 interleaved
# groups of rows (20 of more than 20,000). Metrics that lie within 0..1 are bounded on the logit scale, losses on the
# log scale: both keep to the possible values, and hold what they promise with fewer rows. A largest error has no
# interval.
#
# References: Wilson 1927; DeLong, DeLong & Clarke-Pearson 1988; Efron & Tibshirani 1993, ch. 11; Conover 1999, ch. 3.2.


_GROUPS, _FEW_GROUPS, _MANY_ROWS = 100, 20, 20_000
_ACCURACY = ("accuracy", "f1_micro", "precision_micro", "recall_micro")
_UNIT = ("roc_auc", "average_precision", "f1", "precision", "recall", "jaccard", "balanced_accuracy")


LEVEL = 0.95
"""Confidence of all intervals."""
_QUANTILE = float(norm.isf((1 - LEVEL) / 2))


class MetricInterval(NamedTuple):
    """Standard error, interval, number of independent units, and how they were found."""

    se: float
    low: float
    high: float
    n: int
    method: str


def bound_metric(rows: Scored, metric: Metric, value: float, blocks: IntArray | None) -> MetricInterval:
    """Bound a metric whose value on the labelled rows is known and finite.

    Parameters
    ----------
    blocks : array of int, shape (n,), or None
        Block of each row, in time order; None: rows are independent.
    """
    if metric.name == "max_error":
        return MetricInterval(math.nan, math.nan, math.nan, len(rows), "undefined")
    if blocks is not None:
        return _by_blocks(rows, metric, value, np.unique(blocks, return_inverse=True)[1])
    shares = _share(rows, metric)
    if shares is not None:
        low, high = wilson_interval(*shares, level=1 - LEVEL)
        return MetricInterval(math.sqrt(value * (1 - value) / shares[1]), low, high, len(rows), "wilson")
    if metric.name == "median_absolute_error" and rows.weight is None:
        return _by_order(rows)
    return _by_spread(rows, metric, value)


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


def _by_order(rows: Scored) -> MetricInterval:
    """Bound a median by the order statistics that hold it with this confidence."""
    errors = np.sort(np.abs(rows.y.astype(np.float64) - rows.require("score").astype(np.float64)))
    n = len(errors)
    place = int(binom.ppf((1 - LEVEL) / 2, n, 0.5))
    low, high = float(errors[max(place - 1, 0)]), float(errors[min(n - place, n - 1)])
    return MetricInterval((high - low) / (2 * _QUANTILE), low, high, n, "order_statistics")


def _by_spread(rows: Scored, metric: Metric, value: float) -> MetricInterval:
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
    return MetricInterval(se, *_interval(rows, metric, value, se=se, df=df), n, method)


def _left_out(rows: Scored, metric: Metric, value: float, codes: IntArray) -> FloatArray:
    """Return the pseudo-values of a metric measured anew without each group."""
    groups = int(codes.max()) + 1
    without = np.array([metric(rows.take(codes != group)) for group in range(groups)])
    return groups * value - (groups - 1) * without


def _by_blocks(rows: Scored, metric: Metric, value: float, codes: IntArray) -> MetricInterval:
    """Jackknife over blocks; neighbours that depend on each other are joined, or the error is widened."""
    if metric.components is not None and metric.combine is not None:
        parts = metric.components(rows)
        used = np.unique(codes[parts.rows], return_inverse=True)[1]
        pseudo = pseudo_values(metric.combine, block_sums(parts.values, used))
    else:
        pseudo = _left_out(rows, metric, value, codes)
    if len(pseudo) < 2 or not np.isfinite(pseudo).all():
        return MetricInterval(math.nan, math.nan, math.nan, len(rows), "blocked_t")
    dependence = measure_dependence(pseudo)
    joined, inflation = join_neighbours(pseudo, dependence.join), dependence.inflation
    if dependence.correlation > 0 and not dependence.sufficient:
        strong = max(dependence.correlation, STRONG_CORRELATION)
        joined, inflation = pseudo, variance_inflation(strong, 1)
    error, df = _jackknife(joined)
    se = error * math.sqrt(inflation)
    return MetricInterval(se, *_interval(rows, metric, value, se=se, df=df), len(rows), "blocked_t")


def _jackknife(pseudo: FloatArray) -> tuple[float, float]:
    """Return standard error and degrees of freedom; NaN below two pseudo-values."""
    g = len(pseudo)
    return (float(pseudo.std(ddof=1) / math.sqrt(g)), g - 1.0) if g > 1 else (math.nan, 1.0)


def _interval(rows: Scored, metric: Metric, value: float, *, se: float, df: float) -> tuple[float, float]:
    """Return value ± t · se, on the log scale for losses, the logit scale for metrics within 0..1."""
    if not math.isfinite(se):
        return math.nan, math.nan
    half = (_QUANTILE if math.isinf(df) else float(t.isf((1 - LEVEL) / 2, df))) * se
    if not metric.bounded and not metric.greater_is_better and value > 0:
        return value * math.exp(-half / value), value * math.exp(half / value)
    if metric.name.split("_macro")[0].split("_weighted")[0].removesuffix("_ovr") not in _UNIT:
        return value - half, value + half
    if 0 < value < 1:
        logit, wide = math.log(value / (1 - value)), half / (value * (1 - value))
        return _expit(logit - wide), _expit(logit + wide)
    rarest = int(np.unique(rows.y, return_counts=True)[1].min())
    return wilson_interval(value * rarest, rarest, level=1 - LEVEL)


def _expit(x: float) -> float:
    return 1 / (1 + math.exp(-x))


@dataclass(frozen=True, kw_only=True)
class Performance(Struct):
    """A metric on some rows, and what those rows know of it."""

    metric: str
    """Its name."""
    value: float
    """The metric; NaN where it is undefined on these rows."""
    low: float = math.nan
    high: float = math.nan
    """``low``, ``high``: interval at confidence ``level``."""
    se: float = math.nan
    """Standard error of ``value``."""
    n: int = 0
    """Rows with a known outcome, or groups of a ranking; of an estimate all rows."""
    level: float = LEVEL
    """Confidence of the interval."""
    method: str = "undefined"
    """How the interval was made (`evergreen.tasks.core.drift.performance`), ``outcome_draws`` of an estimate, or
    ``undefined``."""
    estimated: bool = False
    """True where no outcome is known and the value follows from the scores."""

    @property
    def defined(self) -> bool:
        """Whether there is a value."""
        return math.isfinite(self.value)


def measure_performance(scored: Scored, metric: Metric, *, blocks: IntArray | None = None) -> Performance:
    """Measure a metric on the rows whose outcome is known, with a 95 % interval for its long-run value.

    Rows are taken as independent unless ``blocks`` says which belong together; then the jackknife goes over
    blocks, widened for the correlation of neighbouring ones.

    Parameters
    ----------
    scored : Scored
        Rows in time order; those without an outcome (NaN, None) are left out.
    metric : Metric
        What is measured.
    blocks : array of int, shape (n,), optional
        Block of each row.

    Returns
    -------
    Performance
        Undefined (all NaN) without rows, with one class where two are needed, without a group that has a relevant
        row, and where the metric needs a column the rows lack.

    See Also
    --------
    evergreen.tasks.core.drift.estimate.estimate_performance : where no outcome is known yet.

    Examples
    --------
    >>> from evergreen.tasks.core.metrics.registry import get_metric
    >>> rows = Scored(y=np.array([0, 0, 1, 1, np.nan]), score=np.array([0.2, 0.6, 0.7, 0.9, 0.5]))
    >>> result = measure_performance(rows, get_metric("accuracy", problem="binary"))
    >>> result.value, result.n, round(result.low, 3), round(result.high, 3)
    (0.75, 4, 0.301, 0.954)
    """
    labelled = is_labelled(scored)
    rows = scored.take(labelled)
    lacks = metric.needs == "value" and rows.value is None
    value = math.nan if lacks else metric(rows)
    if not math.isfinite(value):
        return Performance(metric=metric.name, value=math.nan, n=len(rows))
    chosen = None if blocks is None else np.asarray(blocks)[labelled]
    result = bound_metric(rows, metric, value, chosen)
    return Performance(metric=metric.name, value=value, **result._asdict())


def is_labelled(scored: Scored) -> BoolArray:
    """Return which rows have a known outcome, shape (n,)."""
    return np.asarray(pd.notna(scored.y), dtype=np.bool_)


def worsening(value: float, reference: float, *, metric: Metric) -> float:
    """Return by how much a value is worse than the reference, in the metric's unit; negative when better."""
    return metric.sign * (reference - value)


def relative_drop(value: float, reference: float, *, metric: Metric) -> float:
    """Return the worsening as a share of the reference; NaN for a reference of 0.

    >>> from evergreen.tasks.core.metrics.registry import get_metric
    >>> round(relative_drop(11.0, 10.0, metric=get_metric("rmse", problem="regression")), 3)
    0.1
    """
    return worsening(value, reference, metric=metric) / abs(reference) if reference else math.nan

"""What a version's answers were worth at training, and what calibrated scores say of outcomes yet to come."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from scipy.stats import chi2, norm

from evergreen.tasks.core.arrays import Array, BoolArray, FloatArray
from evergreen.tasks.core.drift.performance import LEVEL, Performance, is_labelled, measure_performance
from evergreen.tasks.core.metrics.base import Metric, MetricParts, mean_of_first
from evergreen.tasks.core.metrics.ranking import ndcg_at
from evergreen.tasks.core.metrics.registry import get_metric
from evergreen.tasks.core.metrics.scored import Scored
from evergreen.tasks.core.profiles.profile import Profile
from evergreen.tasks.core.serial import Struct, from_plain, to_plain
from evergreen.tasks.core.verdict import Reason

# Calibration of scores: whether they are the probabilities they look like, on rows whose outcome is known.


BINS = 20


@dataclass(frozen=True, kw_only=True)
class ScoreCalibration(Struct):
    """How far scores are from the shares of outcomes they promise; of several classes the worst."""

    error: float
    """Root mean square of the difference in 20 bins of equal mass, less what chance alone brings (Kumar, Liang & Ma
    2019); 0 where chance explains it all."""
    expected_error: float
    """The usual expected calibration error in the same bins, chance included (Naeini, Cooper & Hauskrecht 2015)."""
    p_value: float
    """Of perfect calibration (chi-square over the bins, as Hosmer & Lemeshow 1980 with known scores)."""
    n: int
    """Rows."""


def measure_calibration(scored: Scored) -> ScoreCalibration | None:
    """Measure the calibration of probabilities on labelled rows; None where scores are no probabilities.

    Parameters
    ----------
    scored : Scored
        With ``classes``; rows the model has not learned from.

    Returns
    -------
    ScoreCalibration or None
        All NaN without rows.

    Examples
    --------
    >>> score, came = np.repeat([0.25, 0.75], 400), np.repeat([0, 1, 0, 1], [300, 100, 100, 300])
    >>> result = measure_calibration(Scored(y=came, score=score, classes=(0, 1)))
    >>> result.error, round(result.p_value, 3)
    (0.0, 1.0)
    """
    if not scored.classes or scored.score is None:
        return None
    rows = scored.take(is_labelled(scored))
    if not len(rows):
        return ScoreCalibration(error=math.nan, expected_error=math.nan, p_value=math.nan, n=0)
    if rows.is_binary:
        return _of_class(rows.positive_score, rows.truth)
    by_class = [
        _of_class(rows.require("score")[:, place].astype(np.float64), np.asarray(rows.y == label))
        for place, label in enumerate(rows.classes)
    ]
    return max(by_class, key=lambda one: one.error)


def _of_class(score: FloatArray, came: BoolArray) -> ScoreCalibration:
    n = len(score)
    ordered = np.sort(score)
    edges = np.unique(ordered[np.arange(1, BINS) * n // BINS])  # rows of equal score share a bin
    code = np.searchsorted(edges, score, side="right")
    rows = np.bincount(code, minlength=BINS).astype(np.float64)
    gap = np.bincount(code, weights=came - score, minlength=BINS)
    chance = np.bincount(code, weights=score * (1 - score), minlength=BINS)
    used = rows > 0
    rows, gap, chance = rows[used], gap[used], chance[used]
    square = float(((gap**2 - chance) / rows).sum() / n)
    statistic = float((gap**2 / np.maximum(chance, 1e-12)).sum())
    return ScoreCalibration(
        error=math.sqrt(max(square, 0.0)),
        expected_error=float(np.abs(gap).sum() / n),
        p_value=float(chi2.sf(statistic, len(rows))),
        n=n,
    )


MOST_CALIBRATION_ERROR = 0.03
"""Largest calibration error of the reference's scores with which an estimate is made: 3 points of probability."""
LEAST_ROWS = 200
"""Fewest reference rows that can show calibration."""
_DRAWS = 200


def estimate_performance(
    scored: Scored, metric: Metric, *, calibration: ScoreCalibration | None, rng: np.random.Generator
) -> Performance | Reason:
    """Estimate a metric on rows whose outcomes are unknown, from the scores alone.

    For calibrated scores P(class) is the chance that the outcome is that class, so that each row counts for every class
    with its probability: the expected confusion matrix, and from it accuracy, precision, recall, F1; the expected AUC
    (pairs of different rows, weighted by p of the one and 1 - p of the other), log-loss and Brier score likewise. The
    interval is that of the value which the labels of these very rows will show: 200 draws of outcomes.

    It holds where only the features moved (covariate shift) and the scores stay calibrated. It is blind to concept
    drift: where the outcomes no longer follow the scores, it goes on telling the old story. It never replaces labels.

    Parameters
    ----------
    scored : Scored
        Answers; ``y`` is not checked.
    metric : Metric
        What is estimated.
    calibration : ScoreCalibration | None
        Of the version's scores on rows it had not learned from.
    rng : numpy.random.Generator
        Draws outcomes.

    Returns
    -------
    Performance or Reason
        A reason where it cannot be: ``not_probabilities`` (no classification), ``not_calibrated`` (error above 0.03, or
        fewer than 200 rows to show it), ``no_rows``, ``metric_undefined``.

    References
    ----------
    Guillory et al. 2021 (average confidence), for any metric; Elsahar & Galle 2019 on what it cannot see.
    """
    refusal = _refusal(scored, metric, calibration)
    if refusal is not None:
        return refusal
    value = expected_metric(scored, metric)
    drawn = _draws(scored, metric, rng)
    if not math.isfinite(value) or len(drawn) < _DRAWS / 2:
        message = f"{metric.name} is undefined on these {len(scored)} rows. Look at larger windows."
        return Reason(code="metric_undefined", message=message, n=len(scored))
    se = float(drawn.std(ddof=1))
    half = float(norm.isf((1 - LEVEL) / 2)) * se
    high = min(value + half, 1.0) if metric.bounded else value + half
    return Performance(
        metric=metric.name,
        value=value,
        low=value - half,
        high=high,
        se=se,
        n=len(scored),
        method="outcome_draws",
        estimated=True,
    )


def expected_metric(scored: Scored, metric: Metric) -> float:
    """Return the metric of rows that count for each class with its probability; NaN where it is undefined.

    Examples
    --------
    Two rows of 0.8 and 0.4: decided positive and negative, 0.8 + 0.6 of 2 are right.

    >>> from evergreen.tasks.core.metrics.registry import get_metric
    >>> rows = Scored(y=np.full(2, np.nan), score=np.array([0.8, 0.4]), label=np.array([1, 0]), classes=(0, 1))
    >>> round(expected_metric(rows, get_metric("accuracy", problem="binary")), 3)
    0.7
    """
    chances = _chances(scored)
    n, k = chances.shape
    rows = np.tile(np.arange(n), k)
    wide = replace(
        scored.take(rows), y=_outcomes(scored, np.repeat(np.arange(k), n)), weight=chances.T.reshape(-1)
    )
    value = metric(wide)
    return _without_self_pairs(value, chances[:, 1]) if metric.name == "roc_auc" else value


def _refusal(scored: Scored, metric: Metric, calibration: ScoreCalibration | None) -> Reason | None:
    if not scored.classes or scored.score is None or calibration is None:
        return Reason(
            code="not_probabilities",
            message=f"{metric.name} cannot be estimated without labels: the scores are no probabilities of classes, or "
            "the version's calibration is not known. Wait for labels.",
        )
    if calibration.n < LEAST_ROWS or not calibration.error <= MOST_CALIBRATION_ERROR:
        observed, limit = calibration.error, MOST_CALIBRATION_ERROR
        why = f"the scores are off by {observed:.3f} on the reference (at most {limit})"
        if calibration.n < LEAST_ROWS:
            observed, limit = calibration.n, LEAST_ROWS
            why = f"{observed} labelled reference rows are too few to show calibration ({limit} needed)"
        return Reason(
            code="not_calibrated",
            message=f"{metric.name} is not estimated without labels: {why}. Wait for labels, or calibrate the model "
            "(e.g. sklearn.calibration.CalibratedClassifierCV).",
            observed=observed,
            limit=limit,
            n=calibration.n,
        )
    if not len(scored):
        return Reason(code="no_rows", message="The window holds no rows.", observed=0, limit=1, n=0)
    if metric.needs == "value" and scored.value is None:
        message = f"{metric.name} needs data.value_column."
        return Reason(code="metric_undefined", message=message, n=len(scored))
    return None


def _chances(scored: Scored) -> FloatArray:
    """Return P(class) of each row, shape (n, k), in the order of ``classes``."""
    if not scored.is_binary:
        score = scored.require("score").astype(np.float64)
        return np.asarray(score / np.maximum(score.sum(axis=1, keepdims=True), 1e-12))
    positive = scored.positive_score
    pair = [1 - positive, positive] if scored.positive == scored.classes[1] else [positive, 1 - positive]
    return np.column_stack(pair)


def _outcomes(scored: Scored, codes: Array) -> Array:
    return np.asarray(np.asarray(scored.classes)[codes])


def _draws(scored: Scored, metric: Metric, rng: np.random.Generator) -> FloatArray:
    """Return the metric for drawn outcomes, those where it is defined."""
    steps = _chances(scored).cumsum(axis=1)
    steps[:, -1] = 1.0
    codes = ((rng.random((len(scored), 1)) >= steps).sum(axis=1) for _ in range(_DRAWS))
    drawn = np.array([metric(replace(scored, y=_outcomes(scored, some))) for some in codes])
    return drawn[np.isfinite(drawn)]


def _without_self_pairs(value: float, chance: FloatArray) -> float:
    """Return an expected AUC over pairs of different rows: a row does not compete with itself."""
    own = float((chance * (1 - chance)).sum())
    pairs = float(chance.sum() * (1 - chance).sum())
    return (value * pairs - own / 2) / (pairs - own) if pairs > own else math.nan


# The reference of a version as monitoring reads it: two profiles, and what its answers were worth at training.


def loss_metric(problem: str) -> Metric:
    """Return the loss whose rise is concept drift.

    Classes: the Brier score (squared distance of probabilities and outcome); regression: the absolute error; ranking:
    1 - NDCG of a group. Bounded ones, or the least sensitive to single rows: a logarithmic or squared loss may be made
    by a few rows, and then knows little of a window.

    Examples
    --------
    >>> loss_metric("binary").name, loss_metric("ranking").name
    ('brier_score', 'one_minus_ndcg')
    """
    if problem in ("binary", "multiclass"):
        return get_metric("brier_score", problem=problem)
    return _ranking_loss() if problem == "ranking" else get_metric("mae", problem=problem)


def _ranking_loss() -> Metric:
    ndcg = ndcg_at(None)

    def components(scored: Scored) -> MetricParts:
        if ndcg.components is None:
            raise TypeError("NDCG has no components.")
        parts = ndcg.components(scored)
        losses = parts.values[:, 1] - parts.values[:, 0]
        return MetricParts(values=np.column_stack([losses, parts.values[:, 1]]), rows=parts.rows)

    return replace(
        ndcg, name="one_minus_ndcg", greater_is_better=False, components=components, combine=mean_of_first
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class Reference:
    """What a window is compared with; read from ``evergreen/profile.json``."""

    inputs: Profile
    """Features, jointly with ``@outcome``."""
    answers: Profile
    """``@score…``, ``@decision`` and ``@outcome`` on rows the version had not learned from."""
    score_source: str
    """Where the answers come from: ``out_of_fold`` or ``holdout``."""
    performance: Mapping[str, Performance] = field(default_factory=dict)
    """By metric, on the same rows as the answers."""
    loss: Performance | None = None
    """The mean loss of a row there (`loss_metric`); None in documents of an older format."""
    calibration: ScoreCalibration | None = None
    """Of the scores there; None where they are no probabilities."""

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> Reference:
        """Return the reference kept as ``profile.json``; what an older format lacks is empty."""
        worth = plain.get("worth") or {}
        return cls(
            inputs=Profile.from_dict(plain["inputs"]),
            answers=Profile.from_dict(plain["answers"]),
            score_source=plain["score_source"],
            performance=from_plain(dict[str, Performance], worth.get("performance", {})),
            loss=from_plain(Performance | None, worth.get("loss")),
            calibration=from_plain(ScoreCalibration | None, worth.get("calibration")),
        )


def measure_worth(scored: Scored, metrics: Sequence[Metric], *, problem: str) -> dict[str, Any]:
    """Return what answers are worth, in the JSON form kept with the reference.

    Parameters
    ----------
    scored : Scored
        Answers on rows the answering model had not seen.
    metrics : sequence of Metric
        All that the model is measured by: monitoring may follow another one later.
    problem : str
        Decides the loss.
    """
    measured = [measure_performance(scored, metric) for metric in metrics]
    calibration = measure_calibration(scored)
    performance = {one.metric: one for one in measured if one.defined}
    loss = measure_performance(scored, loss_metric(problem))
    return dict(to_plain({"performance": performance, "loss": loss, "calibration": calibration}))

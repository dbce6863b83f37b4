"""The reference of a version as monitoring reads it: two profiles, and what its answers were worth at training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from evergreen.tasks.core.drift.estimate import ScoreCalibration, measure_calibration
from evergreen.tasks.core.drift.performance import Performance, measure_performance
from evergreen.tasks.core.metrics.base import Metric, MetricParts, mean_of_first
from evergreen.tasks.core.metrics.ranking import ndcg_at
from evergreen.tasks.core.metrics.registry import get_metric
from evergreen.tasks.core.metrics.scored import Scored
from evergreen.tasks.core.profiles.profile import Profile

# The loss of a row (of a group, in ranking): what the champion's answers cost, whatever it is judged by.
from evergreen.tasks.core.serial import from_plain, to_plain


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
    """The mean loss of a row there (`evergreen.tasks.core.drift.reference`); None in documents of an older
    format."""
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

"""The reference of a version as monitoring reads it: two profiles, and what its answers were worth at training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tasks.core.drift.loss import loss_metric
from tasks.core.drift.performance import Performance, measure_performance
from tasks.core.drift.score_calibration import ScoreCalibration, measure_calibration
from tasks.core.metrics.base import Metric
from tasks.core.metrics.scored import Scored
from tasks.core.profiles.profile import Profile


@dataclass(frozen=True, kw_only=True, eq=False)
class Reference:
    """What a window is compared with; read from ``evergreen/profile.json``.

    Attributes
    ----------
    inputs : Profile
        Features, jointly with ``@outcome``.
    answers : Profile
        ``@score…``, ``@decision`` and ``@outcome`` on rows the version had not learned from.
    score_source : str
        Where the answers come from: ``out_of_fold`` or ``holdout``.
    performance : mapping of str to Performance
        By metric, on the same rows as the answers.
    loss : Performance | None
        The mean loss of a row there (`tasks.core.drift.loss`); None in documents of an older format.
    calibration : ScoreCalibration | None
        Of the scores there; None where they are no probabilities.
    """

    inputs: Profile
    answers: Profile
    score_source: str
    performance: Mapping[str, Performance] = field(default_factory=dict)
    loss: Performance | None = None
    calibration: ScoreCalibration | None = None

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> Reference:
        """Return the reference kept as ``profile.json``; what an older format lacks is empty."""
        worth = plain.get("worth") or {}
        loss, calibration = worth.get("loss"), worth.get("calibration")
        return cls(
            inputs=Profile.from_dict(plain["inputs"]),
            answers=Profile.from_dict(plain["answers"]),
            score_source=plain["score_source"],
            performance={
                name: Performance.from_dict(one) for name, one in worth.get("performance", {}).items()
            },
            loss=None if loss is None else Performance.from_dict(loss),
            calibration=None if calibration is None else ScoreCalibration.from_dict(calibration),
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
    found = [measure_performance(scored, metric) for metric in metrics]
    calibration = measure_calibration(scored)
    return {
        "performance": {one.metric: one.to_dict() for one in found if one.defined},
        "loss": measure_performance(scored, loss_metric(problem)).to_dict(),
        "calibration": None if calibration is None else calibration.to_dict(),
    }

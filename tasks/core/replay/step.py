"""One step of a replay: a window that was answered, what monitoring found, and what was decided after it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from evergreen.tasks.core.config import ModelConfig
from evergreen.tasks.core.data.clock import Window, format_position
from evergreen.tasks.core.drift.performance import Performance, measure_performance
from evergreen.tasks.core.drift.types import Level, worst
from evergreen.tasks.core.metrics.base import Metric
from evergreen.tasks.core.metrics.registry import get_metric
from evergreen.tasks.core.metrics.scored import Scored
from evergreen.tasks.core.replay.history import History, Step
from evergreen.tasks.core.training.scoring import Scorer
from evergreen.tasks.core.verdict import Reason, State


@dataclass(frozen=True, kw_only=True)
class StepResult:
    """One window under one policy.

    Attributes
    ----------
    tick : Tick
        The window, and the moment at which it was full.
    version : int
        Who reigned at the window's start and answered its rows.
    performance : Performance
        The deciding metric on the window's rows, with the labels they have in the end.
    accuracy : float | None
        Share of right decisions; None where nothing is classified.
    levels : mapping of str to str
        What monitoring said at this moment, by kind of drift.
    alarms : int
        Alarms that opened.
    decision : dict | None
        Of retraining (`evergreen.tasks.core.retraining.types.RetrainDecision.to_dict`); None where the policy
        takes none.
    state : State | None
        How the retraining ended that started here; None without one.
    reasons : tuple of Reason
        What its last stage said.
    made : int | None
        The version it is about.
    rows : int
        Rows that versions were fitted on.
    seconds : float
        Time it took.
    """

    tick: Step
    version: int
    performance: Performance
    accuracy: float | None = None
    levels: Mapping[str, str] = field(default_factory=dict)
    alarms: int = 0
    decision: Mapping[str, Any] | None = None
    state: State | None = None
    reasons: tuple[Reason, ...] = ()
    made: int | None = None
    rows: int = 0
    seconds: float = 0.0

    @property
    def level(self) -> str | None:
        """The gravest level of its kinds; None where nobody watched."""
        return worst(map(Level, self.levels.values())).value if self.levels else None

    def window_dict(self, *, clock: str) -> dict[str, Any]:
        """Return the JSON form of the window: from, to, n, value, interval, version, level."""
        found = self.performance.to_dict()
        return {
            **_ends(self.tick, clock),
            "n": found["n"],
            "value": found["value"],
            "interval": [found["low"], found["high"]],
            "accuracy": self.accuracy,
            "version": self.version,
            "level": self.level,
            "levels": dict(self.levels),
        }

    def decision_dict(self) -> dict[str, Any] | None:
        """Return the JSON form of the decision and its end; None where the policy takes none."""
        if self.decision is None and self.state is None:
            return None
        said = self.decision or {"outcome": "start", "causes": [], "reasons": [], "next_allowed_at": None}
        return {
            "at": self.tick.at.isoformat(),
            "outcome": said["outcome"],
            "causes": said["causes"],
            "state": self.state.value if self.state else None,
            "reasons": [*said["reasons"], *(reason.to_dict() for reason in self.reasons)],
            "next_allowed_at": said["next_allowed_at"],
            "version": self.made,
        }


def _ends(tick: Step, clock: str) -> dict[str, str]:
    ends = {"from": tick.window.start, "to": tick.window.end}
    return {name: format_position(place, clock=clock) for name, place in ends.items()}


# What each window of a replay is measured by: the deciding metric, and accuracy where something is classified.


@dataclass(frozen=True, kw_only=True)
class Scorecard:
    """What each window is measured by: the deciding metric, and accuracy where something is classified."""

    metric: Metric
    accuracy: Metric | None

    @classmethod
    def of(cls, config: ModelConfig, metric: Metric) -> Scorecard:
        """Return the scorecard of a model."""
        classifies = config.problem.value in ("binary", "multiclass")
        return cls(
            metric=metric,
            accuracy=get_metric("accuracy", problem=config.problem.value) if classifies else None,
        )

    def score(
        self, history: History, model: Scorer, window: Window, *, config: ModelConfig
    ) -> tuple[Performance, float | None]:
        """Measure a version's answers on a window."""
        return self.measure(model.score(history.between(window), config=config))

    def measure(self, scored: Scored) -> tuple[Performance, float | None]:
        """Measure answers on the rows that have a label in the end."""
        found = measure_performance(scored, self.metric)
        if self.accuracy is None:
            return found, None
        share = measure_performance(scored, self.accuracy).value
        return found, float(share) if np.isfinite(share) else None

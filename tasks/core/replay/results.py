"""What came of a replay: each policy's quality, effort and regret, as numbers and as JSON."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from tasks.core.metrics.base import Metric
from tasks.core.metrics.scored import FloatArray
from tasks.core.replay.mean_interval import mean_over_windows
from tasks.core.replay.regret import Regret, gap_to_best, measure_regret, pareto_front
from tasks.core.replay.step import Step
from tasks.core.verdict import Reason, State
from tasks.core.watching.looked import json_ready

_REFUSED = (State.KEPT, State.REJECTED, State.INSUFFICIENT)


@dataclass(frozen=True, kw_only=True)
class PolicyResult:
    """One policy, replayed.

    Attributes
    ----------
    name, metric : str
        The policy; the deciding metric.
    clock : str
        Unit of the windows' ends.
    sign : {1, -1}
        Direction in which the metric is better.
    steps : tuple of Step
        One a window.
    regret : Regret | None
        Against the best policy of the run, once that is known.
    """

    name: str
    metric: str
    clock: str
    sign: int
    steps: tuple[Step, ...]
    regret: Regret | None = None

    @property
    def values(self) -> FloatArray:
        """The metric of each window; NaN where it is undefined."""
        return np.array([step.performance.value for step in self.steps], dtype=np.float64)

    @property
    def mean(self) -> float:
        """Mean of the metric over the windows where it is defined."""
        return mean_over_windows(self.values).mean

    @property
    def mean_interval(self) -> tuple[float, float]:
        """Its 95 % interval (`tasks.core.replay.mean_interval`)."""
        found = mean_over_windows(self.values)
        return found.low, found.high

    @property
    def accuracy(self) -> float | None:
        """Mean accuracy over windows; None where nothing is classified."""
        known = [step.accuracy for step in self.steps if step.accuracy is not None]
        return float(np.mean(known)) if known else None

    @property
    def worst_step(self) -> Step | None:
        """The window with the worst metric; None where it is defined on none."""
        known = [step for step in self.steps if step.performance.defined]
        return min(known, key=lambda step: self.sign * step.performance.value, default=None)

    @property
    def worst(self) -> float:
        """The metric of the worst window."""
        step = self.worst_step
        return step.performance.value if step else math.nan

    @property
    def retrainings(self) -> int:
        """Retrainings that started."""
        return sum(step.state is not None for step in self.steps)

    @property
    def promotions(self) -> int:
        """Retrainings that brought a new champion."""
        return sum(step.state is State.PROMOTED for step in self.steps)

    @property
    def refused(self) -> int:
        """Retrainings that brought none: the gate or the challenge said no, or could not say."""
        return sum(step.state in _REFUSED for step in self.steps)

    @property
    def alarms(self) -> int:
        """Alarms that opened."""
        return sum(step.alarms for step in self.steps)

    @property
    def seconds(self) -> float:
        """Time the replay took."""
        return float(sum(step.seconds for step in self.steps))

    @property
    def rows(self) -> int:
        """Rows that versions were fitted on, cross-validation apart."""
        return sum(step.rows for step in self.steps)

    def summary(self) -> dict[str, Any]:
        """Return the JSON form without windows and decisions."""
        worst = self.worst_step
        ends = worst.window_dict(clock=self.clock) if worst else {"from": None, "to": None}
        plain = {
            "policy": self.name,
            "metric": self.metric,
            "higher_is_better": self.sign > 0,
            "mean": self.mean,
            "mean_interval": list(self.mean_interval),
            "undefined": int(np.isnan(self.values).sum()),
            "accuracy": self.accuracy,
            "worst": self.worst,
            "worst_window": {"from": ends["from"], "to": ends["to"]},
            "regret": self.regret.absolute if self.regret else None,
            "relative_regret": self.regret.relative if self.regret else None,
        }
        names = ("retrainings", "promotions", "refused", "alarms", "seconds", "rows")
        return dict(json_ready({**plain, **{name: getattr(self, name) for name in names}}))

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form."""
        decisions = [step.decision_dict() for step in self.steps]
        windows = [step.window_dict(clock=self.clock) for step in self.steps]
        kept = {"windows": windows, "decisions": [one for one in decisions if one is not None]}
        return {**self.summary(), **json_ready(kept)}


@dataclass(frozen=True, kw_only=True)
class ReplayResult:
    """All policies of a run.

    Attributes
    ----------
    policies : tuple of PolicyResult
        In the order asked for, each with its regret.
    baseline : PolicyResult | None
        'Same as the last label' on the same windows; None where that makes no sense.
    notes : tuple of Reason
        What a reader should know.
    """

    policies: tuple[PolicyResult, ...]
    baseline: PolicyResult | None = None
    notes: tuple[Reason, ...] = field(default=())

    @property
    def points(self) -> tuple[tuple[float, float], ...]:
        """Quality and retrainings of each policy."""
        return tuple((one.mean, float(one.retrainings)) for one in self.policies)

    def front(self) -> tuple[str, ...]:
        """Return the policies that no other one beats in both quality and retrainings, cheapest first."""
        places = pareto_front(self.points, sign=self.policies[0].sign)
        return tuple(self.policies[place].name for place in places)

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form: policies, the baseline, the Pareto front with each policy's gap to the best."""
        gaps = gap_to_best(self.points, sign=self.policies[0].sign)
        front = self.front()
        pareto = [
            {
                "policy": one.name, "quality": one.mean, "retrainings": one.retrainings, "gap": gap,
                "front": one.name in front,
            }
            for one, gap in zip(self.policies, gaps, strict=True)
        ]  # fmt: skip
        return {
            "policies": [one.to_dict() for one in self.policies],
            "baseline": self.baseline.to_dict() if self.baseline else None,
            "pareto": json_ready(pareto),
            "notes": [note.to_dict() for note in self.notes],
        }


def conclude_policy(name: str, steps: Sequence[Step], *, metric: Metric, clock: str) -> PolicyResult:
    """Return what came of one policy."""
    return PolicyResult(name=name, metric=metric.name, clock=clock, sign=metric.sign, steps=tuple(steps))


def conclude_replay(
    policies: Sequence[PolicyResult],
    *,
    baseline: PolicyResult | None = None,
    notes: Sequence[Reason] = (),
) -> ReplayResult:
    """Return what came of all policies, each with its regret; the baseline is no policy."""
    regrets = measure_regret({one.name: one.mean for one in policies}, sign=policies[0].sign)
    told = tuple(replace(one, regret=regrets[one.name]) for one in policies)
    return ReplayResult(policies=told, baseline=baseline, notes=tuple(notes))

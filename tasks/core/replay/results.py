"""What came of a replay: each policy's quality, effort and regret, as numbers and as JSON."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from evergreen.tasks.core.arrays import FloatArray
from evergreen.tasks.core.config import ModelConfig
from evergreen.tasks.core.data.clock import Window, format_position
from evergreen.tasks.core.data.rows import Rows, draft_plan
from evergreen.tasks.core.data.timeline import make_timeline
from evergreen.tasks.core.drift.performance import Performance, measure_performance
from evergreen.tasks.core.drift.types import Level, worst
from evergreen.tasks.core.metrics.base import Metric
from evergreen.tasks.core.metrics.registry import get_metric
from evergreen.tasks.core.metrics.scored import Scored
from evergreen.tasks.core.replay.history import Step
from evergreen.tasks.core.replay.setup import ReplayStart
from evergreen.tasks.core.serial import to_plain
from evergreen.tasks.core.stats.dependence import mean_over_windows
from evergreen.tasks.core.training.baseline import baseline_kinds, baseline_scores
from evergreen.tasks.core.training.features import ModelSpec
from evergreen.tasks.core.verdict import Reason, State


@dataclass(frozen=True, kw_only=True)
class StepResult:
    """One window under one policy."""

    step: Step
    """The window, and the moment at which it was full."""
    version: int
    """Champion at the window's start, which answered its rows."""
    performance: Performance
    """The deciding metric on the window's rows, with the labels they have in the end."""
    accuracy: float | None = None
    """Share of right decisions; None where nothing is classified."""
    levels: Mapping[str, str] = field(default_factory=dict)
    """Result of monitoring at this moment, by kind of drift."""
    alarms: int = 0
    """Alarms that opened."""
    decision: Mapping[str, Any] | None = None
    """Of retraining (`evergreen.tasks.core.retraining.types.RetrainDecision.to_dict`); None where the policy
    takes none."""
    state: State | None = None
    """How the retraining ended that started here; None without one."""
    reasons: tuple[Reason, ...] = ()
    """Reasons of its last stage."""
    made: int | None = None
    """The version it is about."""
    rows: int = 0
    """Rows that versions were fitted on."""
    seconds: float = 0.0
    """Time it took."""

    @property
    def level(self) -> str | None:
        """The worst level of its kinds; None without monitoring."""
        return worst(map(Level, self.levels.values())).value if self.levels else None

    def window_dict(self, *, clock: str) -> dict[str, Any]:
        """Return the JSON form of the window: from, to, n, value, interval, version, level."""
        measured = self.performance.to_dict()
        return {
            "from": format_position(self.step.window.start, clock=clock),
            "to": format_position(self.step.window.end, clock=clock),
            "n": measured["n"],
            "value": measured["value"],
            "interval": [measured["low"], measured["high"]],
            "accuracy": self.accuracy,
            "version": self.version,
            "level": self.level,
            "levels": dict(self.levels),
        }

    def decision_dict(self) -> dict[str, Any] | None:
        """Return the JSON form of the decision and its end; None where the policy takes none."""
        if self.decision is None and self.state is None:
            return None
        made = self.decision or {"outcome": "start", "causes": [], "reasons": [], "next_allowed_at": None}
        return {
            "at": self.step.at.isoformat(),
            "outcome": made["outcome"],
            "causes": made["causes"],
            "state": self.state.value if self.state else None,
            "reasons": [*made["reasons"], *(reason.to_dict() for reason in self.reasons)],
            "next_allowed_at": made["next_allowed_at"],
            "version": self.made,
        }


# What each window of a replay is measured by: the deciding metric, and accuracy where something is classified.


@dataclass(frozen=True, kw_only=True)
class Scorecard:
    """What each window is measured by: the deciding metric, and accuracy where something is classified."""

    metric: Metric
    accuracy: Metric | None

    @classmethod
    def of(cls, config: ModelConfig, metric: Metric) -> Scorecard:
        """Return the scorecard of a model."""
        problem = config.problem.value
        classifies = problem in ("binary", "multiclass")
        return cls(metric=metric, accuracy=get_metric("accuracy", problem=problem) if classifies else None)

    def measure(self, scored: Scored) -> tuple[Performance, float | None]:
        """Measure answers on the rows that have a label in the end."""
        performance = measure_performance(scored, self.metric)
        share = measure_performance(scored, self.accuracy).value if self.accuracy else math.nan
        return performance, float(share) if math.isfinite(share) else None


# Policies against each other in hindsight: regret, the Pareto front of quality and retrainings.


@dataclass(frozen=True, kw_only=True)
class Regret:
    """How much worse than the best policy of a run."""

    absolute: float
    """In the metric's unit, >= 0; NaN for a policy without a mean."""
    relative: float
    """As a share of the best mean; NaN where that is 0."""


def measure_regret(means: Mapping[str, float], *, sign: int) -> dict[str, Regret]:
    """Return each policy's regret against the best of them in hindsight.

    Parameters
    ----------
    means : mapping of str to float
        Mean metric by policy; NaN where it is undefined.
    sign : {1, -1}
        Direction in which the metric is better.

    Examples
    --------
    >>> regrets = measure_regret({"never": 0.8, "every": 1.0}, sign=1)
    >>> round(regrets["never"].absolute, 3), round(regrets["never"].relative, 3), regrets["every"].absolute
    (0.2, 0.2, 0.0)
    """
    finite = [mean for mean in means.values() if math.isfinite(mean)]
    best = max(finite, key=lambda mean: sign * mean, default=math.nan)
    regrets = {}
    for name, mean in means.items():
        gap = max(0.0, sign * (best - mean)) if math.isfinite(mean) else math.nan
        regrets[name] = Regret(absolute=gap, relative=gap / abs(best) if best else math.nan)
    return regrets


def pareto_front(points: Sequence[tuple[float, float]], *, sign: int) -> tuple[int, ...]:
    """Return the places of the points that no other one beats in both quality and cost, cheapest first.

    Parameters
    ----------
    points : sequence of (quality, cost)
        A mean metric and a number of retrainings; points with NaN are on no front.
    sign : {1, -1}
        Direction in which quality is better; less cost always is.

    Notes
    -----
    Of points that are equal in both, the first listed is kept.

    Examples
    --------
    >>> pareto_front([(0.80, 0), (0.85, 10), (0.84, 12), (0.86, 30)], sign=1)
    (0, 1, 3)
    """
    finite = [place for place, point in enumerate(points) if all(map(math.isfinite, point))]
    ordered = sorted(finite, key=lambda place: (points[place][1], -sign * points[place][0], place))
    front: list[int] = []
    for place in ordered:
        if not front or sign * (points[place][0] - points[front[-1]][0]) > 0:
            front.append(place)
    return tuple(front)


_REFUSED = (State.CHAMPION_KEPT, State.REJECTED, State.INSUFFICIENT_DATA)


@dataclass(frozen=True, kw_only=True)
class PolicyResult:
    """One policy, replayed."""

    name: str
    metric: str
    """The policy; the deciding metric."""
    clock: str
    """Unit of the windows' ends."""
    sign: int
    """One of 1, -1. Direction in which the metric is better."""
    steps: tuple[StepResult, ...]
    """One a window."""
    regret: Regret | None = None
    """Against the best policy of the run, once that is known."""

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
        """Its 95 % interval (`evergreen.tasks.core.stats.dependence`)."""
        mean = mean_over_windows(self.values)
        return mean.low, mean.high

    @property
    def accuracy(self) -> float | None:
        """Mean accuracy over windows; None where nothing is classified."""
        defined = [step.accuracy for step in self.steps if step.accuracy is not None]
        return float(np.mean(defined)) if defined else None

    @property
    def worst_step(self) -> StepResult | None:
        """The window with the worst metric; None where it is defined on none."""
        defined = [step for step in self.steps if step.performance.defined]
        return min(defined, key=lambda step: self.sign * step.performance.value, default=None)

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
    def alarms(self) -> int:
        """Alarms that opened."""
        return sum(step.alarms for step in self.steps)

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
        refused = sum(step.state in _REFUSED for step in self.steps)
        counts = {"retrainings": self.retrainings, "promotions": self.promotions, "refused": refused}
        seconds = float(sum(step.seconds for step in self.steps))
        costs = {"alarms": self.alarms, "seconds": seconds, "rows": self.rows}
        return dict(to_plain({**plain, **counts, **costs}))

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form."""
        decisions = [step.decision_dict() for step in self.steps]
        windows = [step.window_dict(clock=self.clock) for step in self.steps]
        plain = {"windows": windows, "decisions": [one for one in decisions if one is not None]}
        return {**self.summary(), **to_plain(plain)}


@dataclass(frozen=True, kw_only=True)
class ReplayResult:
    """All policies of a run."""

    policies: tuple[PolicyResult, ...]
    """In the order asked for, each with its regret."""
    baseline: PolicyResult | None = None
    """'Same as the last label' on the same windows; None where that makes no sense."""
    notes: tuple[Reason, ...] = field(default=())
    """What a reader should know."""

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
        front = self.front()
        pareto = [
            {
                "policy": one.name,
                "quality": one.mean,
                "retrainings": one.retrainings,
                "gap": one.regret.absolute if one.regret else None,
                "front": one.name in front,
            }
            for one in self.policies
        ]
        return {
            "policies": [one.to_dict() for one in self.policies],
            "baseline": self.baseline.to_dict() if self.baseline else None,
            "pareto": to_plain(pareto),
            "notes": [note.to_dict() for note in self.notes],
        }


def conclude_policy(name: str, steps: Sequence[StepResult], *, metric: Metric, clock: str) -> PolicyResult:
    """Return what came of one policy."""
    return PolicyResult(name=name, metric=metric.name, clock=clock, sign=metric.sign, steps=tuple(steps))


def conclude_replay(
    policies: Sequence[PolicyResult], *, baseline: PolicyResult | None = None, notes: Sequence[Reason] = ()
) -> ReplayResult:
    """Return what came of all policies, each with its regret; the baseline is no policy."""
    regrets = measure_regret({one.name: one.mean for one in policies}, sign=policies[0].sign)
    results = tuple(replace(one, regret=regrets[one.name]) for one in policies)
    return ReplayResult(policies=results, baseline=baseline, notes=tuple(notes))


# The baseline beside the policies: 'same as the last label', as labels were known at each moment.


NAME = "same_as_last"


def replay_persistence(beginning: ReplayStart) -> PolicyResult | None:
    """Return the baseline on the windows of a replay; None for ranking, where there is no last label.

    Shares and transitions are counted on the labelled rows as of the first training, and never again: so it is what
    anybody could have deployed then, without a model.
    """
    config, model = beginning.config, beginning.first.model
    if "persistence" not in baseline_kinds(config, timed=True):
        return None
    start = beginning.start.until
    scored = baseline_scores(
        "persistence",
        ModelSpec(model.schema, config, model.classes),
        training=_labelled(beginning, Window(end=start), until=start),
        rows=_labelled(beginning, Window(start)),
        rng=np.random.default_rng(0),
    )
    scorecard = Scorecard.of(config, beginning.tools.metric(config))
    steps = []
    for step in beginning.steps:
        inside = step.window.mask(scored.require("positions"))
        performance, accuracy = scorecard.measure(scored.take(inside))
        steps.append(StepResult(step=step, version=0, performance=performance, accuracy=accuracy))
    return conclude_policy(NAME, steps, metric=scorecard.metric, clock=config.data.clock)


def _labelled(beginning: ReplayStart, window: Window, *, until: float | None = None) -> Rows:
    """Return the rows of a slice that have a label, known as of ``until``."""
    rows = beginning.history.between(window)
    line = make_timeline(rows.frame, np.asarray(rows.positions), draft_plan(beginning.config, until=until))
    return rows.take(line.usable)

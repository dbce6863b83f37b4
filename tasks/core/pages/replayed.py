"""A replay as its pages read it: the JSON form, with the best policy, the direction and paired differences."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tasks.core.drift.words import Level
from tasks.core.metrics.scored import FloatArray
from tasks.core.pages.watched import real
from tasks.core.replay.mean_interval import MeanInterval, mean_over_windows
from tasks.core.verdict import State

BASELINE = "same as last label"
PROMOTED = State.PROMOTED.value
UNGOVERNED = ("never", "every")
"""Policies that decide nothing."""


@dataclass(frozen=True, kw_only=True)
class Replayed:
    """What a replay found.

    Attributes
    ----------
    model, metric, clock, start : str
        The model; the deciding metric; the unit of windows' ends; where the first model was trained.
    sign : {1, -1}
        Direction in which the metric is better.
    policies : tuple of dict
        In the order asked for (`tasks.core.replay.results.PolicyResult.to_dict`).
    baseline : dict | None
        'Same as the last label', in the same form.
    pareto, notes : tuple of dict
        Quality, retrainings, gap and front by policy; what a reader should know.
    """

    model: str
    metric: str
    clock: str
    start: str
    sign: int
    policies: tuple[Mapping[str, Any], ...]
    baseline: Mapping[str, Any] | None
    pareto: tuple[Mapping[str, Any], ...]
    notes: tuple[Mapping[str, Any], ...]

    @classmethod
    def of(cls, result: Mapping[str, Any]) -> Replayed:
        """Return what `tasks.core.replay.results.ReplayResult.to_dict`, with ``model``, ``start``, ``clock``, says."""
        policies, baseline = tuple(result["policies"]), result["baseline"]
        return cls(
            model=str(result["model"]),
            metric=str(policies[0]["metric"]),
            clock=str(result["clock"]),
            start=str(result["start"]),
            sign=1 if policies[0]["higher_is_better"] else -1,
            policies=policies,
            baseline=baseline,
            pareto=tuple(result["pareto"]),
            notes=tuple(result["notes"]),
        )

    @property
    def direction(self) -> str:
        """The direction for people."""
        return "higher is better" if self.sign > 0 else "lower is better"

    @property
    def windows(self) -> Sequence[Mapping[str, Any]]:
        """The windows that all policies answered."""
        windows: Sequence[Mapping[str, Any]] = self.policies[0]["windows"]
        return windows

    @property
    def everyone(self) -> tuple[Mapping[str, Any], ...]:
        """The policies, and the baseline where there is one."""
        return (*self.policies, self.baseline) if self.baseline else self.policies

    @property
    def best(self) -> Mapping[str, Any] | None:
        """The best mean, of equal ones that with the fewest retrainings; None where none has a mean."""
        known = [one for one in self.policies if math.isfinite(real(one["mean"]))]
        return min(known, key=lambda one: (-self.sign * float(one["mean"]), one["retrainings"]), default=None)

    @property
    def subject(self) -> Mapping[str, Any] | None:
        """The policy that is told of: as configured, or the best where that was not replayed."""
        return self.named("configured") or self.best

    def named(self, name: str) -> Mapping[str, Any] | None:
        """Return a policy by name; None where it was not replayed."""
        return next((one for one in self.policies if one["policy"] == name), None)

    def lead(self, one: Mapping[str, Any], other: Mapping[str, Any]) -> MeanInterval:
        """Return how much better ``one`` is per window than ``other``, on the windows where both have a value."""
        return mean_over_windows(self.leads(one, other))

    def leads(self, one: Mapping[str, Any], other: Mapping[str, Any]) -> FloatArray:
        """Return by how much one is better in each window; NaN where either has no value."""
        return self.sign * (values_of(one) - values_of(other))


def values_of(policy: Mapping[str, Any]) -> FloatArray:
    """Return a policy's metric by window; NaN where it is undefined."""
    return np.array([real(window["value"]) for window in policy["windows"]], dtype=np.float64)


def decided(policy: Mapping[str, Any]) -> list[tuple[Mapping[str, Any], Mapping[str, Any]]]:
    """Return each decision with the window after which it was taken; a policy decides after every one, or never."""
    decisions = policy["decisions"]
    return list(zip(policy["windows"], decisions, strict=True)) if decisions else []


def opened(policy: Mapping[str, Any]) -> list[tuple[int, list[str]]]:
    """Return the places of windows at which alarms opened, and the kinds of drift they are of."""
    found, before = [], dict[str, str]()
    for place, window in enumerate(policy["windows"]):
        now = window["levels"]
        kinds = [kind for kind in now if now[kind] == Level.DRIFT != before.get(kind)]
        found += [(place, kinds)] if kinds else []
        before = now
    return found

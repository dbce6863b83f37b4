"""Limits of challengers on live traffic, and the steps in which a canary gets more of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from itertools import pairwise

from evergreen.tasks.core.errors import InputError
from evergreen.tasks.core.serial import Struct


@dataclass(frozen=True, kw_only=True)
class GuardrailLimits:
    """Limits that arms must keep.

    Attributes
    ----------
    error_rise : most by which an arm's error rate may exceed the champion's; None: not checked. So the other two.
    latency_ratio : how many times as long as the champion an arm may take for the same rows.
    score_shift : most by which the mean rank of an arm's scores among the champion's may differ from its own.
    false_aborts : probability that arms as good as the champion are ever stopped, over all rounds, arms and guardrails.
    min_rows : fewest rows of an arm in a round.
    min_time : shortest round.
    processes : how many processes check the same traffic, each what it serves itself.
    """

    error_rise: float | None = 0.005
    latency_ratio: float | None = 1.5
    score_shift: float | None = 0.1
    false_aborts: float = 0.05
    min_rows: int = 500
    min_time: timedelta = timedelta(minutes=10)
    processes: int = 1


CELLS = 10_000
"""The traffic is cut into so many cells by the hash of the entity; a share is a whole number of them (0.01 %)."""


# Canary ramps: the steps in which a challenger gets more of the traffic, and how long each lasts at least.


STEPS = (0.01, 0.05, 0.25, 0.5, 1.0)


@dataclass(frozen=True, kw_only=True)
class Ramp(Struct):
    """A canary ramp of one challenger.

    Attributes
    ----------
    arm : the challenger.
    steps : its shares, rising.
    min_rows : rows it must have answered in a step before the next.
    min_time : shortest step.

    Raises
    ------
    InputError
        When steps do not rise or are no shares.
    """

    arm: str
    steps: tuple[float, ...] = STEPS
    min_rows: int = 500
    min_time: timedelta = field(default=timedelta(minutes=10), metadata={"key": "min_seconds"})

    def __post_init__(self) -> None:
        object.__setattr__(self, "steps", tuple(self.steps))
        shares = [round(step * CELLS) / CELLS == round(step, 12) and 0.0 < step <= 1.0 for step in self.steps]
        if not self.steps or not all(shares) or any(a >= b for a, b in pairwise(self.steps)):
            allowed = f"rising shares above 0 up to 1 in whole 0.0001, e.g. {list(STEPS)}"
            raise InputError(f"Steps {list(self.steps)} of a ramp are not allowed. Allowed: {allowed}.")
        if self.min_rows < 1 or self.min_time < timedelta(0):
            given = f"min_rows {self.min_rows} and min_time {self.min_time}"
            allowed = "1 row or more, and no negative time"
            raise InputError(f"A ramp with {given} is not allowed. Allowed: {allowed}.")

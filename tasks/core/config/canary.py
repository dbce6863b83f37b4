"""What arms are held to, and how the allowed chance of a false alarm is divided."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from itertools import pairwise

from evergreen.tasks.core.errors import InputError
from evergreen.tasks.core.serial import Struct


@dataclass(frozen=True, kw_only=True)
class GuardrailLimits:
    """What arms are held to.

    Attributes
    ----------
    error_rise : float | None
        Most by which an arm's error rate may exceed the champion's; None: not watched. So the other two.
    latency_ratio : float | None
        How many times as long as the champion an arm may take for the same rows.
    score_shift : float | None
        Most by which the mean rank of an arm's scores among the champion's may differ from the champion's own.
    false_aborts : float
        Probability that arms as good as the champion are ever sent back: of all rounds, arms and guardrails together.
    min_rows : int
        Rows of an arm that a round needs at least.
    min_time : timedelta
        Shortest round.
    processes : int
        How many processes watch the same traffic, each what it serves itself.
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


# Canary ramps: in which steps a challenger gets more of the traffic, and how long each lasts at least.


STEPS = (0.01, 0.05, 0.25, 0.5, 1.0)


@dataclass(frozen=True, kw_only=True)
class Ramp(Struct):
    """A canary ramp of one challenger.

    Attributes
    ----------
    arm : str
        The challenger.
    steps : tuple of float
        Its shares, rising.
    min_rows : int
        Rows it must have answered in a step before the next.
    min_time : timedelta
        Shortest step.

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
            raise InputError(
                f"Steps {list(self.steps)} of a ramp are not allowed. Allowed: rising shares above 0 up to 1 in whole "
                f"0.0001, e.g. {list(STEPS)}."
            )
        if self.min_rows < 1 or self.min_time < timedelta(0):
            raise InputError(
                f"A ramp with min_rows {self.min_rows} and min_time {self.min_time} is not allowed. Allowed: 1 row or "
                "more, and no negative time."
            )

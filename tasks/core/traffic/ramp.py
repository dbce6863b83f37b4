"""Canary ramps: in which steps a challenger gets more of the traffic, and how long each lasts at least."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from itertools import pairwise
from typing import Any

from tasks.core.errors import InputError
from tasks.core.traffic.variant import CELLS

STEPS = (0.01, 0.05, 0.25, 0.5, 1.0)


@dataclass(frozen=True, kw_only=True)
class Ramp:
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
    min_time: timedelta = timedelta(minutes=10)

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

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {
            "arm": self.arm,
            "steps": list(self.steps),
            "min_rows": self.min_rows,
            "min_seconds": self.min_time.total_seconds(),
        }

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> Ramp:
        """Return the ramp written by ``to_dict``."""
        return cls(
            arm=plain["arm"],
            steps=tuple(plain["steps"]),
            min_rows=plain["min_rows"],
            min_time=timedelta(seconds=plain["min_seconds"]),
        )

"""The answer of a comparison: how much better, within what interval, by which test, on what."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Difference:
    """Challenger minus champion, signed so that positive means the challenger is better.

    Attributes
    ----------
    metric, test : str
        Names of the metric and of the procedure.
    difference : float
        In the metric's unit, or relative to the champion for losses, errors and amounts.
    interval : (float, float)
        Two-sided, equal-tailed, at confidence 1 - ``level``; where ``needed_blocks_for_test`` is set, as wide as a
        correlation of 0.95 between neighbours would make it.
    level : float
        Alpha spent on this look.
    p_value : float
        Two-sided, of no difference.
    standard_error : float
        Of ``difference``; all numbers are ``nan`` where the metric is undefined.
    df : float
        Degrees of freedom with which the standard error is known.
    n : int
        Rows, or groups of a ranking.
    blocks : int or None
        Blocks the test stands on (after joining neighbours); None for independent rows.
    joined : int
        Neighbouring blocks that were joined into each of ``blocks``.
    needed_blocks_for_test : int or None
        Set when neighbouring blocks depend on each other too strongly for so few; ``standard_error`` then plans
        by the correlation that was found, ``interval`` and ``p_value`` by a stronger one.
    correlation : float
        Significant correlation of neighbouring blocks, else 0.
    champion, challenger : float
        The metric of each.
    """

    metric: str
    test: str
    difference: float
    interval: tuple[float, float]
    level: float
    p_value: float
    standard_error: float
    df: float
    n: int
    champion: float
    challenger: float
    blocks: int | None = None
    joined: int = 1
    needed_blocks_for_test: int | None = None
    correlation: float = 0.0

    @property
    def defined(self) -> bool:
        """True when every number that decides is finite."""
        return all(map(math.isfinite, (self.difference, *self.interval, self.standard_error)))

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form; numbers that are not finite become null."""
        plain = {name: _json(getattr(self, name)) for name in self.__dataclass_fields__}
        return {**plain, "interval": [_json(bound) for bound in self.interval]}


def _json(value: Any) -> Any:
    """Return None for a number that is not finite."""
    return None if isinstance(value, float) and not math.isfinite(value) else value

"""The rule by which a challenger takes the throne."""

from __future__ import annotations

import math
from dataclasses import dataclass

from tasks.core.challenge.dependence import MIN_BLOCKS
from tasks.core.challenge.difference import Difference
from tasks.core.errors import ConfigError

POLICIES = ("superiority", "non_inferiority")


@dataclass(frozen=True, kw_only=True)
class Rule:
    """When a challenger takes the throne.

    Attributes
    ----------
    min_improvement : float
        Least difference worth a promotion, >= 0, in the unit of `Difference.difference`.
    policy : str
        ``superiority``: lower bound > 0 and estimate >= ``min_improvement``. ``non_inferiority``: lower
        bound > -``margin``; it promotes equals by design.
    strict : bool
        Superiority by the whole interval: lower bound >= ``min_improvement``.
    margin : float
        How much worse is still good enough (``non_inferiority``).
    min_blocks : int
        Fewest blocks to judge on.
    power : float
        Probability of promotion that `ChallengeDecision.needed_n` plans for.
    """

    min_improvement: float
    policy: str = "superiority"
    strict: bool = False
    margin: float = 0.0
    min_blocks: int = MIN_BLOCKS
    power: float = 0.8

    def __post_init__(self) -> None:
        """Refuse policies that do not exist and numbers out of range."""
        if self.policy not in POLICIES:
            raise ConfigError(f"Unknown policy '{self.policy}'. Allowed: {', '.join(POLICIES)}.")
        for name in ("min_improvement", "margin"):
            value = getattr(self, name)
            if not 0 <= value < math.inf:
                raise ConfigError(f"The rule's {name} is {value}. Allowed: a number from 0 on.")
        if not 0 < self.power < 1:
            raise ConfigError(f"The rule's power is {self.power}. Allowed: between 0 and 1, both excluded.")

    @property
    def detectable(self) -> float:
        """Distance between the difference planned for and the bound that must be cleared.

        Planned for is twice ``min_improvement`` (superiority) or no difference (non-inferiority).
        """
        if self.policy == "non_inferiority":
            return self.margin
        return self.min_improvement if self.strict else 2 * self.min_improvement

    def promotes(self, difference: Difference) -> bool:
        """Return whether the policy is satisfied; False for anything undefined."""
        lower = difference.interval[0]
        if not difference.defined:
            return False
        if self.policy == "non_inferiority":
            return lower > -self.margin
        return self.is_superior(difference)

    def is_superior(self, difference: Difference) -> bool:
        """Return whether the challenger is better, and better enough."""
        lower = difference.interval[0]
        if self.strict:
            return lower >= self.min_improvement and lower > 0
        return lower > 0 and difference.difference >= self.min_improvement

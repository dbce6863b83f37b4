"""The alpha budget: however often a model is challenged, its wrong promotions in 90 days stay bounded."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from evergreen.tasks.core.errors import ConfigError, NotLearnable
from evergreen.tasks.core.promotion.ledger import LedgerEntry

WINDOW = timedelta(days=90)
"""Rolling length of the budget."""
SHARE = 0.25
"""Part of what is left that one comparison spends."""


@dataclass(frozen=True, kw_only=True)
class AlphaAllowance:
    """What one comparison may spend."""

    alpha: float
    """Significance level of this comparison."""
    left_before: float
    left_after: float
    """Unspent part of the budget in the rolling window, before and after it."""


def plan_alpha(spent: Sequence[tuple[datetime, float]], *, now: datetime, level: float) -> AlphaAllowance:
    """Plan the level of the next comparison so that all within any 90 days spend at most ``level``.

    Each spends a quarter of what is left, so that the budget never runs dry.

    Parameters
    ----------
    spent : sequence of (datetime, float)
        When each earlier comparison was and what it spent, in any order; entries of the future count too.
    now : datetime
        Time of this comparison, of the same awareness as those of ``spent``.
    level : float
        Bound on the probability of any wrong promotion in a window, in (0, 1).

    Returns
    -------
    AlphaAllowance
        By the union bound the probability of a wrong promotion in any window is at most ``level``
        (half of it, since only one side of the interval promotes). ``alpha`` is 0 when nothing is left.

    Raises
    ------
    ConfigError
        When ``level`` is not between 0 and 1.

    Examples
    --------
    >>> from datetime import UTC
    >>> allowance = plan_alpha([], now=datetime(2026, 1, 1, tzinfo=UTC), level=0.05)
    >>> allowance.alpha, round(allowance.left_after, 6)
    (0.0125, 0.0375)
    """
    if not 0 < level < 1:
        raise ConfigError(f"The alpha budget's level is {level}. Allowed: between 0 and 1, both excluded.")
    left = max(level - sum(alpha for at, alpha in spent if at > now - WINDOW), 0.0)
    alpha = SHARE * left
    return AlphaAllowance(alpha=alpha, left_before=left, left_after=left - alpha)


def require_alpha(allowance: AlphaAllowance, *, level: float) -> AlphaAllowance:
    """Return an allowance that has something to spend.

    Raises
    ------
    NotLearnable
        ``alpha_spent``: nothing is left, since ``evaluation.significance_level`` was lowered below what is spent.
    """
    if allowance.alpha > 0:
        return allowance
    message = (
        f"Earlier challenges within {WINDOW.days} days have spent the alpha budget of {level:g} "
        "(evaluation.significance_level). Wait until they are older, or raise the level."
    )
    raise NotLearnable("alpha_spent", message, observed=allowance.left_before, limit=level)


# The alpha budget in the ledger: what a comparison may spend, given the entries, and what it leaves there.


ALPHA = "alpha"
"""Stream of what comparisons have spent."""
SPENT = "look"
"""Kind of its entries."""


def alpha_allowance(entries: Iterable[LedgerEntry], *, now: datetime, level: float) -> AlphaAllowance:
    """Return what a comparison at ``now`` may spend, given the entries of the stream ``alpha``."""
    return plan_alpha([(entry.at, float(entry.payload["alpha"])) for entry in entries], now=now, level=level)


def spent_payload(
    allowance: AlphaAllowance, *, challenger: int | None, champion: int | None, **more: str
) -> dict[str, Any]:
    """Return what the entry holds of alpha that is spent on two versions; ``more`` names a live test."""
    spent = {"alpha": allowance.alpha, "left_after": allowance.left_after}
    return {**spent, **more, "challenger": challenger, "champion": champion}

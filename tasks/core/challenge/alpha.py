"""The alpha budget: however often a model is challenged, its wrong promotions in 90 days stay bounded."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from evergreen.tasks.core.challenge.comparison import Contestants
from evergreen.tasks.core.errors import ConfigError, NotLearnable
from evergreen.tasks.core.promotion.ledger import LedgerEntry

WINDOW = timedelta(days=90)
SHARE = 0.25


@dataclass(frozen=True, kw_only=True)
class AlphaAllowance:
    """What one look may spend."""

    alpha: float
    """Significance level of this look."""
    left_before: float
    left_after: float
    """Unspent part of the budget in the rolling window, before and after it."""


@dataclass(frozen=True, kw_only=True)
class AlphaBudget:
    """How a model's significance level is spread over repeated challenges."""

    level: float = 0.05
    """Bound on the probability of any wrong promotion in a window."""
    window: timedelta = WINDOW
    """Rolling length of the budget."""
    share: float = SHARE
    """Part of what is left that one look spends; so the budget never runs dry."""

    def __post_init__(self) -> None:
        """Refuse levels and shares outside (0, 1) and windows that are none."""
        for name, value in (("level", self.level), ("share", self.share)):
            if not 0 < value < 1:
                raise ConfigError(
                    f"The alpha budget's {name} is {value}. Allowed: between 0 and 1, both excluded."
                )
        if self.window <= timedelta(0):
            raise ConfigError(f"The alpha budget's window is {self.window}. Allowed: a positive duration.")

    def look(self, spent: Sequence[tuple[datetime, float]], *, now: datetime) -> AlphaAllowance:
        """Plan what a look at ``now`` spends, given what earlier ones spent."""
        recent = sum(alpha for at, alpha in spent if at > now - self.window)
        left = max(self.level - recent, 0.0)
        alpha = self.share * left
        return AlphaAllowance(alpha=alpha, left_before=left, left_after=left - alpha)


def plan_alpha(
    spent: Sequence[tuple[datetime, float]],
    *,
    now: datetime,
    level: float,
    window: timedelta = WINDOW,
    share: float = SHARE,
) -> AlphaAllowance:
    """Plan the level of the next look so that all looks in any ``window`` spend at most ``level``.

    Parameters
    ----------
    spent : sequence of (datetime, float)
        When each earlier look was and what it spent, in any order; entries of the future count too.
    now : datetime
        Time of this look, of the same awareness as those of ``spent``.
    level : float
        Bound on any wrong promotion in a window, in (0, 1).

    Returns
    -------
    AlphaLook
        By the union bound the probability of a wrong promotion in any window is at most ``level``
        (half of it, since only one side of the interval promotes). ``alpha`` is 0 when nothing is left.

    Examples
    --------
    >>> from datetime import UTC
    >>> look = plan_alpha([], now=datetime(2026, 1, 1, tzinfo=UTC), level=0.05)
    >>> look.alpha, round(look.left_after, 6)
    (0.0125, 0.0375)
    """
    return AlphaBudget(level=level, window=window, share=share).look(spent, now=now)


def require_alpha(look: AlphaAllowance, *, level: float) -> AlphaAllowance:
    """Return a look that has something to spend.

    Raises
    ------
    NotLearnable
        ``alpha_spent``: nothing is left, since ``evaluation.significance_level`` was lowered below what is spent.
    """
    if look.alpha > 0:
        return look
    raise NotLearnable(
        "alpha_spent",
        f"Earlier challenges within {WINDOW.days} days have spent the alpha budget of {level:g} "
        "(evaluation.significance_level). Wait until they are older, or raise the level.",
        observed=look.left_before,
        limit=level,
    )


# The alpha budget in the ledger: what a look may spend, given the entries, and what it leaves there.


ALPHA = "alpha"
"""Stream of the looks that have spent."""
SPENT = "look"
"""Kind of its entries."""


def alpha_allowance(entries: Iterable[LedgerEntry], *, now: datetime, level: float) -> AlphaAllowance:
    """Return what a look at ``now`` may spend, given the entries of the stream ``alpha``."""
    return plan_alpha([(entry.at, float(entry.payload["alpha"])) for entry in entries], now=now, level=level)


def free_allowance(look: AlphaAllowance) -> AlphaAllowance:
    """Return a look of the same level that leaves everything: it cannot promote anybody."""
    return replace(look, left_after=look.left_before)


def spent_payload(look: AlphaAllowance, opponents: Contestants) -> dict[str, Any]:
    """Return what the entry of a look holds."""
    spent = {"alpha": look.alpha, "left_after": look.left_after}
    return {**spent, "challenger": opponents.challenger, "champion": opponents.champion}

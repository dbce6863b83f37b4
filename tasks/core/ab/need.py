"""What a live test still needs: units, and time at the rate they come."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

from tasks.core.ab.checks import MIN_UNITS
from tasks.core.ab.definition import ARMS, Arm, LiveTest
from tasks.core.stats.sequential_plan import needed_information

_RESERVE = (
    0.25  # of the chance to fail: spreads known by chance, and the larger of two variances, cost some power
)
_MOST = 10**9  # a number beyond it is none that anyone will collect


@dataclass(frozen=True, kw_only=True)
class Need:
    """Units after which a challenger better by the planned improvement has been found with the planned power.

    Attributes
    ----------
    units : int or None
        In all: of both arms, or pairs; None where the spread is not known yet, or beyond 10⁹.
    still : int or None
        Of these, those not collected yet.
    time : float or None
        How long the missing ones take at the rate so far, in the clock's unit, with the follow-up.
    """

    units: int | None = None
    still: int | None = None
    time: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form."""
        return asdict(self)


def needed_units(test: LiveTest, *, standard_error: float, n: int) -> int | None:
    """Return the units that give the planned power, from the standard error on n units; None where unknown.

    Examples
    --------
    Accuracy .9 in two equal arms, an improvement of .02 to be found: 14.4 * 4 * .09 / .02². Planned is a power of
    .85 where .8 is wanted; the reserve pays for what theory leaves out (docs/limits.md has what was measured).

    >>> arms = {"control": Arm(name="champion", version=1, share=0.5)}
    >>> test = LiveTest(
    ...     name="t", hypothesis="better", metric="accuracy", mode="arms", start=0.0, longest=1e6,
    ...     challengers=(Arm(name="new", version=2, share=0.5),), min_improvement=0.02, **arms)
    >>> needed_units(test, standard_error=(4 * 0.09 / 1000) ** 0.5, n=1000)
    12973
    """
    if not (math.isfinite(standard_error) and standard_error > 0 and n > 0):
        return None
    power = test.power + _RESERVE * (1 - test.power)
    wanted = needed_information(alpha=test.alpha_each, power=power) / test.planned**2
    units = n * standard_error**2 * wanted
    return max(math.ceil(units), _least(test)) if units <= _MOST else None


def _least(test: LiveTest) -> int:
    """Return the units below which nothing is judged, of both arms (or pairs)."""
    if test.mode != ARMS:
        return MIN_UNITS[test.mode]
    smallest = min(arm.share for arm in test.challengers)
    return math.ceil(
        MIN_UNITS[test.mode] * (test.control.share + smallest) / min(test.control.share, smallest)
    )


def plan_units(test: LiveTest, challenger: Arm, *, sd: float) -> int | None:
    """Return the units that a test needs by a spread known beforehand.

    Parameters
    ----------
    sd : float
        Standard deviation of the metric a unit in each arm; of the *difference* of the two answers where the test
        is paired.
    """
    if test.mode == ARMS:
        shares = test.control.share, challenger.share
        total = sum(shares)
        sd *= math.sqrt(sum(total / share for share in shares))
    return needed_units(test, standard_error=sd, n=1)


def what_is_needed(test: LiveTest, *, standard_error: float, n: int, until: float, decided: bool) -> Need:
    """Return what a challenger still needs.

    Parameters
    ----------
    standard_error : float
        Of the improvement, on the ``n`` units that count.
    until : float
        Position up to which predictions were old enough to count.
    decided : bool
        Whether a verdict was reached: then nothing is missing.
    """
    units = needed_units(test, standard_error=standard_error, n=n)
    if decided:
        return Need(units=units, still=0, time=0.0)
    if units is None:
        return Need()
    still = max(units - n, 0)
    rate = n / (until - test.start) if until > test.start else 0.0
    time = still / rate + (test.follow_up or 0.0) if rate > 0 and still else None
    return Need(units=units, still=still, time=time if still else 0.0)

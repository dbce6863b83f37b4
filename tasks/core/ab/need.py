"""What a live test still needs: units, and time at the rate they come."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

from tasks.core.ab.checks import MIN_UNITS, least_units
from tasks.core.ab.definition import ARMS, BLOCK, ENTITY, LiveTest
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
        In all: of both arms, or pairs, entities, blocks; None where the spread is not known yet, or beyond 10⁹.
    still : int or None
        Of these, those not collected yet.
    time : float or None
        How long the missing ones take at the rate so far, in the clock's unit, with the follow-up.
    what : str
        What units are: ``units`` (of both arms), ``pairs``, ``entities`` or ``blocks``.
    """

    units: int | None = None
    still: int | None = None
    time: float | None = None
    what: str = "units"

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form."""
        return asdict(self)


def needed_units(test: LiveTest, *, standard_error: float, n: int) -> int | None:
    """Return the units that give the planned power, from the standard error on n units; None where unknown.

    Of pairs, whose spread is taken about the value that is tried, it is as many more as the information in units of
    1 / planned effect² (about 15): much for blocks, nothing for rows.

    Examples
    --------
    Accuracy .9 in two equal arms, an improvement of .02 to be found: 14.4 * 4 * .09 / .02². Planned is a power of
    .85 where .8 is wanted; the reserve pays for what theory leaves out (docs/limits.md has what was measured).

    >>> from tasks.core.ab.definition import Arm
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
    wanted = needed_information(alpha=test.alpha_each, power=power)
    units = n * (standard_error / test.planned) ** 2 * wanted + (0.0 if test.mode == ARMS else wanted)
    return max(math.ceil(units), _least(test)) if units <= _MOST else None


def _least(test: LiveTest) -> int:
    """Return the units below which nothing is judged, of both arms (or pairs)."""
    if test.mode != ARMS:
        return least_units(test)
    smallest = min(arm.share for arm in test.challengers)
    return math.ceil(
        MIN_UNITS[test.mode] * (test.control.share + smallest) / min(test.control.share, smallest)
    )


def unit_word(test: LiveTest) -> str:
    """Return what a test's units are called."""
    if test.mode == ARMS:
        return "units"
    return {BLOCK: "blocks", ENTITY: "entities"}.get(test.unit, "pairs")


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
    units, what = needed_units(test, standard_error=standard_error, n=n), unit_word(test)
    if decided:
        return Need(units=units, still=0, time=0.0, what=what)
    if units is None:
        return Need(what=what)
    still = max(units - n, 0)
    rate = n / (until - test.start) if until > test.start else 0.0
    time = still / rate + test.lag if rate > 0 and still else None
    return Need(units=units, still=still, time=time if still else 0.0, what=what)

"""Evidence that may be looked at at any time: bets on the difference between two arms."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from tasks.core.metrics.scored import FloatArray

RATIOS = (1.5, 2.0, 3.0, 5.0, 10.0, 30.0)
"""How many times as often the event happens in the arm, if it is worse: the alternatives that are bet on."""
FRACTIONS = (0.1, 0.25, 0.5, 0.8)
"""Parts of the largest stake allowed that are bet on a difference of means."""


def log_evidence(payoffs: FloatArray, counts: FloatArray, stakes: Sequence[float]) -> float:
    """Return the logarithm of an e-value: the mean wealth of gamblers with fixed stakes.

    A gambler with stake s multiplies its wealth by ``1 + s x`` at each observation x. If the mean of x is at most 0
    given all that went before, its expected wealth never exceeds 1, so that wealth above 1/a is reached at any time
    with probability a at most (Ville's inequality), however often one looks. The mean over stakes fixed beforehand
    keeps that.

    Parameters
    ----------
    payoffs, counts : arrays, shape (k,)
        Distinct values of x, and how often each was observed.
    stakes : sequence of float
        Positive, and small enough that ``1 + s x > 0``.

    References
    ----------
    Waudby-Smith, I., & Ramdas, A. (2024). Estimating means of bounded random variables by betting. Journal of the
    Royal Statistical Society B, 86(1), 1-27.

    >>> round(math.exp(log_evidence(np.array([1.0, -1.0]), np.array([3.0, 1.0]), [0.5])), 6)  # 1.5^3 x 0.5
    1.6875
    """
    with np.errstate(divide="raise", invalid="raise"):
        wealth = np.log1p(np.outer(np.asarray(stakes), payoffs)) @ counts
    top = float(wealth.max())
    return top + math.log(float(np.mean(np.exp(wealth - top))))


def more_events(events: int, events_before: int, *, share: float) -> float:
    """Return the log evidence that an event is likelier in an arm than in the champion's.

    Entities are put into the arm by a hash with probability ``share`` (of the two arms together), whatever happens to
    them. If the arm is no worse, each entity with an event is therefore one of the arm's with probability
    ``share`` at most, whatever the rate, its drift, or bursts that hit both arms. The payoff is ``1/share`` for an
    event in the arm and ``-1/(1 - share)`` for one in the champion's.

    Parameters
    ----------
    events, events_before : int
        Entities with the event in the arm, and in the champion's arm.
    share : float
        Within (0, 1).

    >>> more_events(0, 0, share=0.1)
    0.0
    >>> more_events(8, 30, share=0.01) > math.log(1000)
    True
    """
    payoffs = np.array([1.0 / share, -1.0 / (1.0 - share)])
    stakes = [share * (1.0 - share) * (r - 1.0) / (share * r + 1.0 - share) for r in RATIOS]
    return log_evidence(payoffs, np.array([events, events_before], dtype=np.float64), stakes)


def other_mean(
    ranks: Sequence[tuple[float, int]],
    ranks_before: Sequence[tuple[float, int]],
    *,
    share: float,
    tolerance: float,
) -> float:
    """Return the log evidence that means of two arms differ by more than a tolerance, in either direction.

    The payoff of a value v (0 to 1, seen from 1/2) is ``±v/share - tolerance`` in the arm and
    ``∓v/(1 - share) - tolerance`` in the champion's: its mean is the difference of means less the tolerance.

    Parameters
    ----------
    ranks, ranks_before : sequences of (float, int)
        Values within 0..1 and how many there are, in the arm and in the champion's.
    share : float
        Probability of being in the arm, of the two; within (0, 1).
    tolerance : float
        Difference that is allowed, >= 0.

    >>> other_mean([(0.9, 200)], [(0.25, 500), (0.75, 500)], share=1 / 6, tolerance=0.1) > math.log(1000)
    True
    """
    inner = np.array([rank - 0.5 for rank, _ in ranks]) / share
    outer = -np.array([rank - 0.5 for rank, _ in ranks_before]) / (1.0 - share)
    values = np.concatenate([inner, outer])
    counts = np.array([n for _, n in (*ranks, *ranks_before)], dtype=np.float64)
    largest = 1.0 / (0.5 / min(share, 1.0 - share) + tolerance)
    stakes = [fraction * largest for fraction in FRACTIONS]
    above, below = (log_evidence(sign * values - tolerance, counts, stakes) for sign in (1.0, -1.0))
    return float(np.logaddexp(above, below)) - math.log(2.0)


def oftener_than(events: int, n: int, *, rate: float) -> float:
    """Return the log evidence that an event is likelier than a rate fixed beforehand: for an arm that stands alone.

    Parameters
    ----------
    events, n : int
        Entities with the event, and all.
    rate : float
        Within (0, 1).

    >>> oftener_than(30, 200, rate=0.05) > math.log(1000)
    True
    """
    payoffs = np.array([1.0 - rate, -rate])
    likelier = [min(r * rate, (1.0 + rate) / 2.0) for r in RATIOS]
    stakes = [(p - rate) / (rate * (1.0 - rate)) for p in likelier]
    return log_evidence(payoffs, np.array([events, n - events], dtype=np.float64), stakes)

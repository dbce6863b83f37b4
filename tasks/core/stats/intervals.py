"""Intervals for a share of rows, and for the difference of two shares of the same rows."""

from __future__ import annotations

import math

from scipy.stats import beta, norm

FEW_DISCORDANT = 25  # below it the exact test decides


def paired_proportions_interval(b: int, c: int, n: int, *, level: float) -> tuple[float, float]:
    """Return an interval for the difference (c - b) / n of two paired proportions.

    Parameters
    ----------
    b, c : int
        Rows on which only the first, and only the second, succeeds.
    n : int
        All rows; independent.
    level : float
        Probability left outside, half on each side.

    Returns
    -------
    (float, float)
        The adjusted Wald interval of Bonett & Price (2012). Below 25 discordant rows it is widened to
        hold the exact conditional (Clopper & Pearson 1934) limits too, so that it excludes 0 only where
        the exact McNemar test is significant. ``nan`` without rows.

    Examples
    --------
    >>> low, high = paired_proportions_interval(3, 14, 100, level=0.05)
    >>> round(low, 4), round(high, 4)
    (0.0223, 0.1889)
    """
    if n <= 0:
        return math.nan, math.nan
    low, high = _bonett_price(b, c, n, level=level)
    if 0 < b + c < FEW_DISCORDANT:
        exact_low, exact_high = _conditional(b, c, n, level=level)
        low, high = min(low, exact_low), max(high, exact_high)
    return max(low, -1.0), min(high, 1.0)


def _bonett_price(b: int, c: int, n: int, *, level: float) -> tuple[float, float]:
    """Return the Wald interval with one row added to each discordant cell."""
    first, second = (b + 1) / (n + 2), (c + 1) / (n + 2)
    half = float(norm.isf(level / 2)) * math.sqrt((first + second - (second - first) ** 2) / (n + 2))
    return second - first - half, second - first + half


def _conditional(b: int, c: int, n: int, *, level: float) -> tuple[float, float]:
    """Return (2 π - 1) (b + c) / n at the exact limits of π, the share of discordant rows won."""
    m = b + c
    low = 0.0 if c == 0 else float(beta.ppf(level / 2, c, m - c + 1))
    high = 1.0 if c == m else float(beta.ppf(1 - level / 2, c + 1, m - c))
    return (2 * low - 1) * m / n, (2 * high - 1) * m / n


def wilson_interval(successes: float, n: float, *, level: float) -> tuple[float, float]:
    """Return the score interval of a share of independent rows (Wilson 1927).

    Parameters
    ----------
    successes, n : float
        Hits and trials.
    level : float
        Probability left outside, half on each side.

    Returns
    -------
    (float, float)
        Within 0..1, also at 0 and n successes; ``nan`` without trials.

    Examples
    --------
    >>> [round(bound, 4) for bound in wilson_interval(9, 10, level=0.05)]
    [0.5958, 0.9821]
    """
    if n <= 0:
        return math.nan, math.nan
    z, share = float(norm.isf(level / 2)), successes / n
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    return max(centre - half, 0.0), min(centre + half, 1.0)

"""How many rows or blocks a comparison needs, allowing for how well its spread is known."""

from __future__ import annotations

import math

from scipy.special import nctdtrit, ndtri, stdtrit

_RESERVE = 0.25  # of the chance to fail: skewed metrics and the check of neighbouring blocks cost some power
_MOST = 10**9  # a number beyond it is none that anyone will collect
_NORMAL_FROM = 2_000  # degrees of freedom from which the noncentral t is the normal for our purpose


def needed_rows(
    *, standard_error: float, n: int, df: float, detectable: float, level: float, power: float
) -> int | None:
    """Return the independent rows that clear the bound with probability ``power``; None beyond 10⁹.

    Parameters
    ----------
    standard_error : float
        Of the difference on ``n`` rows, known with ``df`` degrees of freedom.
    detectable : float
        True difference less the bound that the interval must clear, > 0.
    level : float
        Two-sided alpha.
    power : float
        Wanted probability, averaged over what is not known about the spread.

    Examples
    --------
    With the spread known it is ((z + z') s / d)², z' for a power of 0.85 where 0.8 is wanted: the reserve
    pays for what theory leaves out (docs/limits.md has the rates that were measured):

    >>> needed_rows(standard_error=0.01, n=1000, df=1e9, detectable=0.02, level=0.05, power=0.8)
    2245
    """
    reach = _reach(float(-ndtri(level / 2)), df=df, power=power)
    if reach * standard_error / detectable > _MOST:
        return None
    wanted = n * (reach * standard_error / detectable) ** 2
    return max(math.ceil(wanted), 2) if wanted < _MOST else None


def needed_blocks(
    *, standard_error: float, blocks: int, detectable: float, level: float, power: float, least: int
) -> int | None:
    """Return the blocks that clear the bound with probability ``power``, at least ``least``; None beyond 10⁹.

    The critical value is t's at the needed number of blocks; the spread is known from ``blocks`` - 1
    degrees of freedom.

    Examples
    --------
    >>> needed_blocks(standard_error=0.01, blocks=10_001, detectable=0.02, level=0.05, power=0.8, least=7)
    22450
    """
    if standard_error / detectable > _MOST:
        return None
    unit = blocks * (standard_error / detectable) ** 2
    wanted = float(least)
    for _ in range(30):  # wanted moves the critical value only a little: a few rounds settle it
        critical = float(-stdtrit(max(wanted, 2.0) - 1, level / 2))
        following = max(unit * _reach(critical, df=blocks - 1, power=power) ** 2, least)
        settled = abs(following - wanted) <= max(0.1, 1e-6 * wanted)
        wanted = following if settled else (following + wanted) / 2
        if settled:
            break
    return math.ceil(wanted) if wanted < _MOST else None


def _reach(critical: float, *, df: float, power: float) -> float:
    """Return the distance in standard errors that is cleared with the wanted probability.

    critical + z for a known spread; for one estimated with ``df`` degrees of freedom the quantile of the
    noncentral t, which is exact when the new spread equals the true one.
    """
    planned = power + _RESERVE * (1 - power)
    if not df < _NORMAL_FROM:
        return critical + float(ndtri(planned))
    return float(nctdtrit(max(df, 1.0), critical, planned))

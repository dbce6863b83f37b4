"""How many rows or blocks a comparison needs, allowing for how well its spread is known."""

from __future__ import annotations

import math

from scipy.stats import nct, norm, t

_RESERVE = 0.15  # of the chance to fail: skewed metrics and the check of neighbouring blocks cost some power
_NORMAL_FROM = 2_000  # degrees of freedom from which the noncentral t is the normal for our purpose


def needed_rows(
    *, standard_error: float, n: int, df: float, detectable: float, level: float, power: float
) -> int:
    """Return the independent rows that clear the bound with probability ``power``.

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
    With the spread known it is ((z + z') s / d)², z' for a power of 0.83 where 0.8 is wanted: the reserve
    pays for what theory leaves out (docs/limits.md has the rates that were measured):

    >>> needed_rows(standard_error=0.01, n=1000, df=1e9, detectable=0.02, level=0.05, power=0.8)
    2124
    """
    reach = _reach(float(norm.isf(level / 2)), df=df, power=power)
    return max(math.ceil(n * (reach * standard_error / detectable) ** 2), 2)


def needed_blocks(
    *, standard_error: float, blocks: int, detectable: float, level: float, power: float, least: int
) -> int:
    """Return the blocks that clear the bound with probability ``power``, at least ``least``.

    The critical value is t's at the needed number of blocks; the spread is known from ``blocks`` - 1
    degrees of freedom.

    Examples
    --------
    >>> needed_blocks(standard_error=0.01, blocks=10_001, detectable=0.02, level=0.05, power=0.8, least=7)
    21235
    """
    unit = blocks * (standard_error / detectable) ** 2
    wanted = float(least)
    for _ in range(50):
        critical = float(t.isf(level / 2, max(wanted, 2.0) - 1))
        following = max(unit * _reach(critical, df=blocks - 1, power=power) ** 2, least)
        if abs(following - wanted) < 0.5:
            break
        wanted = (following + wanted) / 2
    return math.ceil(max(following, least))


def _reach(critical: float, *, df: float, power: float) -> float:
    """Return the distance in standard errors that is cleared with the wanted probability.

    critical + z for a known spread; for one estimated with ``df`` degrees of freedom the quantile of the
    noncentral t, which is exact when the new spread equals the true one.
    """
    planned = power + _RESERVE * (1 - power)
    if not df < _NORMAL_FROM:
        return critical + float(norm.ppf(planned))
    return float(nct.ppf(planned, max(df, 1.0), critical))

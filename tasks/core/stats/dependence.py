"""Values in time order whose neighbours are alike: the interval of their mean, and how blocks must be joined."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import scipy

from evergreen.tasks.core.arrays import FloatArray


class MeanInterval(NamedTuple):
    """The mean, its interval, and the windows it is made of."""

    mean: float
    low: float
    high: float
    n: int


def mean_over_windows(values: FloatArray, *, level: float = 0.95) -> MeanInterval:
    """Return the mean over windows with a HAC interval.

    The variance of the mean takes in autocovariances up to the lag 4 (n/100)^(2/9), with falling weights (Bartlett),
    times n / (n - 1); the quantile is t's with n - 1 degrees of freedom. It assumes that windows further apart are
    unrelated and the series has no trend; a drifting metric makes it too narrow, as it would any interval.

    Parameters
    ----------
    values : array, shape (n,)
        One a window, in time order; NaN (undefined) ones are left out.
    level : float
        Confidence.

    Returns
    -------
    MeanInterval
        NaN without any value; an interval takes two.

    References
    ----------
    Newey & West 1987 (the estimator), 1994 (the lag).

    See Also
    --------
    evergreen.tasks.core.drift.performance.measure_performance : the interval of one window.

    Examples
    --------
    >>> [round(x, 4) for x in mean_over_windows(np.array([1.0, 2.0, 3.0, 4.0]))[:3]]
    [2.5, 0.2033, 4.7967]
    """
    finite = values[np.isfinite(values)]
    n = len(finite)
    mean = float(finite.mean()) if n else math.nan
    if n < 2:
        return MeanInterval(mean, math.nan, math.nan, n)
    error = math.sqrt(_long_run_variance(finite - mean) / n * n / (n - 1))
    half = -float(scipy.special.stdtrit(n - 1, (1 - level) / 2)) * error
    return MeanInterval(mean, mean - half, mean + half, n)


def _long_run_variance(centred: FloatArray) -> float:
    """Return the sum of autocovariances with Bartlett's weights, which is never negative."""
    n = len(centred)
    lags = min(math.floor(4 * (n / 100) ** (2 / 9)), n - 1)
    covariances = [float(centred[lag:] @ centred[: n - lag]) / n for lag in range(lags + 1)]
    weights = [1 - lag / (lags + 1) for lag in range(lags + 1)]
    return covariances[0] + 2 * sum(w * c for w, c in zip(weights[1:], covariances[1:], strict=True))


# Blocks that depend on their neighbours: how much longer they must be, and the correlation that remains.


MIN_BLOCKS = 7
_TEST_LEVEL = 0.10  # one-sided; see docs/limits.md for the rates it was chosen by
_MOST_INFLATION = 2.0
_MOST_CORRELATION = 0.98
STRONG_CORRELATION = 0.95
"""Correlation of neighbours assumed where too few blocks show that there is one, but not how strong."""


@dataclass(frozen=True, kw_only=True)
class Dependence:
    """How neighbouring blocks depend on each other, and how that is allowed for."""

    correlation: float
    """Lag-1 autocorrelation, corrected for its small-sample bias; 0 where it is not significant."""
    join: int
    """Neighbouring blocks to be joined into one."""
    inflation: float
    """Factor of the variance for the correlation that joined blocks still have; 1 without any."""
    sufficient: bool
    """False when too few blocks would be left for either to be reliable."""
    needed_blocks: int
    """Blocks of today's length that would be enough."""


def measure_dependence(values: FloatArray, *, min_blocks: int = MIN_BLOCKS) -> Dependence:
    """Measure how block values in time order depend on each other.

    Null: neighbours are independent (lag-1 autocorrelation, one-sided 10 %). Where it is rejected, an
    AR(1) is assumed with Kendall's bias correction r + (1 + 3 r)/g; neighbours are joined until its
    remaining effect on the variance of the mean is at most a factor of 2, and the variance is raised by
    that factor (the prewhitening of Andrews & Monahan 1992, on joined blocks). With few blocks little
    can be seen: below about 20 a correlation of 0.5 is missed more often than not.

    Parameters
    ----------
    values : array, shape (g,)
        Block statistics (jackknife pseudo-values) in time order.
    min_blocks : int
        Fewest blocks to be left after joining.

    Returns
    -------
    Dependence
    """
    g = len(values)
    correlation = _significant_correlation(values)
    wanted = 1
    while variance_inflation(correlation, wanted) > _MOST_INFLATION:
        wanted += 1
    join = min(wanted, max(g // min_blocks, 1))
    return Dependence(
        correlation=correlation,
        join=join,
        inflation=variance_inflation(correlation, join),
        sufficient=g >= min_blocks and join == wanted,
        needed_blocks=min_blocks * wanted,
    )


def variance_inflation(correlation: float, join: int) -> float:
    """Return the variance of a long AR(1) mean over what ``join``-ed blocks taken as independent.

    >>> variance_inflation(0.0, 1), round(variance_inflation(0.5, 1), 6)
    (1.0, 3.0)
    """
    if correlation <= 0:
        return 1.0
    long_run = (1 + correlation) / (1 - correlation)
    edge = 2 * correlation * (1 - correlation**join) / (join * (1 - correlation) ** 2)
    return float(long_run / (long_run - edge))


def join_neighbours(values: FloatArray, join: int) -> FloatArray:
    """Average neighbouring values into ``len // join`` runs of nearly equal length."""
    runs = len(values) // join
    codes = np.arange(len(values)) * runs // len(values)
    return np.bincount(codes, weights=values) / np.bincount(codes)


def _significant_correlation(values: FloatArray) -> float:
    """Return the corrected lag-1 autocorrelation, or 0 where chance explains it."""
    g = len(values)
    centred = values - values.mean()
    spread = float(centred @ centred)
    if g < 4 or spread <= 0:
        return 0.0
    r = float(centred[1:] @ centred[:-1]) / spread
    if r <= -1 / g - scipy.special.ndtri(_TEST_LEVEL) / np.sqrt(g):
        return 0.0
    return float(np.clip(r + (1 + 3 * r) / g, 0.0, _MOST_CORRELATION))

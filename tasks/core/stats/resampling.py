"""Jackknife over blocks and paired bootstrap, both on sums of the parts of a metric."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import scipy

from evergreen.tasks.core.arrays import FloatArray, IntArray
from evergreen.tasks.core.errors import DataError

Statistic = Callable[[FloatArray], FloatArray]

_CHUNK = 2_000_000  # resampling indices held at once
_MOST_UNITS = 1_000


def block_sums(values: FloatArray, codes: IntArray) -> FloatArray:
    """Sum rows ``(u, c)`` by block code 0 … g-1 to ``(g, c)``."""
    blocks = int(codes.max()) + 1 if codes.size else 0
    columns = [np.bincount(codes, weights=column, minlength=blocks) for column in values.T]
    return np.column_stack(columns) if columns else np.empty((blocks, 0))


def pseudo_values(statistic: Statistic, sums: FloatArray) -> FloatArray:
    """Return the jackknife pseudo-values of a statistic of sums, one per block.

    Parameters
    ----------
    statistic : callable
        ``(…, c) -> (…)``, a function of the summed parts.
    sums : array, shape (g, c)
        The parts summed within each block.

    Returns
    -------
    array, shape (g,)
        ``g * all - (g - 1) * all_but_one``. Their spread divided by the root of g is the standard error
        (Tukey 1958; Efron & Tibshirani 1993, ch. 11). ``nan`` where leaving a block out leaves the
        statistic undefined.

    Examples
    --------
    Of a mean of single rows they are the rows themselves:

    >>> mean = lambda sums: sums[..., 0] / sums[..., 1]
    >>> pseudo_values(mean, np.array([[1.0, 1.0], [2.0, 1.0], [6.0, 1.0]])).round(12).tolist()
    [1.0, 2.0, 6.0]
    """
    g = sums.shape[0]
    total = sums.sum(axis=0)
    return g * statistic(total) - (g - 1) * statistic(total - sums)


def bootstrap_sums(values: FloatArray, *, draws: int, rng: np.random.Generator) -> FloatArray:
    """Resample independent units with replacement and sum their parts.

    More than 1,000 units are first put into that many random bins of equal size, which keeps the variance (up to
    1/1,000) and costs no more than 1,000 numbers a draw.

    Parameters
    ----------
    values : array, shape (u, c)
        Parts per unit.
    draws : int
        Number of resamples.
    rng : numpy.random.Generator
        Source of randomness.

    Returns
    -------
    array, shape (draws, c)
    """
    if len(values) > _MOST_UNITS:
        order = rng.permutation(len(values))
        values = block_sums(values[order], np.arange(len(values)) * _MOST_UNITS // len(values))
    m = len(values)
    sums = np.empty((draws, values.shape[1]))
    step = max(1, _CHUNK // m)
    for start in range(0, draws, step):
        size = min(step, draws - start)
        picks = rng.integers(0, m, size=(size, m)) + m * np.arange(size)[:, None]
        counts = np.bincount(picks.ravel(), minlength=size * m).reshape(size, m)
        sums[start : start + size] = counts @ values
    return sums


def cell_sums(counts: IntArray, cells: FloatArray, *, draws: int, rng: np.random.Generator) -> FloatArray:
    """Resample rows that fall into few cells: exact, by multinomial counts.

    Parameters
    ----------
    counts : array, shape (k,)
        Rows observed in each cell.
    cells : array, shape (k, c)
        Parts of one row of the cell.

    Returns
    -------
    array, shape (draws, c)
        The same distribution as resampling the rows themselves, at a cost that does not depend on them.
    """
    total = int(counts.sum())
    return rng.multinomial(total, counts / total, size=draws) @ cells


def percentile_interval(draws: FloatArray, *, level: float) -> tuple[float, float]:
    """Return the equal-tailed interval that leaves ``level`` outside; ``nan`` when any draw is."""
    lower, upper = np.quantile(draws, [level / 2, 1 - level / 2])
    return float(lower), float(upper)


def bootstrap_p_value(draws: FloatArray) -> float:
    """Return twice the smaller tail beyond 0 (each counting one draw extra), at most 1."""
    if np.isnan(draws).any():
        return float("nan")
    below, above = np.count_nonzero(draws <= 0), np.count_nonzero(draws >= 0)
    return min(1.0, 2 * (min(below, above) + 1) / (len(draws) + 1))


def bootstrap_draws(level: float, *, least: int = 4_000) -> int:
    """Return how many draws leave about 20 of them in each tail of an interval at ``level``."""
    return int(max(least, min(np.ceil(40 / level), 40_000)))


def effective_df(values: Any) -> float:
    """Return the degrees of freedom with which a variance is known from independent values.

    2 n / (kurtosis - 1): n - 1 for normal values, fewer for heavy tails, about twice the number of
    discordant pairs for right-or-wrong differences. At least 1.
    """
    x = np.asarray(values, dtype=np.float64)
    centred = x - x.mean()
    second = np.mean(centred**2)
    if second == 0:
        return float(max(len(x) - 1, 1))
    kurtosis = np.mean(centred**4) / second**2
    return float(np.clip(2 * len(x) / max(kurtosis - 1, 1e-9), 1, max(len(x) - 1, 1)))


# Intervals for a share of rows, and for the difference of two shares of the same rows.


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
    error = math.sqrt((first + second - (second - first) ** 2) / (n + 2))
    half = float(scipy.stats.norm.isf(level / 2)) * error
    return second - first - half, second - first + half


def _conditional(b: int, c: int, n: int, *, level: float) -> tuple[float, float]:
    """Return (2 π - 1) (b + c) / n at the exact limits of π, the share of discordant rows won."""
    m = b + c
    low = 0.0 if c == 0 else float(scipy.stats.beta.ppf(level / 2, c, m - c + 1))
    high = 1.0 if c == m else float(scipy.stats.beta.ppf(1 - level / 2, c + 1, m - c))
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
    z, share = float(scipy.stats.norm.isf(level / 2)), successes / n
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    return max(centre - half, 0.0), min(centre + half, 1.0)


# Several tests at once: adjusted p-values for the family-wise error and for the false discovery rate.


def holm(p_values: Any) -> FloatArray:
    """Adjust p-values so that rejecting those <= α keeps any false rejection at α, under any dependence.

    Parameters
    ----------
    p_values : array, shape (m,)
        In 0..1; NaN stays NaN and still counts as a test.

    Returns
    -------
    array, shape (m,)
        Adjusted, in the order given. Uniformly better than Bonferroni.

    Notes
    -----
    Holm (1979).

    Examples
    --------
    >>> holm([0.01, 0.04, 0.03]).tolist()
    [0.03, 0.06, 0.06]
    """
    p = _checked(p_values)
    order, adjusted = np.argsort(p, kind="stable"), np.empty(len(p))  # NaN last
    adjusted[order] = np.minimum(np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)), 1.0)
    return adjusted


def benjamini_hochberg(p_values: Any) -> FloatArray:
    """Adjust p-values for the false discovery rate; independent or positively dependent tests.

    Notes
    -----
    Benjamini & Hochberg (1995). Under any other dependence use `benjamini_yekutieli`.

    Examples
    --------
    >>> benjamini_hochberg([0.01, 0.04, 0.03, 0.5]).round(4).tolist()
    [0.04, 0.0533, 0.0533, 0.5]
    """
    return _discovery_control(p_values, method="bh")


def benjamini_yekutieli(p_values: Any) -> FloatArray:
    """Adjust p-values for the false discovery rate under any dependence.

    Notes
    -----
    Benjamini & Yekutieli (2001); wider by 1 + 1/2 + … + 1/m.

    Examples
    --------
    >>> benjamini_yekutieli([0.01, 0.5]).round(4).tolist()
    [0.03, 0.75]
    """
    return _discovery_control(p_values, method="by")


def _discovery_control(p_values: Any, *, method: str) -> FloatArray:
    """Adjust by SciPy; NaN stays NaN and still counts as a test."""
    p = _checked(p_values)
    if not p.size:
        return p
    adjusted = scipy.stats.false_discovery_control(np.where(np.isnan(p), 1.0, p), method=method)
    return np.where(np.isnan(p), np.nan, adjusted)


def _checked(p_values: Any) -> FloatArray:
    """Return p-values as an array, shape (m,)."""
    p = np.asarray(p_values, dtype=np.float64)
    if p.ndim != 1 or (p < 0).any() or (p > 1).any():
        allowed = "Allowed: 0 to 1. Hand in p-values, not statistics."
        raise DataError(f"P-values must be one row of numbers. {allowed}")
    return p

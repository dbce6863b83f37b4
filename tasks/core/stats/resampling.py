"""Jackknife over blocks and paired bootstrap, both on sums of the parts of a metric."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
Statistic = Callable[[FloatArray], FloatArray]

_CHUNK = 2_000_000  # resampling indices held at once


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


def bootstrap_sums(
    values: FloatArray, *, draws: int, rng: np.random.Generator, max_units: int = 1_000
) -> FloatArray:
    """Resample independent units with replacement and sum their parts.

    Parameters
    ----------
    values : array, shape (u, c)
        Parts per unit.
    draws : int
        Number of resamples.
    rng : numpy.random.Generator
        Source of randomness.
    max_units : int
        More units than this are first put into that many random bins of equal size, which keeps the
        variance (up to 1/max_units) and costs no more than max_units numbers a draw.

    Returns
    -------
    array, shape (draws, c)
    """
    binned = _random_bins(values, bins=max_units, rng=rng) if len(values) > max_units else values
    m = len(binned)
    sums = np.empty((draws, values.shape[1]))
    step = max(1, _CHUNK // m)
    for start in range(0, draws, step):
        size = min(step, draws - start)
        picks = rng.integers(0, m, size=(size, m)) + m * np.arange(size)[:, None]
        counts = np.bincount(picks.ravel(), minlength=size * m).reshape(size, m)
        sums[start : start + size] = counts @ binned
    return sums


def _random_bins(values: FloatArray, *, bins: int, rng: np.random.Generator) -> FloatArray:
    """Sum shuffled units to bins whose sizes differ by one at most."""
    order = rng.permutation(len(values))
    return block_sums(values[order], np.arange(len(values)) * bins // len(values))


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


def bootstrap_draws(level: float, *, least: int = 4_000, most: int = 40_000) -> int:
    """Return how many draws leave about 20 of them in each tail of an interval at ``level``."""
    return int(max(least, min(np.ceil(40 / level), most)))


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

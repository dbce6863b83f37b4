"""Tests of whether two samples come from one distribution, from counts; vectorised over leading axes.

Each says whether a difference is more than chance, not whether it matters: with enough rows every harmless one is
significant. `evergreen.tasks.core.stats.distances` says how large it is. Rows must be independent; on a series
whose windows
hang together all of them reject too often, which the calibrated policy of monitoring answers. Counts of different
lengths, negative, NaN or infinite ones raise a `DataError`.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.special import betainc, chdtrc, ndtr, smirnov

from evergreen.tasks.core.arrays import FloatArray
from evergreen.tasks.core.errors import DataError
from evergreen.tasks.core.stats.distances import Number, pair, plain, shares

# The two-sided binomial test, for cells too rare for χ².


_LEAST_SHAPE = 1e-300


def binomial_p_value(successes: Any, trials: Any, probability: Any) -> Number:
    """Test a number of successes against a known probability: twice the lesser tail, at most 1.

    Null: every trial succeeds with ``probability``; trials are independent. Exact, hence never above its level, and
    below it for few trials; 1 without trials.

    Parameters
    ----------
    successes, trials : array, shape (…)
        Whole numbers; no more successes than trials.
    probability : array, shape (…)
        0..1.

    Returns
    -------
    float or array, shape (…)
        NaN where an argument is.

    Notes
    -----
    Clopper & Pearson (1934), whose interval it belongs to.

    Examples
    --------
    >>> round(binomial_p_value(4, 5, 0.1), 6)
    0.00092
    """
    x, t, p = (np.asarray(each, dtype=np.float64) for each in (successes, trials, probability))
    at_least = np.where(x > 0, betainc(np.maximum(x, _LEAST_SHAPE), t - x + 1, p), 1.0)
    at_most = np.where(x < t, 1 - betainc(x + 1, np.maximum(t - x, _LEAST_SHAPE), p), 1.0)
    return plain(np.minimum(1.0, 2 * np.minimum(at_least, at_most)))


# The distribution of Kolmogorov's statistic, fast for any number of rows.
#
# Exact routines take time that grows with the rows (half a second a value at 500,000): here they serve few rows alone,
# the expansion of Pelz and Good the others.


_FEW_ROWS = 140
_EXACT_ROWS = 5_000
_TAIL, _NOTHING = 2.2, 10.5
"""Of n d²: from the first on the tail is twice the one-sided one; beyond the second p is below 2e-9."""
_FLAT = 1.4
"""Of n d^1.5: below it p is near 1 and the expansion not good to nine digits."""

_LEAST_STATISTIC = 0.15
"""Of sqrt(n) d: below it p is 1 to 20 digits."""


def kolmogorov_p_values(distance: Any, rows: Any) -> FloatArray:
    """Return the probability that the statistic of n rows from a known continuous distribution is larger.

    Parameters
    ----------
    distance : array, shape (k,)
        Largest distance of the distribution functions, 0..1.
    rows : array, shape (k,)
        n, whole numbers from 1 on; for two samples n m / (n + m), rounded.

    Returns
    -------
    array, shape (k,)
        Within 5e-8 of the exact one; NaN for a distance that is NaN.

    Notes
    -----
    Pelz & Good (1976); Simard & L'Ecuyer (2011), *Computing the two-sided Kolmogorov–Smirnov distribution*, for
    where which form is good; Maag & Dicaire (1971) for the far tail.

    Examples
    --------
    >>> kolmogorov_p_values([0.1, 0.04], [100, 1_000]).round(6).tolist()
    [0.252693, 0.07934]
    """
    d, n = (np.atleast_1d(np.asarray(each, dtype=np.float64)) for each in (distance, rows))
    square = n * d * d
    p = np.full(d.shape, np.nan)
    far = square > _NOTHING
    flat = (n <= _EXACT_ROWS) & (n * np.maximum(d, 0) ** 1.5 <= _FLAT)
    exact = ~far & ((n <= _FEW_ROWS) | flat)
    tail = ~far & ~exact & (square >= _TAIL) & (n <= _EXACT_ROWS)
    rest = ~far & ~exact & ~tail & ~np.isnan(d)
    p[far] = 2 * np.exp(-((6 * n[far] * d[far] + 1) ** 2) / (18 * n[far]))
    p[tail] = 2 * smirnov(n[tail].astype(np.int64), d[tail])
    p[rest] = 1 - _pelz_good(d[rest], n[rest])
    if exact.any():
        from scipy.stats import kstwo  # half a second to import

        p[exact] = kstwo.sf(d[exact], n[exact])
    return np.clip(p, 0.0, 1.0)


def _pelz_good(d: FloatArray, n: FloatArray) -> FloatArray:
    """Return P(D <= d) by four terms in 1/sqrt(n)."""
    z = np.maximum(np.sqrt(n) * d, _LEAST_STATISTIC)[:, None]
    k = np.arange(0, 20)[None, :]
    odd, even = (np.pi * (k + 0.5)) ** 2, (np.pi * (k + 1)) ** 2
    at_odd, at_even = np.exp(-odd / (2 * z**2)), np.exp(-even / (2 * z**2))
    root = np.sqrt(np.pi / 2)
    square = 6 * z**6 + 2 * z**4 + (2 * z**4 - 5 * z**2) * odd + (1 - 2 * z**2) * odd**2
    cubic = (5 - 30 * z**2) * odd**3 + (212 * z**4 - 60 * z**2) * odd**2
    cubic = cubic + (135 * z**4 - 96 * z**6) * odd - (30 * z**6 + 90 * z**8)
    first = 2 * root / z * at_odd
    second = root / (3 * z**4) * (odd - z**2) * at_odd
    third = root / (36 * z**7) * square * at_odd - root / (18 * z**3) * even * at_even
    fourth = root / (3240 * z**10) * cubic * at_odd
    fourth = fourth + root / (108 * z**6) * (3 * even * z**2 - even**2) * at_even
    m = np.sqrt(n)
    terms = [part.sum(axis=1) for part in (first, second, third, fourth)]
    return np.asarray(terms[0] + terms[1] / m + terms[2] / n + terms[3] / (n * m))


MIN_EXPECTED, FEWEST_EXPECTED = 5.0, 1.0


class KsTest(NamedTuple):
    """Kolmogorov–Smirnov: ``statistic`` (0..1) and ``p_value``; floats, or arrays over the leading axes."""

    statistic: Number
    p_value: Number


class ChiSquareTest(NamedTuple):
    """χ² of homogeneity: ``statistic``, ``p_value``, ``df``; floats, or arrays over the leading axes."""

    statistic: Number
    p_value: Number
    df: Number


class ProportionsTest(NamedTuple):
    """Equal proportions: ``statistic`` (χ²), ``p_value``, ``df``, and the signed ``z`` of two (else NaN)."""

    statistic: Number
    p_value: Number
    df: Number
    z: Number


def ks_from_counts(reference: Any, current: Any) -> KsTest:
    """Test by the largest distance of the cumulated shares (Kolmogorov–Smirnov) over ordered bins.

    Null: both samples come from one distribution; rows are independent. Values that share a bin are ties: the
    statistic is never above that of the raw values, short of it by at most the largest mass of a bin that holds more
    than one value, and the test on few bins rejects less often than its level. For bins without order use
    `chi_square`, which also sees better what moves in the tails alone.

    Parameters
    ----------
    reference, current : array, shape (…, bins)
        Counts over the same ordered bins; whole rows, not shares.

    Returns
    -------
    KsTest
        Fields of shape (…); two-sided, by the distribution of n m / (n + m) rows against a known one. NaN without
        rows on a side.

    Notes
    -----
    Smirnov (1939); Hodges (1958), *The significance probability of the Smirnov two-sample test*.

    Examples
    --------
    >>> test = ks_from_counts([50, 30, 20], [30, 30, 40])
    >>> round(test.statistic, 6), round(test.p_value, 6)
    (0.2, 0.031439)
    """
    before, after = pair(reference, current)
    n, m = before.sum(axis=-1), after.sum(axis=-1)
    gaps = np.cumsum(shares(before), axis=-1) - np.cumsum(shares(after), axis=-1)
    distance = np.abs(gaps[..., :-1]).max(axis=-1, initial=0.0)
    distance = np.where((n > 0) & (m > 0), distance, np.nan)
    rows = np.maximum(np.rint(_half_harmonic(n, m)), 1.0)
    p_values = kolmogorov_p_values(np.ravel(distance), np.ravel(rows)).reshape(np.shape(distance))
    return KsTest(plain(distance), plain(p_values))


def chi_square(reference: Any, current: Any, *, min_expected: float = MIN_EXPECTED) -> ChiSquareTest:
    """Test by the χ² of homogeneity of two samples over unordered cells, rare cells pooled.

    Null: both samples have the same shares; rows are independent. The reference is a sample too: the one-sample χ²,
    which takes its shares as exact, rejects in 24–43 % instead of 5 %. Cells expected in fewer than ``min_expected``
    rows of either sample (below one row, where else a single cell would be left) are pooled into one; if even that
    one is rarer, it is tested on its own by the binomial distribution of its rows over the two samples, and the
    p-value is twice the lesser one. For ordered bins `ks_from_counts` has more power against shifts; for two cells
    it is `proportions`.

    Parameters
    ----------
    reference, current : array, shape (…, cells)
        Counts; whole rows, not shares.
    min_expected : float
        Least expected count that χ² is trusted with; 0 pools nothing.

    Returns
    -------
    ChiSquareTest
        Fields of shape (…), without correction for continuity. Only one cell with rows: statistic 0, ``p_value`` 1,
        ``df`` 0. NaN without rows on a side.

    Notes
    -----
    Pearson (1900); Cochran (1954), *Some methods for strengthening the common χ² tests*, for rare cells; Przyborowski
    & Wilenski (1940) for the binomial one.

    Examples
    --------
    >>> test = chi_square([30, 70], [45, 55])
    >>> round(test.statistic, 6), round(test.p_value, 6), test.df
    (4.8, 0.02846, 1.0)
    """
    before, after = pair(reference, current)
    n, m = before.sum(axis=-1), after.sum(axis=-1)
    lesser = np.divide(np.minimum(n, m), n + m, out=np.zeros(n.shape), where=n + m > 0)
    rare, limit = _rare_cells((before + after) * lesser[..., None], min_expected)
    pooled = [np.where(rare, side, 0.0).sum(axis=-1) for side in (before, after)]
    alone = (pooled[0] + pooled[1]) * lesser < limit
    sides = [
        np.concatenate([np.where(rare, 0.0, side), np.where(alone, 0.0, extra)[..., None]], axis=-1)
        for side, extra in zip((before, after), pooled, strict=True)
    ]
    statistic, df = _pearson(sides[0], sides[1])
    p_value = np.where(df > 0, chdtrc(np.maximum(df, 1), statistic), 1.0)
    share = np.divide(m, n + m, out=np.zeros(n.shape), where=n + m > 0)
    p_rare = np.where(alone, binomial_p_value(pooled[1], pooled[0] + pooled[1], share), 1.0)
    both = alone & (sum(pooled) > 0) & (df > 0)
    p_value = np.where(both, np.minimum(1.0, 2 * np.minimum(p_value, p_rare)), np.minimum(p_value, p_rare))
    return ChiSquareTest(*(plain(np.where(n * m > 0, each, np.nan)) for each in (statistic, p_value, df)))


def proportions(successes: Any, totals: Any) -> ProportionsTest:
    """Test whether two or more proportions are equal, by χ² (two: the pooled z-test).

    Null: equal probabilities; rows are independent, the samples apart from each other (for answers to the same rows
    use `paired.mcnemar`). Good from about five expected successes and failures a sample on; below, prefer
    `chi_square`, which treats rare cells exactly.

    Parameters
    ----------
    successes, totals : array, shape (…, samples)
        Rows that count, and all rows, by sample.

    Returns
    -------
    ProportionsTest
        Fields of shape (…). No success or no failure at all: statistic 0, ``p_value`` 1. NaN without rows in a sample.

    Raises
    ------
    DataError
        When a sample has more successes than rows.

    Notes
    -----
    Pearson (1900); Fleiss, Levin & Paik (2003), *Statistical Methods for Rates and Proportions*, chapter 9.

    Examples
    --------
    >>> test = proportions([30, 45], [100, 100])
    >>> round(test.statistic, 6), round(test.p_value, 6), round(test.z, 6)
    (4.8, 0.02846, -2.19089)
    """
    wins, rows = pair(successes, totals)
    if (wins > rows).any():
        raise DataError(
            f"{wins[wins > rows].flat[0]:g} successes of {rows[wins > rows].flat[0]:g} rows. "
            "Allowed: at most as many as rows. Hand in successes first, then totals."
        )
    rate = shares(np.stack([wins.sum(axis=-1), (rows - wins).sum(axis=-1)], axis=-1))[..., :1]
    spread = rows * rate * (1 - rate)
    parts = np.divide((wins - rows * rate) ** 2, spread, out=np.zeros(wins.shape), where=spread > 0)
    statistic = np.where((rows > 0).all(axis=-1), parts.sum(axis=-1), np.nan)
    df = np.full(statistic.shape, wins.shape[-1] - 1.0)
    p_value = chdtrc(df, statistic) if wins.shape[-1] > 1 else np.where(np.isnan(statistic), np.nan, 1.0)
    z = np.full(statistic.shape, np.nan)
    if wins.shape[-1] == 2:
        z = np.sqrt(statistic) * np.sign(wins[..., 0] * rows[..., 1] - wins[..., 1] * rows[..., 0])
        p_value = 2 * ndtr(-np.abs(z))
    return ProportionsTest(plain(statistic), plain(p_value), plain(df), plain(z))


def psi_p_value(value: Any, *, reference_rows: Any, current_rows: Any, cells: Any) -> Number:
    """Return the probability that chance alone gives a population stability index of at least this.

    Null: no drift; independent rows; every cell well filled (from about ten rows on either side). PSI divided by
    1/n + 1/m then follows χ² with (cells - 1) degrees of freedom. On rare cells it is rough: prefer `chi_square`.

    Parameters
    ----------
    value : array, shape (…)
        `distances.psi` of counts.
    reference_rows, current_rows, cells : array, shape (…)
        Rows of both sides, and cells that were compared.

    Returns
    -------
    float or array, shape (…)
        1 where there is one cell only; NaN without rows or with a NaN.

    Notes
    -----
    Yurdakul (2018), *Statistical properties of population stability index*.

    Examples
    --------
    >>> round(psi_p_value(0.1, reference_rows=200, current_rows=200, cells=10), 4)
    0.3505
    """
    scale, df = _half_harmonic(reference_rows, current_rows), np.asarray(cells, dtype=np.float64) - 1
    statistic = np.asarray(value, dtype=np.float64) * np.where(scale > 0, scale, np.nan)
    p = chdtrc(np.maximum(df, 1), statistic)
    return plain(np.where(df > 0, p, np.where(np.isnan(statistic), np.nan, 1.0)))


def _half_harmonic(n: Any, m: Any) -> FloatArray:
    """Return n m / (n + m), 0 without rows."""
    n, m = np.asarray(n, dtype=np.float64), np.asarray(m, dtype=np.float64)
    return np.divide(n * m, n + m, out=np.zeros(np.broadcast_shapes(n.shape, m.shape)), where=n + m > 0)


def _rare_cells(expected: FloatArray, least: float) -> tuple[npt.NDArray[np.bool_], FloatArray]:
    """Tell which cells are pooled, and below which expectation; a lower one where few rows would leave one cell."""
    rare = expected < least
    left = (~rare).sum(axis=-1) + (np.where(rare, expected, 0.0).sum(axis=-1) >= least)
    limit = np.where(left > 1, least, min(least, FEWEST_EXPECTED))
    return expected < limit[..., None], limit


def _pearson(before: FloatArray, after: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return Pearson's statistic of two rows of cells and its degrees of freedom; empty cells do not count."""
    both = before + after
    totals = both.sum(axis=-1, keepdims=True)
    statistic = np.zeros(both.shape[:-1])
    for side in (before, after):
        rows = side.sum(axis=-1, keepdims=True)
        expected = both * np.divide(rows, totals, out=np.zeros(totals.shape), where=totals > 0)
        terms = np.divide((side - expected) ** 2, expected, out=np.zeros(both.shape), where=expected > 0)
        statistic += terms.sum(axis=-1)
    return statistic, np.maximum((both > 0).sum(axis=-1) - 1.0, 0.0)

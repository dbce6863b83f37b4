"""Distances of two distributions over the same bins, from counts or shares; vectorised over leading axes.

A distance says how much moved, never whether it is more than chance: with few rows every one of them is well above
zero without any drift. `evergreen.tasks.core.stats.two_sample` tests. Each takes two arrays of shape (bins,) or
(…, bins) and
answers with a float or an array of shape (…). Without rows on a side the answer is NaN; vectors of different
lengths, without a bin, with negative, NaN or infinite values raise a `DataError`. Ties of the raw values are the
grid's matter: equal values share a bin.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np

from evergreen.tasks.core.arrays import FloatArray
from evergreen.tasks.core.errors import DataError

# Pairs of count or share vectors over the same bins: checked, and brought to shares.


Number: TypeAlias = Any
"""A float for two vectors; an array over the leading axes for two stacks of vectors."""


def pair(reference: Any, current: Any) -> tuple[FloatArray, FloatArray]:
    """Return both as float arrays of one shape, the bins on the last axis.

    Raises
    ------
    DataError
        When the shapes differ, there is no bin, or a value is negative, NaN or infinite.

    Examples
    --------
    >>> pair([1, 2], [3, 4])[1].tolist()
    [3.0, 4.0]
    """
    first, second = vector(reference, "reference"), vector(current, "current")
    if first.shape != second.shape:
        raise DataError(
            f"The two vectors have shapes {first.shape} and {second.shape}. Allowed: the same bins on both sides. "
            "Count both over one grid."
        )
    return first, second


def vector(values: Any, name: str) -> FloatArray:
    """Return counts or shares as a float array with at least one bin; other values are an error."""
    array = np.asarray(values, dtype=np.float64)
    if array.ndim == 0 or array.shape[-1] == 0:
        raise DataError(f"'{name}' has shape {array.shape}. Allowed: one count a bin, at least one bin.")
    if not ((array >= 0) & (array < np.inf)).all():
        wrong = array[~((array >= 0) & (array < np.inf))].flat[0]
        raise DataError(f"'{name}' holds {wrong:g}. Allowed: counts or shares, from 0 on and finite.")
    return array


def are_shares(first: FloatArray, second: FloatArray) -> tuple[bool, bool]:
    """Tell which of two are shares, not counts: they sum to one, and not all on such sides are whole numbers.

    >>> are_shares(np.array([0.75, 0.25]), np.array([3.0, 1.0]))
    (True, False)
    >>> are_shares(np.array([0.75, 0.25]), np.array([1.0, 0.0])), are_shares(np.eye(2), np.eye(2))
    ((True, True), (False, False))
    """
    sides = (first, second)
    unit = [bool((np.abs(side.sum(axis=-1) - 1) < 1e-6).all()) for side in sides]
    broken = any(one and bool((side != np.rint(side)).any()) for one, side in zip(unit, sides, strict=True))
    return unit[0] and broken, unit[1] and broken


def shares(array: FloatArray) -> FloatArray:
    """Divide by the sum over the bins; NaN where there are no rows.

    >>> shares(np.array([[3.0, 1.0], [0.0, 0.0]])).tolist()
    [[0.75, 0.25], [nan, nan]]
    """
    totals = array.sum(axis=-1, keepdims=True)
    return np.divide(array, totals, out=np.full(array.shape, np.nan), where=totals > 0)


def plain(value: FloatArray) -> Number:
    """Return a float for a number without axes."""
    return float(value) if np.ndim(value) == 0 else value


def psi(reference: Any, current: Any, *, smoothing: float = 0.5, cells: Any = None) -> Number:
    """Measure the population stability index: the sum of (c - r) ln(c / r).

    The two Kullback–Leibler divergences added; symmetric, from 0 on, unbounded. Without drift and with well-filled
    cells PSI / (1/n + 1/m) follows χ² with (cells - 1) degrees of freedom, n and m rows being independent
    (`two_sample.psi_p_value`), so that 10 cells of 200 rows against 200 have PSI 0.09 by chance alone. Prefer
    `js_distance` or `hellinger` where a bound is wanted, `two_sample.chi_square` for a test.

    Parameters
    ----------
    reference, current : array, shape (…, bins)
        Counts or shares.
    smoothing : float
        Rows added to every cell of both sides, so that an empty one costs no infinity. Shares are taken as they
        are, since the number of rows is unknown.
    cells : array of bool, shape (…, bins), optional
        The cells there are, where vectors of a stack have different lengths; by default all.

    Returns
    -------
    float or array, shape (…)
        Conventional levels: 0.10 worth attention, 0.25 a changed population. Infinite where shares have an empty cell
        on one side only, or ``smoothing`` is 0. NaN without rows.

    Notes
    -----
    Yurdakul (2018), *Statistical properties of population stability index*; Kullback & Leibler (1951), whose
    symmetric divergence it is.

    Examples
    --------
    >>> round(psi([0.5, 0.5], [0.4, 0.6]), 6)
    0.040547
    >>> round(psi([50, 50], [40, 60]), 6)
    0.039737
    """
    first, second = pair(reference, current)
    exist = np.ones(first.shape, dtype=bool) if cells is None else np.asarray(cells, dtype=bool)
    before, after = (
        smoothed_shares(side, smoothing=0.0 if done else smoothing, cells=exist)
        for side, done in zip((first, second), are_shares(first, second), strict=True)
    )
    filled = (before > 0) & (after > 0)
    ratio = np.divide(after, before, out=np.ones(before.shape), where=filled)
    terms = (after - before) * np.log(ratio)
    return plain((terms + np.where((before > 0) ^ (after > 0), np.inf, 0.0)).sum(axis=-1))


def kl_divergence(current: Any, reference: Any) -> Number:
    """Measure the Kullback–Leibler divergence of current from reference, in nats: the sum of c ln(c / r).

    The information lost when the reference is taken for what is current. Not symmetric, not a metric, unbounded.
    A cell that is empty in the reference alone makes it infinite: prefer `js_distance` for raw counts.

    Parameters
    ----------
    current, reference : array, shape (…, bins)
        Counts or shares, the current ones first.

    Returns
    -------
    float or array, shape (…)
        From 0 on; NaN without rows.

    Notes
    -----
    Kullback & Leibler (1951), *On information and sufficiency*.

    Examples
    --------
    >>> round(kl_divergence([3, 1], [2, 2]), 6)
    0.130812
    >>> kl_divergence([1, 1], [2, 0])
    inf
    """
    before, after = map(shares, pair(reference, current))
    return plain(np.maximum(_excess(after, before).sum(axis=-1), 0.0))


def js_distance(reference: Any, current: Any) -> Number:
    """Measure the Jensen–Shannon distance: the root of the mean divergence from the common mean, base 2.

    A metric, symmetric, in 0..1 (1: no cell in common), finite whatever is empty. Moves like a square root: small
    changes look large, so compare it with itself over time rather than with PSI's levels.

    Parameters
    ----------
    reference, current : array, shape (…, bins)
        Counts or shares.

    Returns
    -------
    float or array, shape (…)
        NaN without rows.

    Notes
    -----
    Lin (1991); Endres & Schindelin (2003) for the root being a metric.

    Examples
    --------
    >>> js_distance([1, 0], [0, 1]), round(js_distance([3, 1], [2, 2]), 6)
    (1.0, 0.220896)
    """
    before, after = map(shares, pair(reference, current))
    middle = (before + after) / 2
    divergence = (_excess(before, middle) + _excess(after, middle)).sum(axis=-1) / 2
    return plain(np.sqrt(np.clip(divergence / np.log(2), 0.0, 1.0)))


def hellinger(reference: Any, current: Any) -> Number:
    """Measure the Hellinger distance: the root of one minus the sum of the roots of r c.

    A metric, symmetric, in 0..1. It weighs rare cells more than `total_variation` does, and less than `psi`.

    Parameters
    ----------
    reference, current : array, shape (…, bins)
        Counts or shares.

    Returns
    -------
    float or array, shape (…)
        NaN without rows.

    Notes
    -----
    Hellinger (1909); Le Cam & Yang (2000), *Asymptotics in Statistics*.

    Examples
    --------
    >>> hellinger([1, 0], [0, 1]), round(hellinger([3, 1], [2, 2]), 6)
    (1.0, 0.184592)
    """
    before, after = map(shares, pair(reference, current))
    return plain(np.sqrt(((np.sqrt(before) - np.sqrt(after)) ** 2).sum(axis=-1) / 2))


def total_variation(reference: Any, current: Any) -> Number:
    """Measure the total variation: half the sum of |r - c|, the share of rows that would have to change cell.

    A metric, symmetric, in 0..1, and the easiest to explain. It does not know how far rows went: `wasserstein` does.

    Parameters
    ----------
    reference, current : array, shape (…, bins)
        Counts or shares.

    Returns
    -------
    float or array, shape (…)
        NaN without rows.

    Notes
    -----
    Levin, Peres & Wilmer (2009), *Markov Chains and Mixing Times*, section 4.1.

    Examples
    --------
    >>> total_variation([3, 1], [2, 2])
    0.25
    """
    before, after = map(shares, pair(reference, current))
    return plain(np.abs(before - after).sum(axis=-1) / 2)


def wasserstein(reference: Any, current: Any, *, places: Any = None) -> Number:
    """Measure the first Wasserstein (earth mover's) distance of ordered bins, normed to 0..1.

    How far a row goes on average, as a share of the way from the first bin to the last; 1 when all went from the
    one end to the other. Symmetric. For bins with an order only; permuting them changes it. Normed by the range of
    the places, not by a standard deviation: on quantile bins the unit is rank, which no outlier stretches.

    Parameters
    ----------
    reference, current : array, shape (…, bins)
        Counts or shares.
    places : array, shape (…, bins), optional
        Where the bins lie, ascending; by default evenly apart.

    Returns
    -------
    float or array, shape (…)
        0 where all bins lie at one place; NaN without rows.

    Notes
    -----
    Vallender (1974), *Calculation of the Wasserstein distance between probability distributions on the line*.

    Examples
    --------
    >>> wasserstein([1, 0, 0], [0, 1, 0]), wasserstein([1, 0, 0], [0, 0, 1])
    (0.5, 1.0)
    """
    before, after = map(shares, pair(reference, current))
    at = np.arange(before.shape[-1]) if places is None else np.asarray(places, dtype=np.float64)
    at = np.broadcast_to(at.astype(np.float64), before.shape)
    gaps = np.abs(np.cumsum(before - after, axis=-1)[..., :-1])
    way = (gaps * np.diff(at, axis=-1)).sum(axis=-1)
    span = at[..., -1] - at[..., 0]
    return plain(np.divide(way, span, out=np.where(np.isnan(way), np.nan, 0.0), where=span > 0))


def smoothed_shares(counts: FloatArray, *, smoothing: float, cells: Any) -> FloatArray:
    """Return the shares of counts after ``smoothing`` rows were added to every cell there is.

    NaN without rows; cells that do not exist have share 0.

    >>> smoothed_shares(np.array([9.0, 0.0]), smoothing=0.5, cells=np.array([True, True])).tolist()
    [0.95, 0.05]
    """
    added = np.where(cells, counts + smoothing, 0.0)
    return np.where(counts.sum(axis=-1, keepdims=True) > 0, shares(added), np.nan)


def _excess(p: FloatArray, q: FloatArray) -> FloatArray:
    """Return p ln(p / q) by cell: 0 where p is 0, infinite where q alone is, NaN where either is."""
    filled = (p > 0) & (q > 0)
    ratio = np.divide(p, q, out=np.ones(p.shape), where=filled)
    terms = p * np.log(ratio)
    return np.where((p > 0) & (q == 0), np.inf, terms + 0 * q)

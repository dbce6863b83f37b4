"""The distribution of Kolmogorov's statistic, fast for any number of rows.

Exact routines take time that grows with the rows (half a second a value at 500,000): here they serve few rows alone,
the expansion of Pelz and Good the others.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.special import smirnov

from tasks.core.stats.vectors import FloatArray

_FEW_ROWS = 140
_EXACT_ROWS = 5_000
_TAIL, _NOTHING = 2.2, 10.5
"""Of n d²: from the first on the tail is twice the one-sided one; beyond the second p is below 2e-9."""
_FLAT = 1.4
"""Of n d^1.5: below it p is near 1 and the expansion not good to nine digits."""

_LEAST = 0.15
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
    found = np.full(d.shape, np.nan)
    far = square > _NOTHING
    flat = (n <= _EXACT_ROWS) & (n * np.maximum(d, 0) ** 1.5 <= _FLAT)
    exact = ~far & ((n <= _FEW_ROWS) | flat)
    tail = ~far & ~exact & (square >= _TAIL) & (n <= _EXACT_ROWS)
    rest = ~far & ~exact & ~tail & ~np.isnan(d)
    found[far] = 2 * np.exp(-((6 * n[far] * d[far] + 1) ** 2) / (18 * n[far]))
    found[tail] = 2 * smirnov(n[tail].astype(np.int64), d[tail])
    found[rest] = 1 - _pelz_good(d[rest], n[rest])
    if exact.any():
        found[exact] = _exact(d[exact], n[exact])
    return np.clip(found, 0.0, 1.0)


def _exact(d: FloatArray, n: FloatArray) -> FloatArray:
    from scipy.stats import kstwo  # half a second to import

    return np.asarray(kstwo.sf(d, n), dtype=np.float64)


def _pelz_good(d: FloatArray, n: FloatArray) -> FloatArray:
    """Return P(D <= d) by four terms in 1/sqrt(n)."""
    z = np.maximum(np.sqrt(n) * d, _LEAST)[:, None]
    k = np.arange(0, 20)[None, :]
    odd, even = (np.pi * (k + 0.5)) ** 2, (np.pi * (k + 1)) ** 2
    at_odd, at_even = np.exp(-odd / (2 * z**2)), np.exp(-even / (2 * z**2))
    root = np.sqrt(np.pi / 2)
    first = 2 * root / z * at_odd
    second = root / (3 * z**4) * (odd - z**2) * at_odd
    third = (
        root
        / (36 * z**7)
        * (6 * z**6 + 2 * z**4 + (2 * z**4 - 5 * z**2) * odd + (1 - 2 * z**2) * odd**2)
        * at_odd
        - root / (18 * z**3) * even * at_even
    )
    fourth = (
        root / (3240 * z**10) * (
            (5 - 30 * z**2) * odd**3 + (212 * z**4 - 60 * z**2) * odd**2
            + (135 * z**4 - 96 * z**6) * odd - (30 * z**6 + 90 * z**8)
        ) * at_odd + root / (108 * z**6) * (3 * even * z**2 - even**2) * at_even
    )  # fmt: skip
    m = np.sqrt(n)
    terms = [part.sum(axis=1) for part in (first, second, third, fourth)]
    return np.asarray(terms[0] + terms[1] / m + terms[2] / n + terms[3] / (n * m))

"""How much a series leans on its own past, and what that leaves of its length."""

from __future__ import annotations

import numpy as np

from tasks.core.metrics.scored import FloatArray

_LONGEST_LAG = 200


def inflation(series: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return by what the variance of a mean, and of a variance, exceeds that of independent values.

    The sums 1 + 2 Σ ρ and 1 + 2 Σ ρ² over the lags of Geyer's (1992) initial positive sequence: pairs of
    neighbouring autocorrelations are summed while their sum is positive. The first is at least what the lag-1
    autocorrelation says of an AR(1), (1 + ρ) / (1 - ρ), with Kendall's correction of its bias.

    Parameters
    ----------
    series : array, shape (m, k)
        k series around 0, in time order.

    Returns
    -------
    of_mean, of_variance : array, shape (k,)
        At least 1; 1 for a constant series and below four values.

    Examples
    --------
    >>> inflation(np.array([[1.0], [-1.0]] * 8))[0].tolist()
    [1.0]
    """
    m, k = series.shape
    if m < 4:
        return np.ones(k), np.ones(k)
    rho = _autocorrelation(series, lags=min(_LONGEST_LAG, max(m // 3, 2)))
    pairs = len(rho) // 2
    sums = rho[: 2 * pairs].reshape(pairs, 2, k).sum(axis=1)
    kept = np.repeat(np.logical_and.accumulate(sums > 0, axis=0), 2, axis=0)
    used = np.where(kept, rho[: 2 * pairs], 0.0)[1:]
    first = np.clip(rho[1] + (1 + 3 * rho[1]) / m, 0.0, 0.98)
    first = np.where(rho[1] > 0, first, 0.0)
    of_mean = np.maximum(1 + 2 * used.sum(axis=0), (1 + first) / (1 - first))
    return np.maximum(of_mean, 1.0), np.maximum(1 + 2 * np.square(used).sum(axis=0), 1.0)


def _autocorrelation(series: FloatArray, *, lags: int) -> FloatArray:
    """Return the autocorrelation at lags 0 … ``lags``, shape (lags + 1, k); 0 for a constant series."""
    m = len(series)
    spectrum = np.fft.rfft(series, n=2 * m, axis=0)
    sums = np.fft.irfft(spectrum * spectrum.conj(), n=2 * m, axis=0)[: lags + 1]
    total = np.where(sums[0] > 1e-24, sums[0], np.inf)
    return sums / total

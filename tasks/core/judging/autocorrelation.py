"""How much a series leans on its own past, and what that leaves of its length."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tasks.core.metrics.scored import FloatArray

_LONGEST_LAG = 200
_UPPER = 1.2816
"""Normal quantile of the one-sided 90 % bound."""
_MOST = 0.97


def inflation(series: FloatArray) -> FloatArray:
    """Return by what the variance of a mean square exceeds that of independent values, shape (k,).

    The sum 1 + 2 Σ ρ² (Bartlett's formula for normal values) over the lags of Geyer's (1992) initial positive
    sequence: pairs of neighbouring autocorrelations are taken while their sum is positive.

    Parameters
    ----------
    series : array, shape (m, k)
        k series around 0, in time order.

    Examples
    --------
    >>> inflation(np.zeros((16, 1))).tolist()
    [1.0]
    """
    m, k = series.shape
    if m < 4:
        return np.ones(k)
    rho = _autocorrelation(series, lags=min(_LONGEST_LAG, max(m // 3, 3)))
    pairs = len(rho) // 2
    sums = rho[: 2 * pairs].reshape(pairs, 2, k).sum(axis=1)
    kept = np.repeat(np.logical_and.accumulate(sums > 0, axis=0), 2, axis=0)
    used = np.where(kept, rho[: 2 * pairs], 0.0)[1:]
    return np.asarray(1 + 2 * np.square(used).sum(axis=0))


@dataclass(frozen=True, kw_only=True, eq=False)
class Persistence:
    """How strongly a series may hang on: an AR(1) seen through sampling noise, at the upper end of what is likely.

    Attributes
    ----------
    share : array, shape (k,)
        Part of the variance that is no sampling noise.
    memory : array, shape (k,)
        Autocorrelation of that part at lag 1.
    """

    share: FloatArray
    memory: FloatArray

    @property
    def of_mean(self) -> FloatArray:
        """By what the variance of the mean exceeds that of independent values: 1 + 2 Σ ρ."""
        return np.asarray(1 + 2 * self.share * self.memory / (1 - self.memory))

    def of_square(self, n: int = 1) -> FloatArray:
        """By what that of the mean square of means of n neighbours does: 1 + 2 Σ ρ²."""
        share = self.share / (self.share + np.maximum(1 - self.share, 0.0) / n)
        overlap = sum((1 - lag / n) ** 2 for lag in range(1, n))
        return np.asarray(1 + 2 * (overlap + share**2 * self.memory**2 / (1 - self.memory**2)))


def measure_persistence(series: FloatArray, *, noise: FloatArray) -> Persistence:
    """Measure how strongly series may hang on, at the upper end (one-sided 90 %) of what is likely.

    The lag-1 autocorrelation alone says too little of a level that wanders slowly below the noise of sampling, and
    few windows show it too low: so both it (Kendall's correction, plus 1.28 standard errors) and the variance beyond
    the noise are taken at their upper ends. Few windows of a stream that might wander say nothing of its level, and
    that is what the limits then say.

    Parameters
    ----------
    series : array, shape (m, k)
        k series around 0, in time order.
    noise : array, shape (k,)
        Sampling variance; NaN counts as none.
    """
    m = len(series)
    first = _autocorrelation(series, lags=1)[1] if m > 1 else np.zeros(series.shape[1])
    upper = first + (1 + 3 * first) / m + _UPPER * np.sqrt(np.maximum(1 - first**2, 0.0) / m)
    upper = np.clip(upper, 0.0, _MOST)
    variance = np.square(series).mean(axis=0) * (1 + _UPPER * np.sqrt(2 / m))
    known = np.nan_to_num(noise)
    share = np.clip(1 - known / np.where(variance > 0, variance, np.inf), 1e-6, 1.0)
    memory = np.clip(upper / share, 0.0, _MOST)
    return Persistence(share=share, memory=memory)


def _autocorrelation(series: FloatArray, *, lags: int) -> FloatArray:
    """Return the autocorrelation at lags 0 … ``lags``, shape (lags + 1, k); 0 for a constant series."""
    m = len(series)
    spectrum = np.fft.rfft(series, n=2 * m, axis=0)
    sums = np.fft.irfft(spectrum * spectrum.conj(), n=2 * m, axis=0)[: lags + 1]
    total = np.where(sums[0] > 1e-24, sums[0], np.inf)
    return sums / total

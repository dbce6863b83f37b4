"""The mean of a metric over windows in time order, with an interval that allows for neighbours being alike."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from scipy.stats import t

from tasks.core.metrics.scored import FloatArray


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
    tasks.core.drift.performance.measure_performance : the interval of one window.

    Examples
    --------
    >>> [round(x, 4) for x in mean_over_windows(np.array([1.0, 2.0, 3.0, 4.0]))[:3]]
    [2.5, 0.2033, 4.7967]
    """
    known = values[np.isfinite(values)]
    n = len(known)
    if n == 0:
        return MeanInterval(math.nan, math.nan, math.nan, 0)
    mean = float(known.mean())
    if n == 1:
        return MeanInterval(mean, math.nan, math.nan, 1)
    error = math.sqrt(_long_run_variance(known - mean) / n * n / (n - 1))
    half = float(t.isf((1 - level) / 2, n - 1)) * error
    return MeanInterval(mean, mean - half, mean + half, n)


def _long_run_variance(centred: FloatArray) -> float:
    """Return the sum of autocovariances with Bartlett's weights, which is never negative."""
    n = len(centred)
    lags = min(math.floor(4 * (n / 100) ** (2 / 9)), n - 1)
    covariances = [float(centred[lag:] @ centred[: n - lag]) / n for lag in range(lags + 1)]
    weights = [1 - lag / (lags + 1) for lag in range(lags + 1)]
    return covariances[0] + 2 * sum(w * c for w, c in zip(weights[1:], covariances[1:], strict=True))

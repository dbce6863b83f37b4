"""Forecasts of a signal from its last windows, and how far they have been off in the model's own past."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tasks.core.metrics.scored import FloatArray

_GAINS = np.array([0.05, 0.1, 0.2, 0.35, 0.5, 0.7, 0.9])
_WARM_UP = 5


@dataclass(frozen=True, kw_only=True, eq=False)
class Forecasts:
    """How a signal is forecast.

    Attributes
    ----------
    gain : array, shape (k,)
        Share of the newest window in the forecast (exponential smoothing), chosen on the past.
    errors : array, shape (h, m, k)
        Errors of the forecasts 1 … h windows ahead; NaN where there is none.
    last : array, shape (k,)
        The forecast at the end of the past.
    """

    gain: FloatArray
    errors: FloatArray
    last: FloatArray


def fit_forecasts(series: FloatArray, *, ahead: int) -> Forecasts:
    """Choose each signal's gain by its squared errors one window ahead, and keep the errors further ahead.

    Exponential smoothing is the best forecast of a level that wanders (Muth 1960) and close to it for an AR(1) seen
    with noise; a small gain is the mean. It needs no mean of the past, which few dependent windows do not know.

    Parameters
    ----------
    series : array, shape (m, k)
        Signals of the reference's windows in time order; at least two windows.
    ahead : int
        Windows to look ahead.
    """
    m, k = series.shape
    levels = np.empty((m, len(_GAINS), k))
    levels[0] = series[0]
    for place in range(1, m):
        gains = np.maximum(_GAINS, 1.0 / (place + 1))[:, None]
        levels[place] = levels[place - 1] + gains * (series[place] - levels[place - 1])
    start = min(_WARM_UP, m // 2)
    misses = np.square(series[start:, None, :] - levels[start - 1 : -1]).sum(axis=0)
    best = misses.argmin(axis=0)
    chosen = levels[:, best, np.arange(k)]
    errors = np.full((ahead, m, k), np.nan)
    for step in range(1, ahead + 1):
        first = max(start, step)
        errors[step - 1, first:] = series[first:] - chosen[first - step : m - step]
    return Forecasts(gain=_GAINS[best], errors=errors, last=chosen[-1])

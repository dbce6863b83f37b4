"""Forecasts of a signal from its last windows, and how far they have been off in the model's own past."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from evergreen.tasks.core.arrays import FloatArray

_GAINS = np.array([0.05, 0.1, 0.2, 0.35, 0.5, 0.7, 0.9])
_WARM_UP = 5


@dataclass(frozen=True, kw_only=True, eq=False)
class Forecasts:
    """How far a signal's forecasts have been off.

    Attributes
    ----------
    errors : array, shape (h, m, k)
        Errors of the forecasts 1 … h windows ahead; NaN where there is none.
    last : array, shape (k,)
        The forecast at the end of the past.
    """

    errors: FloatArray
    last: FloatArray


def choose_gains(series: FloatArray) -> FloatArray:
    """Choose the gain of exponential smoothing by the squared errors one window ahead, shape (k,).

    Exponential smoothing is the best forecast of a level that wanders (Muth 1960) and close to it for an AR(1) seen
    with noise; a small gain is the mean. It needs no mean of the past, which few dependent windows do not know.

    Parameters
    ----------
    series : array, shape (m, k)
        Signals of the reference's windows in time order; at least two windows.
    """
    levels = _smooth(np.repeat(series[:, None], len(_GAINS), axis=1), _GAINS[:, None])
    start = _first(len(series))
    misses = np.square(series[start:, None] - levels[start - 1 : -1]).sum(axis=0)
    return _GAINS[misses.argmin(axis=0)]


def fit_forecasts(series: FloatArray, *, gains: FloatArray, ahead: int) -> Forecasts:
    """Measure how far forecasts have been off, up to so many windows ahead.

    Parameters
    ----------
    series : array, shape (m, k)
        As in `choose_gains`.
    gains : array, shape (k,)
        Share of the newest window in the forecast.
    ahead : int
        Windows to look ahead.
    """
    m = len(series)
    levels = _smooth(series, gains)
    errors = np.full((ahead, *series.shape), np.nan)
    for step in range(1, ahead + 1):
        first = max(_first(m), step)
        errors[step - 1, first:] = series[first:] - levels[first - step : m - step]
    return Forecasts(errors=errors, last=levels[-1])


def _first(m: int) -> int:
    """Return the first window whose forecast is judged."""
    return min(_WARM_UP, m // 2)


def _smooth(series: FloatArray, gains: FloatArray) -> FloatArray:
    """Return the smoothed level after each window; early ones weigh alike."""
    levels = np.empty_like(series)
    levels[0] = series[0]
    for place in range(1, len(series)):
        gain = np.maximum(gains, 1.0 / (place + 1))
        levels[place] = levels[place - 1] + gain * (series[place] - levels[place - 1])
    return levels

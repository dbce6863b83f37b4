"""How the signals of the reference series move in time: seasons, persistence, and forecasts from the last windows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import f as f_distribution

from evergreen.tasks.core.arrays import FloatArray, IntArray
from evergreen.tasks.core.drift.policy import MAIN_SIGNALS, Policy, column_places
from evergreen.tasks.core.drift.types import SignalKey

MIN_CYCLES = 3
"""Fewest full cycles a season's reference is made of."""
_PERIODS = {"day": 86400.0, "week": 604800.0}
_LEVEL = 1e-3
_GAIN = 0.9
"""A season must leave at most this part of the squared error, in windows its reference has not seen."""
_WHOLLY = 0.9
"""From this share of its variance on, a part of a wave is taken for a season that was not seen often enough."""
_LEAST_PART = 0.5


@dataclass(frozen=True, kw_only=True, eq=False)
class Seasons:
    """The season of each signal; all signals of a column have the same."""

    phases: IntArray
    """Shape (k,): windows in a cycle; 1 without a season."""
    expected: FloatArray
    """Shape (max phases, k): mean of the reference's windows in each phase; rows beyond a signal's phases are
    NaN."""
    fewest: IntArray
    """Shape (k,): fewest reference windows in a phase."""
    needed: IntArray
    """Shape (k,): reference windows that would show the season a column seems to have; 0 where nothing is
    missing."""


def phase_of(position: FloatArray | float, phases: IntArray | int, *, length: float) -> IntArray:
    """Return the phase of windows that start at these positions (seconds since 1970 UTC, a Thursday)."""
    numbers = np.floor(np.asarray(position) / length + 1e-6).astype(np.int64)
    return np.asarray(numbers % phases)


def expected_at(
    positions: FloatArray, expected: FloatArray, phases: IntArray, *, length: float | None
) -> FloatArray:
    """Return what is expected of windows that start at these positions, shape (…, k); (k,) without seasons."""
    if len(expected) == 1 or length is None:
        return np.asarray(expected[0])
    return expected[phase_of(positions[..., None], phases, length=length), np.arange(len(phases))]


def find_seasons(
    series: FloatArray, *, starts: FloatArray, keys: Sequence[SignalKey], policy: Policy
) -> Seasons:
    """Find each column's season among a day and a week of windows, in UTC.

    A season is taken when the means of its phases differ (F test, family-wise over the columns and their signals)
    *and* foretell windows they were not made of: an AR(1) passes the first now and then, never both. Where fewer
    than three cycles were seen and a wave of that length is nearly all there is (R² >= 0.9), the column's reference
    is unknown, and ``needed`` says how many windows would do.

    Parameters
    ----------
    series : array, shape (m, k)
        Signals of the reference's windows; finite.
    starts : array, shape (m,)
        Where the windows start.
    keys : sequence of SignalKey, length k
        What they are.
    policy : Policy
        ``seasons``, clock and window; windows of rows have no phase.
    """
    m, k = series.shape
    codes = column_places(keys)[1]
    phases, needed = np.ones(k, dtype=np.int64), np.zeros(k, dtype=np.int64)
    for cycle in _cycles(policy):
        number = phase_of(starts, cycle, length=policy.window_length or 1.0)
        if m >= MIN_CYCLES * cycle and np.bincount(number, minlength=cycle).min() >= MIN_CYCLES - 1:
            phases = np.where(_is_season(series, starts, cycle, phases, codes, policy), cycle, phases)
        elif m >= max(_LEAST_PART * cycle, 8):
            base = _means(series, starts, phases, policy)[0]
            wave = _is_wave(series - base, cycle, number, keys)
            spoilt = np.bincount(codes, weights=wave)[codes] > 0
            needed = np.where(spoilt & (needed == 0), MIN_CYCLES * cycle, needed)
    expected, counts = _phase_means(series, starts, phases, policy)
    used = np.arange(len(counts))[:, None] < phases
    fewest = np.where(used, counts, m).min(axis=0, initial=m)
    return Seasons(phases=phases, expected=expected, fewest=fewest, needed=needed)


def _cycles(policy: Policy) -> list[int]:
    """Return the candidate seasons' lengths in windows, shortest first."""
    length = policy.window_length
    if not policy.seasons or policy.clock != "timestamp" or length is None:
        return []
    cycles = [period / length for period in _PERIODS.values()]
    return [round(cycle) for cycle in cycles if cycle >= 2 and abs(cycle - round(cycle)) < 1e-9]


def _is_season(
    series: FloatArray, starts: FloatArray, cycle: int, phases: IntArray, codes: IntArray, policy: Policy
) -> np.ndarray:
    """Return which signals' columns have this season, beyond the shorter one they may have already."""
    m, k = series.shape
    before, fewer = _means(series, starts, phases, policy)
    after, each = _means(series, starts, np.full(k, cycle), policy)
    rest, left = np.square(series - before), np.square(series - after)
    freedom = m - cycle
    explained = (rest.sum(axis=0) - left.sum(axis=0)) / (cycle - phases)
    ratio = explained / np.maximum(left.sum(axis=0) / freedom, 1e-24)
    p_values = f_distribution.sf(ratio, cycle - phases, freedom) * len(_PERIODS) * k
    unseen = (left * _left_out(each)).sum(axis=0), (rest * _left_out(fewer)).sum(axis=0)
    passed = (p_values < _LEVEL) & (unseen[0] < _GAIN * unseen[1])
    return np.asarray(np.bincount(codes, weights=passed)[codes] > 0)


def _left_out(many: IntArray) -> FloatArray:
    """Return by what a squared error grows when the window itself is left out of its phase's mean."""
    return np.square(many / np.maximum(many - 1, 0.5))


def _means(
    series: FloatArray, starts: FloatArray, phases: IntArray, policy: Policy
) -> tuple[FloatArray, IntArray]:
    """Return each window's phase mean, and how many windows that is made of, both of shape (m, k)."""
    means, counts = _phase_means(series, starts, phases, policy)
    number = phase_of(starts[:, None], phases, length=policy.window_length or 1.0)
    columns = np.arange(len(phases))
    return means[number, columns], counts[number, columns]


def _phase_means(
    series: FloatArray, starts: FloatArray, phases: IntArray, policy: Policy
) -> tuple[FloatArray, IntArray]:
    """Return each phase's mean and number of windows, shape (max phases, k); NaN and 0 beyond a signal's phases."""
    shape = (int(phases.max(initial=1)), series.shape[1])
    means, counts = np.full(shape, np.nan), np.zeros(shape, dtype=np.int64)
    for cycle in np.unique(phases).tolist():
        some, number = phases == cycle, phase_of(starts, cycle, length=policy.window_length or 1.0)
        many = np.bincount(number, minlength=cycle)[:, None]
        rows = (number == np.arange(cycle)[:, None]).astype(np.float64)
        means[:cycle, some], counts[:cycle, some] = rows @ series[:, some] / np.maximum(many, 1), many
    return means, counts


def _is_wave(rest: FloatArray, cycle: int, number: IntArray, keys: Sequence[SignalKey]) -> np.ndarray:
    """Return which main signals are nearly one wave of this length."""
    angle = 2 * np.pi * number / cycle
    basis = np.column_stack([np.ones(len(number)), np.cos(angle), np.sin(angle)])
    fitted = basis @ np.linalg.lstsq(basis, rest, rcond=None)[0]
    total = np.square(rest - rest.mean(axis=0)).sum(axis=0)
    left = np.square(rest - fitted).sum(axis=0)
    main = np.array([key.name in MAIN_SIGNALS for key in keys])
    return np.asarray(main & (total > 0) & (left <= (1 - _WHOLLY) * total))


# How much a series depends on its own past, and what that leaves of its length.


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
    initial = np.repeat(np.logical_and.accumulate(sums > 0, axis=0), 2, axis=0)
    used = np.where(initial, rho[: 2 * pairs], 0.0)[1:]
    return np.asarray(1 + 2 * np.square(used).sum(axis=0))


@dataclass(frozen=True, kw_only=True, eq=False)
class Persistence:
    """How strongly a series may persist: an AR(1) seen through sampling noise, at the upper end of what is likely."""

    share: FloatArray
    """Shape (k,): part of the variance that is no sampling noise."""
    memory: FloatArray
    """Shape (k,): autocorrelation of that part at lag 1."""

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
    """Measure how strongly series may persist, at the upper end (one-sided 90 %) of what is likely.

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
    sampling = np.nan_to_num(noise)
    share = np.clip(1 - sampling / np.where(variance > 0, variance, np.inf), 1e-6, 1.0)
    memory = np.clip(upper / share, 0.0, _MOST)
    return Persistence(share=share, memory=memory)


def _autocorrelation(series: FloatArray, *, lags: int) -> FloatArray:
    """Return the autocorrelation at lags 0 … ``lags``, shape (lags + 1, k); 0 for a constant series."""
    m = len(series)
    spectrum = np.fft.rfft(series, n=2 * m, axis=0)
    sums = np.fft.irfft(spectrum * spectrum.conj(), n=2 * m, axis=0)[: lags + 1]
    total = np.where(sums[0] > 1e-24, sums[0], np.inf)
    return sums / total


# Forecasts of a signal from its last windows, and their errors in the reference series.


_GAINS = np.array([0.05, 0.1, 0.2, 0.35, 0.5, 0.7, 0.9])
_WARM_UP = 5


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


def fit_forecasts(series: FloatArray, *, gains: FloatArray, ahead: int) -> tuple[FloatArray, FloatArray]:
    """Measure how far forecasts have been off, up to so many windows ahead.

    Parameters
    ----------
    series : array, shape (m, k)
        As in `choose_gains`.
    gains : array, shape (k,)
        Share of the newest window in the forecast.
    ahead : int
        Windows to look ahead.

    Returns
    -------
    array, shape (h, m, k)
        Errors of the forecasts 1 … h windows ahead; NaN where there is none.
    array, shape (k,)
        The forecast at the end of the past.
    """
    m = len(series)
    levels = _smooth(series, gains)
    errors = np.full((ahead, *series.shape), np.nan)
    for step in range(1, ahead + 1):
        first = max(_first(m), step)
        errors[step - 1, first:] = series[first:] - levels[first - step : m - step]
    return errors, levels[-1]


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

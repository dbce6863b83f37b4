"""Calibration: the null of a model's signals from its own past, or from sampling theory where that is short."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.stats import chi2, norm

from tasks.core.drift.signals import Signals, SignalSeries
from tasks.core.judging.autocorrelation import Persistence, inflation, measure_persistence
from tasks.core.judging.borrowing import alike, at_least_usual
from tasks.core.judging.budget import Policy
from tasks.core.judging.forecast import choose_gains, fit_forecasts
from tasks.core.judging.limits import Limits, cap_limits, fit_limits, stack_limits
from tasks.core.judging.null import Null, choose_null
from tasks.core.judging.own_past import OwnPast, column_means, read_past
from tasks.core.judging.scale import Scale
from tasks.core.judging.seasons import find_seasons, phase_of
from tasks.core.metrics.scored import FloatArray, IntArray

FEW_WINDOWS = 10
"""Below so many reference windows sampling theory judges."""
_UNEQUAL = 1e-3
"""Level of the test whether few windows differ by more than their rows explain (Cochran's Q)."""


def fit_null(series: SignalSeries | None, *, policy: Policy, whole: Signals | None = None) -> Null:
    """Learn what the signals of one or several kinds do when nothing drifts.

    With at least ten reference windows a signal's limits come from these (`calibrate_by_windows`), else from
    sampling theory (`calibrate_by_theory`), and the null says so. The literal policy needs the reference's own values
    alone.

    Parameters
    ----------
    series : SignalSeries, optional
        Signals of the reference's own windows, of monitoring's size, in time order; all columns of their kinds.
    policy : Policy
        Budget, seasons, k of n. Kinds it does not name are left out.
    whole : Signals, optional
        The same signals of the reference as a whole, with its own errors: what theory expects. Without it theory
        expects the windows' mean.

    Raises
    ------
    InputError
        With neither.
    """
    past = read_past(series, whole, policy)
    theory = calibrate_by_theory(past, whole)
    measured = np.isfinite(past.values).sum(axis=0)
    if policy.name == "literal" or measured.max(initial=0) < FEW_WINDOWS:
        return theory
    return choose_null(measured >= FEW_WINDOWS, calibrate_by_windows(past), theory)


def calibrate_by_windows(past: OwnPast) -> Null:
    """Learn the null from at least ten windows: season, variance between windows, dependence of neighbours."""
    policy, n = past.policy, past.policy.evaluated
    missing = ~np.isfinite(past.values)
    series = np.where(missing, np.nan_to_num(column_means(past.values)), past.values)
    seasons = find_seasons(series, starts=past.starts, keys=past.keys, policy=policy)
    rest = series - _at_starts(seasons.expected, seasons.phases, past)
    rest[missing] = np.nan
    filled = np.where(missing, 0.0, rest)
    spoilt = (seasons.needed > 0)[None]
    persistence = _persistence(filled, past)
    windows = np.minimum(seasons.fewest, len(series) / persistence.of_mean)
    gains = at_least_usual(choose_gains(filled), past.keys)
    forecasts = fit_forecasts(filled, gains=gains, ahead=n)
    whole_season = np.where(seasons.phases > 1, seasons.fewest, np.inf)
    jumps = [_fit_jump(past, errors, whole_season, seasons.phases) for errors in forecasts.errors]
    sums = _running_mean(rest, n)
    return Null(
        phases=seasons.phases, needed=seasons.needed,
        expected=np.where(spoilt, np.nan, seasons.expected),
        theory=np.zeros(len(past.keys), dtype=bool),
        level=_fit(past, rest, past.squares, windows, seasons.phases, persistence.of_square()),
        jump=stack_limits(jumps),
        sustained=_fit(past, sums, past.squares / n, windows, seasons.phases, persistence.of_square(n)),
        gain=gains, last=forecasts.last, recent=rest[len(rest) - n + 1 :],
        **_facts(past),
    )  # fmt: skip


def calibrate_by_theory(past: OwnPast, whole: Signals | None) -> Null:
    """Take the null from sampling theory: normal limits, the reference's own error on top of the window's.

    Windows that differ among themselves by more than their rows explain (Cochran's Q at .001) add their own spread.
    """
    k, n = len(past.keys), past.policy.evaluated
    expected, own = _expected(past, whole)
    parts = past.levels * np.where(past.sides == 0, 1, 2) / 2
    between = _between(past)
    level = _normal(between, own, parts)
    return Null(
        phases=np.ones(k, dtype=np.int64), needed=np.zeros(k, dtype=np.int64),
        expected=expected[None], theory=np.ones(k, dtype=bool),
        level=level,
        jump=stack_limits([_normal(np.full(k, np.nan), own, parts)] * n),
        sustained=_normal(between / n, own, parts),
        gain=np.ones(k), last=np.full(k, np.nan), recent=np.full((n - 1, k), np.nan),
        **_facts(past),
    )  # fmt: skip


def _facts(past: OwnPast) -> dict[str, Any]:
    """Return what both calibrations know of the past."""
    starts = past.starts
    return {
        "keys": past.keys,
        "levels": past.levels,
        "sides": past.sides,
        "windows": np.isfinite(past.values).sum(axis=0),
        "errors": np.sqrt(past.squares),
        "last_start": float(starts[-1]) if len(starts) else None,
        "step": float(np.median(np.diff(starts))) if len(starts) > 1 else None,
        "least_rows": float(past.rows.min(initial=np.inf)),
        "length": past.policy.window_length,
    }


def _fit(
    past: OwnPast,
    deviations: FloatArray,
    squares: FloatArray,
    windows: FloatArray,
    lost: IntArray,
    leans: FloatArray,
    *,
    lend: bool = False,
) -> Limits:
    """Fit one of the three forms of look: it has a third of each signal's level."""
    limits = fit_limits(
        deviations, squared_errors=squares, windows=windows, lost=lost, inflation=leans,
        levels=past.levels * np.where(past.sides == 0, 1, 2) / 3, groups=alike(past.keys), lend=lend,
    )  # fmt: skip
    if lend:
        return limits
    usual = np.nan_to_num(column_means(past.values), nan=np.inf)
    return cap_limits(limits, deviations, squared_errors=squares, usual=usual, sides=past.sides)


def _fit_jump(past: OwnPast, errors: FloatArray, windows: FloatArray, lost: IntArray) -> Limits:
    """Fit the look against forecasts of one age: their errors hardly lean on each other, so columns may lend."""
    leans = inflation(np.nan_to_num(errors))
    return _fit(past, errors, past.squares, windows, lost, leans, lend=True)


def _persistence(series: FloatArray, past: OwnPast) -> Persistence:
    """Measure how strongly signals hang on, none less than what is usual."""
    found = measure_persistence(series, noise=past.squares)
    share = at_least_usual(found.share, past.keys, by_main=False)
    return Persistence(share=share, memory=at_least_usual(found.memory, past.keys))


def _normal(between: FloatArray, own: FloatArray, levels: FloatArray) -> Limits:
    k = len(levels)
    return Limits(
        between=between[None], factor=np.ones((1, k)), own=own[None], freedom=np.full((1, k), np.inf),
        quantile=norm.isf(levels / 2)[None],
    )  # fmt: skip


def _expected(past: OwnPast, whole: Signals | None) -> tuple[FloatArray, FloatArray]:
    """Return what theory expects of each signal, and its sampling variance: NaN where nothing is known."""
    many = np.maximum(np.isfinite(past.values).sum(axis=0), 1)
    means, variances = column_means(past.values), past.squares / many
    if whole is None:
        return means, variances
    at = {key: place for place, key in enumerate(whole.keys)}
    places = np.array([at.get(key, -1) for key in past.keys])
    scale = Scale.of(past.keys)
    values, errors = np.r_[whole.values, np.nan][places], np.r_[whole.errors, np.nan][places]
    values, errors = scale.put(values), scale.put_own_errors(values, errors)
    return np.where(np.isfinite(values), values, means), np.where(np.isfinite(errors), errors**2, variances)


def _between(past: OwnPast) -> FloatArray:
    """Return the variance between few windows where it is beyond doubt, else 0."""
    finite = np.isfinite(past.values)
    many = finite.sum(axis=0)
    squares = np.where(finite, np.square(past.values - column_means(past.values)), 0.0).sum(axis=0)
    freedom = np.maximum(many - 1, 1)
    ratio = squares / np.maximum(np.nan_to_num(past.squares), 1e-24)
    unequal = (many > 1) & (chi2.sf(ratio, freedom) < _UNEQUAL)
    return np.where(unequal, np.maximum(squares / freedom - past.squares, 0.0), 0.0)


def _at_starts(expected: FloatArray, phases: IntArray, past: OwnPast) -> FloatArray:
    """Return what is expected of each of the past's windows, shape (m, k)."""
    if len(expected) == 1 or past.policy.window_length is None:
        return expected
    number = phase_of(past.starts[:, None], phases[None], length=past.policy.window_length)
    return np.take_along_axis(expected, number, axis=0)


def _running_mean(values: FloatArray, n: int) -> FloatArray:
    """Return the means of n windows in a row, shape (m - n + 1, k)."""
    return np.lib.stride_tricks.sliding_window_view(values, n, axis=0).mean(axis=-1)

"""Calibration: the null model of signals, from the reference windows, or from sampling theory where these are few."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from scipy.stats import chi2, norm

from evergreen.tasks.core.arrays import BoolArray, FloatArray, IntArray
from evergreen.tasks.core.drift.policy import Policy, column_places, signal_levels, windows_in_budget
from evergreen.tasks.core.drift.seasons import (
    Persistence,
    choose_gains,
    expected_at,
    find_seasons,
    fit_forecasts,
    inflation,
    measure_persistence,
)
from evergreen.tasks.core.drift.thresholds import (
    DetectorLimits,
    SignalScale,
    at_least_usual,
    cap_limits,
    combine_limits,
    fit_limits,
    similar_signals,
)
from evergreen.tasks.core.drift.types import DriftKind, SignalKey, Signals, SignalSeries
from evergreen.tasks.core.errors import InputError

# The null: what each signal does when nothing drifts.


@dataclass(frozen=True, kw_only=True, eq=False)
class NullModel:
    """What k signals are expected to be, and how far they may be off in each detector; all on their `SignalScale`."""

    keys: tuple[SignalKey, ...]
    """Length k: column by column."""
    levels: FloatArray
    """Shape (k,): level of one check of each signal, all detectors together."""
    sides: IntArray
    """Shape (k,): side on which a move counts; 0: both."""
    phases: IntArray
    expected: FloatArray
    """``phases``, ``expected`` (shape (k,) and (max phases, k)): windows in each signal's season (1: none), and
    what is expected in each phase; NaN: unknown."""
    needed: IntArray
    """Shape (k,): reference windows that would show the season which a column seems to have; 0: nothing is
    missing."""
    windows: IntArray
    """Shape (k,): reference windows behind each signal."""
    theory: BoolArray
    """Shape (k,): true where sampling theory judges, for want of windows."""
    errors: FloatArray
    """Shape (k,): usual sampling error of a window."""
    level: DetectorLimits
    jump: DetectorLimits
    sustained: DetectorLimits
    """``level``, ``jump``, ``sustained``: of a window against what is expected; against its forecast, by the age of
    that; of the last n windows' mean."""
    gain: FloatArray
    last: FloatArray
    recent: FloatArray
    """``gain``, ``last``, ``recent`` (shape (k,), (k,) and (n - 1, k)): of the forecast; and the forecast and the
    last deviations at the end of the past."""
    last_start: float | None
    """Where the past's last window starts."""
    step: float | None
    """Usual distance between two starts."""
    least_rows: float
    """Rows of the smallest reference window."""
    length: float | None
    """Seconds of a window, where windows have a length in time."""

    @cached_property
    def columns(self) -> tuple[tuple[DriftKind, str], ...]:
        """Kind and name of each column, in the order of the keys."""
        return column_places(self.keys)[0]

    @cached_property
    def places(self) -> IntArray:
        """Column of each signal, shape (k,)."""
        return column_places(self.keys)[1]

    @cached_property
    def place_by_key(self) -> dict[SignalKey, int]:
        """Place of each signal."""
        return {key: place for place, key in enumerate(self.keys)}

    @cached_property
    def firsts(self) -> IntArray:
        """First signal of each column, for sums by column."""
        return np.flatnonzero(np.diff(self.places, prepend=-1))

    @cached_property
    def scale(self) -> SignalScale:
        """The scale everything here is on."""
        return SignalScale.of(self.keys)

    @cached_property
    def kinds(self) -> tuple[DriftKind, ...]:
        """Kinds of drift, in order of appearance."""
        return tuple(dict.fromkeys(kind for kind, _ in self.columns))

    @cached_property
    def by_kind(self) -> dict[DriftKind, IntArray]:
        """Places of each kind's columns."""
        kinds = np.array([kind.value for kind, _ in self.columns])
        return {kind: np.flatnonzero(kinds == kind.value) for kind in self.kinds}

    @cached_property
    def calibrated_by(self) -> dict[DriftKind, str]:
        """``theory`` where sampling theory judges all signals of a kind, else ``reference``."""
        by = {kind: self.theory[np.isin(self.places, columns)] for kind, columns in self.by_kind.items()}
        return {kind: "theory" if theory.all() else "reference" for kind, theory in by.items()}

    @property
    def detectors(self) -> tuple[DetectorLimits, DetectorLimits, DetectorLimits]:
        """The limits of the three detectors, in the order of `Detection`'s rows."""
        return self.level, self.jump, self.sustained

    def expect(self, position: float) -> FloatArray:
        """Return what is expected of a window that starts here, shape (k,)."""
        return expected_at(np.asarray(position), self.expected, self.phases, length=self.length)


_DETECTORS = ("level", "jump", "sustained")


def join_null_models(several: Sequence[NullModel]) -> NullModel:
    """Put the nulls of different kinds of drift (whose pasts may be different windows) beside each other.

    Raises
    ------
    InputError
        Without any.
    """
    if not several:
        raise InputError(
            "There is no reference to judge windows by. Train the model, or register it with rows."
        )
    flat = ("levels", "sides", "phases", "needed", "windows", "theory", "errors", "gain", "last")
    joined: dict[str, Any] = {name: np.concatenate([getattr(one, name) for one in several]) for name in flat}
    joined |= {
        name: combine_limits(np.hstack, *(getattr(one, name) for one in several)) for name in _DETECTORS
    }
    deep = max(len(one.expected) for one in several)
    starts = {one.last_start for one in several}
    return replace(
        several[0],
        keys=tuple(key for one in several for key in one.keys),
        expected=np.hstack([_deepened(one.expected, deep) for one in several]),
        recent=np.hstack([one.recent for one in several]),
        last_start=several[0].last_start if len(starts) == 1 else None,
        least_rows=min(one.least_rows for one in several),
        **joined,
    )


def choose_null_model(where: BoolArray, first: NullModel, second: NullModel) -> NullModel:
    """Take each signal's null from the first where it says so, shape (k,), else from the second."""

    def choose(pair: Sequence[Any]) -> Any:
        return np.where(where, *pair)

    several, flat = (first, second), ("phases", "needed", "theory", "gain", "last", "recent")
    chosen: dict[str, Any] = {name: choose([getattr(one, name) for one in several]) for name in flat}
    chosen |= {name: combine_limits(choose, *(getattr(one, name) for one in several)) for name in _DETECTORS}
    deep = max(len(one.expected) for one in several)
    return replace(second, expected=choose([_deepened(one.expected, deep) for one in several]), **chosen)


def _deepened(table: FloatArray, rows: int) -> FloatArray:
    """Add rows of NaN below a table."""
    return np.pad(table, ((0, rows - len(table)), (0, 0)), constant_values=np.nan)


# The model's own past as calibration reads it: the reference's windows, in the order and on the scale of judging.


@dataclass(frozen=True, kw_only=True, eq=False)
class ReferenceHistory:
    """The reference's windows, column by column, with what the policy makes of their k signals."""

    keys: tuple[SignalKey, ...]
    """Length k: column by column; of the policy's kinds alone."""
    starts: FloatArray
    rows: FloatArray
    """``starts``, ``rows`` (shape (m,)): of the windows with enough rows."""
    values: FloatArray
    """Shape (m, k): on their `SignalScale`."""
    squares: FloatArray
    """Shape (k,): mean sampling variance of a window."""
    levels: FloatArray
    sides: IntArray
    """``levels``, ``sides`` (shape (k,)): level of one check, and the side on which a move counts."""
    policy: Policy
    """Budget, seasons, k of n."""


def read_reference_history(
    series: SignalSeries | None, whole: Signals | None, policy: Policy
) -> ReferenceHistory:
    """Read the windows; without any, the signals of the reference as a whole say what there is to follow.

    Raises
    ------
    InputError
        With neither.
    """
    if series is None:
        if whole is None:
            raise InputError(
                "Neither windows nor a reference to judge by. Train the model, or register it with rows."
            )
        none, empty = np.zeros(0), np.zeros((0, len(whole.keys)))
        series = SignalSeries(keys=whole.keys, starts=none, rows=none, values=empty, errors=empty, window="")
    wanted = [place for place, key in enumerate(series.keys) if key.kind in policy.kinds]
    codes = column_places([series.keys[place] for place in wanted])[1]
    order = np.array(wanted, dtype=np.int64)[np.argsort(codes, kind="stable")]
    keys = tuple(series.keys[place] for place in order)
    enough = series.rows >= policy.min_rows
    starts, rows = series.starts[enough], series.rows[enough]
    values, errors = series.values[enough][:, order], series.errors[enough][:, order]
    scale, windows = SignalScale.of(keys), windows_in_budget(policy, starts=starts, rows=rows)
    return ReferenceHistory(
        keys=keys,
        starts=starts,
        rows=rows,
        values=scale.put(values),
        squares=column_means(np.square(scale.put_errors(values, errors, rows=rows[:, None]))),
        levels=signal_levels(keys, policy=policy, windows=windows),
        sides=np.array([policy.side(key) for key in keys], dtype=np.int64),
        policy=policy,
    )


def column_means(values: FloatArray) -> FloatArray:
    """Return the means of the finite values of each column, NaN where there is none."""
    finite = np.isfinite(values)
    many = finite.sum(axis=0)
    return np.where(many > 0, np.where(finite, values, 0.0).sum(axis=0) / np.maximum(many, 1), np.nan)


FEW_WINDOWS = 10
"""Below so many reference windows sampling theory judges."""
_UNEQUAL = 1e-3
"""Level of the test whether few windows differ by more than their rows explain (Cochran's Q)."""


def fit_null_model(series: SignalSeries | None, *, policy: Policy, whole: Signals | None = None) -> NullModel:
    """Fit the null model: what the signals of one or several kinds do when nothing drifts.

    With at least ten reference windows a signal's limits come from these (`calibrate_by_windows`), else from
    sampling theory (`calibrate_by_theory`), and the null says so. Fixed thresholds need the
    reference's own values alone.

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
    past = read_reference_history(series, whole, policy)
    theory = calibrate_by_theory(past, whole)
    measured = np.isfinite(past.values).sum(axis=0)
    if policy.name == "fixed_thresholds" or measured.max(initial=0) < FEW_WINDOWS:
        return theory
    return choose_null_model(measured >= FEW_WINDOWS, calibrate_by_windows(past), theory)


def calibrate_by_windows(past: ReferenceHistory) -> NullModel:
    """Fit the null model to at least ten windows: season, variance between windows, dependence of neighbours."""
    policy, n = past.policy, past.policy.evaluated
    missing = ~np.isfinite(past.values)
    series = np.where(missing, np.nan_to_num(column_means(past.values)), past.values)
    seasons = find_seasons(series, starts=past.starts, keys=past.keys, policy=policy)
    length = policy.window_length
    rest = series - expected_at(past.starts, seasons.expected, seasons.phases, length=length)
    rest[missing] = np.nan
    filled = np.where(missing, 0.0, rest)
    spoilt = (seasons.needed > 0)[None]
    persistence = _persistence(filled, past)
    windows = np.minimum(seasons.fewest, len(series) / persistence.of_mean)
    squares, lost = past.squares, seasons.phases
    gains = at_least_usual(choose_gains(filled), past.keys)
    errors, last = fit_forecasts(filled, gains=gains, ahead=n)
    whole_season = np.where(seasons.phases > 1, seasons.fewest, np.inf)
    jumps = [  # errors of forecasts hardly depend on each other, so columns may share degrees of freedom
        _fit(past, one, squares, whole_season, lost, inflation(np.nan_to_num(one)), pool_freedom=True)
        for one in errors
    ]
    sums = np.lib.stride_tricks.sliding_window_view(rest, n, axis=0).mean(axis=-1)
    return NullModel(
        phases=seasons.phases,
        needed=seasons.needed,
        expected=np.where(spoilt, np.nan, seasons.expected),
        theory=np.zeros(len(past.keys), dtype=bool),
        level=_fit(past, rest, squares, windows, lost, persistence.of_square()),
        jump=combine_limits(np.vstack, *jumps),
        sustained=_fit(past, sums, squares / n, windows, lost, persistence.of_square(n)),
        gain=gains,
        last=last,
        recent=rest[len(rest) - n + 1 :],
        **_facts(past),
    )


def calibrate_by_theory(past: ReferenceHistory, whole: Signals | None) -> NullModel:
    """Derive the null model from sampling theory: normal limits, the reference's own error on top of the window's.

    Windows that differ among themselves by more than their rows explain (Cochran's Q at .001) add their own spread.
    """
    k, n = len(past.keys), past.policy.evaluated
    expected, own = _expected(past, whole)
    parts = past.levels * np.where(past.sides == 0, 1, 2) / 2
    between = _between(past)
    level = _normal(between, own, parts)
    return NullModel(
        phases=np.ones(k, dtype=np.int64),
        needed=np.zeros(k, dtype=np.int64),
        expected=expected[None],
        theory=np.ones(k, dtype=bool),
        level=level,
        jump=combine_limits(np.vstack, *[_normal(np.full(k, np.nan), own, parts)] * n),
        sustained=_normal(between / n, own, parts),
        gain=np.ones(k),
        last=np.full(k, np.nan),
        recent=np.full((n - 1, k), np.nan),
        **_facts(past),
    )


def _facts(past: ReferenceHistory) -> dict[str, Any]:
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
    past: ReferenceHistory,
    deviations: FloatArray,
    squares: FloatArray,
    windows: FloatArray,
    lost: IntArray,
    inflated: FloatArray,
    *,
    pool_freedom: bool = False,
) -> DetectorLimits:
    """Fit one of the three detectors: it has a third of each signal's level."""
    limits = fit_limits(
        deviations,
        squared_errors=squares,
        windows=windows,
        lost=lost,
        inflation=inflated,
        levels=past.levels * np.where(past.sides == 0, 1, 2) / 3,
        groups=similar_signals(past.keys),
        pool_freedom=pool_freedom,
    )
    if pool_freedom:
        return limits
    usual = np.nan_to_num(column_means(past.values), nan=np.inf)
    return cap_limits(limits, deviations, squared_errors=squares, usual=usual, sides=past.sides)


def _persistence(series: FloatArray, past: ReferenceHistory) -> Persistence:
    """Measure how strongly signals persist, none less than what is usual."""
    measured = measure_persistence(series, noise=past.squares)
    share = at_least_usual(measured.share, past.keys, by_main=False)
    return Persistence(share=share, memory=at_least_usual(measured.memory, past.keys))


def _normal(between: FloatArray, own: FloatArray, levels: FloatArray) -> DetectorLimits:
    k = len(levels)
    return DetectorLimits(
        between=between[None],
        factor=np.ones((1, k)),
        own=own[None],
        freedom=np.full((1, k), np.inf),
        quantile=norm.isf(levels / 2)[None],
    )


def _expected(past: ReferenceHistory, whole: Signals | None) -> tuple[FloatArray, FloatArray]:
    """Return what theory expects of each signal, and its sampling variance: NaN where nothing is known."""
    many = np.maximum(np.isfinite(past.values).sum(axis=0), 1)
    means, variances = column_means(past.values), past.squares / many
    if whole is None:
        return means, variances
    scale, whole = SignalScale.of(past.keys), whole.of_keys(past.keys)
    values, errors = scale.put(whole.values), scale.put_own_errors(whole.values, whole.errors)
    return np.where(np.isfinite(values), values, means), np.where(np.isfinite(errors), errors**2, variances)


def _between(past: ReferenceHistory) -> FloatArray:
    """Return the variance between few windows where it is beyond doubt, else 0."""
    finite = np.isfinite(past.values)
    many = finite.sum(axis=0)
    squares = np.where(finite, np.square(past.values - column_means(past.values)), 0.0).sum(axis=0)
    freedom = np.maximum(many - 1, 1)
    ratio = squares / np.maximum(np.nan_to_num(past.squares), 1e-24)
    unequal = (many > 1) & (chi2.sf(ratio, freedom) < _UNEQUAL)
    return np.where(unequal, np.maximum(squares / freedom - past.squares, 0.0), 0.0)


# The limits a model is monitored by, as a table: what `evergreen drift-limits` shows.


_QUARTER = 90 * 86400.0
_PERIODS = {86400.0: "day", 604800.0: "week"}


def calibration_table(null: NullModel, *, policy: Policy) -> list[dict[str, Any]]:
    """Return a row for each column and kind, of its main signal, in that signal's own unit.

    Returns
    -------
    list of dict
        ``kind``, ``column``, ``signal``; ``expected`` (its mean over a season); ``null_sd``: standard deviation of a
        window without drift; ``sampling_sd``: the part of it that rows explain; ``level``, ``jump``, ``sustained``:
        largest effect of each detector that is no move (null where a detector cannot judge), the effect floor apart;
        ``windows`` of the reference, and ``effective_windows``: as many independent ones would know as much;
        ``season`` (day, week or null); ``calibration`` (``reference``, ``theory``, or ``unknown`` with
        ``windows_needed``); ``false_alarms``: expected ones of this column at most, and ``per`` what.
    """
    slope = np.where(null.scale.shares, np.sin(2 * np.clip(null.expected[0], 0.0, np.pi / 2)), 1.0)
    squares, n = np.square(null.errors), len(null.recent) + 1
    usual = zip(null.detectors, (squares, squares, squares / n), strict=True)
    limits = np.array([one.spread(square) * one.quantiles() * slope for one, square in usual])
    return [_row(null, place, policy, limits=limits, slope=slope) for place in null.firsts.tolist()]


def expected_false_alarms(*, policy: Policy) -> dict[str, Any]:
    """Return the budget: false alarms of the whole model at most, per its span and (of time) per 90 days."""
    span = policy.budget.span
    per_quarter = policy.budget.count * _QUARTER / span.amount if span.unit == "seconds" else None
    return {"false_alarms": policy.budget.count, "per": str(span), "per_90_days": per_quarter}


def _row(
    null: NullModel, place: int, policy: Policy, *, limits: FloatArray, slope: FloatArray
) -> dict[str, Any]:
    """Return a signal's row; ``limits`` (3, k), and ``slope`` (k,) of a step on the scale, in their own units."""
    key, phases = null.keys[place], int(null.phases[place])
    columns = sum(kind is key.kind for kind, _ in null.columns)
    needed, effective = int(null.needed[place]), float(null.level.freedom[0, place] + 1)
    calibration = "theory" if null.theory[place] else "reference"
    numbers = {
        "expected": null.scale.back(null.expected)[:phases, place].mean(),
        "null_sd": null.level.spread(np.square(null.errors))[place] * slope[place],
        "sampling_sd": null.errors[place] * slope[place],
        **dict(zip(("level", "jump", "sustained"), limits[:, place], strict=True)),
    }
    return {
        "kind": key.kind.value,
        "column": key.column,
        "signal": key.name,
        **{name: float(value) if np.isfinite(value) else None for name, value in numbers.items()},
        "windows": int(null.windows[place]),
        "effective_windows": effective if np.isfinite(effective) else None,
        "season": _PERIODS.get(phases * (null.length or 0.0)) if phases > 1 else None,
        "calibration": "unknown" if needed else calibration,
        "windows_needed": needed or None,
        "false_alarms": policy.budget.count / len(policy.kinds) / columns,
        "per": str(policy.budget.span),
    }

"""Judging a window by the calibrated policy: what moved, which alarms open, worsen, resolve, and what is not known."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from evergreen.tasks.core.arrays import FloatArray, IntArray
from evergreen.tasks.core.drift.calibration import NullModel
from evergreen.tasks.core.drift.detect import (
    AlarmChange,
    Detection,
    DetectorState,
    OpenAlarm,
    changed,
    close_alarms,
    columns_to_alarm,
    follow_alarm,
    initial_state,
    open_alarm,
    place_of,
    run_detectors,
    update_state,
    worst_signal,
)
from evergreen.tasks.core.drift.policy import Policy
from evergreen.tasks.core.drift.types import DriftKind, KindVerdict, Level, MovedColumn, Signals, first_names
from evergreen.tasks.core.serial import Struct
from evergreen.tasks.core.stats.resampling import benjamini_hochberg
from evergreen.tasks.core.verdict import Reason

# How sure a move is: p-values of one check, corrected for all columns of a kind, for the reader.


def signal_p_values(detection: Detection) -> FloatArray:
    """Return each signal's p-value, shape (k,): the smallest of its detectors', times the detectors that judged it."""
    null = detection.null
    oldest = np.minimum(detection.ages, len(null.recent))
    ages = (np.zeros_like(oldest), oldest, np.zeros_like(oldest))
    forms = zip(null.detectors, detection.effects, detection.spreads, ages, strict=True)
    p_values = np.vstack(
        [one.p_values(effect, spread, age=age, sides=null.sides) for one, effect, spread, age in forms]
    )
    many = np.isfinite(p_values).sum(axis=0)
    least = np.where(many > 0, np.nanmin(np.where(many > 0, p_values, 1.0), axis=0), np.nan)
    return np.asarray(np.minimum(least * np.maximum(many, 1), 1.0))


def adjusted_by_column(p_values: FloatArray, null: NullModel) -> FloatArray:
    """Return each column's p-value, shape (c,), corrected over the columns of its kind (Benjamini & Hochberg 1995).

    A column's own is the smallest of its signals', each over its part of the column's level (weighted Bonferroni).
    """
    totals = np.add.reduceat(null.levels, null.firsts)
    weighted = np.nan_to_num(p_values, nan=1.0) * totals[null.places] / null.levels
    columns = np.minimum(np.minimum.reduceat(weighted, null.firsts), 1.0)
    adjusted = np.empty_like(columns)
    kinds = np.array([kind.value for kind, _ in null.columns])
    for kind in np.unique(kinds):
        adjusted[kinds == kind] = benjamini_hochberg(columns[kinds == kind])
    return adjusted


# What cannot be judged, why, and how many rows or windows would do.


def unusable_window(rows: int, null: NullModel, policy: Policy) -> Reason | None:
    """Return why a window as a whole is INSUFFICIENT: too few rows, or half of what the smallest usual one has."""
    usual = null.least_rows
    if not math.isfinite(usual):
        usual = policy.window.amount if policy.window.unit == "rows" else 0.0
    if rows < policy.min_rows:
        code, limit = "too_few_rows", policy.min_rows
        message = f"{rows} rows; {limit} would do (monitoring.min_rows)"
    elif rows < usual / 2:
        code, limit = "half_filled", math.ceil(usual / 2)
        message = f"{rows} rows are less than half of the {usual:.0f} a window has at least; {limit} would do"
    else:
        return None
    return Reason(code=code, message=message, observed=float(rows), limit=float(limit), n=rows)


def unjudged_reasons(
    kind: DriftKind, columns: IntArray, detection: Detection
) -> tuple[tuple[Reason, ...], bool]:
    """Return why columns of a kind were not judged, and whether the kind is INSUFFICIENT for it.

    It is when a column that the reference knows could not be measured in this window, and when no column could be
    judged at all. Columns that the reference itself cannot vouch for are named, and the others judged.
    """
    blank, null = columns[~detection.judged[columns]], detection.null
    if not len(blank):
        return (), False
    has_reference = np.isfinite(np.where(null.theory, null.expected[0], null.level.between[0]))
    seasonal = np.isin(blank, null.places[null.needed > 0])
    never = ~seasonal & ~np.isin(blank, null.places[has_reference & np.isfinite(null.expected[0])])
    unmeasured = ~seasonal & ~never
    windows = int(null.needed.max(initial=0))
    season = f"seem to have a season that was not seen three times: {windows} reference windows would do"
    causes = (
        ("season_unknown", seasonal, season, float(windows)),
        ("no_reference", never, "have no reference: train or register again with rows that hold them", None),
        ("not_measured", unmeasured, "could not be measured: no value in this window", None),
    )
    reasons = (
        _reason(code, null, blank[where], why, limit) for code, where, why, limit in causes if where.any()
    )
    return tuple(reasons), bool(unmeasured.any() or len(blank) == len(columns))


def _reason(code: str, null: NullModel, columns: IntArray, why: str, limit: float | None) -> Reason:
    names = [null.columns[place][1] for place in columns.tolist()]
    return Reason(code=code, message=f"{first_names(names)} {why}", observed=float(len(names)), limit=limit)


@dataclass(frozen=True, kw_only=True, eq=False)
class Judgement(Struct):
    """The verdicts of one window in one phase."""

    kinds: tuple[KindVerdict, ...]
    """One a kind of drift."""
    state: DetectorState = field(metadata={"key": "memory"})
    """For the next window."""
    alarms: tuple[AlarmChange, ...] = ()
    """Alarms that opened, worsened or resolved."""


def judge_window(
    signals: Signals, null: NullModel, state: DetectorState, *, policy: Policy, position: float, rows: int
) -> Judgement:
    """Judge one window of one phase.

    A column moved when one of its signals is beyond its limit and its effect floor in one of three detectors:
    ``level`` (against what the reference expects), ``jump`` (against the forecast from the last windows that had not
    moved), ``sustained`` (the mean of the last n windows). k of the n newest windows, the newest among them, or a
    sustained move: an alarm; else a warning. Windows must come in order, each once.

    Parameters
    ----------
    signals : Signals
        Of the window; NaN where it could not be measured. May have more or fewer than the null's keys.
    null : NullModel
        Of the kinds of this phase (`evergreen.tasks.core.drift.calibration.fit_null_model`,
        `evergreen.tasks.core.drift.calibration.join_null_models`).
    state : DetectorState
        Of the window before; ``DetectorState.empty()`` for the first window of a champion.
    policy : Policy
        k, n, fewest rows.
    position : float
        Start of the window on the clock.
    rows : int
        Its rows; in the phase of outcomes the labelled ones.
    """
    dropped = () if state.fits(null) else close_alarms(state)
    state = state if state.fits(null) else initial_state(null, position=position)
    refused = unusable_window(rows, null, policy)
    if refused is not None:
        aged = replace(
            state, recent=np.vstack([state.recent, np.full(len(null.keys), np.nan)])[1:], age=state.age + 1
        )
        why: dict[str, Any] = {"level": Level.INSUFFICIENT, "reasons": (refused,)}
        kinds = tuple(
            KindVerdict(kind=one, calibration=how, **why) for one, how in null.calibrated_by.items()
        )
        return Judgement(kinds=kinds, state=aged, alarms=dropped)
    detection = run_detectors(signals, null, state, position=position, rows=rows, violated=policy.violated)
    alarms, changes = _alarms(detection, policy=policy, position=position)
    after = _next_state(detection, alarms, changes)
    return Judgement(kinds=_verdicts(detection, alarms), state=after, alarms=(*dropped, *changes))


def _alarms(
    detection: Detection, *, policy: Policy, position: float
) -> tuple[tuple[OpenAlarm, ...], tuple[AlarmChange, ...]]:
    """Follow the open alarms and open new ones."""
    open_before = detection.state.alarms
    followed, changes = [], []
    for alarm in open_before:
        after, change = follow_alarm(alarm, detection, violated=policy.violated)
        followed += [after] if after is not None else []
        changes += [changed(alarm, detection, change)] if change else []
    open_now = _is_open(open_before, detection.null)
    opening = columns_to_alarm(detection, violated=policy.violated, open_now=open_now)
    for column in np.flatnonzero(opening).tolist():
        alarm = open_alarm(detection, column, position=position)
        followed.append(alarm)
        changes.append(changed(alarm, detection, "opened"))
    return tuple(followed), tuple(changes)


def _next_state(
    detection: Detection, alarms: tuple[OpenAlarm, ...], changes: Sequence[AlarmChange]
) -> DetectorState:
    """Return the state after the window; a resolved column forgets what it had been compared with."""
    null = detection.null
    after = update_state(detection, frozen=_is_open((*detection.state.alarms, *alarms), null))
    resolved = [null.columns.index((one.kind, one.column)) for one in changes if one.change == "resolved"]
    windows, moved = after.forecast_windows.copy(), after.moved.copy()
    windows[resolved] = 0
    moved[:, resolved] = 0.0
    return replace(after, forecast_windows=windows, moved=moved, alarms=alarms)


def _verdicts(detection: Detection, alarms: tuple[OpenAlarm, ...]) -> tuple[KindVerdict, ...]:
    moved = _moved(detection, alarms) if detection.moved.any() or alarms else ()
    return tuple(
        _verdict(kind, [one for one in moved if one.kind is kind], detection, alarms)
        for kind in detection.null.kinds
    )


def _verdict(
    kind: DriftKind, moved: list[MovedColumn], detection: Detection, alarms: tuple[OpenAlarm, ...]
) -> KindVerdict:
    columns = detection.null.by_kind[kind]
    unknown, blind = unjudged_reasons(kind, columns, detection)
    level = Level.INSUFFICIENT if blind else Level.QUIET
    alarmed = any(alarm.kind is kind for alarm in alarms)
    if moved or alarmed:
        level = Level.DRIFT if alarmed else Level.WARNING
    described = _describe_moves(len(moved), int(detection.judged[columns].sum()), alarmed)
    return KindVerdict(
        kind=kind,
        level=level,
        moved=tuple(moved),
        reasons=unknown if level is Level.INSUFFICIENT else (described, *unknown),
        calibration=detection.null.calibrated_by[kind],
    )


def _describe_moves(moved: int, judged: int, alarmed: bool) -> Reason:
    """Say how many columns moved."""
    code, message = "within_limits", f"No limit passed by {judged} columns"
    if moved:
        code, message = "moved", f"{moved} of {judged} columns moved"
    elif alarmed:
        code, message = "alarm_open", "An alarm is open, and its column could not be measured"
    return Reason(code=code, message=message, observed=float(moved), limit=0.0)


def _moved(detection: Detection, alarms: tuple[OpenAlarm, ...]) -> tuple[MovedColumn, ...]:
    """Return the columns that moved or have an open alarm, most severe first; not those that could not be measured."""
    p_values = signal_p_values(detection)
    adjusted = adjusted_by_column(p_values, detection.null)
    opened = {(alarm.kind, alarm.column): alarm for alarm in alarms}
    ranked = []
    for place, name in enumerate(detection.null.columns):
        alarm = opened.get(name)
        if alarm is not None or detection.moved[place]:
            ranked.append(_one_moved(detection, place, alarm, p_values, adjusted))
    measured = [pair for pair in ranked if np.isfinite(pair[1].observed)]
    return tuple(one for _, one in sorted(measured, key=lambda pair: -pair[0]))


def _one_moved(
    detection: Detection, column: int, alarm: OpenAlarm | None, p_values: FloatArray, adjusted: FloatArray
) -> tuple[float, MovedColumn]:
    """Return how severe a column's move is (alarms first), and the move, in the signal's own unit."""
    null = detection.null
    form, place = worst_signal(detection, column)
    tables = (detection.bases, detection.effects, detection.limits)
    base, effect, limit = (table[form, place] for table in tables)
    if alarm is not None:
        place = place_of(alarm, null)
        base, limit = detection.expected[place] + alarm.anchor, alarm.limit
        effect = detection.expected[place] + detection.rest[place] - base
    ends = np.array([base, base + effect, base + np.copysign(limit, effect)])
    expected, observed, bound = _own_unit(ends, place, null)
    key, severity = null.keys[place], abs(float(effect)) / max(float(limit), 1e-15)
    p_value = float(np.nan_to_num(p_values[place], nan=1.0))
    return (severity if np.isfinite(severity) else 0.0) + 1e6 * (alarm is not None), MovedColumn(
        column=key.column,
        kind=key.kind,
        signal=key.name,
        observed=observed,
        expected=expected,
        limit=abs(bound - expected),
        p_value=p_value,
        adjusted_p_value=max(float(adjusted[column]), p_value),
        alarm=alarm is not None,
    )


def _own_unit(values: FloatArray, place: int, null: NullModel) -> list[float]:
    """Return values of one signal in its own unit."""
    table = np.zeros((len(values), len(null.keys)))
    table[:, place] = values
    return null.scale.back(table)[:, place].tolist()


def _is_open(alarms: Sequence[OpenAlarm], null: NullModel) -> np.ndarray:
    named = {(alarm.kind, alarm.column) for alarm in alarms}
    return np.array([name in named for name in null.columns], dtype=bool)

"""Fixed thresholds: each window and column is judged for itself; alarms on noise are part of this policy."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from evergreen.tasks.core.drift.calibration import NullModel
from evergreen.tasks.core.drift.columns import ColumnMeasure
from evergreen.tasks.core.drift.detect import AlarmChange, DetectorState, OpenAlarm, alarm_change
from evergreen.tasks.core.drift.judge import Judgement, unusable_window
from evergreen.tasks.core.drift.policy import Policy
from evergreen.tasks.core.drift.types import DriftKind, KindVerdict, Level, MovedColumn, Signals, worst
from evergreen.tasks.core.verdict import Reason

# What the fixed levels of the policy say of each column of one window.


_MEASURED = (DriftKind.DATA, DriftKind.PREDICTION)


@dataclass(frozen=True, kw_only=True)
class ThresholdFinding:
    """What the fixed levels say of one column."""

    kind: DriftKind
    column: str
    """``kind``, ``column``: str, which."""
    moved: MovedColumn | None = None
    """What passed a level."""
    reason: Reason | None = None
    """Why nothing can be said."""

    @property
    def level(self) -> Level:
        """Return quiet, warning, drift or insufficient."""
        if self.moved is None:
            return Level.QUIET if self.reason is None else Level.INSUFFICIENT
        return Level.DRIFT if self.moved.alarm else Level.WARNING


def read_measures(
    measures: Sequence[ColumnMeasure], kinds: Sequence[DriftKind], policy: Policy
) -> Iterator[ThresholdFinding]:
    """Yield a finding for each measured feature (data) and answer (``@…``: prediction)."""
    for one in measures:
        kind = DriftKind.PREDICTION if one.column[:1] == "@" else DriftKind.DATA
        if kind in kinds and one.column != "@outcome":
            yield _measured(kind, one, policy)


def read_signals(
    signals: Signals, null: NullModel, policy: Policy, *, position: float
) -> Iterator[ThresholdFinding]:
    """Yield a finding for the outcome, the loss and the metric; other signals have no fixed level."""
    signals = signals.of_keys(null.keys)
    observed, expected = signals.values, null.scale.back(null.expect(position))
    names = np.array([key.name for key in null.keys])
    for place, (kind, column) in enumerate(null.columns):
        mine = null.places == place
        if kind is DriftKind.OUTCOME:  # total variation of its classes or groups, ``missing`` among them
            shares = mine & null.scale.shares
            distance = float(np.abs(observed[shares] - expected[shares]).sum() / 2)
            beyond, limit = distance > policy.outcome_threshold, policy.outcome_threshold
            yield _finding(kind, column, "total_variation", distance, 0.0, limit, beyond=beyond)
        elif kind not in _MEASURED and (levels := mine & (names == "level")).any():
            at = int(np.flatnonzero(levels)[0])
            limit = signals.floors[at]
            beyond = (observed[at] - expected[at]) * (int(null.sides[at]) or 1) >= limit
            yield _finding(kind, column, "level", observed[at], expected[at], limit, beyond=beyond)


def _measured(kind: DriftKind, one: ColumnMeasure, policy: Policy) -> ThresholdFinding:
    if one.drifted is None or not np.isfinite(one.psi):
        reason = one.reason or _not_measured(one.column)
        return ThresholdFinding(kind=kind, column=one.column, reason=reason)
    critical, farthest = one.psi >= policy.psi_critical, _farthest(one, policy)
    beyond, alarm = True, True
    if farthest is not None and not critical:
        signal, observed, expected, limit = farthest[0], farthest[1], 0.0, farthest[2]
    elif one.p_value < policy.significance and not critical:
        signal, observed, expected, limit = "p_value", one.p_value, 1.0, 1 - policy.significance
    else:
        signal, observed, expected = "psi", one.psi, 0.0
        limit = policy.psi_critical if critical else policy.psi_warning
        beyond, alarm = one.psi >= policy.psi_warning, critical
    p_values = (one.p_value, one.adjusted_p_value)
    return _finding(
        kind, one.column, signal, observed, expected, limit, beyond=beyond, p_values=p_values, alarm=alarm
    )


def _not_measured(column: str) -> Reason:
    return Reason(code="not_measured", message=f"{column} could not be measured in this window")


def _farthest(one: ColumnMeasure, policy: Policy) -> tuple[str, float, float] | None:
    """Return the registered measure that is farthest beyond its level: name, value, level; None where none is."""
    beyond = [
        (name, one.distances[name], level)
        for name, level in policy.criticals.items()
        if one.distances.get(name, np.nan) >= level
    ]
    return max(beyond, key=lambda each: each[1] / each[2], default=None)


def _finding(
    kind: DriftKind,
    column: str,
    signal: str,
    observed: float,
    expected: float,
    limit: float,
    *,
    beyond: bool,
    p_values: tuple[float, float] = (1.0, 1.0),
    alarm: bool = True,
) -> ThresholdFinding:
    if not np.isfinite(observed - expected) or not np.isfinite(limit):
        return ThresholdFinding(kind=kind, column=column, reason=_not_measured(column))
    if not beyond:
        return ThresholdFinding(kind=kind, column=column)
    p_value, adjusted = (float(np.nan_to_num(one, nan=1.0)) for one in p_values)
    moved = MovedColumn(
        column=column,
        kind=kind,
        signal=signal,
        observed=float(observed),
        expected=float(expected),
        limit=float(limit),
        p_value=p_value,
        adjusted_p_value=adjusted,
        alarm=alarm,
    )
    return ThresholdFinding(kind=kind, column=column, moved=moved)


def judge_fixed_thresholds(
    signals: Signals,
    null: NullModel,
    state: DetectorState,
    *,
    measures: Sequence[ColumnMeasure] = (),
    policy: Policy,
    position: float,
    rows: int,
) -> Judgement:
    """Judge one window of one phase by fixed levels.

    Data and prediction: PSI of at least ``drift.psi_critical`` or an uncorrected p-value below
    ``drift.ks_significance`` is drift, and so is a registered measure of at least its level (``drift.<name>_critical``,
    ``drift.measures``); PSI of at least ``drift.psi_warning`` is a warning. Outcome: a total-variation
    shift above ``drift.outcome_threshold``. Concept: the champion's loss up by ``drift.concept_threshold``.
    Performance: the metric down by ``drift.performance_threshold``. One window opens an alarm, the next within
    its levels resolves it.

    Parameters
    ----------
    signals, null : Signals, NullModel
        Of the phase; the null (fitted under this policy) only says what the reference's own signals are.
    state : DetectorState
        Of the window before; only its open alarms count.
    measures : sequence of ColumnMeasure
        Of the window's features and answers against the reference (phase ``inputs``).
    policy, position, rows :
        As in `evergreen.tasks.core.drift.judge.judge_window`.
    """
    refused = unusable_window(rows, null, policy)
    if refused is not None:
        why: dict[str, Any] = {"level": Level.INSUFFICIENT, "reasons": (refused,), "calibration": "literal"}
        return Judgement(kinds=tuple(KindVerdict(kind=kind, **why) for kind in null.kinds), state=state)
    measured = read_measures(measures, null.kinds, policy)
    findings = [*measured, *read_signals(signals, null, policy, position=position)]
    alarms, changes = _alarms(findings, state, position)
    verdicts = tuple(_verdict(kind, findings) for kind in null.kinds)
    return Judgement(kinds=verdicts, state=replace(DetectorState.empty(), alarms=alarms), alarms=changes)


def _verdict(kind: DriftKind, findings: Iterable[ThresholdFinding]) -> KindVerdict:
    """Gather the findings of a kind."""
    mine = [one for one in findings if one.kind is kind]
    moved = [one.moved for one in mine if one.moved is not None]
    reasons = tuple(one.reason for one in mine if one.reason is not None)
    level = worst(one.level for one in mine)
    if level is Level.QUIET and reasons:
        level = Level.INSUFFICIENT
    if not mine:
        reasons = (Reason(code="not_measured", message=f"Nothing of {kind.value} could be measured"),)
    if not reasons:
        code = "moved" if moved else "within_limits"
        message = f"{len(moved)} of {len(mine)} columns passed a fixed level"
        reasons = (Reason(code=code, message=message, observed=float(len(moved)), limit=0.0),)
    moved.sort(key=lambda one: (not one.alarm, -abs(one.effect) / max(one.limit, 1e-15)))
    return KindVerdict(kind=kind, level=level, moved=tuple(moved), reasons=reasons, calibration="literal")


def _alarms(
    findings: Sequence[ThresholdFinding], state: DetectorState, position: float
) -> tuple[tuple[OpenAlarm, ...], tuple[AlarmChange, ...]]:
    """Open an alarm where a column is in drift, resolve it where it was seen not to be."""
    current = {(one.kind, one.column): one for one in findings if one.level is not Level.INSUFFICIENT}
    alarms, changes = [], []
    for alarm in state.alarms:
        now = current.pop((alarm.kind, alarm.column), None)
        if now is None or now.level is Level.DRIFT:
            alarms.append(alarm)
        else:
            changes.append(alarm_change(alarm, "resolved", effect=0.0))
    for one in current.values():
        if one.level is Level.DRIFT and one.moved is not None:
            alarm = OpenAlarm(
                kind=one.kind,
                column=one.column,
                signal=one.moved.signal,
                anchor=0.0,
                reported=abs(one.moved.effect),
                limit=one.moved.limit,
                since=position,
            )
            alarms.append(alarm)
            changes.append(alarm_change(alarm, "opened", effect=float(np.nan_to_num(one.moved.effect))))
    return tuple(alarms), tuple(changes)

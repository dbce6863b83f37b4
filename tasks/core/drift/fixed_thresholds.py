"""Fixed thresholds: each window and column is judged for itself; alarms on noise are part of this policy."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from evergreen.tasks.core.arrays import FloatArray
from evergreen.tasks.core.drift.calibration import NullModel
from evergreen.tasks.core.drift.columns import ColumnMeasure
from evergreen.tasks.core.drift.detect import AlarmChange, DetectorState, OpenAlarm, align
from evergreen.tasks.core.drift.judge import Judgement, unusable_window
from evergreen.tasks.core.drift.policy import Policy
from evergreen.tasks.core.drift.types import DriftKind, KindVerdict, Level, MovedColumn, Signals, worst
from evergreen.tasks.core.verdict import Reason

# What the fixed levels of the policy say of each column of one window.


_MEASURED = (DriftKind.DATA, DriftKind.PREDICTION)
_UNKNOWN = "could not be measured in this window"


@dataclass(frozen=True, kw_only=True)
class ThresholdFinding:
    """What the fixed levels say of one column.

    Attributes
    ----------
    kind, column : DriftKind, str
        Which.
    level : Level
        quiet, warning, drift or insufficient.
    moved : Moved | None
        What passed a level.
    reason : Reason | None
        Why nothing can be said.
    """

    kind: DriftKind
    column: str
    level: Level
    moved: MovedColumn | None = None
    reason: Reason | None = None


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
    observed, _, floors = align(signals, null)
    expected = null.scale.back(null.expect(position))
    for place, (kind, column) in enumerate(null.columns):
        mine = null.places == place
        if kind is DriftKind.OUTCOME:
            yield _outcome(
                column, observed[mine & null.scale.shares], expected[mine & null.scale.shares], policy
            )
            continue
        levels = np.array([key.name == "level" for key in null.keys]) & mine
        if kind not in _MEASURED and levels.any():
            at = int(np.flatnonzero(levels)[0])
            effect = (observed[at] - expected[at]) * (int(null.sides[at]) or 1)
            yield _finding(
                kind,
                column,
                "level",
                observed[at],
                expected[at],
                limit=floors[at],
                beyond=effect >= floors[at],
            )


def _measured(kind: DriftKind, one: ColumnMeasure, policy: Policy) -> ThresholdFinding:
    if one.drifted is None or not np.isfinite(one.psi):
        reason = one.reason or Reason(code="not_measured", message=f"{one.column} {_UNKNOWN}")
        return ThresholdFinding(kind=kind, column=one.column, level=Level.INSUFFICIENT, reason=reason)
    critical, unlikely = one.psi >= policy.psi_critical, one.p_value < policy.significance
    p_values = (one.p_value, one.adjusted_p_value)
    plugged = _farthest(one, policy)
    if plugged is not None and not critical:
        name, value, limit = plugged
        return _finding(
            kind, one.column, name, value, 0.0, limit=limit, beyond=True, p_values=p_values, alarm=True
        )
    if unlikely and not critical:
        return _finding(
            kind,
            one.column,
            "p_value",
            one.p_value,
            1.0,
            limit=1 - policy.significance,
            beyond=True,
            p_values=p_values,
        )
    limit = policy.psi_critical if critical else policy.psi_warning
    return _finding(
        kind,
        one.column,
        "psi",
        one.psi,
        0.0,
        limit=limit,
        beyond=one.psi >= policy.psi_warning,
        p_values=p_values,
        alarm=critical,
    )


def _farthest(one: ColumnMeasure, policy: Policy) -> tuple[str, float, float] | None:
    """Return the registered measure that is farthest beyond its level: name, value, level; None where none is."""
    beyond = [
        (name, one.distances[name], level)
        for name, level in policy.criticals.items()
        if one.distances.get(name, np.nan) >= level
    ]
    return max(beyond, key=lambda each: each[1] / each[2], default=None)


def _outcome(column: str, observed: FloatArray, expected: FloatArray, policy: Policy) -> ThresholdFinding:
    """Total variation of the outcome's classes or groups, ``missing`` among them."""
    distance = float(np.abs(observed - expected).sum() / 2)
    limit = policy.outcome_threshold
    return _finding(
        DriftKind.OUTCOME, column, "total_variation", distance, 0.0, limit=limit, beyond=distance > limit
    )


def _finding(
    kind: DriftKind,
    column: str,
    signal: str,
    observed: float,
    expected: float,
    *,
    limit: float,
    beyond: bool,
    p_values: tuple[float, float] = (1.0, 1.0),
    alarm: bool = True,
) -> ThresholdFinding:
    if not np.isfinite(observed - expected) or not np.isfinite(limit):
        reason = Reason(code="not_measured", message=f"{column} {_UNKNOWN}")
        return ThresholdFinding(kind=kind, column=column, level=Level.INSUFFICIENT, reason=reason)
    if not beyond:
        return ThresholdFinding(kind=kind, column=column, level=Level.QUIET)
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
    return ThresholdFinding(
        kind=kind, column=column, level=Level.DRIFT if alarm else Level.WARNING, moved=moved
    )


def judge_fixed_thresholds(
    signals: Signals,
    null: NullModel,
    memory: DetectorState,
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
    signals, null : Signals, Null
        Of the phase; the null (fitted under this policy) only says what the reference's own signals are.
    memory : Memory
        Of the window before; only its open alarms count.
    measures : sequence of ColumnMeasure
        Of the window's features and answers against the reference (phase ``inputs``).
    policy, position, rows :
        As in `evergreen.tasks.core.drift.judge.judge_window`.
    """
    kinds = tuple(dict.fromkeys(kind for kind, _ in null.columns))
    refused = unusable_window(rows, null, policy)
    if refused is not None:
        verdicts = tuple(_verdict(kind, (), (refused,)) for kind in kinds)
        return Judgement(kinds=verdicts, memory=memory)
    found = [*read_measures(measures, kinds, policy), *read_signals(signals, null, policy, position=position)]
    alarms, changes = _alarms(found, memory, position)
    verdicts = tuple(_verdict(kind, found, ()) for kind in kinds)
    return Judgement(kinds=verdicts, memory=replace(DetectorState.empty(), alarms=alarms), alarms=changes)


def _verdict(kind: DriftKind, found: Iterable[ThresholdFinding], refused: tuple[Reason, ...]) -> KindVerdict:
    """Gather what was found of a kind."""
    mine = [one for one in found if one.kind is kind]
    moved = [one.moved for one in mine if one.moved is not None]
    unknown = tuple(one.reason for one in mine if one.reason is not None)
    level = worst(one.level for one in mine)
    if level is Level.QUIET and unknown:
        level = Level.INSUFFICIENT
    if not mine and not refused:
        unknown = (Reason(code="not_measured", message=f"Nothing of {kind.value} could be measured"),)
    return KindVerdict(
        kind=kind,
        level=level,
        moved=tuple(sorted(moved, key=lambda one: (not one.alarm, -abs(one.effect) / max(one.limit, 1e-15)))),
        reasons=refused or unknown or (_describe(mine),),
        calibration="literal",
    )


def _describe(mine: Sequence[ThresholdFinding]) -> Reason:
    many = sum(one.moved is not None for one in mine)
    return Reason(
        code="moved" if many else "within_limits",
        message=f"{many} of {len(mine)} columns passed a fixed level",
        observed=float(many),
        limit=0.0,
    )


def _alarms(
    found: Sequence[ThresholdFinding], memory: DetectorState, position: float
) -> tuple[tuple[OpenAlarm, ...], tuple[AlarmChange, ...]]:
    """Open an alarm where a column is in drift, resolve it where it was seen not to be."""
    state = {(one.kind, one.column): one for one in found if one.level is not Level.INSUFFICIENT}
    kept, changes = [], []
    for alarm in memory.alarms:
        now = state.pop((alarm.kind, alarm.column), None)
        if now is None or now.level is Level.DRIFT:
            kept.append(alarm)
        else:
            changes.append(_change(alarm, "resolved", 0.0))
    for one in state.values():
        if one.level is Level.DRIFT and one.moved is not None:
            alarm = OpenAlarm(
                kind=one.kind,
                column=one.column,
                signal=one.moved.signal,
                anchor=0.0,
                told=abs(one.moved.effect),
                limit=one.moved.limit,
                since=position,
            )
            kept.append(alarm)
            changes.append(_change(alarm, "opened", one.moved.effect))
    return tuple(kept), tuple(changes)


def _change(alarm: OpenAlarm, change: str, effect: float) -> AlarmChange:
    effect = float(np.nan_to_num(effect))
    return AlarmChange(
        kind=alarm.kind,
        column=alarm.column,
        signal=alarm.signal,
        change=change,
        effect=effect,
        since=alarm.since,
    )

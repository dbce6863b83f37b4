"""The literal policy: fixed levels, each window and column for itself; it alarms on noise, some are bound to it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np

from tasks.core.drift.measures import ColumnMeasure
from tasks.core.drift.signals import Signals
from tasks.core.drift.words import DriftKind, KindVerdict, Level, worst
from tasks.core.judging.alarms import AlarmChange
from tasks.core.judging.budget import Policy
from tasks.core.judging.judge import Judgement
from tasks.core.judging.literal_levels import Finding, read_measures, read_signals
from tasks.core.judging.memory import Memory, OpenAlarm
from tasks.core.judging.null import Null
from tasks.core.judging.unknown import unusable_window
from tasks.core.verdict import Reason


def judge_literally(
    signals: Signals,
    null: Null,
    memory: Memory,
    *,
    measures: Sequence[ColumnMeasure] = (),
    policy: Policy,
    position: float,
    rows: int,
) -> Judgement:
    """Judge one window of one phase by fixed levels.

    Data and prediction: PSI of at least ``drift.psi_critical`` or an uncorrected p-value below
    ``drift.ks_significance`` is drift, PSI of at least ``drift.psi_warning`` a warning. Outcome: a total-variation
    shift above ``drift.outcome_threshold``. Concept: the champion's loss up by ``drift.concept_threshold``.
    Performance: the metric down by ``alerts.performance_drop``. One window opens an alarm, the next within its levels
    resolves it.

    Parameters
    ----------
    signals, null : Signals, Null
        Of the phase; the null (fitted under this policy) only says what the reference's own signals are.
    memory : Memory
        Of the window before; only its open alarms count.
    measures : sequence of ColumnMeasure
        Of the window's features and answers against the reference (phase ``inputs``).
    policy, position, rows :
        As in `tasks.core.judging.judge.judge_window`.
    """
    kinds = tuple(dict.fromkeys(kind for kind, _ in null.columns))
    refused = unusable_window(rows, null, policy)
    if refused is not None:
        verdicts = tuple(_verdict(kind, (), (refused,)) for kind in kinds)
        return Judgement(kinds=verdicts, memory=memory)
    found = [*read_measures(measures, kinds, policy), *read_signals(signals, null, policy, position=position)]
    alarms, changes = _alarms(found, memory, position)
    verdicts = tuple(_verdict(kind, found, ()) for kind in kinds)
    return Judgement(kinds=verdicts, memory=replace(Memory.empty(), alarms=alarms), alarms=changes)


def _verdict(kind: DriftKind, found: Iterable[Finding], refused: tuple[Reason, ...]) -> KindVerdict:
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
        reasons=refused or unknown or (_said(mine),),
        calibration="literal",
    )


def _said(mine: Sequence[Finding]) -> Reason:
    many = sum(one.moved is not None for one in mine)
    return Reason(
        code="moved" if many else "within_limits",
        message=f"{many} of {len(mine)} columns passed a fixed level",
        observed=float(many),
        limit=0.0,
    )


def _alarms(
    found: Sequence[Finding], memory: Memory, position: float
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
                kind=one.kind, column=one.column, signal=one.moved.signal, anchor=0.0, told=abs(one.moved.effect),
                limit=one.moved.limit, since=position,
            )  # fmt: skip
            kept.append(alarm)
            changes.append(_change(alarm, "opened", one.moved.effect))
    return tuple(kept), tuple(changes)


def _change(alarm: OpenAlarm, change: str, effect: float) -> AlarmChange:
    effect = float(np.nan_to_num(effect))
    return AlarmChange(
        kind=alarm.kind, column=alarm.column, signal=alarm.signal, change=change, effect=effect, since=alarm.since
    )  # fmt: skip

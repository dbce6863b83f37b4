"""Judging a window by the calibrated policy: what moved, which alarms open, worsen, resolve, and what is not known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from tasks.core.drift.signals import Signals
from tasks.core.drift.words import DriftKind, KindVerdict, Level, Moved
from tasks.core.judging.alarms import (
    AlarmChange,
    changed,
    close_alarms,
    columns_to_alarm,
    follow_alarm,
    gravest,
    open_alarm,
    place_of,
)
from tasks.core.judging.budget import Policy
from tasks.core.judging.confidence import adjusted_by_column, look_p_values
from tasks.core.judging.look import Look, learn, take_look
from tasks.core.judging.memory import Memory, OpenAlarm, begin_memory
from tasks.core.judging.null import Null
from tasks.core.judging.unknown import unjudged_reasons, unusable_window
from tasks.core.metrics.scored import FloatArray
from tasks.core.verdict import Reason


@dataclass(frozen=True, kw_only=True, eq=False)
class Judgement:
    """What is said of one window in one phase.

    Attributes
    ----------
    kinds : tuple of KindVerdict
        One a kind of drift.
    memory : Memory
        For the next window.
    alarms : tuple of AlarmChange
        Alarms that opened, worsened or resolved.
    """

    kinds: tuple[KindVerdict, ...]
    memory: Memory
    alarms: tuple[AlarmChange, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {
            "kinds": [one.to_dict() for one in self.kinds],
            "memory": self.memory.to_dict(),
            "alarms": [one.to_dict() for one in self.alarms],
        }


def judge_window(
    signals: Signals, null: Null, memory: Memory, *, policy: Policy, position: float, rows: int
) -> Judgement:
    """Judge one window of one phase.

    A column moved when one of its signals is beyond its limit and its effect floor in one of three forms of look:
    ``level`` (against what the reference expects), ``jump`` (against the forecast from the last windows that had not
    moved), ``sustained`` (the mean of the last n windows). k of the n newest windows, the newest among them, or a
    sustained move: an alarm; else a warning. Windows must come in order, each once.

    Parameters
    ----------
    signals : Signals
        Of the window; NaN where it could not be measured. May have more or fewer than the null's keys.
    null : Null
        Of the kinds of this phase (`tasks.core.judging.calibration.fit_null`, `tasks.core.judging.null.join_nulls`).
    memory : Memory
        Of the window before; ``Memory.empty()`` for the first window of a champion.
    policy : Policy
        k, n, fewest rows.
    position : float
        Start of the window on the clock.
    rows : int
        Its rows; in the phase of outcomes the labelled ones.
    """
    dropped = () if memory.fits(null) else close_alarms(memory)
    memory = memory if memory.fits(null) else begin_memory(null, position=position)
    refused = unusable_window(rows, null, policy)
    if refused is not None:
        aged = replace(
            memory,
            recent=np.vstack([memory.recent, np.full(len(null.keys), np.nan)])[1:],
            age=memory.age + 1,
        )
        kinds = tuple(_refused(kind, refused, null) for kind in null.kinds)
        return Judgement(kinds=kinds, memory=aged, alarms=dropped)
    look = take_look(signals, null, memory, position=position, rows=rows, violated=policy.violated)
    alarms, changes = _alarms(look, null, memory, policy=policy, position=position)
    after = _remember(look, null, memory, alarms, changes)
    return Judgement(kinds=_verdicts(look, null, memory, alarms), memory=after, alarms=(*dropped, *changes))


def _alarms(
    look: Look, null: Null, memory: Memory, *, policy: Policy, position: float
) -> tuple[tuple[OpenAlarm, ...], tuple[AlarmChange, ...]]:
    """Follow the open alarms and open new ones."""
    open_now = _is_open(memory.alarms, null)
    kept, changes = [], []
    for alarm in memory.alarms:
        after, change = follow_alarm(alarm, look, null, violated=policy.violated)
        kept += [after] if after is not None else []
        changes += [changed(alarm, look, null, change)] if change else []
    opening = columns_to_alarm(look, memory, violated=policy.violated, open_now=open_now)
    for column in np.flatnonzero(opening).tolist():
        alarm = open_alarm(look, null, memory, column, position=position)
        kept.append(alarm)
        changes.append(changed(alarm, look, null, "opened"))
    return tuple(kept), tuple(changes)


def _remember(
    look: Look, null: Null, memory: Memory, alarms: tuple[OpenAlarm, ...], changes: Sequence[AlarmChange]
) -> Memory:
    """Return the memory after the window; a resolved column forgets what it had been compared with."""
    after = learn(look, null, memory, frozen=_is_open((*memory.alarms, *alarms), null))
    resolved = [null.columns.index((one.kind, one.column)) for one in changes if one.change == "resolved"]
    seen, moved = after.seen.copy(), after.moved.copy()
    seen[resolved] = 0
    moved[:, resolved] = 0.0
    return replace(after, seen=seen, moved=moved, alarms=alarms)


def _verdicts(
    look: Look, null: Null, memory: Memory, alarms: tuple[OpenAlarm, ...]
) -> tuple[KindVerdict, ...]:
    moved = _moved(look, null, memory, alarms) if look.moved.any() or alarms else ()
    return tuple(
        _verdict(kind, [one for one in moved if one.kind is kind], look, null, alarms) for kind in null.kinds
    )


def _verdict(
    kind: DriftKind, moved: list[Moved], look: Look, null: Null, alarms: tuple[OpenAlarm, ...]
) -> KindVerdict:
    columns = null.by_kind[kind]
    unknown, blind = unjudged_reasons(kind, columns, look, null)
    level = Level.INSUFFICIENT if blind else Level.QUIET
    alarmed = any(alarm.kind is kind for alarm in alarms)
    if moved or alarmed:
        level = Level.DRIFT if alarmed else Level.WARNING
    said = _said(len(moved), int(look.judged[columns].sum()), alarmed)
    return KindVerdict(
        kind=kind,
        level=level,
        moved=tuple(moved),
        reasons=unknown if level is Level.INSUFFICIENT else (said, *unknown),
        calibration=null.calibrated_by[kind],
    )


def _said(moved: int, judged: int, alarmed: bool) -> Reason:
    """Say how many columns moved."""
    code, message = "within_limits", f"No limit passed by {judged} columns"
    if moved:
        code, message = "moved", f"{moved} of {judged} columns moved"
    elif alarmed:
        code, message = "alarm_open", "An alarm is open, and its column could not be measured"
    return Reason(code=code, message=message, observed=float(moved), limit=0.0)


def _moved(look: Look, null: Null, memory: Memory, alarms: tuple[OpenAlarm, ...]) -> tuple[Moved, ...]:
    """Return the columns that moved or have an open alarm, gravest first; not those that could not be measured."""
    p_values = look_p_values(look, null)
    adjusted = adjusted_by_column(p_values, null)
    opened = {(alarm.kind, alarm.column): alarm for alarm in alarms}
    found = []
    for place, name in enumerate(null.columns):
        alarm = opened.get(name)
        if alarm is not None or look.moved[place]:
            found.append(_one_moved(look, null, place, alarm, p_values, adjusted))
    measured = [pair for pair in found if np.isfinite(pair[1].observed)]
    return tuple(one for _, one in sorted(measured, key=lambda pair: -pair[0]))


def _one_moved(
    look: Look, null: Null, column: int, alarm: OpenAlarm | None, p_values: FloatArray, adjusted: FloatArray
) -> tuple[float, Moved]:
    """Return how grave a column's move is (alarms first), and the move, in the signal's own unit."""
    form, place = gravest(look, null, column)
    base, effect, limit = look.bases[form, place], look.effects[form, place], look.limits[form, place]
    if alarm is not None:
        place = place_of(alarm, null)
        base, limit = look.expected[place] + alarm.anchor, alarm.limit
        effect = look.expected[place] + look.rest[place] - base
    ends = np.array([base, base + effect, base + np.copysign(limit, effect)])
    expected, observed, bound = _own_unit(ends, place, null)
    key, grave = null.keys[place], abs(float(effect)) / max(float(limit), 1e-15)
    p_value = float(np.nan_to_num(p_values[place], nan=1.0))
    return (grave if np.isfinite(grave) else 0.0) + 1e6 * (alarm is not None), Moved(
        column=key.column, kind=key.kind, signal=key.name, observed=observed, expected=expected,
        limit=abs(bound - expected), p_value=p_value, adjusted_p_value=max(float(adjusted[column]), p_value),
        alarm=alarm is not None,
    )  # fmt: skip


def _own_unit(values: FloatArray, place: int, null: Null) -> list[float]:
    """Return values of one signal in its own unit."""
    table = np.zeros((len(values), len(null.keys)))
    table[:, place] = values
    return null.scale.back(table)[:, place].tolist()


def _refused(kind: DriftKind, reason: Reason, null: Null) -> KindVerdict:
    return KindVerdict(
        kind=kind, level=Level.INSUFFICIENT, reasons=(reason,), calibration=null.calibrated_by[kind]
    )


def _is_open(alarms: Sequence[OpenAlarm], null: Null) -> np.ndarray:
    named = {(alarm.kind, alarm.column) for alarm in alarms}
    return np.array([name in named for name in null.columns], dtype=bool)

"""Alarms: raised once, told of again when they worsen, resolved when the windows have come back."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from evergreen.tasks.core.arrays import BoolArray
from evergreen.tasks.core.drift.calibration import NullModel
from evergreen.tasks.core.drift.detect import Detection, DetectorState, OpenAlarm
from evergreen.tasks.core.drift.types import DriftKind, SignalKey
from evergreen.tasks.core.serial import Struct

WORSE = 1.5
"""An alarm worsens when k of the last n windows, the newest among them, show this times the effect last told of."""
BACK = 0.5
"""It resolves when n windows in a row show at most this part of it."""


@dataclass(frozen=True, kw_only=True)
class AlarmChange(Struct):
    """What became of an alarm in one window.

    Attributes
    ----------
    kind, column, signal : DriftKind, str, str
        What moved.
    change : {'opened', 'worsened', 'resolved'}
        What became of it.
    effect : float
        How far it is from where it was, signed, in the unit of the signal.
    since : float
        Start of the window that opened it.
    """

    kind: DriftKind
    column: str
    signal: str
    change: str
    effect: float
    since: float


def columns_to_alarm(
    look: Detection, memory: DetectorState, *, violated: int, open_now: BoolArray
) -> BoolArray:
    """Return the columns whose alarm opens, shape (c,).

    k of the n newest judged windows moved, the newest among them; or the mean of the last n moved (``sustained``).
    """
    enough = np.nansum(memory.moved, axis=0) + 1 >= violated
    return look.judged & ~open_now & (look.lasting | (look.moved & enough))


def worst_signal(look: Detection, null: NullModel, column: int) -> tuple[int, int]:
    """Return form and place of the signal of a column that is farthest beyond its limit (or nearest to it)."""
    first = int(null.firsts[column])
    last = int(null.firsts[column + 1]) if column + 1 < len(null.firsts) else len(null.keys)
    part = slice(first, last)
    ratio = np.abs(look.effects[:, part]) / np.maximum(look.limits[:, part], 1e-15)
    ratio = np.where(look.beyond[:, part], ratio + 1e6, np.nan_to_num(ratio, nan=-1.0))
    form, place = np.unravel_index(int(ratio.argmax()), ratio.shape)
    return int(form), first + int(place)


def open_alarm(
    look: Detection, null: NullModel, memory: DetectorState, column: int, *, position: float
) -> OpenAlarm:
    """Return the alarm of a column that moved: its gravest signal, and what that moved away from."""
    form, place = worst_signal(look, null, column)
    key = null.keys[place]
    anchor = float(memory.forecast[place]) if form == 1 else 0.0
    return OpenAlarm(
        kind=key.kind,
        column=key.column,
        signal=key.name,
        anchor=anchor,
        told=max(abs(float(look.effects[form, place])), abs(float(look.rest[place]) - anchor)),
        limit=float(look.limits[form, place]),
        since=position,
    )


def follow_alarm(
    alarm: OpenAlarm, look: Detection, null: NullModel, *, violated: int
) -> tuple[OpenAlarm | None, str | None]:
    """Return the alarm after a window (None: resolved) and what became of it, if anything did."""
    place = place_of(alarm, null)
    effect = float(look.rest[place]) - alarm.anchor
    if not np.isfinite(effect):
        return alarm, None
    size = max(effect * int(null.sides[place]), 0.0) if null.sides[place] else abs(effect)
    n = len(null.recent) + 1
    recent = (*alarm.recent, size)[-n:]
    if len(recent) == n and max(recent) <= BACK * alarm.told:
        return None, "resolved"
    if size >= WORSE * alarm.told and sum(one >= WORSE * alarm.told for one in recent) >= violated:
        return replace(alarm, told=size, recent=()), "worsened"
    return replace(alarm, recent=recent), None


def changed(alarm: OpenAlarm, look: Detection, null: NullModel, change: str) -> AlarmChange:
    """Describe what became of an alarm in this window."""
    place = place_of(alarm, null)
    there, here = look.expected + alarm.anchor, look.expected + look.rest
    return AlarmChange(
        kind=alarm.kind,
        column=alarm.column,
        signal=alarm.signal,
        change=change,
        effect=float((null.scale.back(here) - null.scale.back(there))[place]),
        since=alarm.since,
    )


def close_alarms(memory: DetectorState) -> tuple[AlarmChange, ...]:
    """Return the end of every open alarm, for a new champion: what it moved away from is no longer the reference."""
    return tuple(
        AlarmChange(
            kind=alarm.kind,
            column=alarm.column,
            signal=alarm.signal,
            change="resolved",
            effect=0.0,
            since=alarm.since,
        )
        for alarm in memory.alarms
    )


def place_of(alarm: OpenAlarm, null: NullModel) -> int:
    """Return the place of an alarm's signal among the null's."""
    return null.place_by_key[SignalKey(alarm.kind, alarm.column, alarm.signal)]

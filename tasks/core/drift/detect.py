"""Detectors (level, jump, sustained): how a window differs from what is expected; and the alarms they open."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from evergreen.tasks.core.arrays import BoolArray, FloatArray, IntArray
from evergreen.tasks.core.drift.calibration import NullModel
from evergreen.tasks.core.drift.types import DriftKind, SignalKey, Signals
from evergreen.tasks.core.serial import Struct

# State of the detectors from one window to the next: small, JSON, and empty for a new champion.


SETTLED = 1000
"""Windows from which on a forecast's age at its start no longer matters."""


@dataclass(frozen=True, kw_only=True)
class OpenAlarm(Struct):
    """An alarm that was raised and has not resolved."""

    kind: DriftKind
    column: str
    signal: str
    """``kind``, ``column``, ``signal``: what moved."""
    anchor: float
    """What it moved away from, off what the season expects."""
    reported: float = field(metadata={"key": "told"})
    """Effect that was last reported, >= 0."""
    limit: float
    """Limit it passed when it opened."""
    since: float
    """Start of the window that opened it."""
    recent: tuple[float, ...] = ()
    """Effects of the newest windows since it was last reported, at most n."""


def _plain(values: FloatArray) -> list[Any]:
    if values.ndim > 1:
        return [_plain(row) for row in values]
    return [float(str(value)) if np.isfinite(value) else None for value in values.astype(np.float32)]


@dataclass(frozen=True, kw_only=True, eq=False)
class DetectorState(Struct):
    """The state of the judge of one model and phase after a window; k signals in c columns, n windows of a check."""

    recent: FloatArray = field(metadata={"write": _plain})
    """Shape (n - 1, k): deviations of the last windows from what was expected, oldest first; NaN where not
    measured."""
    forecast: FloatArray = field(metadata={"write": _plain})
    """Shape (k,): deviation forecast for the next window; NaN where there is none."""
    forecast_windows: IntArray = field(metadata={"key": "seen"})
    """Shape (c,): windows the forecast is made of."""
    age: IntArray
    """Shape (c,): windows since it last learned."""
    moved: FloatArray = field(metadata={"write": _plain})
    """Shape (n - 1, c): whether the last judged windows moved, oldest first: 1, 0, NaN before the first."""
    alarms: tuple[OpenAlarm, ...] = ()
    """Those open."""

    @classmethod
    def empty(cls) -> DetectorState:
        """Return the state before the first window."""
        table, counts = np.zeros((0, 0)), np.zeros(0, dtype=np.int64)
        return cls(recent=table, forecast=np.zeros(0), forecast_windows=counts, age=counts, moved=table)

    def fits(self, null: NullModel) -> bool:
        """True when it was made by the same signals and number of windows."""
        return self.recent.shape == null.recent.shape and self.moved.shape[-1] == len(null.columns)

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> DetectorState:
        """Return the state written by ``to_dict``."""
        shape, columns = len(plain["recent"]), len(plain["age"])
        return cls(
            recent=_numbers(plain["recent"]).reshape(shape, len(plain["forecast"])),
            forecast=_numbers(plain["forecast"]),
            forecast_windows=np.array(plain["seen"], dtype=np.int64),
            age=np.array(plain["age"], dtype=np.int64),
            moved=_numbers(plain["moved"]).reshape(shape, columns),
            alarms=tuple(map(OpenAlarm.from_dict, plain["alarms"])),
        )


def initial_state(null: NullModel, *, position: float) -> DetectorState:
    """Return the state before the first window: the end of the reference's past, where the window follows on it.

    Parameters
    ----------
    null : NullModel
        With its last windows.
    position : float
        Start of the first window.
    """
    n, columns = len(null.recent) + 1, len(null.columns)
    before, step = null.last_start, null.step
    follows = before is not None and step is not None and 0 < position - before <= 1.5 * step
    forecast = null.last if follows else np.full(len(null.keys), np.nan)
    return DetectorState(
        recent=shortened(null.recent) if follows else np.full_like(null.recent, np.nan),
        forecast=shortened(forecast),
        forecast_windows=np.full(columns, SETTLED if follows else 0, dtype=np.int64),
        age=np.zeros(columns, dtype=np.int64),
        moved=np.full((n - 1, columns), np.nan),
    )


def shortened(values: FloatArray) -> FloatArray:
    """Return values as a state keeps them: to single precision, so that their JSON is short and exact."""
    return values.astype(np.float32).astype(np.float64)


def _numbers(plain: list[Any]) -> FloatArray:
    return shortened(np.array(plain, dtype=np.float64))


CONFIRMS = 0.7
"""Part of its limits (``level``, ``jump``) that a column is held to while one of its last n - 1 windows moved.

The limit of ``sustained`` stays: the window that moved is in that mean already.
"""
_LARGEST_PULL = 2.0
"""Standard deviations by which one window moves the forecast at most."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Detection:
    """What one window shows of k signals in c columns, by the three detectors; on the signals' `SignalScale`."""

    null: NullModel
    state: DetectorState
    """``null``, ``state``: what it was compared with, and the state before it."""
    expected: FloatArray
    rest: FloatArray
    """``expected``, ``rest`` (shape (k,)): what the season expects, and how far the window is off."""
    bases: FloatArray
    """Shape (3, k): what each detector compares with: what is expected (``level``), the forecast (``jump``), what is
    expected (``sustained``)."""
    effects: FloatArray
    """Shape (3, k): how far the window (``sustained``: the mean of the last n) is off that; NaN where a detector
    cannot judge."""
    limits: FloatArray
    spreads: FloatArray
    """``limits``, ``spreads`` (shape (3, k)): largest effect that is no move, the effect floor apart, and the
    standard deviation of the effect."""
    beyond: BoolArray
    """Shape (3, k): where a signal moved: beyond the limit and the floor."""
    ages: IntArray
    """Shape (k,): age of the forecast."""
    judged: BoolArray
    moved: BoolArray
    lasting: BoolArray
    """``judged``, ``moved``, ``lasting`` (shape (c,)): columns with a signal that could be judged; that moved; that
    moved by ``sustained``."""


def run_detectors(
    signals: Signals, null: NullModel, state: DetectorState, *, position: float, rows: int, violated: int
) -> Detection:
    """Check a window.

    Parameters
    ----------
    signals : Signals
        Of the window.
    null, state : NullModel, DetectorState
        Of the phase.
    position, rows : float, int
        Where the window starts, and how many rows it has.
    violated : int
        k of n: so many of the last windows must be beyond half of the limit of ``sustained``, the newest among them.
    """
    signals = signals.of_keys(null.keys)
    errors = null.scale.put_errors(signals.values, signals.errors, rows=rows)
    expected = null.expect(position)
    rest = null.scale.put(signals.values) - expected
    squares = np.square(errors)
    window = np.vstack([state.recent, rest])
    ages, spreads, quantiles = _detector_limits(null, state, squares)
    suspect = (np.nan_to_num(state.moved).sum(axis=0) > 0)[null.places]
    limits = spreads * quantiles
    limits[:2] *= np.where(suspect, CONFIRMS, 1.0)
    bases = np.vstack([expected, expected + state.forecast, expected])
    effects = np.vstack([rest, rest - state.forecast, window.mean(axis=0)])
    side = np.where(null.sides == 0, np.sign(effects), null.sides)
    beyond: BoolArray = np.asarray(effects * side > limits)
    beyond[2] &= _lasts(window, limits, side[2], violated)
    if beyond.any():
        moved = null.scale.back(bases + effects) - null.scale.back(bases)
        beyond &= np.abs(moved) >= signals.floors
    return Detection(
        null=null,
        state=state,
        expected=expected,
        rest=rest,
        bases=bases,
        effects=effects,
        limits=limits,
        spreads=spreads,
        beyond=beyond,
        ages=ages,
        judged=_any(np.isfinite(limits[0]) & np.isfinite(rest + signals.floors), null),
        moved=_any(np.asarray(beyond.any(axis=0)), null),
        lasting=_any(np.asarray(beyond[2]), null),
    )


def update_state(detection: Detection, *, frozen: BoolArray) -> DetectorState:
    """Return the state after a check: columns that moved, or have an open alarm (``frozen``), do not update it.

    A forecast that is too old to compare with begins again at the window.
    """
    null, state = detection.null, detection.state
    n = len(null.recent) + 1
    teaches = detection.judged & ~detection.moved & ~frozen
    fresh = (state.forecast_windows == 0) | (state.age >= n)
    windows = np.where(
        teaches, np.where(fresh, 1, np.minimum(state.forecast_windows + 1, SETTLED)), state.forecast_windows
    )
    gain = np.maximum(null.gain, 1 / np.maximum(windows, 1)[null.places])
    pull = detection.effects[1]
    bound = _LARGEST_PULL * detection.spreads[1]
    pull = np.where(np.isfinite(bound), np.clip(pull, -bound, bound), pull)
    forecast = np.where(
        (fresh[null.places]) | ~np.isfinite(state.forecast), detection.rest, state.forecast + gain * pull
    )
    taught = teaches[null.places] & np.isfinite(detection.rest)
    flags = np.where(detection.judged, detection.moved, np.nan)[None]
    moved = np.where(detection.judged, np.vstack([state.moved, flags])[1:], state.moved)
    return DetectorState(
        recent=shortened(np.vstack([state.recent, detection.rest])[1:]),
        forecast=shortened(np.where(taught, forecast, state.forecast)),
        forecast_windows=windows,
        age=np.where(teaches, 0, state.age + 1),
        moved=moved,
        alarms=state.alarms,
    )


def _detector_limits(
    null: NullModel, state: DetectorState, squares: FloatArray
) -> tuple[IntArray, FloatArray, FloatArray]:
    """Return each forecast's age, and spreads and quantiles of the three detectors, shape (3, k).

    A forecast made of few windows is less sure; one that is too old says nothing.
    """
    oldest = len(null.recent)
    ages = state.age[null.places]
    ripe = np.minimum(ages, oldest)
    windows = np.maximum(state.forecast_windows, 1)[null.places]
    young = np.maximum(1 / windows - null.gain / (2 - null.gain), 0.0)
    jump = np.where(ages <= oldest, null.jump.spread(squares, age=ripe) * np.sqrt(1 + young), np.nan)
    spreads = [null.level.spread(squares), jump, null.sustained.spread(squares / (oldest + 1))]
    quantiles = [null.level.quantiles(), null.jump.quantiles(age=ripe), null.sustained.quantiles()]
    return ages, np.array(spreads), np.array(quantiles)


def _lasts(window: FloatArray, limits: FloatArray, side: FloatArray, violated: int) -> BoolArray:
    """Return where enough windows, the newest among them, share in the mean's move, shape (k,).

    Each must lie beyond half of the limit of ``sustained``; and no window counts in the mean for more than its own
    limit (``level``), so that a strange one, however strange, does not carry ordinary neighbours past the mean's.
    """
    past = window * side > limits[2] / 2
    held = np.clip(window, -limits[0], limits[0]).mean(axis=0) * side
    return np.asarray(past[-1] & (past.sum(axis=0) >= violated) & (held > limits[2]))


def _any(flags: BoolArray, null: NullModel) -> BoolArray:
    return np.asarray(np.logical_or.reduceat(flags, null.firsts)) if len(flags) else np.zeros(0, dtype=bool)


# Alarms: opened once, reported again when they worsen, resolved when the windows are back to normal.


WORSE = 1.5
"""An alarm worsens when k of the last n windows, the newest among them, show this times the effect last reported."""
BACK = 0.5
"""It resolves when n windows in a row show at most this part of it."""


@dataclass(frozen=True, kw_only=True)
class AlarmChange(Struct):
    """What became of an alarm in one window."""

    kind: DriftKind
    column: str
    signal: str
    """``kind``, ``column``, ``signal``: what moved."""
    change: str
    """``opened``, ``worsened`` or ``resolved``: what became of it."""
    effect: float
    """How far it is from where it was, signed, in the unit of the signal."""
    since: float
    """Start of the window that opened it."""


def columns_to_alarm(detection: Detection, *, violated: int, open_now: BoolArray) -> BoolArray:
    """Return the columns whose alarm opens, shape (c,).

    k of the n newest judged windows moved, the newest among them; or the mean of the last n moved (``sustained``).
    """
    enough = np.nansum(detection.state.moved, axis=0) + 1 >= violated
    return detection.judged & ~open_now & (detection.lasting | (detection.moved & enough))


def worst_signal(detection: Detection, column: int) -> tuple[int, int]:
    """Return form and place of the signal of a column that is farthest beyond its limit (or nearest to it)."""
    null = detection.null
    first = int(null.firsts[column])
    last = int(null.firsts[column + 1]) if column + 1 < len(null.firsts) else len(null.keys)
    part = slice(first, last)
    ratio = np.abs(detection.effects[:, part]) / np.maximum(detection.limits[:, part], 1e-15)
    ratio = np.where(detection.beyond[:, part], ratio + 1e6, np.nan_to_num(ratio, nan=-1.0))
    form, place = np.unravel_index(int(ratio.argmax()), ratio.shape)
    return int(form), first + int(place)


def open_alarm(detection: Detection, column: int, *, position: float) -> OpenAlarm:
    """Return the alarm of a column that moved: its most severe signal, and what that moved away from."""
    form, place = worst_signal(detection, column)
    key = detection.null.keys[place]
    anchor = float(detection.state.forecast[place]) if form == 1 else 0.0
    return OpenAlarm(
        kind=key.kind,
        column=key.column,
        signal=key.name,
        anchor=anchor,
        reported=max(abs(float(detection.effects[form, place])), abs(float(detection.rest[place]) - anchor)),
        limit=float(detection.limits[form, place]),
        since=position,
    )


def follow_alarm(
    alarm: OpenAlarm, detection: Detection, *, violated: int
) -> tuple[OpenAlarm | None, str | None]:
    """Return the alarm after a window (None: resolved) and what became of it, if anything did."""
    null = detection.null
    place = place_of(alarm, null)
    effect = float(detection.rest[place]) - alarm.anchor
    if not np.isfinite(effect):
        return alarm, None
    size = max(effect * int(null.sides[place]), 0.0) if null.sides[place] else abs(effect)
    n = len(null.recent) + 1
    recent = (*alarm.recent, size)[-n:]
    if len(recent) == n and max(recent) <= BACK * alarm.reported:
        return None, "resolved"
    if size >= WORSE * alarm.reported and sum(one >= WORSE * alarm.reported for one in recent) >= violated:
        return replace(alarm, reported=size, recent=()), "worsened"
    return replace(alarm, recent=recent), None


def changed(alarm: OpenAlarm, detection: Detection, change: str) -> AlarmChange:
    """Describe what became of an alarm in this window."""
    start, now = detection.expected + alarm.anchor, detection.expected + detection.rest
    null = detection.null
    effect = (null.scale.back(now) - null.scale.back(start))[place_of(alarm, null)]
    return alarm_change(alarm, change, effect=float(effect))


def alarm_change(alarm: OpenAlarm, change: str, *, effect: float) -> AlarmChange:
    """Return a change of an alarm; ``effect`` is signed, in the unit of its signal."""
    what = {name: getattr(alarm, name) for name in ("kind", "column", "signal", "since")}
    return AlarmChange(change=change, effect=effect, **what)


def close_alarms(state: DetectorState) -> tuple[AlarmChange, ...]:
    """Return the end of every open alarm, for a new champion: what it moved away from is no longer the reference."""
    return tuple(alarm_change(alarm, "resolved", effect=0.0) for alarm in state.alarms)


def place_of(alarm: OpenAlarm, null: NullModel) -> int:
    """Return the place of an alarm's signal among the null's."""
    return null.place_by_key[SignalKey(alarm.kind, alarm.column, alarm.signal)]

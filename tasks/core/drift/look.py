"""One look at a window: its signals against what is expected, against their forecast, and with their neighbours."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tasks.core.drift.limits import Limits
from tasks.core.drift.memory import SETTLED, Memory
from tasks.core.drift.null import Null
from tasks.core.drift.signals import Signals
from tasks.core.metrics.scored import BoolArray, FloatArray, IntArray

_LARGEST_PULL = 2.5
"""Standard deviations by which one window moves the forecast at most."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Look:
    """What one window shows of k signals in c columns, by the three forms of look.

    Attributes
    ----------
    observed, expected, rest : array, shape (k,)
        The signal, what its season expects, and the difference.
    effects : array, shape (3, k)
        Deviation from what is expected (``level``), from the forecast (``jump``), and of the last n windows' mean
        (``sustained``); NaN where a form cannot look.
    limits, spreads : array, shape (3, k)
        Largest effect that is no move (the floor included), and the standard deviation of the effect.
    beyond : array of bool, shape (3, k)
        Where a signal moved.
    ages : array, shape (k,)
        Age of the forecast.
    judged, moved, lasting : array of bool, shape (c,)
        Columns with a signal that could be judged; that moved; that moved by ``sustained``.
    """

    observed: FloatArray
    expected: FloatArray
    rest: FloatArray
    effects: FloatArray
    limits: FloatArray
    spreads: FloatArray
    beyond: BoolArray
    ages: IntArray
    judged: BoolArray
    moved: BoolArray
    lasting: BoolArray


def align(signals: Signals, null: Null) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return values, errors and floors in the order of the null's keys; NaN where the window has no such signal."""
    if signals.keys == null.keys:
        return signals.values, signals.errors, signals.floors
    at = {key: place for place, key in enumerate(signals.keys)}
    places = np.array([at.get(key, -1) for key in null.keys], dtype=np.int64)
    return (
        np.r_[signals.values, np.nan][places],
        np.r_[signals.errors, np.nan][places],
        np.r_[signals.floors, 0.0][places],
    )


def take_look(
    signals: Signals, null: Null, memory: Memory, *, position: float, rows: int, violated: int
) -> Look:
    """Look at a window.

    Parameters
    ----------
    signals : Signals
        Of the window.
    null, memory : Null, Memory
        Of the phase.
    position, rows : float, int
        Where the window starts, and how many rows it has.
    violated : int
        k of n: so many of the last windows must be beyond half of the limit of ``sustained``, the newest among them,
        so that one strange window does not pass for a lasting move.
    """
    observed, errors, floors = align(signals, null)
    expected = null.expect(position)
    rest = observed - expected
    squares, lean = np.square(errors), _skewness(expected, errors, rows, null)
    level = _form(null.level, null.level.spread(squares), lean, errors)
    ages, jump = _jump(null, memory, squares, lean, errors)
    window = np.vstack([memory.recent, rest])
    n = len(window)
    sustained = _form(null.sustained, null.sustained.spread(squares / n), lean / n**0.5, errors / n**0.5)
    spreads, limits = (np.vstack(three) for three in zip(level, jump, sustained, strict=True))
    effects = np.vstack([rest, rest - memory.forecast, window.mean(axis=0)])
    limits = np.maximum(limits, floors)
    side = np.where(null.sides == 0, np.sign(effects), null.sides)
    beyond = effects * side > limits
    beyond[2] &= _lasts(window, limits[2] / 2, side[2], violated)
    return Look(
        observed=observed, expected=expected, rest=rest, effects=effects, limits=limits, spreads=spreads,
        beyond=beyond, ages=ages,
        judged=_any(np.isfinite(limits[0]) & np.isfinite(rest), null),
        moved=_any(np.asarray(beyond.any(axis=0)), null),
        lasting=_any(np.asarray(beyond[2]), null),
    )  # fmt: skip


def learn(look: Look, null: Null, memory: Memory, *, frozen: BoolArray) -> Memory:
    """Return the memory after a look: columns that moved, or have an open alarm (``frozen``), teach no forecast.

    A forecast that is too old to look by begins anew with the window.
    """
    n = len(null.recent) + 1
    teaches = look.judged & ~look.moved & ~frozen
    fresh = (memory.seen == 0) | (memory.age >= n)
    seen = np.where(teaches, np.where(fresh, 1, np.minimum(memory.seen + 1, SETTLED)), memory.seen)
    gain = np.maximum(null.gain, 1 / np.maximum(seen, 1)[null.places])
    pull = look.effects[1]
    bound = _LARGEST_PULL * look.spreads[1]
    pull = np.where(np.isfinite(bound), np.clip(pull, -bound, bound), pull)
    forecast = np.where(
        (fresh[null.places]) | ~np.isfinite(memory.forecast), look.rest, memory.forecast + gain * pull
    )
    taught = teaches[null.places] & np.isfinite(look.rest)
    flags = np.where(look.judged, look.moved, np.nan)[None]
    moved = (
        np.where(look.judged, np.vstack([memory.moved, flags])[1:], memory.moved) if n > 1 else memory.moved
    )
    return Memory(
        recent=np.vstack([memory.recent, look.rest])[1:],
        forecast=np.where(taught, forecast, memory.forecast),
        seen=seen,
        age=np.where(teaches, 0, memory.age + 1),
        moved=moved,
        alarms=memory.alarms,
    )


def _jump(
    null: Null, memory: Memory, squares: FloatArray, lean: FloatArray, errors: FloatArray
) -> tuple[IntArray, tuple[FloatArray, FloatArray]]:
    """Return each forecast's age, and spread and limit; a forecast made of few windows is less sure."""
    oldest = len(null.recent)
    ages = memory.age[null.places]
    seen = np.maximum(memory.seen, 1)[null.places]
    young = np.maximum(1 / seen - null.gain / (2 - null.gain), 0.0)
    place = np.minimum(ages, oldest)
    spread = null.jump.spread(squares, age=place) * np.sqrt(1 + young)
    return ages, _form(null.jump, np.where(ages <= oldest, spread, np.nan), lean, errors, age=place)


def _form(
    limits: Limits, spread: FloatArray, lean: FloatArray, errors: FloatArray, *, age: IntArray | int = 0
) -> tuple[FloatArray, FloatArray]:
    """Return spread and limit of one form; only the part of the spread that is sampling is skewed."""
    part = np.where(spread > 0, errors / np.where(spread > 0, spread, 1.0), 0.0)
    return spread, limits.quantiles(lean * part**3, age=age) * spread


def _skewness(expected: FloatArray, errors: FloatArray, rows: int, null: Null) -> FloatArray:
    """Return the skewness of a share of rows, 0 of other signals, shape (k,)."""
    least = np.square(errors) * max(rows, 1)
    share = np.clip(np.maximum(expected, least), 1e-12, 0.5)
    return np.where(null.shares, (1 - 2 * share) * errors / (share * (1 - share)), 0.0)


def _lasts(window: FloatArray, half: FloatArray, side: FloatArray, violated: int) -> BoolArray:
    """Return where enough windows, the newest among them, lie beyond half of the limit on the mean's side."""
    past = window * side > half
    return np.asarray(past[-1] & (past.sum(axis=0) >= violated))


def _any(flags: BoolArray, null: Null) -> BoolArray:
    return np.asarray(np.logical_or.reduceat(flags, null.firsts)) if len(flags) else np.zeros(0, dtype=bool)

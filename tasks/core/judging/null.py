"""The null: what each signal does when nothing drifts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from tasks.core.drift.signals import SignalKey
from tasks.core.drift.words import DriftKind
from tasks.core.errors import InputError
from tasks.core.judging.budget import column_places
from tasks.core.judging.limits import Limits, choose_limits, join_limits
from tasks.core.judging.scale import Scale
from tasks.core.judging.seasons import phase_of
from tasks.core.metrics.scored import BoolArray, FloatArray, IntArray


@dataclass(frozen=True, kw_only=True, eq=False)
class Null:
    """What k signals are expected to be, and how far they may be off in each form of look; all on their `Scale`.

    Attributes
    ----------
    keys : tuple of SignalKey, length k
        Column by column.
    levels : array, shape (k,)
        Level of one look at each signal, all forms together.
    sides : array, shape (k,)
        Side on which a move counts; 0: both.
    phases, expected : array, shape (k,) and (max phases, k)
        Windows in each signal's season (1: none), and what is expected in each phase; NaN: unknown.
    needed : array, shape (k,)
        Reference windows that would show the season which a column seems to have; 0: nothing is missing.
    windows : array, shape (k,)
        Reference windows behind each signal.
    theory : array of bool, shape (k,)
        True where sampling theory judges, for want of windows.
    errors : array, shape (k,)
        Usual sampling error of a window.
    level, jump, sustained : Limits
        Of a window against what is expected; against its forecast, by the age of that; of the last n windows' mean.
    gain, last, recent : array, shape (k,), (k,) and (n - 1, k)
        Of the forecast; and the forecast and the last deviations at the end of the past.
    last_start : float | None
        Where the past's last window starts.
    step : float | None
        Usual distance between two starts.
    least_rows : float
        Rows of the smallest reference window.
    length : float | None
        Seconds of a window, where windows have a length in time.
    """

    keys: tuple[SignalKey, ...]
    levels: FloatArray
    sides: IntArray
    phases: IntArray
    expected: FloatArray
    needed: IntArray
    windows: IntArray
    theory: BoolArray
    errors: FloatArray
    level: Limits
    jump: Limits
    sustained: Limits
    gain: FloatArray
    last: FloatArray
    recent: FloatArray
    last_start: float | None
    step: float | None
    least_rows: float
    length: float | None

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
    def scale(self) -> Scale:
        """The scale everything here is on."""
        return Scale.of(self.keys)

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

    def expect(self, position: float) -> FloatArray:
        """Return what is expected of a window that starts here, shape (k,)."""
        if len(self.expected) == 1 or self.length is None:
            return np.asarray(self.expected[0])
        return np.asarray(
            self.expected[phase_of(position, self.phases, length=self.length), np.arange(len(self.keys))]
        )


_FORMS = ("level", "jump", "sustained")


def join_nulls(several: Sequence[Null]) -> Null:
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
    joined |= {name: join_limits([getattr(one, name) for one in several]) for name in _FORMS}
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


def choose_null(where: BoolArray, first: Null, second: Null) -> Null:
    """Take each signal's null from the first where it says so, shape (k,), else from the second."""
    flat = ("phases", "needed", "theory", "gain", "last", "recent")
    chosen: dict[str, Any] = {
        name: np.where(where, getattr(first, name), getattr(second, name)) for name in flat
    }
    chosen |= {name: choose_limits(where, getattr(first, name), getattr(second, name)) for name in _FORMS}
    deep = max(len(first.expected), len(second.expected))
    tables = [_deepened(one.expected, deep) for one in (first, second)]
    return replace(second, expected=np.where(where, *tables), **chosen)


def _deepened(table: FloatArray, rows: int) -> FloatArray:
    """Add rows of NaN below a table."""
    return np.pad(table, ((0, rows - len(table)), (0, 0)), constant_values=np.nan)

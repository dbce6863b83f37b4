"""What monitoring says of a window: kinds of drift, levels, moved columns, signals; and how clock times are written."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, ClassVar, NamedTuple

import numpy as np

from evergreen.tasks.core.arrays import FloatArray
from evergreen.tasks.core.serial import Struct
from evergreen.tasks.core.verdict import Reason, State


def short_time(text: Any) -> str:
    """Write a clock position for people: no seconds, no zone (it is UTC), no midnight.

    >>> short_time("2024-03-04T06:00:00+00:00"), short_time("2024-03-04T00:00:00+00:00"), short_time(1200)
    ('2024-03-04 06:00', '2024-03-04', '1200')
    """
    plain = str(text)
    if len(plain) < 16 or plain[10:11] != "T":
        return plain
    day, clock = plain[:10], plain[11:16]
    return day if clock == "00:00" else f"{day} {clock}"


def listed(names: Sequence[str], *, most: int = 3) -> str:
    """Write names as a phrase, the first ones by name.

    >>> listed(["a"]), listed(["a", "b"]), listed(["a", "b", "c", "d", "e"])
    ('a', 'a and b', 'a, b, c and 2 more')
    """
    shown = list(names) if len(names) <= most else [*names[:most], f"{len(names) - most} more"]
    return shown[0] if len(shown) == 1 else f"{', '.join(shown[:-1])} and {shown[-1]}"


def first_names(names: Sequence[str], *, most: int = 5) -> str:
    """Write the first names, and how many more there are.

    >>> first_names(["a", "b"]), first_names(["a", "b", "c"], most=2)
    ('a, b', 'a, b and 1 more')
    """
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


# The words of monitoring: five kinds of drift, four levels, and what is said of a window.


class DriftKind(StrEnum):
    """What moved."""

    DATA = "data"
    PREDICTION = "prediction"
    OUTCOME = "outcome"
    CONCEPT = "concept"
    PERFORMANCE = "performance"


class Phase(StrEnum):
    """When a window is checked: as soon as it is full, and again when its labels are due."""

    INPUTS = "inputs"
    OUTCOMES = "outcomes"

    @property
    def kinds(self) -> tuple[DriftKind, ...]:
        """Kinds of drift that can be measured in this phase."""
        if self is Phase.INPUTS:
            return DriftKind.DATA, DriftKind.PREDICTION
        return DriftKind.OUTCOME, DriftKind.CONCEPT, DriftKind.PERFORMANCE


class Level(StrEnum):
    """What is said of one kind of drift in one window; INSUFFICIENT never counts as 'no drift'."""

    INSUFFICIENT = "insufficient"
    QUIET = "quiet"
    WARNING = "warning"
    DRIFT = "drift"

    @property
    def state(self) -> State:
        """Name of the state of a run that ends so."""
        return _STATES[self]

    @classmethod
    def of(cls, state: State) -> Level:
        """Return the level that a run's state tells; ``KeyError`` for a state that no level ends in."""
        return {state: level for level, state in _STATES.items()}[state]


_STATES = {
    Level.INSUFFICIENT: State.INSUFFICIENT_DATA,
    Level.QUIET: State.NO_DRIFT,
    Level.WARNING: State.WARNING,
    Level.DRIFT: State.DRIFT,
}

_ORDER = (Level.INSUFFICIENT, Level.QUIET, Level.WARNING, Level.DRIFT)


def worst(levels: Iterable[Level]) -> Level:
    """Return the most severe level: drift, warning, quiet; INSUFFICIENT only where there is nothing else.

    >>> worst([Level.QUIET, Level.INSUFFICIENT]).value
    'quiet'
    """
    return max(levels, key=_ORDER.index, default=Level.INSUFFICIENT)


@dataclass(frozen=True, kw_only=True)
class MovedColumn(Struct):
    """One column that moved, by how much, and how sure that is."""

    also: ClassVar = ("effect", "confidence")
    column: str
    """A feature, or ``@score``, ``@decision``, ``@outcome``, ``@loss``, or the metric's name."""
    kind: DriftKind
    """Kind of drift."""
    signal: str
    """What of the column moved: ``location``, ``spread``, ``missing``, ``share:<group>``, ``information``,
    ``correlation``, ``level``."""
    observed: float
    expected: float
    """``observed``, ``expected``: the signal in the window, and in its reference."""
    limit: float
    """Largest |observed - expected| that is not called a move."""
    p_value: float
    adjusted_p_value: float
    """``p_value``, ``adjusted_p_value``: of this signal in this window; corrected for all columns of the kind
    (Benjamini & Hochberg 1995)."""
    alarm: bool = False
    """True when the column's move is (part of) an alarm, False when it warns."""

    @property
    def confidence(self) -> float:
        """One minus the corrected p-value."""
        return 1.0 - self.adjusted_p_value

    @property
    def effect(self) -> float:
        """How far it moved, in the unit of the signal; signed."""
        return self.observed - self.expected


@dataclass(frozen=True, kw_only=True)
class KindVerdict(Struct):
    """What is said of one kind of drift in one window."""

    kind: DriftKind
    """Kind of drift."""
    level: Level
    """quiet, warning, drift or insufficient."""
    moved: tuple[MovedColumn, ...] = ()
    """The columns that moved, most severe first."""
    reasons: tuple[Reason, ...] = ()
    """Why it is so; an INSUFFICIENT one says how many rows or windows would do."""
    calibration: str = "reference"
    """``reference``, ``theory`` or ``literal``: where the limits come from."""


# Signals: the signed numbers that are followed over time, one row of them a window.


class SignalKey(NamedTuple):
    """What a signal is a signal of: kind of drift, column, and name."""

    kind: DriftKind
    column: str
    name: str


@dataclass(frozen=True, kw_only=True, eq=False)
class Signals:
    """The signals of one window."""

    keys: tuple[SignalKey, ...]
    """Length k: what they are."""
    values: FloatArray
    errors: FloatArray
    """``values``, ``errors`` (shape (k,)): the signed statistic, and its sampling standard error for this window's
    number of rows (independent rows); NaN where it could not be measured."""
    floors: FloatArray
    """Shape (k,): the smallest move that counts, in the signal's own unit."""

    def of_keys(self, keys: tuple[SignalKey, ...]) -> Signals:
        """Return the signals of some keys in their order; NaN (and a floor of 0) for those that are not here."""
        if keys == self.keys:
            return self
        at = {key: place for place, key in enumerate(self.keys)}
        places = np.array([at.get(key, -1) for key in keys], dtype=np.int64)
        extended = {
            "values": (self.values, np.nan),
            "errors": (self.errors, np.nan),
            "floors": (self.floors, 0.0),
        }
        return Signals(keys=keys, **{name: np.r_[array][places] for name, array in extended.items()})


@dataclass(frozen=True, kw_only=True, eq=False)
class SignalSeries:
    """The signals of the reference's own windows, in time order: the model's own past."""

    keys: tuple[SignalKey, ...]
    """Length k: what they are."""
    starts: FloatArray
    rows: FloatArray
    """``starts``, ``rows`` (shape (w,)): clock position of each window's start, and its number of rows."""
    values: FloatArray
    errors: FloatArray
    """``values``, ``errors`` (shape (w, k)): as in `Signals`."""
    window: str
    """``monitoring.window`` they were cut by."""

    def __len__(self) -> int:
        return len(self.starts)

    @classmethod
    def stack(
        cls, windows: Sequence[Signals], *, starts: FloatArray, rows: FloatArray, window: str
    ) -> SignalSeries:
        """Put windows of the same signals below each other; at least one."""
        return cls(
            keys=windows[0].keys,
            starts=starts,
            rows=rows,
            values=np.stack([one.values for one in windows]),
            errors=np.stack([one.errors for one in windows]),
            window=window,
        )


def join_signals(several: Iterable[Signals]) -> Signals:
    """Put signals beside each other."""
    parts = list(several)
    return Signals(
        keys=tuple(key for one in parts for key in one.keys),
        values=np.concatenate([one.values for one in parts]),
        errors=np.concatenate([one.errors for one in parts]),
        floors=np.concatenate([one.floors for one in parts]),
    )

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


# The words of monitoring: five kinds of drift, four levels, and what is said of a window.


class DriftKind(StrEnum):
    """What moved."""

    DATA = "data"
    PREDICTION = "prediction"
    OUTCOME = "outcome"
    CONCEPT = "concept"
    PERFORMANCE = "performance"


class Phase(StrEnum):
    """When a window is looked at: as soon as it is full, and again when its labels are due."""

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
    """Return the gravest level: drift, warning, quiet; INSUFFICIENT only where there is nothing else.

    >>> worst([Level.QUIET, Level.INSUFFICIENT]).value
    'quiet'
    """
    return max(levels, key=_ORDER.index, default=Level.INSUFFICIENT)


@dataclass(frozen=True, kw_only=True)
class MovedColumn(Struct):
    """One column that moved, by how much, and how sure that is.

    Attributes
    ----------
    column : str
        A feature, or ``@score``, ``@decision``, ``@outcome``, ``@loss``, or the metric's name.
    kind : DriftKind
        Kind of drift.
    signal : str
        What of the column moved: ``location``, ``spread``, ``missing``, ``share:<group>``, ``information``,
        ``correlation``, ``level``.
    observed, expected : float
        The signal in the window, and in its reference.
    limit : float
        Largest |observed - expected| that is not called a move.
    p_value, adjusted_p_value : float
        Of this signal in this window; corrected for all columns of the kind (Benjamini & Hochberg 1995).
    alarm : bool
        True when the column's move is (part of) an alarm, False when it warns.
    """

    also: ClassVar = ("effect", "confidence")
    column: str
    kind: DriftKind
    signal: str
    observed: float
    expected: float
    limit: float
    p_value: float
    adjusted_p_value: float
    alarm: bool = False

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
    """What is said of one kind of drift in one window.

    Attributes
    ----------
    kind : DriftKind
        Kind of drift.
    level : Level
        quiet, warning, drift or insufficient.
    moved : tuple of Moved
        The columns that moved, gravest first.
    reasons : tuple of Reason
        Why it is so; an INSUFFICIENT one says how many rows or windows would do.
    calibration : {'reference', 'theory', 'literal'}
        Where the limits come from.
    """

    kind: DriftKind
    level: Level
    moved: tuple[MovedColumn, ...] = ()
    reasons: tuple[Reason, ...] = ()
    calibration: str = "reference"


# Signals: the signed numbers that are followed over time, one row of them a window.


class SignalKey(NamedTuple):
    """What a signal is a signal of: kind of drift, column, and name."""

    kind: DriftKind
    column: str
    name: str


@dataclass(frozen=True, kw_only=True, eq=False)
class Signals:
    """The signals of one window.

    Attributes
    ----------
    keys : tuple of SignalKey, length k
        What they are.
    values, errors : array, shape (k,)
        The signed statistic, and its sampling standard error for this window's number of rows (independent rows);
        NaN where it could not be measured.
    floors : array, shape (k,)
        The smallest move that counts, in the signal's own unit.
    """

    keys: tuple[SignalKey, ...]
    values: FloatArray
    errors: FloatArray
    floors: FloatArray

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
    """The signals of the reference's own windows, in time order: the model's own past.

    Attributes
    ----------
    keys : tuple of SignalKey, length k
        What they are.
    starts, rows : array, shape (w,)
        Clock position of each window's start, and its number of rows.
    values, errors : array, shape (w, k)
        As in `Signals`.
    window : str
        ``monitoring.window`` they were cut by.
    """

    keys: tuple[SignalKey, ...]
    starts: FloatArray
    rows: FloatArray
    values: FloatArray
    errors: FloatArray
    window: str

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

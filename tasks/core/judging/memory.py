"""What the judge remembers from one window to the next: small, JSON, and empty for a new champion."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from tasks.core.drift.words import DriftKind
from tasks.core.judging.null import Null
from tasks.core.metrics.scored import FloatArray, IntArray

SETTLED = 1000
"""Windows from which on a forecast's age at its start no longer matters."""


@dataclass(frozen=True, kw_only=True)
class OpenAlarm:
    """An alarm that was raised and has not resolved.

    Attributes
    ----------
    kind, column, signal : DriftKind, str, str
        What moved.
    anchor : float
        What it moved away from, off what the season expects.
    told : float
        Effect that was last told of, >= 0.
    limit : float
        Limit it passed when it opened.
    since : float
        Start of the window that opened it.
    recent : tuple of float
        Effects of the newest windows since it was last told of, at most n.
    """

    kind: DriftKind
    column: str
    signal: str
    anchor: float
    told: float
    limit: float
    since: float
    recent: tuple[float, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {**vars(self), "kind": self.kind.value, "recent": list(self.recent)}

    @classmethod
    def from_dict(cls, plain: dict[str, Any]) -> OpenAlarm:
        """Return the alarm written by ``to_dict``."""
        return cls(**{**plain, "kind": DriftKind(plain["kind"]), "recent": tuple(plain["recent"])})


@dataclass(frozen=True, kw_only=True, eq=False)
class Memory:
    """The state of the judge of one model and phase after a window; k signals in c columns, n windows of a look.

    Attributes
    ----------
    recent : array, shape (n - 1, k)
        Deviations of the last windows from what was expected, oldest first; NaN where not measured.
    forecast : array, shape (k,)
        Deviation forecast for the next window; NaN where there is none.
    seen : array, shape (c,)
        Windows the forecast is made of.
    age : array, shape (c,)
        Windows since it last learned.
    moved : array, shape (n - 1, c)
        Whether the last judged windows moved, oldest first: 1, 0, NaN before the first.
    alarms : tuple of OpenAlarm
        Those open.
    """

    recent: FloatArray
    forecast: FloatArray
    seen: IntArray
    age: IntArray
    moved: FloatArray
    alarms: tuple[OpenAlarm, ...] = ()

    @classmethod
    def empty(cls) -> Memory:
        """Return the memory of a new champion."""
        none = np.zeros((0, 0))
        return cls(recent=none, forecast=none[:, 0:0].ravel(), seen=_whole([]), age=_whole([]), moved=none)

    def fits(self, null: Null) -> bool:
        """True when it was made by the same signals and number of windows."""
        return self.recent.shape == null.recent.shape and self.moved.shape[-1] == len(null.columns)

    def open_alarm(self, kind: DriftKind, column: str) -> OpenAlarm | None:
        """Return the open alarm of a column, or None."""
        return next((one for one in self.alarms if (one.kind, one.column) == (kind, column)), None)

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form, null for what is not known; what is read back is the very same."""
        return {
            "recent": _plain(self.recent),
            "forecast": _plain(self.forecast),
            "seen": self.seen.tolist(),
            "age": self.age.tolist(),
            "moved": _plain(self.moved),
            "alarms": [alarm.to_dict() for alarm in self.alarms],
        }

    @classmethod
    def from_dict(cls, plain: dict[str, Any]) -> Memory:
        """Return the memory written by ``to_dict``."""
        shape, columns = len(plain["recent"]), len(plain["age"])
        return cls(
            recent=_numbers(plain["recent"]).reshape(shape, len(plain["forecast"])),
            forecast=_numbers(plain["forecast"]),
            seen=_whole(plain["seen"]),
            age=_whole(plain["age"]),
            moved=_numbers(plain["moved"]).reshape(shape, columns),
            alarms=tuple(map(OpenAlarm.from_dict, plain["alarms"])),
        )


def begin_memory(null: Null, *, position: float) -> Memory:
    """Return the memory before the first window: the end of the reference's past, where the window follows on it.

    Parameters
    ----------
    null : Null
        With its last windows.
    position : float
        Start of the first window.
    """
    n, columns = len(null.recent) + 1, len(null.columns)
    follows = (
        null.last_start is not None
        and null.step is not None
        and 0 < position - null.last_start <= 1.5 * null.step
    )
    known = null.last if follows else np.full(len(null.keys), np.nan)
    return Memory(
        recent=shortened(null.recent) if follows else np.full_like(null.recent, np.nan),
        forecast=shortened(known),
        seen=np.full(columns, SETTLED if follows else 0, dtype=np.int64),
        age=np.zeros(columns, dtype=np.int64),
        moved=np.full((n - 1, columns), np.nan),
    )


def _whole(values: list[int]) -> IntArray:
    return np.array(values, dtype=np.int64)


def shortened(values: FloatArray) -> FloatArray:
    """Return values as a memory keeps them: to single precision, so that their JSON is short and exact."""
    return values.astype(np.float32).astype(np.float64)


def _plain(values: FloatArray) -> list[Any]:
    if values.ndim > 1:
        return [_plain(row) for row in values]
    return [float(str(value)) if np.isfinite(value) else None for value in values.astype(np.float32)]


def _numbers(plain: list[Any]) -> FloatArray:
    return shortened(np.array(plain, dtype=np.float64))

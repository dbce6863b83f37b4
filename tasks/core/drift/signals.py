"""Signals: the signed numbers that are followed over time, one row of them a window."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from tasks.core.drift.words import DriftKind
from tasks.core.metrics.scored import FloatArray


class SignalKey(NamedTuple):
    """What a signal is a signal of: kind of drift, column, and name (see `tasks.core.drift.words.Moved`)."""

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

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form; six digits, null for what was not measured."""
        return {
            "keys": [list(key) for key in self.keys],
            "starts": self.starts.tolist(),
            "rows": self.rows.tolist(),
            "values": _plain(self.values),
            "errors": _plain(self.errors),
            "window": self.window,
        }

    @classmethod
    def from_dict(cls, plain: dict[str, Any]) -> SignalSeries:
        """Return the series written by ``to_dict``."""
        keys = tuple(SignalKey(DriftKind(kind), column, name) for kind, column, name in plain["keys"])
        shape = (len(plain["starts"]), len(keys))
        return cls(
            keys=keys,
            starts=np.array(plain["starts"], dtype=np.float64),
            rows=np.array(plain["rows"], dtype=np.float64),
            values=np.array(plain["values"], dtype=np.float64).reshape(shape),
            errors=np.array(plain["errors"], dtype=np.float64).reshape(shape),
            window=plain["window"],
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


def _plain(values: FloatArray) -> list[list[float | None]]:
    return [[float(f"{x:.6g}") if np.isfinite(x) else None for x in row] for row in values]

"""The clock of a model: timestamps, seconds or row numbers, all as float64 positions; windows are half-open."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np

from evergreen.tasks.core.config.units import Span
from evergreen.tasks.core.errors import ConfigError, DataError, InputError
from evergreen.tasks.core.serial import null_as

if TYPE_CHECKING:
    import pandas as pd

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Window:
    """A half-open slice ``[start, end)`` of the clock, in positions; either side may be infinite.

    Examples
    --------
    >>> Window(0.0, 2.0).mask(np.array([0.0, 1.0, 2.0])).tolist()
    [True, True, False]
    """

    start: float = field(default=-math.inf, metadata=null_as(-math.inf))
    end: float = field(default=math.inf, metadata=null_as(math.inf))

    def __post_init__(self) -> None:
        if not self.start <= self.end:
            window = f"[{self.start}, {self.end})"
            raise InputError(f"A window must not end before it starts: {window}. Swap them.")

    def mask(self, positions: np.ndarray) -> np.ndarray:
        """Return which positions lie inside, shape (n,)."""
        return (positions >= self.start) & (positions < self.end)

    def to_dict(self, *, clock: str) -> dict[str, Any]:
        """Return the JSON form: exact positions (null where open) and the same as text."""
        return {
            "start": self.start if math.isfinite(self.start) else None,
            "end": self.end if math.isfinite(self.end) else None,
            "from": format_position(self.start, clock=clock),
            "to": format_position(self.end, clock=clock),
        }


@dataclass(frozen=True)
class Clock:
    """Where rows stand on the clock: in a column, in their order (``rows`` without a column), or nowhere.

    Attributes
    ----------
    column : column of the clock; None: none.
    kind : `timestamp`, `seconds` or `rows`.
    time_format : strptime format of text that is not ISO 8601; None: it is.
    """

    column: str | None = None
    kind: str = "timestamp"
    time_format: str | None = None

    @property
    def by_order(self) -> bool:
        """True when a row's number in the source is its position."""
        return self.column is None and self.kind == "rows"

    def positions(self, frame: pd.DataFrame) -> np.ndarray | None:
        """Return positions, float64 of shape (n,); the frame's index where rows count; None without a clock."""
        if self.column is not None:
            from evergreen.tasks.core.data.times import to_positions

            return to_positions(frame[self.column], clock=self.kind, time_format=self.time_format)
        return frame.index.to_numpy(dtype=np.float64) if self.by_order else None


def format_position(position: float, *, clock: str) -> str:
    """Return a position as text: ISO 8601 in UTC for timestamps, the number itself otherwise.

    >>> format_position(0.0, clock="timestamp"), format_position(12.0, clock="rows")
    ('1970-01-01T00:00:00+00:00', '12')
    """
    if not math.isfinite(position):
        return str(position)
    if clock == "timestamp":
        return (_EPOCH + timedelta(microseconds=round(position * 1e6))).isoformat()
    return str(int(position)) if position == int(position) else repr(float(position))


def require_order(start: float | None, end: float | None, *, clock: str) -> None:
    """Check that what was typed as the sides of a window (None: open) does not end before it starts.

    Raises
    ------
    InputError
        When it does; the message has both as text on the clock.
    """
    if start is not None and end is not None and start > end:
        window = f"{format_position(start, clock=clock)} to {format_position(end, clock=clock)}"
        raise InputError(f"A window must not end before it starts: {window}. Swap them.")


def parse_position(text: str | float | datetime, *, clock: str) -> float:
    """Return the position a text means: an ISO 8601 time (naive: UTC) or a number.

    Raises
    ------
    InputError
        When the text is not on this clock.

    Examples
    --------
    >>> parse_position("1970-01-02", clock="timestamp"), parse_position("12", clock="rows")
    (86400.0, 12.0)
    """
    if str(text) in ("inf", "-inf"):
        return float(str(text))
    try:
        position = _moment(text) if clock == "timestamp" else float(str(text))
    except (DataError, ValueError):
        position = math.nan
    if not math.isfinite(position):
        allowed = "an ISO 8601 time such as 2026-01-31T12:00:00Z" if clock == "timestamp" else "a number"
        raise InputError(f"'{text}' is not a point on a clock of {_unit(clock)}. Write {allowed}.")
    return position


def span_length(span: Span, *, clock: str) -> float:
    """Return a span's length in the clock's unit (seconds, or rows on a clock of row numbers).

    Raises
    ------
    ConfigError
        When the span counts rows on a clock of time, or seconds on a clock of rows: it has no length there.
    """
    if span.amount == 0:
        return 0.0
    if (span.unit == "rows") != (clock == "rows"):
        wanted = "a number of rows such as '500 rows'" if clock == "rows" else "a duration such as 7d"
        raise ConfigError(f"'{span}' has no length on a clock of {_unit(clock)}. Write {wanted}.")
    return span.amount


def _unit(clock: str) -> str:
    return {"timestamp": "timestamps", "seconds": "seconds", "rows": "row numbers"}[clock]


def _moment(text: str | float | datetime) -> float:
    """Return a time's position, read as a column of times is; pandas is imported when there is one to read."""
    import pandas as pd

    from evergreen.tasks.core.data.times import to_positions

    return float(to_positions(pd.Series([text]), clock="timestamp")[0])

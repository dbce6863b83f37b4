"""The clock of a model: timestamps, seconds or row numbers, all as float64 positions; windows are half-open."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd

from evergreen.tasks.core.config.units import Span
from evergreen.tasks.core.errors import ConfigError, DataError, InputError
from evergreen.tasks.core.verdict import Reason

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Window:
    """A half-open slice ``[start, end)`` of the clock, in positions; either side may be infinite.

    Examples
    --------
    >>> Window(0.0, 2.0).mask(np.array([0.0, 1.0, 2.0])).tolist()
    [True, True, False]
    """

    start: float = field(
        default=-math.inf, metadata={"read": lambda plain: -math.inf if plain is None else plain}
    )
    end: float = field(
        default=math.inf, metadata={"read": lambda plain: math.inf if plain is None else plain}
    )

    def __post_init__(self) -> None:
        if not self.start <= self.end:
            raise InputError(
                f"A window must not end before it starts: [{self.start}, {self.end}). Swap them."
            )

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
    column : str or None
        Column of the clock.
    kind : {'timestamp', 'seconds', 'rows'}
        What it holds.
    time_format : str or None
        strptime format of text that is not ISO 8601.
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
            return to_positions(frame[self.column], clock=self.kind, time_format=self.time_format)
        return frame.index.to_numpy(dtype=np.float64) if self.by_order else None


def to_positions(
    series: pd.Series, *, clock: str, time_format: str | None = None, allow_null: bool = False
) -> np.ndarray:
    """Return positions on the clock, float64 of shape (n,).

    Parameters
    ----------
    series : pandas.Series
        The clock's column; its integer index numbers the rows in messages.
    clock : {'timestamp', 'seconds', 'rows'}
        ``timestamp``: seconds since 1970-01-01 UTC (to the microsecond; naive ones are UTC, mixed zones allowed);
        otherwise the numbers themselves.
    time_format : str, optional
        strptime format of text that is not ISO 8601.
    allow_null : bool
        Give NaN for a null instead of refusing it.

    Raises
    ------
    DataError
        Naming the first value that is not on the clock, and its row.
    """
    found = _timestamps(series, time_format) if clock == "timestamp" else _numbers(series)
    bad = ~np.isfinite(found)
    if allow_null:
        bad &= ~series.isna().to_numpy()
    if bad.any():
        raise _bad_time(series, int(np.argmax(bad)), int(bad.sum()), clock, time_format)
    return found


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
        if clock != "timestamp":
            return _finite(str(text))
        return float(to_positions(pd.Series([text]), clock=clock)[0])
    except (DataError, ValueError):
        allowed = "an ISO 8601 time such as 2026-01-31T12:00:00Z" if clock == "timestamp" else "a number"
        raise InputError(f"'{text}' is not a point on a clock of {_unit(clock)}. Write {allowed}.") from None


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


def _finite(text: str) -> float:
    found = float(text)
    if not math.isfinite(found):
        raise ValueError(text)
    return found


def _timestamps(series: pd.Series, time_format: str | None) -> np.ndarray:
    kind = series.dtype
    if pd.api.types.is_datetime64_any_dtype(kind):
        return _epoch_seconds(pd.to_datetime(series, utc=True))
    if pd.api.types.is_numeric_dtype(kind) and time_format:
        numbers = pd.to_numeric(series, errors="coerce")
        series = numbers.map(lambda value: f"{value:.0f}" if np.isfinite(value) else None)
    elif pd.api.types.is_numeric_dtype(kind) and series.notna().any():
        raise DataError(
            f"Time column '{series.name}' holds numbers such as {series.dropna().iloc[0]}, but data.clock is "
            "'timestamp'. Write data.clock: seconds, or rows, or give data.time_format (e.g. '%Y%m%d')."
        )
    text = series.astype(object).map(str, na_action="ignore")
    return _epoch_seconds(pd.to_datetime(text, utc=True, format=time_format or "ISO8601", errors="coerce"))


def _epoch_seconds(times: pd.Series) -> np.ndarray:
    """Return seconds since 1970, truncated to the microsecond, NaN for NaT."""
    values = times.dt.tz_localize(None).to_numpy(dtype="datetime64[us]")
    seconds = values.astype(np.int64) / 1e6
    return np.where(np.isnat(values), np.nan, seconds)


def _numbers(series: pd.Series) -> np.ndarray:
    if pd.api.types.is_datetime64_any_dtype(series.dtype):
        raise DataError(
            f"Time column '{series.name}' holds timestamps, but data.clock says numbers. "
            "Write data.clock: timestamp."
        )
    try:
        return series.to_numpy(dtype=np.float64, na_value=np.nan)
    except (ValueError, TypeError):  # some value is no number; find which
        return np.asarray(pd.to_numeric(series, errors="coerce"), dtype=np.float64)


def _bad_time(series: pd.Series, at: int, count: int, clock: str, time_format: str | None) -> DataError:
    label = series.index[at]
    row = int(label) + 1 if isinstance(label, (int, np.integer)) else at + 1
    wanted = {"timestamp": f"a time in the format {time_format}" if time_format else "an ISO 8601 time"}
    more = f" ({count} such values)" if count > 1 else ""
    value = "null" if pd.isna(series.iloc[at]) else f"'{series.iloc[at]}'"
    remedy = "Correct or remove it" + (", or give data.time_format." if clock == "timestamp" else ".")
    return DataError(
        f"Time column '{series.name}' holds {value} in row {row}{more}, not {wanted.get(clock, 'a finite number')}. "
        f"{remedy}"
    )


# Zones of timestamps: those without one are UTC, which is said; a mixture is refused.


_OFFSET = r"(?:[zZ]|:\d{2}(?:[.,]\d+)?\s*[+-]\d{2}(?::?\d{2})?)\s*$"


def note_naive_times(series: pd.Series) -> tuple[Reason, ...]:
    """Return a note when some timestamp carries no zone, so that it was taken as UTC."""
    if isinstance(series.dtype, pd.DatetimeTZDtype):
        return ()
    naive = pd.api.types.is_datetime64_dtype(series.dtype)
    if not naive:
        naive = bool((~series.dropna().astype(str).str.contains(_OFFSET, regex=True)).any())
    message = f"Times in '{series.name}' carry no zone and are read as UTC. Write offsets to be sure."
    return (Reason(code="naive_times", message=message, observed=str(series.name)),) if naive else ()


def refuse_mixed_zones(series: pd.Series) -> None:
    """Check that either all timestamps carry a zone or none: of a mixture nobody knows where its rows belong.

    Raises
    ------
    DataError
        Saying how many carry none.
    """
    if pd.api.types.is_datetime64_any_dtype(series.dtype):
        return
    zoned = series.dropna().astype(str).str.contains(_OFFSET, regex=True)
    if zoned.any() and not zoned.all():
        raise DataError(
            f"{int((~zoned).sum())} of {len(zoned)} times in '{series.name}' carry no zone, the others do, so that "
            "these rows may belong to other windows. Write every time with its offset."
        )

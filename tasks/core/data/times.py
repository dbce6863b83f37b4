"""Columns of the clock: times and numbers as positions; the zones that times carry, or lack."""

from __future__ import annotations

import numpy as np
import pandas as pd

from evergreen.tasks.core.errors import DataError
from evergreen.tasks.core.verdict import Reason


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
    positions = _timestamps(series, time_format) if clock == "timestamp" else _numbers(series)
    bad = ~np.isfinite(positions)
    if allow_null:
        bad &= ~series.isna().to_numpy()
    if bad.any():
        raise _bad_time(series, int(np.argmax(bad)), int(bad.sum()), clock, time_format)
    return positions


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


# Zones of timestamps: those without one are read as UTC, with a note; a mixture is refused.


_OFFSET = r"(?:[zZ]|:\d{2}(?:[.,]\d+)?\s*[+-]\d{2}(?::?\d{2})?)\s*$"


def note_naive_times(series: pd.Series) -> tuple[Reason, ...]:
    """Return a note when some timestamp carries no zone, so that it was taken as UTC."""
    if isinstance(series.dtype, pd.DatetimeTZDtype):
        return ()
    naive = pd.api.types.is_datetime64_dtype(series.dtype) or not _zoned(series).all()
    message = f"Times in '{series.name}' carry no zone and are read as UTC. Write offsets to be sure."
    return (Reason(code="naive_times", message=message, observed=str(series.name)),) if naive else ()


def _zoned(series: pd.Series) -> pd.Series:
    """Return which of the values that are there carry a zone."""
    return series.dropna().astype(str).str.contains(_OFFSET, regex=True)


def refuse_mixed_zones(series: pd.Series) -> None:
    """Check that either all timestamps carry a zone or none: rows of a mixture may belong to other windows.

    Raises
    ------
    DataError
        Saying how many carry none.
    """
    if pd.api.types.is_datetime64_any_dtype(series.dtype):
        return
    zoned = _zoned(series)
    if zoned.any() and not zoned.all():
        raise DataError(
            f"{int((~zoned).sum())} of {len(zoned)} times in '{series.name}' carry no zone, the others do, so that "
            "these rows may belong to other windows. Write every time with its offset."
        )

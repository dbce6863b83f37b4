"""Which kind of clock a column is, and which column is certainly the clock."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from evergreen.tasks.core.data.columns import is_whole
from evergreen.tasks.core.data.times import to_positions
from evergreen.tasks.core.errors import DataError

_DATES = ("%d/%m/%Y", "%m/%d/%Y", "%d.%m.%Y")
FORMATS = (
    "%Y%m%d",
    *(f"{date}{hour}" for date in _DATES for hour in (" %H:%M:%S", " %H:%M", "")),
    *("%d-%m-%Y %H:%M", "%d-%m-%Y", "%m/%d/%y", "%d %b %Y", "%b %d, %Y"),
)
"""Ways to write a time that are tried after ISO 8601."""
SAMPLED_VALUES = 2_000
"""Values that decide how text is written."""
FEWEST = 20
"""A clock of fewer moments orders nothing."""


@dataclass(frozen=True, kw_only=True)
class ClockColumn:
    """A column read as a clock: its kind, the format of its text, and positions (nan where null), shape (n,)."""

    column: str
    clock: str
    time_format: str | None
    positions: np.ndarray

    @property
    def moments(self) -> int:
        """Number of distinct positions."""
        return len(np.unique(self.positions[np.isfinite(self.positions)]))


def read_clock(column: pd.Series) -> ClockColumn:
    """Read a column that a person named as the clock.

    Whole numbers that count up one by one are row numbers, other numbers are seconds, 19990131 is a date.

    Raises
    ------
    DataError
        Naming the first value that is no time, and its row.
    """
    name, numbers = str(column.name), pd.api.types.is_numeric_dtype(column.dtype)
    if pd.api.types.is_bool_dtype(column.dtype):
        raise DataError(f"Column '{name}' holds true and false, not times. Name another column as the clock.")
    if not numbers or _is_date_number(column):
        form = "%Y%m%d" if numbers else text_format(column)
        positions = to_positions(column, clock="timestamp", time_format=form)
        return ClockColumn(column=name, clock="timestamp", time_format=form, positions=positions)
    positions = to_positions(column, clock="seconds")
    kind = "rows" if _counts_rows(positions) else "seconds"
    return ClockColumn(column=name, clock=kind, time_format=None, positions=positions)


def read_times(frame: pd.DataFrame, *, skip: tuple[str, ...] = ()) -> dict[str, ClockColumn]:
    """Return every column of text or timestamps that reads as times, nulls allowed; ``skip`` names other roles."""
    times = {}
    for name in (name for name in frame.columns if name not in skip and _may_be_time(frame[name])):
        form = text_format(frame[name])
        try:
            positions = to_positions(frame[name], clock="timestamp", time_format=form, allow_null=True)
        except DataError:
            continue
        times[str(name)] = ClockColumn(
            column=str(name), clock="timestamp", time_format=form, positions=positions
        )
    return times


def certain_clock(times: Mapping[str, ClockColumn]) -> ClockColumn | None:
    """Return the one column of times that is complete and that the rows already follow; None when there are more."""
    complete = [c for c in times.values() if np.isfinite(c.positions).all() and c.moments >= FEWEST]
    ordered = [c for c in complete if np.all(np.diff(c.positions) >= 0)]
    return ordered[0] if len(ordered) == 1 else None


def text_format(column: pd.Series) -> str | None:
    """Return the strptime format that fits the text best; None: ISO 8601, or already timestamps."""
    if pd.api.types.is_datetime64_any_dtype(column.dtype):
        return None
    texts = column.dropna().astype(str).head(SAMPLED_VALUES)
    if not _parse(texts, "ISO8601").isna().any():
        return None
    fits = [(form, _parse(texts, form)) for form in FORMATS]
    whole = [(form, times) for form, times in fits if len(times) and not times.isna().any()]
    return min(whole, key=lambda pair: _disorder(pair[1]))[0] if whole else None


def _parse(texts: pd.Series, form: str) -> pd.Series:
    return pd.to_datetime(texts, format=form, errors="coerce", utc=True)


def _disorder(times: pd.Series) -> tuple[int, float]:
    """Return how often time turns back and how long it lasts: day and month swapped make both larger."""
    numbers = times.astype("int64").to_numpy()
    return int(np.sum(np.diff(numbers) < 0)), float(np.ptp(numbers))


def _may_be_time(column: pd.Series) -> bool:
    if pd.api.types.is_datetime64_any_dtype(column.dtype):
        return True
    if pd.api.types.is_numeric_dtype(column.dtype) or isinstance(column.dtype, pd.CategoricalDtype):
        return False
    texts = column.dropna().head(20).tolist()
    return bool(texts) and all(isinstance(text, str) and any(map(str.isdigit, text)) for text in texts)


def _is_date_number(column: pd.Series) -> bool:
    """Return whether whole numbers read as dates between 1900 and 2100, such as 19990131."""
    values = column.dropna().to_numpy(dtype=float)
    if not is_whole(values) or values.min() < 19000101 or values.max() > 21001231:
        return False
    return not _parse(pd.Series(values[:SAMPLED_VALUES]).map("{:.0f}".format), "%Y%m%d").isna().any()


def _counts_rows(positions: np.ndarray) -> bool:
    """Return whether positions count: whole numbers, (almost) each once, without large gaps."""
    distinct = np.unique(positions)
    near = distinct[-1] - distinct[0] <= 1.05 * len(distinct)
    return is_whole(positions) and len(distinct) >= 0.99 * len(positions) and bool(near)

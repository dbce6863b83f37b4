"""What a column is: its kind, and whether it only names, counts or repeats rows instead of describing them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from scipy.stats import rankdata

Kind = Literal["numeric", "categorical", "datetime", "text"]

MANY = 0.9
"""Text whose distinct values exceed this share of the rows names rows; it does not describe them."""
FEWEST = 30
"""Fewer rows say nothing about identifiers."""


@dataclass(frozen=True, kw_only=True)
class ColumnFacts:
    """What was seen in one column.

    Attributes
    ----------
    name : str
        Column name.
    kind : {'numeric', 'categorical', 'datetime', 'text'}
        `datetime` covers text that parses; `text` is a string that hardly repeats.
    distinct : int
        Number of distinct values that are not null.
    nulls : float
        Share of nulls, 0 to 1.
    useless : str
        Why the column cannot serve as a feature (constant, identifier, copy of the clock); empty: it can.
    """

    name: str
    kind: Kind
    distinct: int
    nulls: float
    useless: str = ""


def inspect_columns(
    frame: pd.DataFrame, *, positions: np.ndarray | None = None, datetimes: Mapping[str, object] | None = None
) -> dict[str, ColumnFacts]:
    """Describe every column of a frame.

    Parameters
    ----------
    frame : pandas.DataFrame
        Rows, in clock order where there is a clock; it is not changed.
    positions : ndarray of shape (n,), optional
        Clock positions, ascending. Without them nothing is called a copy of the clock.
    datetimes : mapping, optional
        Names of text columns that parse as timestamps.

    Examples
    --------
    >>> facts = inspect_columns(pd.DataFrame({"id": range(40), "x": [1.5, 2.5] * 20}))
    >>> facts["id"].useless, facts["x"].useless
    ('counts rows: 40 whole numbers in 40 rows, each once, without gaps', '')
    """
    known = set(datetimes or ())
    return {str(name): _inspect(str(name), frame[name], positions, name in known) for name in frame.columns}


def kind_of(column: pd.Series, *, is_time: bool = False) -> Kind:
    """Return the kind of a column, from its type and how often its values repeat."""
    if is_time or pd.api.types.is_datetime64_any_dtype(column.dtype):
        return "datetime"
    if pd.api.types.is_bool_dtype(column.dtype):
        return "categorical"
    if pd.api.types.is_numeric_dtype(column.dtype):
        return "numeric"
    filled = column.dropna()
    return "text" if len(filled) >= FEWEST and filled.nunique() > MANY * len(filled) else "categorical"


def is_whole(values: np.ndarray) -> bool:
    """Return whether all finite values are whole numbers (an empty array is not)."""
    finite = values[np.isfinite(values)]
    return bool(finite.size) and bool(np.all(finite == np.rint(finite)))


def _inspect(name: str, column: pd.Series, positions: np.ndarray | None, is_time: bool) -> ColumnFacts:
    distinct = int(column.nunique())
    kind = kind_of(column, is_time=is_time)
    useless = _why_constant(column, distinct)
    if not useless and kind == "text":
        useless = f"identifier or free text: {distinct} different values in {int(column.count())} rows"
    if not useless and kind == "numeric":
        values = column.to_numpy(dtype=float, na_value=np.nan)
        useless = _why_identifier(values, distinct) or _why_clock(values, positions)
    nulls = float(column.isna().mean()) if len(column) else 0.0
    return ColumnFacts(name=name, kind=kind, distinct=distinct, nulls=nulls, useless=useless)


def _why_constant(column: pd.Series, distinct: int) -> str:
    if distinct == 0:
        return "empty: every value is null"
    if distinct == 1 and not column.isna().any():
        return f"constant: every value is {column.iloc[0]!s:.40}"
    return ""


def _why_identifier(values: np.ndarray, distinct: int) -> str:
    """Return why whole numbers that never repeat name rows: they count them, or spread evenly like drawn keys."""
    filled = values[np.isfinite(values)]
    if len(filled) < FEWEST or distinct < len(filled) or not is_whole(filled):
        return ""
    ordered = np.sort(filled)
    width = ordered[-1] - ordered[0] + 1
    if width <= 1.05 * len(filled):
        return f"counts rows: {distinct} whole numbers in {len(values)} rows, each once, without gaps"
    steps = np.diff(filled)
    if np.all(steps > 0) or np.all(steps < 0):
        return f"counts rows: {distinct} whole numbers in {len(values)} rows, each once, in the rows' order"
    even = (ordered - ordered[0]) / width
    gap = float(np.max(np.abs(even - np.arange(len(even)) / len(even))))
    if gap < 1.95 / np.sqrt(len(even)) or _is_blocks_of_a_counter(ordered):
        return f"identifier: {distinct} whole numbers in {len(values)} rows, each once, spread like keys"
    return ""


def _is_blocks_of_a_counter(ordered: np.ndarray) -> bool:
    """Return whether most neighbours differ by one: a counter of which blocks of rows were read."""
    return bool(np.mean(np.diff(ordered) == 1) > MANY)


def _why_clock(values: np.ndarray, positions: np.ndarray | None) -> str:
    """Return why a column repeats the clock: it (almost) never turns back while the clock moves on."""
    if positions is None:
        return ""
    filled = np.isfinite(values)
    if np.sum(filled) < FEWEST:
        return ""
    at, value = positions[filled], values[filled]
    for direction in (1.0, -1.0):
        order = np.lexsort((direction * value, at))
        steps = np.diff(direction * value[order])
        back = np.sum(steps < 0) / max(np.sum(steps != 0), 1)
        if np.any(steps > 0) and (back <= 0.001 or (back <= 0.01 and _agree(at, direction * value))):
            way = "rises" if direction > 0 else "falls"
            return (
                f"copy of the clock: it only {way} with time, so future rows hold values never learned from"
            )
    return ""


def _agree(at: np.ndarray, value: np.ndarray) -> bool:
    """Return whether two columns order the rows (almost) alike."""
    return bool(np.corrcoef(rankdata(at), rankdata(value))[0, 1] > 0.99)

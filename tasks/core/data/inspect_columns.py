"""What a column is: its kind, and whether it only names, counts or repeats rows instead of describing them."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.stats import rankdata

from tasks.core.data.kinds import ColumnKind, Kind, column_kind
from tasks.core.errors import DataError

FEWEST = 30
"""Fewer rows say nothing about identifiers."""


@dataclass(frozen=True, kw_only=True)
class ColumnFacts:
    """What was seen in one column.

    Attributes
    ----------
    name : str
        Column name.
    kind : Kind
        What it holds; text in any known format of times is ``DATETIME``.
    distinct : int
        Number of distinct values that are not null.
    useless : str
        Why the column cannot serve as a feature (constant, identifier, copy of the clock, mixed types); empty: it can.
    """

    name: str
    kind: Kind
    distinct: int
    useless: str = ""


def inspect_columns(
    frame: pd.DataFrame,
    *,
    positions: np.ndarray | None = None,
    times: Collection[str] = (),
    whole: pd.DataFrame | None = None,
    max_categories: int = 50,
) -> dict[str, ColumnFacts]:
    """Describe every column of a frame.

    Parameters
    ----------
    frame : pandas.DataFrame
        Rows, in clock order where there is a clock; it is not changed.
    positions : ndarray of shape (n,), optional
        Clock positions, ascending. Without them nothing is called a copy of the clock.
    times : collection of str
        Names of columns that read as times.
    whole : pandas.DataFrame, optional
        All rows where ``frame`` is a sample: whether text repeats shows only there.
    max_categories : int
        Text of so many different values is never called free text.

    Examples
    --------
    >>> facts = inspect_columns(pd.DataFrame({"id": range(40), "x": [1.5, 2.5] * 20}))
    >>> facts["id"].useless, facts["x"].useless
    ('counts rows: 40 whole numbers in 40 rows, each once, without gaps', '')
    """
    found = {}
    for name in frame.columns:
        kind = ColumnKind(Kind.DATETIME) if str(name) in times else _kind(frame[name], max_categories)
        if kind.kind is Kind.TEXT and whole is not None:
            kind = _kind(whole[name], max_categories)
        found[str(name)] = _inspect(frame[name], kind, positions)
    return found


def is_whole(values: np.ndarray) -> bool:
    """Return whether all finite values are whole numbers (an empty array is not)."""
    finite = values[np.isfinite(values)]
    return bool(finite.size) and bool(np.all(finite == np.rint(finite)))


def _inspect(column: pd.Series, found: ColumnKind, positions: np.ndarray | None) -> ColumnFacts:
    if found.kind is Kind.OTHER:
        return ColumnFacts(name=str(column.name), kind=found.kind, distinct=0, useless=found.reason)
    distinct = int(column.nunique())
    useless = _why_constant(column, distinct)
    if not useless and found.kind in (Kind.TEXT, Kind.EMPTY):
        useless = found.reason
    if not useless and found.kind is Kind.NUMERIC:
        values = column.to_numpy(dtype=float, na_value=np.nan)
        useless = _why_identifier(values, distinct) or _why_clock(values, positions)
    return ColumnFacts(name=str(column.name), kind=found.kind, distinct=distinct, useless=useless)


def _kind(column: pd.Series, most: int) -> ColumnKind:
    """Return the kind; a column that mixes numbers and text is left out rather than an error of the whole."""
    try:
        return column_kind(column, max_categories=most)
    except DataError:
        return ColumnKind(Kind.OTHER, "mixes numbers and text; clean it to use it")


def _why_constant(column: pd.Series, distinct: int) -> str:
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
    return bool(np.mean(np.diff(ordered) == 1) > 0.9)


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

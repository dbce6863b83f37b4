"""What a column holds, as a model sees it: numbers, categories, or nothing it could learn from."""

from __future__ import annotations

import datetime as dt
import numbers
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import pandas as pd

from tasks.core.errors import DataError

_DATE = r"^\s*\d{4}-\d{2}-\d{2}(?:[T ]|\s*$)"
_MOSTLY_NUMBERS = 0.5
_FREQUENT_TEXT = 0.01
_MOSTLY_DISTINCT = 0.5


class Kind(StrEnum):
    """What a column is to a model; only the first two are features."""

    NUMERIC = "numeric"
    CATEGORICAL = "categorical"
    DATETIME = "datetime"
    TEXT = "text"
    EMPTY = "empty"
    OTHER = "other"


@dataclass(frozen=True)
class ColumnKind:
    """A kind, and why it is no feature (empty where it is one)."""

    kind: Kind
    reason: str = ""


def column_kind(column: pd.Series, *, max_categories: int) -> ColumnKind:
    """Return what a column holds.

    Numbers are numeric, however few their values; text and booleans are categories; dates, text of which more than
    half (and more than ``max_categories``) values differ, nested values and columns of nulls are no features.

    Raises
    ------
    DataError
        When numbers and text are mixed: Python objects of both, or text that mostly reads as numbers, unless what
        does not is at least 1 % of at most ``max_categories`` distinct values (``0, 1, 2, 3+`` are categories).

    Examples
    --------
    >>> column_kind(pd.Series(["a", "b", None]), max_categories=50).kind
    <Kind.CATEGORICAL: 'categorical'>
    """
    if column.isna().all():
        return ColumnKind(Kind.EMPTY, "every value is null")
    if pd.api.types.is_bool_dtype(column.dtype):
        return ColumnKind(Kind.CATEGORICAL)
    if pd.api.types.is_complex_dtype(column.dtype):
        return ColumnKind(Kind.OTHER, "holds complex numbers")
    if pd.api.types.is_numeric_dtype(column.dtype):
        return ColumnKind(Kind.NUMERIC)
    if pd.api.types.is_datetime64_any_dtype(column.dtype) or pd.api.types.is_timedelta64_dtype(column.dtype):
        return ColumnKind(Kind.DATETIME, "holds times; derive numbers from them to use them")
    return _object_kind(column.dropna().astype(object), max_categories)


def check_unmixed(parts: Sequence[pd.DataFrame], columns: Iterable[str], *, max_categories: int) -> None:
    """Check all rows of a model for columns that mix numbers and text.

    A file with one word among its numbers is read as text, so that rows without the word look like categories.

    Raises
    ------
    DataError
        Naming the first such column, its first value that is no number, and the row in all parts together.
    """
    for name in columns:
        pieces = [part[name] for part in parts if len(part)]
        if pieces and pd.api.types.is_object_dtype(pieces[0].dtype):
            column_kind(pd.concat(pieces, ignore_index=True), max_categories=max_categories)


def count_infinities(frame: pd.DataFrame, columns: tuple[str, ...]) -> dict[str, int]:
    """Return how many values of each numeric column are infinite; columns without any are left out."""
    found = {}
    for name in columns:
        if pd.api.types.is_float_dtype(frame[name].dtype):
            count = int(np.isinf(frame[name].to_numpy(dtype=np.float64, na_value=np.nan)).sum())
            if count:
                found[name] = count
    return found


def _object_kind(values: pd.Series, max_categories: int) -> ColumnKind:
    types = set(map(type, values))
    if all(issubclass(each, bool | np.bool_) for each in types):
        return ColumnKind(Kind.CATEGORICAL)
    if all(issubclass(each, dt.date | dt.time | dt.timedelta) for each in types):
        return ColumnKind(Kind.DATETIME, "holds times; derive numbers from them to use them")
    if all(issubclass(each, numbers.Number) for each in types):
        return ColumnKind(Kind.NUMERIC)
    if any(issubclass(each, list | tuple | dict | set | bytes | np.ndarray) for each in types):
        name = next(
            each.__name__
            for each in types
            if issubclass(each, list | tuple | dict | set | bytes | np.ndarray)
        )
        return ColumnKind(Kind.OTHER, f"holds values of type {name}")
    if any(issubclass(each, numbers.Number) for each in types):
        raise _mixed(values, values.map(lambda value: isinstance(value, numbers.Number)))
    return _text_kind(values.astype(str), max_categories)


def _text_kind(texts: pd.Series, max_categories: int) -> ColumnKind:
    counts = texts.value_counts()
    distinct = counts.index.to_series()
    if distinct.str.contains(_DATE, regex=True).all():
        return ColumnKind(Kind.DATETIME, "holds times; derive numbers from them to use them")
    reads = pd.to_numeric(distinct, errors="coerce").notna().to_numpy()
    share = float(counts.to_numpy()[reads].sum()) / len(texts)
    few = len(counts) <= max_categories and 1 - share >= _FREQUENT_TEXT
    if _MOSTLY_NUMBERS <= share < 1 and not few:
        raise _mixed(texts, texts.isin(distinct[reads]))
    if len(counts) > max(max_categories, _MOSTLY_DISTINCT * len(texts)):
        return ColumnKind(
            Kind.TEXT,
            f"text with {len(counts)} different values in {len(texts)} rows names rows, it does not describe",
        )
    return ColumnKind(Kind.CATEGORICAL)


def _mixed(values: pd.Series, is_number: pd.Series) -> DataError:
    at = int(np.argmin(is_number.to_numpy()))
    label = values.index[at]
    row = int(label) + 1 if isinstance(label, (int, np.integer)) else at + 1
    return DataError(
        f"Column '{values.name}' mixes numbers and text: {int(is_number.sum())} of {len(values)} values are numbers, "
        f"the first that is not is '{values.iloc[at]}' in row {row}. Correct it, list the column in data.categorical, "
        "or exclude it."
    )

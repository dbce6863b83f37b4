"""Which columns a model names, which it needs read, and a clear error for the one that is not there."""

from __future__ import annotations

import datetime as dt
import numbers
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

import numpy as np
import scipy

from evergreen.tasks.core.config import ModelConfig
from evergreen.tasks.core.errors import DataError, did_you_mean

if TYPE_CHECKING:
    import pandas as pd

_ROLES = ("target", "time", "group", "entity", "label_time", "value", "weight")
ROLE_KEYS = {role: role for role in _ROLES} | {"value": "value_column"}
"""Roles of columns, as they are stored with a version, and the key of ``data`` that names the column of each."""


def role_columns(config: ModelConfig) -> dict[str, str]:
    """Return the column of each role that has one, by role."""
    named = {role: getattr(config.data, key) for role, key in ROLE_KEYS.items()}
    return {role: column for role, column in named.items() if column is not None}


def require_columns(columns: Sequence[str], config: ModelConfig, *, origin: str) -> None:
    """Check that every column the configuration names is there, and each name only once.

    Raises
    ------
    DataError
        Naming the repeated or missing column, where it is asked for, what there is, and the likeliest.
    """
    require_distinct(columns, origin=origin)
    for role, name in role_columns(config).items():
        _require(name, columns, f"data.{ROLE_KEYS[role]}", origin)
    for key in ("numeric", "categorical"):
        for name in getattr(config.data, key) or ():
            _require(name, columns, f"data.{key}", origin)


def require_withheld(columns: Sequence[str], config: ModelConfig, *, origin: str) -> None:
    """Check that columns to be withheld are there: a misspelt leak or private column would slip through.

    An excluded column that is simply gone does no harm; one that is nearly another's name is taken for a slip.

    Raises
    ------
    DataError
        Naming the column, its key and the likeliest.
    """
    for name in config.data.private:
        _require(name, columns, "data.private", origin)
    unused = [name for name in columns if name not in config.data.exclude]
    for name in config.data.exclude:
        if name not in columns and (hint := did_you_mean(name, unused)):
            message = f"data.exclude names '{name}', which is not a column of {origin}.{hint} Correct it."
            raise DataError(message)


def require_distinct(columns: Sequence[str], *, origin: str) -> None:
    """Check that no column name is there twice.

    Raises
    ------
    DataError
        Naming the repeated column.
    """
    repeated = [name for name, times in Counter(columns).items() if times > 1]
    if repeated:
        name = repeated[0]
        raise DataError(
            f"Column '{name}' is there twice in {origin}; names must differ. Rename or remove one."
        )


def needed_columns(columns: Sequence[str], config: ModelConfig, *, also: Iterable[str] = ()) -> list[str]:
    """Return the columns to read, in the source's order: roles, features, and what slices and contract name.

    Without lists of features everything that is not excluded may be one. ``also`` names what an older version of
    the model was trained on.
    """
    data = config.data
    contract, slices = config.contract, config.validation.slices.columns
    needed = {*also, *role_columns(config).values(), *slices, *contract.columns}
    needed.update(*contract.unique)
    if data.numeric is not None and data.categorical is not None:
        needed.update(data.numeric, data.categorical)
        return [name for name in columns if name in needed]
    return [name for name in columns if name in needed or name not in data.exclude]


def clock_columns(config: ModelConfig) -> list[str]:
    """Return the few columns a split by time is planned from."""
    data = config.data
    named = (data.target, data.time, data.label_time, data.group)
    return list(dict.fromkeys(name for name in named if name is not None))


def _require(name: str, columns: Iterable[str], key: str, origin: str) -> None:
    names = list(columns)
    if name in names:
        return
    listed = ", ".join(names[:30]) + (f" and {len(names) - 30} more" if len(names) > 30 else "")
    raise DataError(
        f"Column '{name}' ({key}) is not in {origin}. It has: {listed or 'no columns'}."
        f"{did_you_mean(name, names)} Correct {key} or the data."
    )


# What a column holds, as a model sees it: numbers, categories, or nothing it could learn from.


_DATE = r"^\s*\d{4}-\d{2}-\d{2}(?:[T ]|\s*$)"
_TIMES = "holds times; derive numbers from them to use them"
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
    >>> import pandas as pd
    >>> column_kind(pd.Series(["a", "b", None]), max_categories=50).kind
    <Kind.CATEGORICAL: 'categorical'>
    """
    import pandas as pd

    if column.isna().all():
        return ColumnKind(Kind.EMPTY, "every value is null")
    if pd.api.types.is_bool_dtype(column.dtype):
        return ColumnKind(Kind.CATEGORICAL)
    if pd.api.types.is_complex_dtype(column.dtype):
        return ColumnKind(Kind.OTHER, "holds complex numbers")
    if pd.api.types.is_numeric_dtype(column.dtype):
        return ColumnKind(Kind.NUMERIC)
    if pd.api.types.is_datetime64_any_dtype(column.dtype) or pd.api.types.is_timedelta64_dtype(column.dtype):
        return ColumnKind(Kind.DATETIME, _TIMES)
    return _object_kind(column.dropna().astype(object), max_categories)


def check_unmixed(parts: Sequence[pd.DataFrame], columns: Iterable[str], *, max_categories: int) -> None:
    """Check all rows of a model for columns that mix numbers and text.

    A file with one word among its numbers is read as text, so that rows without the word look like categories.

    Raises
    ------
    DataError
        Naming the first such column, its first value that is no number, and the row in all parts together.
    """
    import pandas as pd

    for name in columns:
        pieces = [part[name] for part in parts if len(part)]
        if pieces and pd.api.types.is_object_dtype(pieces[0].dtype):
            column_kind(pd.concat(pieces, ignore_index=True), max_categories=max_categories)


def _object_kind(values: pd.Series, max_categories: int) -> ColumnKind:
    types = set(map(type, values))
    if all(issubclass(each, bool | np.bool_) for each in types):
        return ColumnKind(Kind.CATEGORICAL)
    if all(issubclass(each, dt.date | dt.time | dt.timedelta) for each in types):
        return ColumnKind(Kind.DATETIME, _TIMES)
    if all(issubclass(each, numbers.Number) for each in types):
        return ColumnKind(Kind.NUMERIC)
    nested = [each for each in types if issubclass(each, list | tuple | dict | set | bytes | np.ndarray)]
    if nested:
        return ColumnKind(Kind.OTHER, f"holds values of type {nested[0].__name__}")
    if any(issubclass(each, numbers.Number) for each in types):
        raise _mixed(values, values.map(lambda value: isinstance(value, numbers.Number)))
    return _text_kind(values.astype(str), max_categories)


def _text_kind(texts: pd.Series, max_categories: int) -> ColumnKind:
    import pandas as pd

    counts = texts.value_counts()
    distinct = counts.index.to_series()
    if distinct.str.contains(_DATE, regex=True).all():
        return ColumnKind(Kind.DATETIME, _TIMES)
    reads = pd.to_numeric(distinct, errors="coerce").notna().to_numpy()
    share = float(counts.to_numpy()[reads].sum()) / len(texts)
    few = len(counts) <= max_categories and 1 - share >= _FREQUENT_TEXT
    if _MOSTLY_NUMBERS <= share < 1 and not few:
        raise _mixed(texts, texts.isin(distinct[reads]))
    if len(counts) > max(max_categories, _MOSTLY_DISTINCT * len(texts)):
        values = f"text with {len(counts)} different values in {len(texts)} rows"
        return ColumnKind(Kind.TEXT, f"{values} names rows, it does not describe")
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


# What a column is: its kind, and whether it only names, counts or repeats rows instead of describing them.


FEWEST = 30
"""Fewer rows say nothing about identifiers."""


@dataclass(frozen=True, kw_only=True)
class ColumnFacts:
    """Facts about one column.

    Attributes
    ----------
    name : column name.
    kind : what it holds; text in any known format of times is ``DATETIME``.
    distinct : number of distinct values that are not null.
    useless : why the column cannot be a feature (constant, identifier, copy of the clock, mixed types); empty: it can.
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
    >>> import pandas as pd
    >>> facts = inspect_columns(pd.DataFrame({"id": range(40), "x": [1.5, 2.5] * 20}))
    >>> facts["id"].useless, facts["x"].useless
    ('counts rows: 40 whole numbers in 40 rows, each once, without gaps', '')
    """
    facts = {}
    for name in frame.columns:
        kind = ColumnKind(Kind.DATETIME) if str(name) in times else _kind(frame[name], max_categories)
        if kind.kind is Kind.TEXT and whole is not None:
            kind = _kind(whole[name], max_categories)
        facts[str(name)] = _inspect(frame[name], kind, positions)
    return facts


def is_whole(values: np.ndarray) -> bool:
    """Return whether all finite values are whole numbers (an empty array is not)."""
    finite = values[np.isfinite(values)]
    return bool(finite.size) and bool(np.all(finite == np.rint(finite)))


def _inspect(column: pd.Series, kind: ColumnKind, positions: np.ndarray | None) -> ColumnFacts:
    useless, distinct = "", 0 if kind.kind is Kind.OTHER else int(column.nunique())
    if distinct == 1 and not column.isna().any():
        useless = f"constant: every value is {column.iloc[0]!s:.40}"
    elif kind.kind in (Kind.TEXT, Kind.EMPTY, Kind.OTHER):
        useless = kind.reason
    elif kind.kind is Kind.NUMERIC:
        values = column.to_numpy(dtype=float, na_value=np.nan)
        useless = _why_identifier(values, distinct) or _why_clock(values, positions)
    return ColumnFacts(name=str(column.name), kind=kind.kind, distinct=distinct, useless=useless)


def _kind(column: pd.Series, most: int) -> ColumnKind:
    """Return the kind; a column that mixes numbers and text is left out rather than an error of the whole."""
    try:
        return column_kind(column, max_categories=most)
    except DataError:
        return ColumnKind(Kind.OTHER, "mixes numbers and text; clean it to use it")


def _why_identifier(values: np.ndarray, distinct: int) -> str:
    """Return why whole numbers that never repeat name rows: they count them, or spread evenly like drawn keys."""
    filled = values[np.isfinite(values)]
    if len(filled) < FEWEST or distinct < len(filled) or not is_whole(filled):
        return ""
    ordered, each = np.sort(filled), f"{distinct} whole numbers in {len(values)} rows, each once"
    width = ordered[-1] - ordered[0] + 1
    if width <= 1.05 * len(filled):
        return f"counts rows: {each}, without gaps"
    steps = np.diff(filled)
    if np.all(steps > 0) or np.all(steps < 0):
        return f"counts rows: {each}, in the rows' order"
    even = (ordered - ordered[0]) / width
    gap = float(np.max(np.abs(even - np.arange(len(even)) / len(even))))
    # most neighbours differ by one: a counter of which blocks of rows were read
    is_in_blocks = np.mean(np.diff(ordered) == 1) > 0.9
    if gap < 1.95 / np.sqrt(len(even)) or is_in_blocks:
        return f"identifier: {each}, spread like keys"
    return ""


def _why_clock(values: np.ndarray, positions: np.ndarray | None) -> str:
    """Return why a column repeats the clock: it (almost) never turns back while the clock moves on."""
    filled = np.isfinite(values)
    if positions is None or np.sum(filled) < FEWEST:
        return ""
    at, value = positions[filled], values[filled]
    for direction in (1.0, -1.0):
        order = np.lexsort((direction * value, at))
        steps = np.diff(direction * value[order])
        back = np.sum(steps < 0) / max(np.sum(steps != 0), 1)
        if np.any(steps > 0) and (back <= 0.001 or (back <= 0.01 and _agree(at, direction * value))):
            moves = "rises" if direction > 0 else "falls"
            ahead = "so future rows hold values never learned from"
            return f"copy of the clock: it only {moves} with time, {ahead}"
    return ""


def _agree(at: np.ndarray, value: np.ndarray) -> bool:
    """Return whether two columns order the rows (almost) alike."""
    return bool(np.corrcoef(scipy.stats.rankdata(at), scipy.stats.rankdata(value))[0, 1] > 0.99)

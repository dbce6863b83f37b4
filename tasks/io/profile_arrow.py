"""Counting Arrow arrays over a grid, without pandas: numbers by their memory, categories by their codes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from evergreen.tasks.core.arrays import FloatArray, IntArray
from evergreen.tasks.core.errors import DataError
from evergreen.tasks.core.profiles.count import NULL, Scratch, numeric_codes
from evergreen.tasks.core.profiles.grid import ColumnGrid, category_token
from evergreen.tasks.core.profiles.profile import CategoryTally, ColumnProfile, NumericTally


@dataclass(kw_only=True, eq=False)
class NumberCounter:
    """Counts the arrays of one numeric column."""

    name: str
    tally: NumericTally

    def add(self, array: Any, groups: IntArray | None) -> None:
        """Count an array, shape (n,); ``groups`` are the outcome's, of the same rows."""
        if groups is None and array.null_count:
            values = _numbers(array.drop_null(), self.name)
            self.tally.add(values, nulls=len(array) - len(values))
        else:
            self.tally.add(_with_nan(array, self.name), groups=groups)

    def codes(self, array: Any) -> IntArray:
        """Return the bin of each value, shape (n,)."""
        return numeric_codes(_with_nan(array, self.name), self.tally.grid.edge_table(len(array)))

    def profile(self) -> ColumnProfile:
        """Return what was counted so far."""
        return self.tally.profile()


@dataclass(kw_only=True, eq=False)
class CategoryCounter:
    """Counts the arrays of one categorical column; the bins of a dictionary are looked up once."""

    name: str
    tally: CategoryTally
    _dictionary: Any = None
    _bins: IntArray = field(default_factory=lambda: np.array([NULL], dtype=np.int64))

    def add(self, array: Any, groups: IntArray | None) -> None:
        """Count an array, shape (n,); ``groups`` are the outcome's, of the same rows."""
        if groups is not None:
            self.tally.add_codes(self.codes(array), groups)
            return
        places, bins = self._places(array)
        rows = np.bincount(places, minlength=len(bins))
        known = bins != NULL
        counts = np.zeros(self.tally.grid.bins, dtype=np.int64)
        np.add.at(counts, bins[known], rows[known])
        self.tally.add_counts(counts, nulls=int(rows[~known].sum()))

    def codes(self, array: Any) -> IntArray:
        """Return the bin of each value, shape (n,)."""
        places, bins = self._places(array)
        return bins[places]

    def profile(self) -> ColumnProfile:
        """Return what was counted so far."""
        return self.tally.profile()

    def _places(self, array: Any) -> tuple[IntArray, IntArray]:
        """Return where each value stands in the dictionary, and the dictionary's bins; null stands behind its last."""
        coded = array if pa.types.is_dictionary(array.type) else _encode(array, self.name)
        if self._dictionary is None or not coded.dictionary.equals(self._dictionary):
            self._dictionary = coded.dictionary
            self._bins = np.append(_category_bins(coded.dictionary, self.tally.grid), NULL)
        places = coded.indices
        if not places.null_count:
            return np.from_dlpack(places).astype(np.int64, copy=False), self._bins
        filled = np.full(len(places), len(coded.dictionary), dtype=np.int64)
        filled[_valid(places)] = np.from_dlpack(places.drop_null())
        return filled, self._bins


Counter = NumberCounter | CategoryCounter


def make_counter(name: str, grid: ColumnGrid, outcome: ColumnGrid | None, scratch: Scratch) -> Counter:
    """Return what counts a column's arrays; with the outcome's grid also jointly with it."""
    if grid.kind == "numeric":
        return NumberCounter(name=name, tally=NumericTally(grid=grid, outcome=outcome, scratch=scratch))
    return CategoryCounter(name=name, tally=CategoryTally(grid=grid, outcome=outcome))


def _category_bins(dictionary: Any, grid: ColumnGrid) -> IntArray:
    values = _values(dictionary)
    present = [not (value is None or (isinstance(value, float) and math.isnan(value))) for value in values]
    names = [
        category_token(value, hashed=grid.hashed)
        for value, is_there in zip(values, present, strict=True)
        if is_there
    ]
    bins = np.full(len(values), NULL, dtype=np.int64)
    bins[np.array(present, dtype=np.bool_)] = grid.token_codes(names)
    return bins


def _values(dictionary: Any) -> Sequence[Any]:
    """Return the values as Python objects; times in pandas' spelling, which is how they are counted elsewhere."""
    kind = dictionary.type
    if not pa.types.is_temporal(kind) or pa.types.is_date(kind):
        return list(dictionary.to_pylist())
    times = dictionary.to_pandas().astype(object).tolist()
    return [
        time if valid else None for time, valid in zip(times, dictionary.is_valid().to_pylist(), strict=True)
    ]


def _encode(array: Any, name: str) -> Any:
    try:
        return array.dictionary_encode()
    except pa.ArrowNotImplementedError:
        raise DataError(
            f"Column '{name}' holds values of type {array.type}, which cannot be counted as categories. Exclude it."
        ) from None


def _with_nan(array: Any, name: str) -> FloatArray:
    """Return the values as floats, shape (n,); null is NaN."""
    if not array.null_count:
        return _numbers(array, name)
    values = np.full(len(array), np.nan)
    values[_valid(array)] = _numbers(array.drop_null(), name)
    return values


def _valid(array: Any) -> npt.NDArray[np.bool_]:
    return np.from_dlpack(array.is_valid().cast(pa.uint8())).astype(np.bool_)


def _numbers(array: Any, name: str) -> FloatArray:
    """Return an array without nulls as floats, shape (n,)."""
    kind = array.type
    if pa.types.is_dictionary(kind):
        return _numbers(array.dictionary_decode(), name)
    if pa.types.is_boolean(kind):
        array = array.cast(pa.uint8())
    elif pa.types.is_decimal(kind) or pa.types.is_string(kind) or pa.types.is_large_string(kind):
        array = _parsed(array, name)
    elif pa.types.is_null(kind):
        return np.zeros(0)
    elif not (pa.types.is_integer(kind) or pa.types.is_floating(kind)):
        raise DataError(
            f"Column '{name}' should hold numbers but is of type {kind}. Correct the data, or list it as categorical."
        )
    return np.from_dlpack(array).astype(np.float64, copy=False)


def _parsed(array: Any, name: str) -> Any:
    try:
        return array.cast(pa.string()).cast(pa.float64())  # by way of text decimals are rounded correctly
    except pa.ArrowInvalid as error:
        raise DataError(
            f"Column '{name}' should hold numbers and does not: {str(error).splitlines()[0]}. "
            "Correct the data, or list the column as categorical."
        ) from None

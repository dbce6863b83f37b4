"""Profiles: counts of rows over a model's grid; small, free of raw rows, mergeable by addition."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from evergreen.tasks.core.arrays import FloatArray, IntArray
from evergreen.tasks.core.errors import InputError
from evergreen.tasks.core.profiles.count import BLOCK, NULL, Moments, Scratch, block_moments, numeric_codes
from evergreen.tasks.core.profiles.grid import ColumnGrid, Grid, column_numbers
from evergreen.tasks.core.serial import Struct, null_as

if TYPE_CHECKING:
    import pandas as pd


# The profile of one column: counts and moments that add up.


_EMPTY: dict[str, Any] = {
    **dict.fromkeys(("n", "nulls", "plus_inf", "minus_inf"), 0),
    **dict.fromkeys(("minimum", "maximum"), None),
    **dict.fromkeys(("mean", "squares"), 0.0),
    "joint": [],
}
"""What is left out of the form that a window's profile is stored in."""


@dataclass(frozen=True, kw_only=True)
class ColumnProfile(Struct):
    """Counts of one column."""

    n: int
    nulls: int
    counts: tuple[int, ...] = field(metadata={"write": list, "read": tuple})
    """By bin of the grid; categorical: the categories, then *other*, then *unseen*."""
    plus_inf: int = 0
    minus_inf: int = 0
    """``n``, ``nulls``, ``plus_inf``, ``minus_inf``: rows; of these null and infinite ones, which are in no bin."""
    minimum: float | None = None
    maximum: float | None = None
    """``minimum``, ``maximum``: of the finite values; None without any (and for categories)."""
    mean: float = 0.0
    squares: float = field(default=0.0, metadata=null_as(math.inf))
    """``mean``, ``squares``: mean of the finite values, and sum of squared deviations from it; infinite beyond the
    largest float."""
    joint: tuple[tuple[int, ...], ...] = ()
    """Coarse group (the last: missing) by coarse outcome (the last: missing); empty without an outcome."""

    @property
    def finite(self) -> int:
        """Rows that are in a bin."""
        return self.n - self.nulls - self.plus_inf - self.minus_inf

    @property
    def variance(self) -> float:
        """Sample variance of the finite values; NaN below two of them."""
        return self.squares / (self.finite - 1) if self.finite > 1 else float("nan")

    @cached_property
    def counts_array(self) -> IntArray:
        """Counts by bin, int64, shape (bins,); read-only; null and infinite rows are not among them."""
        counts = np.array(self.counts, dtype=np.int64)
        counts.flags.writeable = False
        return counts

    @cached_property
    def cells_array(self) -> IntArray:
        """Counts by bin, then -inf, +inf and null, int64, shape (bins + 3,); read-only; they sum to n."""
        cells = np.append(self.counts_array, [self.minus_inf, self.plus_inf, self.nulls])
        cells.flags.writeable = False
        return cells

    def __add__(self, other: ColumnProfile) -> ColumnProfile:
        """Return the profile of both sets of rows."""
        return add_columns([self, other])

    def to_window_dict(self) -> dict[str, Any]:
        """Return a short JSON form: nothing that is zero, and only filled bins where most are empty."""
        full = self.to_dict()
        short = {name: full[name] for name, empty in _EMPTY.items() if full[name] != empty}
        filled = np.flatnonzero(self.counts_array)
        if 2 * len(filled) >= len(self.counts):
            return {**short, "all": list(self.counts)}
        return {**short, "at": filled.tolist(), "of": self.counts_array[filled].tolist()}

    @classmethod
    def from_window_dict(cls, plain: dict[str, Any], *, bins: int) -> ColumnProfile:
        """Return the profile written by ``to_window_dict``, of a grid column with ``bins`` bins."""
        counts = np.zeros(bins, dtype=np.int64)
        counts[plain.get("at", slice(None))] = plain["all"] if "all" in plain else plain["of"]
        return cls.from_dict({**_EMPTY, **plain, "counts": counts.tolist()})


def add_columns(parts: Sequence[ColumnProfile]) -> ColumnProfile:
    """Return the profile of all rows of some parts, at least one: counts exactly, moments but for rounding.

    Raises
    ------
    InputError
        When the parts were counted over different bins, or some with and some without an outcome.
    """
    shapes = {(len(part.counts), np.shape(part.joint)) for part in parts}
    if len(shapes) > 1:
        raise InputError(
            f"Columns of different bins or joint tables ({sorted(map(str, shapes))}) cannot be added. "
            "Measure both over one grid, with or without the outcome."
        )
    moments = sum((_moments(part) for part in parts), start=Moments())
    total = np.sum([part.cells_array for part in parts], axis=0).tolist()
    joint = np.sum([part.joint for part in parts], axis=0).tolist() if parts[0].joint else []
    return ColumnProfile(
        n=sum(part.n for part in parts),
        nulls=total[-1],
        plus_inf=total[-2],
        minus_inf=total[-3],
        counts=tuple(total[:-3]),
        joint=tuple(map(tuple, joint)),
        **moments.of_values,
    )


def _moments(part: ColumnProfile) -> Moments:
    if part.minimum is None:
        return Moments()
    values = {name: getattr(part, name) for name in Moments().of_values}
    return Moments(n=part.finite, **values)


# Running counts of columns over their grids, as rows come in, part by part.


@dataclass(kw_only=True, eq=False)
class _Tally:
    """Counts of rows of either kind of column and, given the outcome's grid, the joint table with it."""

    grid: ColumnGrid
    outcome: ColumnGrid | None = None
    n: int = 0
    nulls: int = 0
    counts: IntArray = field(init=False)
    joint: IntArray | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        self.counts = np.zeros(self.grid.bins, dtype=np.int64)
        if self.outcome is not None:
            self.joint = np.zeros((len(self.grid.cuts) + 1, len(self.outcome.cuts) + 1), dtype=np.int64)

    def add_codes(self, codes: IntArray, groups: IntArray | None = None) -> None:
        """Count bins, shape (n,), negative for rows in no bin; ``groups`` as in `NumericTally.add`."""
        self.n += len(codes)
        self.nulls += int(np.count_nonzero(codes == NULL))
        self.counts += np.bincount(codes[codes >= 0], minlength=self.grid.bins)
        if self.joint is not None and groups is not None:
            cells = self.grid.coarse[codes] * self.joint.shape[1] + groups
            self.joint += np.bincount(cells, minlength=self.joint.size).reshape(self.joint.shape)

    def profile(self, **more: Any) -> ColumnProfile:
        """Return what was counted so far."""
        joint = () if self.joint is None else tuple(map(tuple, self.joint.tolist()))
        counts = tuple(self.counts.tolist())
        return ColumnProfile(n=self.n, nulls=self.nulls, counts=counts, joint=joint, **more)


@dataclass(kw_only=True, eq=False)
class NumericTally(_Tally):
    """Running counts and moments of one numeric column."""

    plus_inf: int = 0
    minus_inf: int = 0
    moments: Moments = field(default_factory=Moments)
    scratch: Scratch | None = None
    """Memory for ``BLOCK`` rows; columns that are counted in turn may share it."""

    def add(self, values: FloatArray, *, nulls: int = 0, groups: IntArray | None = None) -> None:
        """Count more rows.

        Parameters
        ----------
        values : array of float64, shape (n,)
            NaN is null.
        nulls : int
            Null rows that are not among the values.
        groups : array of int, shape (n,)
            Coarse group of the same rows' outcome; needed where the outcome's grid was given.
        """
        self.n += nulls
        self.nulls += nulls
        for start in range(0, len(values), BLOCK):
            block = slice(start, start + BLOCK)
            self._add(values[block], None if groups is None else groups[block])

    def profile(self, **more: Any) -> ColumnProfile:
        """Return what was counted so far."""
        infinite = {"plus_inf": self.plus_inf, "minus_inf": self.minus_inf}
        return super().profile(**infinite, **self.moments.of_values, **more)

    def _add(self, values: FloatArray, groups: IntArray | None) -> None:
        finite, low, high = values, float(values.min()), float(values.max())
        if not (np.isfinite(low) and np.isfinite(high)):
            finite = values[np.isfinite(values)]
            low, high = float(finite.min(initial=np.inf)), float(finite.max(initial=-np.inf))
            self.plus_inf += int(np.isposinf(values).sum())
            self.minus_inf += int(np.isneginf(values).sum())
        if len(finite):
            self.moments += block_moments(finite, low=low, high=high, scratch=self.scratch)
        table = self.grid.edge_table(len(values))
        if groups is not None:
            self.add_codes(numeric_codes(values, table), groups)
            return
        self.n += len(values)
        self.nulls += int(np.isnan(values).sum()) if len(finite) < len(values) else 0
        self.counts += table.count(finite, scratch=self.scratch)


@dataclass(kw_only=True, eq=False)
class CategoryTally(_Tally):
    """Running counts of one categorical column."""

    def add_counts(self, by_bin: IntArray, *, nulls: int) -> None:
        """Count more rows, given as the number of rows in each bin, shape (bins,)."""
        self.n += int(by_bin.sum()) + nulls
        self.nulls += nulls
        self.counts += by_bin


VERSION = 1


@dataclass(frozen=True, kw_only=True)
class Profile(Struct):
    """Profiles of the columns of some rows, over one grid."""

    also: ClassVar = ("grid_id",)
    grid: Grid
    """The grid it was counted over."""
    columns: dict[str, ColumnProfile] = field(default_factory=dict)
    """By column; all of the grid's, unless fewer were asked for."""
    version: int = VERSION
    """Of the format."""

    def __add__(self, other: Profile) -> Profile:
        """Return the profile of both sets of rows (see `add_profiles`)."""
        return add_profiles([self, other])

    @property
    def grid_id(self) -> str:
        """Short hash of the grid's content."""
        return self.grid.id

    def to_window_dict(self) -> dict[str, Any]:
        """Return the short JSON form of a window's profile: the grid is only named."""
        columns = {name: column.to_window_dict() for name, column in self.columns.items()}
        return {"version": self.version, "grid_id": self.grid.id, "columns": columns}

    @classmethod
    def from_window_dict(cls, plain: dict[str, Any], grid: Grid) -> Profile:
        """Return the profile written by ``to_window_dict``.

        Raises
        ------
        InputError
            When ``grid`` is not the one it was counted over.
        """
        require_same_grid(plain["grid_id"], grid.id)
        columns = {
            name: ColumnProfile.from_window_dict(values, bins=grid.columns[name].bins)
            for name, values in plain["columns"].items()
        }
        return cls(grid=grid, columns=columns, version=plain["version"])


def add_profiles(parts: Sequence[Profile]) -> Profile:
    """Return the profile of all rows of some parts, at least one; hours become days so.

    Counts, nulls, least and greatest values are exact; mean and squares but for rounding (1e-9).

    Raises
    ------
    InputError
        When the grids or the columns differ: counts over different edges cannot be added.
    """
    first = parts[0]
    for part in parts[1:]:
        require_same_grid(first.grid.id, part.grid.id)
        if part.columns.keys() != first.columns.keys():
            differ = ", ".join(sorted(part.columns.keys() ^ first.columns.keys()))
            raise InputError(
                f"Profiles of different columns ({differ}) cannot be added. Measure the same columns of both."
            )
    columns = {name: add_columns([part.columns[name] for part in parts]) for name in first.columns}
    return Profile(grid=first.grid, columns=columns)


def measure_profile(frame: pd.DataFrame, grid: Grid, *, columns: Sequence[str] | None = None) -> Profile:
    """Count rows over a grid.

    Parameters
    ----------
    frame : DataFrame, shape (n, p)
        Must hold the columns to count.
    grid : Grid
        What to count over.
    columns : sequence of str, optional
        Columns to count; by default all of the grid's. Without the outcome none is counted jointly with it.

    Raises
    ------
    DataError
        When a numeric column holds what is no number.
    """
    names = list(grid.columns) if columns is None else list(columns)
    outcome = grid.columns[grid.outcome] if grid.outcome is not None and grid.outcome in names else None
    groups = outcome.coarse[outcome.codes(frame[grid.outcome])] if outcome else None
    counted = {name: _measure(frame[name], grid.columns[name], outcome, groups) for name in names}
    return Profile(grid=grid, columns=counted)


def _measure(
    column: pd.Series, grid: ColumnGrid, outcome: ColumnGrid | None, groups: IntArray | None
) -> ColumnProfile:
    if grid.kind == "categorical":
        categories = CategoryTally(grid=grid, outcome=outcome)
        categories.add_codes(grid.codes(column), groups)
        return categories.profile()
    numbers = NumericTally(grid=grid, outcome=outcome)
    numbers.add(column_numbers(column), groups=groups)
    return numbers.profile()


def require_same_grid(one: str, other: str) -> None:
    """Check that two profiles were counted over one grid, given by its id; ``InputError`` where they were not."""
    if one != other:
        raise InputError(
            f"Profiles over different grids ({one}, {other}) cannot be added or compared. Measure both over one grid."
        )

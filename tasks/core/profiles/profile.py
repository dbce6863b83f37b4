"""Profiles: counts of rows over a model's grid; small, free of raw rows, mergeable by addition."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tasks.core.errors import InputError
from tasks.core.metrics.scored import IntArray
from tasks.core.profiles.column_profile import ColumnProfile, add_columns
from tasks.core.profiles.count_columns import CategoryTally, NumericTally
from tasks.core.profiles.grid import ColumnGrid, Grid, column_numbers

if TYPE_CHECKING:
    import pandas as pd

VERSION = 1


@dataclass(frozen=True, kw_only=True)
class Profile:
    """Profiles of the columns of some rows, over one grid.

    Attributes
    ----------
    grid : Grid
        What was counted over.
    columns : dict of str to ColumnProfile
        By column; all of the grid's, unless fewer were asked for.
    version : int
        Of the format.
    """

    grid: Grid
    columns: dict[str, ColumnProfile] = field(default_factory=dict)
    version: int = VERSION

    def __add__(self, other: Profile) -> Profile:
        """Return the profile of both sets of rows (see `add_profiles`)."""
        return add_profiles([self, other])

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form, grid included."""
        columns = {name: column.to_dict() for name, column in self.columns.items()}
        return {
            "version": self.version,
            "grid_id": self.grid.id,
            "grid": self.grid.to_dict(),
            "columns": columns,
        }

    @classmethod
    def from_dict(cls, plain: dict[str, Any]) -> Profile:
        """Return the profile written by ``to_dict``."""
        columns = {name: ColumnProfile.from_dict(values) for name, values in plain["columns"].items()}
        return cls(grid=Grid.from_dict(plain["grid"]), columns=columns, version=plain["version"])

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
        if plain["grid_id"] != grid.id:
            raise _other_grid(plain["grid_id"], grid.id)
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
        if part.grid.id != first.grid.id:
            raise _other_grid(first.grid.id, part.grid.id)
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


def coarse_codes(codes: IntArray, grid: ColumnGrid) -> IntArray:
    """Return the coarse group of each fine code; missing and infinite values are the last group."""
    return grid.coarse[codes]


def _measure(
    column: pd.Series, grid: ColumnGrid, outcome: ColumnGrid | None, groups: IntArray | None
) -> ColumnProfile:
    if grid.kind == "numeric":
        numbers = NumericTally(grid=grid, outcome=outcome)
        numbers.add(column_numbers(column), groups=groups)
        return numbers.profile()
    categories = CategoryTally(grid=grid, outcome=outcome)
    categories.add_codes(grid.codes(column), groups)
    return categories.profile()


def _other_grid(one: str, other: str) -> InputError:
    return InputError(
        f"Profiles over different grids ({one}, {other}) cannot be added or compared. Measure both over one grid."
    )

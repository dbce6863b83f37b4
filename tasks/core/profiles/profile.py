"""Profiles: counts of rows over a model's grid; small, free of raw rows, mergeable by addition."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from tasks.core.errors import InputError
from tasks.core.metrics.scored import FloatArray, IntArray
from tasks.core.profiles.grid import ColumnGrid, Grid

VERSION = 1


@dataclass(frozen=True, kw_only=True)
class ColumnProfile:
    """Counts of one column.

    Attributes
    ----------
    n, nulls, plus_inf, minus_inf : int
        Rows; of these null and infinite ones, which are in no bin.
    counts : tuple of int
        By bin of the grid; categorical: the categories, then *other*, then *unseen*.
    minimum, maximum : float | None
        Of the finite values; None without any (and for categories).
    mean, squares : float
        Mean, and sum of squared deviations from it, of the finite values.
    joint : tuple of tuple of int
        Coarse group (the last: missing) by coarse outcome (the last: missing); empty without an outcome.
    """

    n: int
    nulls: int
    counts: tuple[int, ...]
    plus_inf: int = 0
    minus_inf: int = 0
    minimum: float | None = None
    maximum: float | None = None
    mean: float = 0.0
    squares: float = 0.0
    joint: tuple[tuple[int, ...], ...] = ()

    @property
    def finite(self) -> int:
        """Rows that are in a bin."""
        return self.n - self.nulls - self.plus_inf - self.minus_inf

    @property
    def variance(self) -> float:
        """Sample variance of the finite values; NaN below two of them."""
        return self.squares / (self.finite - 1) if self.finite > 1 else float("nan")

    def __add__(self, other: ColumnProfile) -> ColumnProfile:
        """Return the profile of both sets of rows (moments by Chan, Golub and LeVeque 1979)."""
        both = self.finite + other.finite
        shift = other.mean - self.mean
        joint = np.asarray(self.joint) + np.asarray(other.joint)
        return ColumnProfile(
            n=self.n + other.n,
            nulls=self.nulls + other.nulls,
            plus_inf=self.plus_inf + other.plus_inf,
            minus_inf=self.minus_inf + other.minus_inf,
            counts=tuple(a + b for a, b in zip(self.counts, other.counts, strict=True)),
            minimum=_least([self.minimum, other.minimum]),
            maximum=_negative(_least([_negative(self.maximum), _negative(other.maximum)])),
            mean=self.mean + shift * other.finite / both if both else 0.0,
            squares=self.squares
            + other.squares
            + (shift * shift * self.finite * other.finite / both if both else 0.0),
            joint=tuple(tuple(row) for row in joint.tolist()),
        )


@dataclass(frozen=True, kw_only=True)
class Profile:
    """Profiles of the columns of some rows, over one grid.

    Attributes
    ----------
    grid : Grid
        What was counted over.
    columns : dict of str to ColumnProfile
        By column.
    version : int
        Of the format.
    """

    grid: Grid
    columns: dict[str, ColumnProfile] = field(default_factory=dict)
    version: int = VERSION

    def __add__(self, other: Profile) -> Profile:
        """Return the profile of both sets of rows.

        Raises
        ------
        InputError
            When the grids differ: counts over different edges cannot be added.
        """
        if self.grid.id != other.grid.id or set(self.columns) != set(other.columns):
            raise InputError(
                f"Profiles over different grids ({self.grid.id}, {other.grid.id}) cannot be added. "
                "Measure both over one grid."
            )
        return Profile(
            grid=self.grid, columns={name: mine + other.columns[name] for name, mine in self.columns.items()}
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form, grid included."""
        columns = {name: _plain(column) for name, column in self.columns.items()}
        return {
            "version": self.version,
            "grid_id": self.grid.id,
            "grid": self.grid.to_dict(),
            "columns": columns,
        }

    @classmethod
    def from_dict(cls, plain: dict[str, Any]) -> Profile:
        """Return the profile written by ``to_dict``."""
        columns = {name: _column(values) for name, values in plain["columns"].items()}
        return cls(grid=Grid.from_dict(plain["grid"]), columns=columns, version=plain["version"])


def measure_profile(frame: pd.DataFrame, grid: Grid) -> Profile:
    """Count rows over a grid.

    Parameters
    ----------
    frame : DataFrame, shape (n, p)
        Must hold the grid's columns.
    grid : Grid
        What to count over.
    """
    outcome = grid.columns[grid.outcome] if grid.outcome else None
    by = (outcome, outcome.codes(frame[grid.outcome])) if outcome else None
    columns = {name: _measure(frame[name], column, by) for name, column in grid.columns.items()}
    return Profile(grid=grid, columns=columns)


def coarse_codes(codes: IntArray, grid: ColumnGrid) -> IntArray:
    """Return the coarse group of each fine code; missing and infinite values are the last group."""
    groups = np.searchsorted(np.asarray(grid.cuts), codes, side="right") - 1
    return np.where(codes >= 0, groups, len(grid.cuts))


def _measure(column: pd.Series, grid: ColumnGrid, by: tuple[ColumnGrid, IntArray] | None) -> ColumnProfile:
    codes = grid.codes(column)
    counts = np.bincount(codes[codes >= 0], minlength=grid.bins)
    least, greatest, mean, squares = (
        _moments(column, codes) if grid.kind == "numeric" else (None, None, 0.0, 0.0)
    )
    return ColumnProfile(
        n=len(codes),
        nulls=int((codes == -1).sum()),
        plus_inf=int((codes == -2).sum()),
        minus_inf=int((codes == -3).sum()),
        counts=tuple(counts.tolist()),
        minimum=least,
        maximum=greatest,
        mean=mean,
        squares=squares,
        joint=_joint(codes, grid, *by) if by else (),
    )


def _moments(column: pd.Series, codes: IntArray) -> tuple[float | None, float | None, float, float]:
    values: FloatArray = column.to_numpy(dtype=np.float64, na_value=np.nan)[codes >= 0]
    if not len(values):
        return None, None, 0.0, 0.0
    mean = float(values.mean())
    return float(values.min()), float(values.max()), mean, float(np.square(values - mean).sum())


def _joint(
    codes: IntArray, grid: ColumnGrid, outcome: ColumnGrid, outcome_codes: IntArray
) -> tuple[tuple[int, ...], ...]:
    rows, columns = len(grid.cuts) + 1, len(outcome.cuts) + 1
    cell = coarse_codes(codes, grid) * columns + coarse_codes(outcome_codes, outcome)
    table = np.bincount(cell, minlength=rows * columns).reshape(rows, columns)
    return tuple(tuple(row) for row in table.tolist())


def _plain(column: ColumnProfile) -> dict[str, Any]:
    return {
        **vars(column),
        "counts": list(column.counts),
        "joint": [list(row) for row in column.joint],
    }


def _column(plain: dict[str, Any]) -> ColumnProfile:
    joint = tuple(tuple(row) for row in plain["joint"])
    return ColumnProfile(**{**plain, "counts": tuple(plain["counts"]), "joint": joint})


def _least(values: list[float | None]) -> float | None:
    return min((value for value in values if value is not None), default=None)


def _negative(value: float | None) -> float | None:
    return None if value is None else -value

"""The profile of one column: counts and moments that add up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any

import numpy as np

from tasks.core.errors import InputError
from tasks.core.metrics.scored import IntArray
from tasks.core.profiles.moments import Moments

_EMPTY: dict[str, Any] = {
    "n": 0, "nulls": 0, "plus_inf": 0, "minus_inf": 0, "minimum": None, "maximum": None,
    "mean": 0.0, "squares": 0.0, "joint": [],
}  # fmt: skip
"""What is left out of the form that a window's profile is kept in."""


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
        Mean, and sum of squared deviations from it, of the finite values; infinite beyond the largest float.
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

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form."""
        plain = {name: getattr(self, name) for name in _FIELDS}
        squares = self.squares if np.isfinite(self.squares) else None  # JSON knows no infinity
        joint = [list(row) for row in self.joint]
        return {**plain, "counts": list(self.counts), "squares": squares, "joint": joint}

    @classmethod
    def from_dict(cls, plain: dict[str, Any]) -> ColumnProfile:
        """Return the profile written by ``to_dict``."""
        joint = tuple(tuple(row) for row in plain["joint"])
        squares = float("inf") if plain["squares"] is None else plain["squares"]
        return cls(**{**plain, "counts": tuple(plain["counts"]), "squares": squares, "joint": joint})

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
        found = {name: plain[name] for name in _EMPTY if name in plain}
        return cls.from_dict({**_EMPTY, **found, "counts": counts.tolist()})


_FIELDS = tuple(each.name for each in fields(ColumnProfile))


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
        minimum=moments.minimum,
        maximum=moments.maximum,
        mean=moments.mean,
        squares=moments.squares,
        joint=tuple(tuple(row) for row in joint),
    )


def _moments(part: ColumnProfile) -> Moments:
    if part.minimum is None:
        return Moments()
    return Moments(
        n=part.finite, minimum=part.minimum, maximum=part.maximum, mean=part.mean, squares=part.squares
    )

"""Running counts of columns over their grids, as rows come in, part by part."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from tasks.core.metrics.scored import FloatArray, IntArray
from tasks.core.profiles.column_profile import ColumnProfile
from tasks.core.profiles.count import BLOCK, NULL, numeric_codes
from tasks.core.profiles.count_cells import Scratch
from tasks.core.profiles.grid import ColumnGrid
from tasks.core.profiles.moments import Moments, block_moments


@dataclass(kw_only=True, eq=False)
class _Tally:
    """What both kinds of columns have: counts of rows and, given the outcome's grid, the joint table with it."""

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

    def _joint(self) -> tuple[tuple[int, ...], ...]:
        return () if self.joint is None else tuple(tuple(row) for row in self.joint.tolist())


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

    def profile(self) -> ColumnProfile:
        """Return what was counted so far."""
        moments = self.moments
        return ColumnProfile(
            n=self.n,
            nulls=self.nulls,
            counts=tuple(self.counts.tolist()),
            plus_inf=self.plus_inf,
            minus_inf=self.minus_inf,
            minimum=moments.minimum,
            maximum=moments.maximum,
            mean=moments.mean,
            squares=moments.squares,
            joint=self._joint(),
        )

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

    def profile(self) -> ColumnProfile:
        """Return what was counted so far."""
        return ColumnProfile(
            n=self.n, nulls=self.nulls, counts=tuple(self.counts.tolist()), joint=self._joint()
        )

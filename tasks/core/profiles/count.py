"""Counting numbers over ascending edges: as exact as binary search, many times as fast."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import numpy.typing as npt

from tasks.core.metrics.scored import FloatArray, IntArray
from tasks.core.profiles.count_cells import TOP, BitCells, Cells, LinearCells, Scratch

BLOCK = 65_536
"""Rows counted at a time, so that what is worked on stays in the cache."""

TABLE_PAYS = 4096
"""Rows from which on making a table costs less than searching."""

NULL, PLUS_INF, MINUS_INF = -1, -2, -3
"""Codes of rows that are in no bin."""


@dataclass(frozen=True, kw_only=True, eq=False)
class EdgeTable:
    """A table that tells the bin of most values at once.

    Values fall into 65,536 cells (`tasks.core.profiles.count_cells`) by operations that never decrease when the
    value grows, also after rounding. So a cell in which no edge lies belongs to one bin; a value in one of the
    others is compared with the cell's edges, or looked for by binary search where they are more than two. The bins
    are those of ``np.searchsorted(edges, values, side="right")``, whatever the edges.

    Attributes
    ----------
    edges : array, shape (bins - 1,)
        Ascending.
    cells : LinearCells | BitCells | None
        Tells a value's cell; None: there is no table, all is binary search.
    table : array of uint16, shape (65536,)
        By cell: its bin, or the number of bins plus that of the doubtful cell.
    base : array, shape (doubtful cells,)
        Bin of what lies below the cell's first edge.
    first, second : array, shape (doubtful cells,)
        The cell's edges; infinite where there is no second.
    crowded : array of bool, shape (doubtful cells,)
        Whether the cell holds more than two edges.
    """

    edges: FloatArray
    cells: Cells | None = None
    table: npt.NDArray[np.uint16] = field(default_factory=lambda: np.zeros(0, dtype=np.uint16))
    base: IntArray = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    first: FloatArray = field(default_factory=lambda: np.zeros(0))
    second: FloatArray = field(default_factory=lambda: np.zeros(0))
    crowded: npt.NDArray[np.bool_] = field(default_factory=lambda: np.zeros(0, dtype=np.bool_))

    @property
    def bins(self) -> int:
        """Number of bins."""
        return len(self.edges) + 1

    def count(self, values: FloatArray, *, scratch: Scratch | None = None) -> IntArray:
        """Return the number of values in each bin, shape (bins,).

        Parameters
        ----------
        values : array, shape (n,)
            Finite.
        scratch : Scratch, optional
            Memory for ``BLOCK`` rows, to be used again.
        """
        scratch = scratch or Scratch(min(len(values), BLOCK))
        total = np.zeros(self.bins, dtype=np.int64)
        for block in blocks(values):
            total += self._count(block, scratch)
        return total

    def codes(self, values: FloatArray) -> IntArray:
        """Return the bin of each value, shape (n,); the values must be finite."""
        found = np.empty(len(values), dtype=np.int64)
        for start in range(0, len(values), BLOCK):
            block = slice(start, start + BLOCK)
            found[block] = self._codes(values[block])
        return found

    def _codes(self, values: FloatArray) -> IntArray:
        if self.cells is None:
            return np.searchsorted(self.edges, values, side="right")
        codes = self._look_up(values, self.cells, Scratch(len(values)))
        doubtful = np.flatnonzero(codes >= self.bins)
        codes[doubtful] = self._resolve(values[doubtful], codes[doubtful] - self.bins)
        return codes

    def _count(self, values: FloatArray, scratch: Scratch) -> IntArray:
        if self.cells is None:
            return np.bincount(np.searchsorted(self.edges, values, side="right"), minlength=self.bins)
        codes = self._look_up(values, self.cells, scratch)
        counts = np.bincount(codes, minlength=self.bins)
        certain, by_cell = counts[: self.bins], counts[self.bins :]
        if len(by_cell):
            others = self._unequal(values, codes, scratch, many=3 * int(by_cell.sum()) > len(values))
            cells = codes[others] - self.bins
            certain[self.base[: len(by_cell)] + 1] += by_cell - np.bincount(cells, minlength=len(by_cell))
            certain += np.bincount(self._resolve(values[others], cells), minlength=self.bins)
        return certain

    def _unequal(self, values: FloatArray, codes: IntArray, scratch: Scratch, *, many: bool) -> IntArray:
        """Return the rows in doubtful cells whose value is not the cell's first edge, which is most of an atom's."""
        if not many:
            doubtful = np.flatnonzero(codes >= self.bins)
            return doubtful[values[doubtful] != self.first[codes[doubtful] - self.bins]]
        firsts = np.take(self._first_of_code, codes, out=scratch.spare[: len(codes)], mode="clip")
        return np.flatnonzero((values != firsts) & (codes >= self.bins))

    @cached_property
    def _first_of_code(self) -> FloatArray:
        return np.concatenate([np.zeros(self.bins), self.first])

    def _look_up(self, values: FloatArray, cells: Cells, scratch: Scratch) -> IntArray:
        cells_of_rows, codes = cells.of(values, scratch), scratch.whole[: len(values)]
        small = np.take(self.table, cells_of_rows, out=scratch.small[: len(values)], mode="clip")
        np.copyto(codes, small)  # in place of the cells: whole numbers are counted without a copy
        return codes

    def _resolve(self, values: FloatArray, cells: IntArray) -> IntArray:
        """Return the bins of values in doubtful cells, given by number."""
        bins = self.base[cells]
        bins += values >= self.first[cells]
        bins += values >= self.second[cells]
        if self.crowded.any():
            crowded = np.flatnonzero(self.crowded[cells])
            bins[crowded] = np.searchsorted(self.edges, values[crowded], side="right")
        return bins


def edge_table(edges: FloatArray) -> EdgeTable:
    """Prepare counting over edges.

    Parameters
    ----------
    edges : array, shape (k,)
        Ascending and finite; bin 0 lies below the first, bin i is ``[edges[i-1], edges[i])``.

    Examples
    --------
    >>> edge_table(np.array([0.0, 1.0])).count(np.array([-1.0, 0.0, 0.5, 1.0])).tolist()
    [1, 2, 1]
    """
    if not 2 <= len(edges) <= TOP // 2:
        return EdgeTable(edges=edges)
    low, high = float(edges[0]), float(edges[-1])
    linear, by_bits = LinearCells.between(low, high), BitCells.between(low, high)
    better = linear is None or _crowding(edges, by_bits) < _crowding(edges, linear)
    return _make_table(edges, by_bits if better or linear is None else linear)


def numeric_codes(values: FloatArray, table: EdgeTable) -> IntArray:
    """Return the bin of each value, shape (n,); ``NULL``, ``PLUS_INF`` or ``MINUS_INF`` for those in none."""
    finite = np.isfinite(values)
    if finite.all():
        return table.codes(values)
    codes = np.full(len(values), NULL, dtype=np.int64)
    codes[finite] = table.codes(values[finite])
    codes[np.isposinf(values)] = PLUS_INF
    codes[np.isneginf(values)] = MINUS_INF
    return codes


def blocks(values: FloatArray) -> Iterator[FloatArray]:
    """Yield views of at most ``BLOCK`` values."""
    return (values[start : start + BLOCK] for start in range(0, len(values), BLOCK))


def _make_table(edges: FloatArray, cells: Cells) -> EdgeTable:
    places = np.clip(cells.of(edges), 0, TOP)
    doubtful, firsts, counts = np.unique(places, return_index=True, return_counts=True)
    inside = np.bincount(places, minlength=TOP + 1)
    table = (np.cumsum(inside) - inside).astype(np.uint16)
    table[doubtful] = len(edges) + 1 + np.arange(len(doubtful))
    beyond = np.append(edges, np.inf)
    return EdgeTable(
        edges=edges,
        cells=cells,
        table=table,
        base=firsts.astype(np.int64),
        first=beyond[firsts],
        second=np.where(counts > 1, beyond[firsts + 1], np.inf),
        crowded=counts > 2,
    )


def _crowding(edges: FloatArray, cells: Cells) -> int:
    """Return how many edges share their cell with more than one other."""
    counts = np.unique(np.clip(cells.of(edges), 0, TOP), return_counts=True)[1]
    return int(counts[counts > 2].sum())

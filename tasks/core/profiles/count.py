"""Counting numbers over ascending edges: as exact as binary search, many times as fast."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from evergreen.tasks.core.arrays import FloatArray, IntArray

# Cells of numbers: whole numbers that never decrease with the value, at the cost of a few simple operations.


TOP = 65_535
"""The last cell; callers clip to 0 … TOP."""

_WHOLE = 2.0**52
_WHOLE_BITS = np.int64(0x4330000000000000)
"""Floats from 2**52 on are whole numbers; their bits less those of 2**52 are that whole number."""


class Scratch:
    """Memory for counting one block, used again block after block: allocating it anew costs more than counting.

    Attributes
    ----------
    floats, whole : (rows,), float64 and int64, the same memory.
    small : (rows,), uint16, table entries of the rows.
    spare, spare_whole : (rows,), float64 and int64, the same memory, another one.
    """

    def __init__(self, rows: int) -> None:
        self.floats = np.empty(rows)
        self.whole: IntArray = self.floats.view(np.int64)
        self.small = np.empty(rows, dtype=np.uint16)
        self.spare = np.empty(rows)
        self.spare_whole: IntArray = self.spare.view(np.int64)


@dataclass(frozen=True)
class LinearCells:
    """Cells of equal width between two values: cell = value * scale + offset - 2**52, rounded.

    Each step (a product and a sum, rounded; clipping at 0; reading the bits) never decreases with the value.
    """

    scale: float
    offset: float

    @classmethod
    def between(cls, low: float, high: float) -> LinearCells | None:
        """Return the cells between two finite values; None where they are too near or too far from each other."""
        with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
            scale = float(TOP / (np.float64(high) - low))
            usable = 0.0 < scale < np.inf and np.isfinite(scale * low)
        return cls(scale, _WHOLE - low * scale) if usable else None

    def of(self, values: FloatArray, scratch: Scratch | None = None) -> IntArray:
        """Return the cells of finite values, shape (n,), not clipped; they are ``scratch.whole`` where it is given."""
        scratch = scratch or Scratch(len(values))
        placed, cells = scratch.floats[: len(values)], scratch.whole[: len(values)]
        with np.errstate(over="ignore"):
            np.multiply(values, self.scale, out=placed)
            placed += self.offset
        if len(placed) and not placed.min() >= 0.0:
            np.maximum(placed, 0.0, out=placed)
        cells -= _WHOLE_BITS
        return cells


@dataclass(frozen=True)
class BitCells:
    """Cells by the bits of a float, so that each power of two has as many: for values of very unequal size.

    The bits of floats, read as whole numbers, are in the order of the floats once those of negative ones are turned.
    """

    lowest: int
    shift: int

    @classmethod
    def between(cls, low: float, high: float) -> BitCells:
        """Return the cells between two finite values."""
        first, last = (int(number) for number in _ordered_bits(np.array([low, high]), Scratch(2)))
        return cls(first, max((last - first).bit_length() - TOP.bit_length(), 0))

    def of(self, values: FloatArray, scratch: Scratch | None = None) -> IntArray:
        """Return the cells of finite values, shape (n,), not clipped; they are ``scratch.whole`` where it is given."""
        cells = _ordered_bits(values, scratch or Scratch(len(values)))
        cells -= self.lowest
        cells >>= self.shift
        return cells


Cells = LinearCells | BitCells


def _ordered_bits(values: FloatArray, scratch: Scratch) -> IntArray:
    """Return the upper 52 bits in the order of the values; -0.0 as 0.0."""
    bits, turned = scratch.whole[: len(values)], scratch.spare_whole[: len(values)]
    np.add(values, 0.0, out=scratch.floats[: len(values)])
    np.right_shift(bits, 63, out=turned)
    turned &= np.int64(0x7FFFFFFFFFFFFFFF)
    bits ^= turned
    bits >>= 12
    return bits


BLOCK = 65_536
"""Rows counted at a time, so that what is worked on stays in the cache."""

TABLE_PAYS = 4096
"""Rows from which on making a table costs less than searching."""

NULL, PLUS_INF, MINUS_INF = -1, -2, -3
"""Codes of rows that are in no bin."""


@dataclass(frozen=True, kw_only=True, eq=False)
class EdgeTable:
    """A table from which the bin of most values is read at once.

    Values fall into 65,536 cells (`evergreen.tasks.core.profiles.count`) by operations that never decrease when the
    value grows, also after rounding. So a cell in which no edge lies belongs to one bin; a value in one of the
    others is compared with the cell's edges, or looked for by binary search where they are more than two. The bins
    are those of ``np.searchsorted(edges, values, side="right")``, whatever the edges.
    """

    edges: FloatArray
    """(bins - 1,), ascending."""
    cells: Cells | None = None
    """Maps a value to its cell; None: there is no table, all is binary search."""
    table: npt.NDArray[np.uint16] = field(default_factory=lambda: np.zeros(0, dtype=np.uint16))
    """(65536,), uint16, by cell: its bin, or the number of bins plus that of the doubtful cell."""
    base: IntArray = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    """(doubtful cells,), bin of what lies below the cell's first edge."""
    first: FloatArray = field(default_factory=lambda: np.zeros(0))
    second: FloatArray = field(default_factory=lambda: np.zeros(0))
    """``first``, ``second``: (doubtful cells,), the cell's edges; infinite where there is no second."""
    crowded: npt.NDArray[np.bool_] = field(default_factory=lambda: np.zeros(0, dtype=np.bool_))
    """(doubtful cells,), whether the cell holds more than two edges."""

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
        return np.concatenate([np.zeros(0, dtype=np.int64), *map(self._codes, blocks(values))])

    def _codes(self, values: FloatArray) -> IntArray:
        if self.cells is None:
            return np.searchsorted(self.edges, values, side="right")
        codes = self._cell_codes(values, self.cells, Scratch(len(values)))
        doubtful = np.flatnonzero(codes >= self.bins)
        codes[doubtful] = self._resolve(values[doubtful], codes[doubtful] - self.bins)
        return codes

    def _count(self, values: FloatArray, scratch: Scratch) -> IntArray:
        if self.cells is None:
            return np.bincount(np.searchsorted(self.edges, values, side="right"), minlength=self.bins)
        codes = self._cell_codes(values, self.cells, scratch)
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

    def _cell_codes(self, values: FloatArray, cells: Cells, scratch: Scratch) -> IntArray:
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


# Moments of numbers: measured block by block, mergeable.


@dataclass(frozen=True, kw_only=True)
class Moments:
    """Least and greatest value, mean, and sum of squared deviations from it, of n finite values.

    ``squares`` is infinite where it exceeds the largest float.
    """

    n: int = 0
    minimum: float | None = None
    maximum: float | None = None
    mean: float = 0.0
    squares: float = 0.0

    @property
    def of_values(self) -> dict[str, Any]:
        """All but the number of values, by name."""
        return {name: value for name, value in vars(self).items() if name != "n"}

    def __add__(self, other: Moments) -> Moments:
        """Return the moments of both sets of values (Chan, Golub & LeVeque 1979)."""
        if not self.n or not other.n:
            return self if self.n else other
        half = other.mean / 2 - self.mean / 2  # the whole may exceed the largest float
        step = half * (other.n / (self.n + other.n))
        return Moments(
            n=self.n + other.n,
            minimum=min(x for x in (self.minimum, other.minimum) if x is not None),
            maximum=max(x for x in (self.maximum, other.maximum) if x is not None),
            mean=self.mean + step + step,
            squares=self.squares + other.squares + 4 * half * half * (self.n * other.n / (self.n + other.n)),
        )


def block_moments(block: FloatArray, *, low: float, high: float, scratch: Scratch | None = None) -> Moments:
    """Return the moments of finite values, shape (n,), n > 0, whose least and greatest are known."""
    deviations = (scratch or Scratch(len(block))).floats[: len(block)]
    with np.errstate(over="ignore"):
        mean = float(block.sum()) / len(block)
        if not np.isfinite(mean):
            mean = float((block / len(block)).sum())
        np.subtract(block, mean, out=deviations)
        np.multiply(deviations, deviations, out=deviations)
        squares = float(deviations.sum())
    return Moments(n=len(block), minimum=low, maximum=high, mean=mean, squares=squares)

"""Cells of numbers: whole numbers that never decrease with the value, at the cost of a few simple operations."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tasks.core.metrics.scored import FloatArray, IntArray

TOP = 65_535
"""The last cell; callers clip to 0 … TOP."""

_WHOLE = 2.0**52
_WHOLE_BITS = np.int64(0x4330000000000000)
"""Floats from 2**52 on are whole numbers; their bits less those of 2**52 are that whole number."""


class Scratch:
    """Memory for the steps of counting one block, used again block after block: asking anew costs more than counting.

    Attributes
    ----------
    floats, whole : array of float64 and int64, shape (rows,)
        The same memory.
    small : array of uint16, shape (rows,)
        What a table tells of the rows.
    spare, spare_whole : array of float64 and int64, shape (rows,)
        The same memory, another one.
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

"""Cut the span of a live test into slices of the log, so that a look holds a bounded number of rows at once."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from evergreen.tasks.core.arrays import FloatArray, ObjectArray
from evergreen.tasks.core.data.clock import Window

SLICE_ROWS = 200_000
"""Most predictions of a slice, ties aside."""


def cut_slices(positions: FloatArray, span: Window, *, most: int = SLICE_ROWS) -> list[Window]:
    """Return neighbouring windows that cover a span, each with at most so many rows, but for ties at its start.

    Parameters
    ----------
    positions : array, shape (n,)
        Ascending positions of the rows; those outside of the span are passed over.
    span : Window
        What to cover.
    most : int
        Most rows of a window; those of one position stay together.

    Examples
    --------
    >>> cut_slices(np.array([0.0, 1.0, 2.0, 2.5, 4.0, 5.0]), Window(0.5, 9.0), most=2)
    [Window(start=0.5, end=2.5), Window(start=2.5, end=5.0), Window(start=5.0, end=9.0)]
    """
    first, last = np.searchsorted(positions, [span.start, span.end])
    cuts = np.unique(positions[first:last][most::most])
    edges = [span.start, *(float(cut) for cut in cuts if cut > span.start), span.end]
    return [Window(start, end) for start, end in pairwise(edges)]


# Sums by unit of randomisation: rows of one entity are not independent, so that the entity counts once.


@dataclass(frozen=True, kw_only=True, eq=False)
class UnitTable:
    """Sums of c numbers for each of u units.

    Attributes
    ----------
    names : array of str, shape (u,)
        Sorted, without repeats.
    sums : array, shape (u, c)
        The first number is how many rows the unit brought (0: none that counts yet).
    """

    names: ObjectArray
    sums: FloatArray

    @classmethod
    def of(cls, names: ObjectArray, values: FloatArray) -> UnitTable:
        """Sum rows ``(n, c)`` by the unit that each belongs to.

        >>> UnitTable.of(np.array(["b", "a", "b"]), np.array([[1.0, 5.0], [1.0, 2.0], [1.0, 1.0]])).sums.tolist()
        [[1.0, 2.0], [2.0, 6.0]]
        """
        found, codes = np.unique(np.asarray(names, dtype=str), return_inverse=True)
        columns = [np.bincount(codes, weights=column, minlength=len(found)) for column in values.T]
        sums = np.array(columns, dtype=np.float64).T.reshape(len(found), values.shape[1])
        return cls(names=found.astype(object), sums=sums)

    def __add__(self, other: UnitTable) -> UnitTable:
        """Return the sums of both; a unit that is in both counts once."""
        if not len(self) or not len(other):
            return self if len(self) else other
        return UnitTable.of(np.append(self.names, other.names), np.vstack([self.sums, other.sums]))

    def __len__(self) -> int:
        """Return the number of units."""
        return len(self.names)

    def without(self, names: ObjectArray) -> UnitTable:
        """Return the table without some units."""
        if not len(names):
            return self
        kept = ~np.isin(self.names.astype(str), np.asarray(names, dtype=str))
        return UnitTable(names=self.names[kept], sums=self.sums[kept])

    @property
    def counted(self) -> FloatArray:
        """Sums of the units that brought a row, shape (v, c)."""
        return self.sums[self.sums[:, 0] > 0]

    @property
    def repeats(self) -> bool:
        """Whether a unit brought more than one row."""
        return bool((self.sums[:, 0] > 1).any())

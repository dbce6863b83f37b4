"""Histograms of numbers from profiles: few cells of equal width for the eye, from many of equal mass."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from tasks.core.metrics.scored import FloatArray
from tasks.core.profiles.column_profile import ColumnProfile
from tasks.core.profiles.grid import ColumnGrid

CELLS = 28
_TAIL = 0.005
MOST_VALUES = 24


@dataclass(frozen=True, kw_only=True)
class Histogram:
    """Two distributions of numbers over the same cells.

    Attributes
    ----------
    labels : tuple of str, length b
        What each cell holds, in words.
    ticks : tuple of str, length b + 1
        What stands at the borders of the cells; empty where nothing does.
    reference, current : tuple of float, length b
        Shares of all rows; they sum to the share of finite ones.
    """

    labels: tuple[str, ...]
    ticks: tuple[str, ...]
    reference: tuple[float, ...]
    current: tuple[float, ...]


def histogram(grid: ColumnGrid, reference: ColumnProfile, current: ColumnProfile) -> Histogram:
    """Return the histogram of a numeric column; both sides must have rows.

    Cells span the middle 99 % of both sides, but no more than three interquartile ranges beyond the quartiles; what
    lies outside is in the first and the last. Within a fine bin rows are taken as evenly spread. A column of few
    single values (or one without a range) is shown value by value, without ticks.
    """
    if not (reference.finite and current.finite) or _few_values(grid, reference):
        return _by_value(grid, reference, current)
    cumulated = [_Cumulated.of(grid, side) for side in (reference, current)]
    low = min(side.reach(-1) for side in cumulated)
    high = max(side.reach(1) for side in cumulated)
    if not low < high or not np.isfinite(high - low):
        return _by_value(grid, reference, current)
    borders = _borders(low, high, whole=_whole_numbers(grid))
    inner = borders[1:-1]
    shares = [
        np.diff(np.concatenate([[0.0], side.below(inner), [1.0]])) * one.finite / one.n
        for side, one in zip(cumulated, (reference, current), strict=True)
    ]
    labels = [f"{a:.4g} – {b:.4g}" for a, b in pairwise(borders.tolist())]
    labels[0], labels[-1] = f"< {borders[1]:.4g}", f"≥ {borders[-2]:.4g}"
    shown = {round(place * len(labels) / 4) for place in range(5)}
    ticks = tuple(f"{at:.3g}" if place in shown else "" for place, at in enumerate(borders))
    return Histogram(
        labels=tuple(labels),
        ticks=ticks,
        reference=tuple(shares[0].tolist()),
        current=tuple(shares[1].tolist()),
    )


@dataclass(frozen=True, eq=False)
class _Cumulated:
    """A distribution function that is linear between points."""

    points: FloatArray
    shares: FloatArray

    @classmethod
    def of(cls, grid: ColumnGrid, side: ColumnProfile) -> _Cumulated:
        edges = np.asarray(grid.edges, dtype=np.float64)
        low, high = float(side.minimum or 0.0), float(side.maximum or 0.0)
        counts = side.counts_array
        points = np.concatenate([[min(low, *edges[:1])], edges, [max(high, *edges[-1:])]])
        return cls(points, np.concatenate([[0.0], np.cumsum(counts) / max(1, counts.sum())]))

    def quantile(self, share: float) -> float:
        """Return the value that a share of the rows lies below."""
        place = int(np.searchsorted(self.shares, share))
        before, after = self.shares[max(place - 1, 0)], self.shares[place]
        part = (share - before) / (after - before) if after > before else 0.0
        start, end = self.points[max(place - 1, 0)], self.points[place]
        return float(start + part * (end - start))

    def reach(self, direction: int) -> float:
        """Return how far the axis goes down (-1) or up (1)."""
        first, third = self.quantile(0.25), self.quantile(0.75)
        end = self.quantile(_TAIL if direction < 0 else 1 - _TAIL)
        fence = first - 3 * (third - first) if direction < 0 else third + 3 * (third - first)
        nearer = max(end, fence) if direction < 0 else min(end, fence)
        return nearer if third > first else end

    def below(self, values: FloatArray) -> FloatArray:
        """Return the share of rows below each value."""
        return np.asarray(np.interp(values, self.points, self.shares))


def _borders(low: float, high: float, *, whole: bool) -> FloatArray:
    """Return the borders of cells of equal width; of whole numbers as many in every cell.

    >>> _borders(0.0, 56.5, whole=True)[:3].tolist()
    [0.0, 3.0, 6.0]
    """
    if not whole:
        return np.linspace(low, high, CELLS + 1)
    first, width = np.floor(low), np.ceil((np.floor(high) + 1 - np.floor(low)) / CELLS)
    cells = int(np.ceil((np.floor(high) + 1 - first) / width))
    return np.asarray(first + width * np.arange(cells + 1), dtype=np.float64)


def _whole_numbers(grid: ColumnGrid) -> bool:
    edges = np.asarray(grid.edges, dtype=np.float64)
    after = np.concatenate([[False], edges[1:] == np.nextafter(edges[:-1], np.inf)])
    return bool((edges[~after] == np.rint(edges[~after])).all())


def _few_values(grid: ColumnGrid, reference: ColumnProfile) -> bool:
    """Tell whether all rows of the reference lie in a few bins of a single value."""
    single = np.array([_is_single(grid, place) for place in range(grid.bins)])
    return bool(reference.counts_array[~single].sum() == 0 and single.sum() <= MOST_VALUES)


def _by_value(grid: ColumnGrid, reference: ColumnProfile, current: ColumnProfile) -> Histogram:
    """Return the shares of the bins that hold rows, each labelled by where it begins."""
    held = [place for place in range(grid.bins) if reference.counts[place] or current.counts[place]]
    sides = [tuple(one.counts[place] / one.n for place in held) for one in (reference, current)]
    labels = tuple(_label(grid, place) for place in held)
    return Histogram(labels=labels, ticks=(), reference=sides[0], current=sides[1])


def _label(grid: ColumnGrid, place: int) -> str:
    """Say what a bin holds: one value, or what lies between two."""
    low = f"{grid.edges[place - 1]:.6g}" if place else ""
    high = f"{grid.edges[place]:.6g}" if place < len(grid.edges) else ""
    if _is_single(grid, place):
        return low
    return f"{low} – {high}" if low and high else f"< {high}" if high else f"> {low}" if low else "all"


def _is_single(grid: ColumnGrid, place: int) -> bool:
    return 0 < place < len(grid.edges) and bool(
        grid.edges[place] == np.nextafter(grid.edges[place - 1], np.inf)
    )

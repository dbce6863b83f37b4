"""Territories: which cells of the traffic a variant has, and how they grow and shrink without moving others."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

Ranges = tuple[tuple[int, int], ...]
"""Half-open ranges of cells, ascending, disjoint and not touching."""


def size(ranges: Ranges) -> int:
    """Return how many cells they hold."""
    return sum(end - begin for begin, end in ranges)


def join(ranges: Iterable[tuple[int, int]]) -> Ranges:
    """Return the same cells in order, touching ranges made one.

    >>> join([(5, 9), (0, 5), (20, 30)])
    ((0, 9), (20, 30))
    """
    joined: list[tuple[int, int]] = []
    for begin, end in sorted(one for one in ranges if one[0] < one[1]):
        if joined and begin <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(end, joined[-1][1]))
        else:
            joined.append((begin, end))
    return tuple(joined)


def free_of(taken: Iterable[tuple[int, int]], *, cells: int) -> Ranges:
    """Return the cells that nobody has taken.

    >>> free_of([(0, 5), (20, 30)], cells=40)
    ((5, 20), (30, 40))
    """
    free, place = [], 0
    for begin, end in join(taken):
        free.append((place, begin))
        place = end
    return join([*free, (place, cells)])


def first(ranges: Ranges, count: int) -> Ranges:
    """Return the lowest ``count`` of these cells.

    >>> first(((0, 5), (20, 30)), 7)
    ((0, 5), (20, 22))
    """
    kept = []
    for begin, end in ranges:
        if count <= 0:
            break
        kept.append((begin, min(end, begin + count)))
        count -= end - begin
    return tuple(kept)


def lay_out(wanted: Sequence[int], before: Sequence[Ranges], *, cells: int) -> list[Ranges]:
    """Return cells for each arm: those it had, as many as it wants; what is missing comes from the free ones.

    Nobody moves from one arm to another: whoever loses cells gives them to the free ones (the champion) first, and
    a growing arm keeps all it had.

    Parameters
    ----------
    wanted : sequence of int
        Cells of each arm; together at most ``cells``.
    before : sequence of Ranges
        What each arm had; empty ranges for a new one.
    """
    kept = [first(had, count) for had, count in zip(before, wanted, strict=True)]
    laid = list(kept)
    for place, count in enumerate(wanted):
        missing = count - size(laid[place])
        if missing > 0:
            fresh = first(_untouched_first(laid, before, cells), missing)
            laid[place] = join([*laid[place], *fresh])
    return laid


def _untouched_first(laid: Sequence[Ranges], before: Sequence[Ranges], cells: int) -> Ranges:
    """Return the free cells, those before all others that belonged to no arm."""
    free = free_of((one for ranges in laid for one in ranges), cells=cells)
    owned = join(one for ranges in before for one in ranges)
    given_up = _common(free, owned)
    untouched = free_of([*given_up, *free_of(free, cells=cells)], cells=cells)
    return (*untouched, *given_up)


def _common(left: Ranges, right: Ranges) -> Ranges:
    found = [(max(a, c), min(b, d)) for a, b in left for c, d in right]
    return join(one for one in found if one[0] < one[1])

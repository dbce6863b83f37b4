"""Distributions of the moved columns against the reference, from profiles alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import numpy as np

from tasks.core.pages.distribution_chart import distribution_svg
from tasks.core.pages.histogram import histogram
from tasks.core.pages.watched import Watched
from tasks.core.profiles.column_profile import ColumnProfile
from tasks.core.profiles.grid import ColumnGrid

MOST_CATEGORIES = 12


@dataclass(frozen=True, kw_only=True)
class Shares:
    """One column's distribution in the reference and in a window.

    Attributes
    ----------
    labels : tuple of str, length b
        What is counted; of a private column numbered groups.
    reference, current : tuple of float, length b
        Shares of the rows; each sums to one.
    """

    labels: tuple[str, ...]
    reference: tuple[float, ...]
    current: tuple[float, ...]


def column_figure(watched: Watched, column: str) -> str:
    """Return a column's chart with what it leaves out said below; nothing where its profiles are not at hand."""
    found = _sides(watched, column)
    if found is None:
        return ""
    grid, reference, current = found
    private = column in watched.private or grid.hashed
    if column.startswith("@") and not current.finite:
        return ""  # a window of inputs has no outcome yet
    if grid.kind == "numeric" and not private and reference.finite and current.finite:
        bars = histogram(grid, reference, current)
        drawn = distribution_svg(bars.labels, bars.reference, bars.current, title=column, ticks=bars.ticks)
    else:
        shares = side_shares(grid, reference, current, hidden=private)
        drawn = distribution_svg(shares.labels, shares.reference, shares.current, title=column)
    said = [_missing(reference, current), "Private: neither values nor names are shown." if private else ""]
    caption = escape(" ".join(filter(None, said)))
    return f"<figure>{drawn}<figcaption>{caption}</figcaption></figure>"


def _sides(watched: Watched, column: str) -> tuple[ColumnGrid, ColumnProfile, ColumnProfile] | None:
    """Return a column's grid and its two profiles; None where they are not at hand or a side has no rows."""
    for reference, current in watched.profiles:
        if column in reference.columns and column in current.columns and reference.grid.id == current.grid.id:
            sides = (reference.columns[column], current.columns[column])
            return (reference.grid.columns[column], *sides) if all(side.n for side in sides) else None
    return None


def _missing(reference: ColumnProfile, current: ColumnProfile) -> str:
    shares = [side.nulls / side.n for side in (reference, current)]
    return f"Missing: {shares[0]:.1%} in the reference, {shares[1]:.1%} now." if any(shares) else ""


def group_words(watched: Watched, column: str, group: str) -> str:
    """Return a group of a signal (``share:<group>``) for people: of numbers the interval, else the category itself."""
    grid = next((one.grid.columns[column] for one, _ in watched.profiles if column in one.grid.columns), None)
    if grid is None or grid.kind != "numeric":
        return group
    return _numeric_groups(grid)[int(group) - 1][0]


def side_shares(
    grid: ColumnGrid, reference: ColumnProfile, current: ColumnProfile, *, hidden: bool
) -> Shares:
    """Return a column's distributions from its profiles, each with rows; ``hidden``: without values and names."""
    groups = _numeric_groups(grid) if grid.kind == "numeric" else _category_groups(grid, reference, current)
    sides = (reference, current)
    counts = [[float(np.sum(np.take(side.counts, bins))) for _, bins in groups] for side in sides]
    labels = [f"group {place + 1}" if hidden else label for place, (label, _) in enumerate(groups)]
    for name, taken in (
        ("missing", [side.nulls for side in sides]),
        ("infinite", [side.plus_inf + side.minus_inf for side in sides]),
    ):
        if any(taken):
            labels.append(name)
            for side, count in zip(counts, taken, strict=True):
                side.append(float(count))
    shares = [tuple(count / side.n for count in mine) for side, mine in zip(sides, counts, strict=True)]
    return Shares(labels=tuple(labels), reference=shares[0], current=shares[1])


def _numeric_groups(grid: ColumnGrid) -> list[tuple[str, range]]:
    """Return the coarse groups: a label, and the fine bins in it."""
    ends = (*grid.cuts[1:], grid.bins)
    return [
        (_interval(grid, first, end), range(first, end)) for first, end in zip(grid.cuts, ends, strict=True)
    ]


def _interval(grid: ColumnGrid, first: int, end: int) -> str:
    """Write the values of the bins ``[first, end)``: a single value, or an interval."""
    low = grid.edges[first - 1] if first > 0 else None
    high = grid.edges[end - 1] if end - 1 < len(grid.edges) else None
    if low is None and high is None:
        return "all"
    if low is None:
        return f"< {high:.4g}"
    if high is None:
        return f"≥ {low:.4g}"
    return f"{low:.4g}" if high == np.nextafter(low, np.inf) else f"{low:.4g} – {high:.4g}"


def _category_groups(
    grid: ColumnGrid, reference: ColumnProfile, current: ColumnProfile
) -> list[tuple[str, Sequence[int]]]:
    """Return the categories with the most rows on either side, then the rest, then the never seen."""
    own = len(grid.categories)
    share = np.maximum(
        np.asarray(reference.counts[:own]) / reference.n, np.asarray(current.counts[:own]) / current.n
    )
    chosen = sorted(np.argsort(-share, kind="stable")[:MOST_CATEGORIES].tolist())
    rest = [place for place in range(own) if place not in chosen]
    groups: list[tuple[str, Sequence[int]]] = [(grid.categories[place], [place]) for place in chosen]
    groups.append(("other", [*rest, own]))
    groups.append(("never seen", [own + 1]))
    return [
        (label, bins)
        for label, bins in groups
        if label in grid.categories or any(reference.counts[b] or current.counts[b] for b in bins)
    ]

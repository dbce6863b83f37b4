"""The axis of windows that the charts of a drift page share, and the marks that are drawn on it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from itertools import groupby, pairwise
from typing import Any, TypeVar

import numpy as np

from evergreen.tasks.core.arrays import FloatArray
from evergreen.tasks.core.drift.types import short_time
from evergreen.tasks.core.errors import InputError
from evergreen.tasks.core.profiles.grid import ColumnGrid
from evergreen.tasks.core.profiles.profile import ColumnProfile

T = TypeVar("T")
AXIS_WIDTH, AXIS_LEFT, AXIS_RIGHT = 1080, 190, 12
MOST_CELLS = 300
WIDEST = 44.0
LONGEST_NAME = 28


@dataclass(frozen=True, kw_only=True)
class Axis:
    """Windows from left to right, each as wide as the others; beyond ``MOST_CELLS`` several share a cell."""

    starts: tuple[str, ...]
    """Begin of each window, as it is written."""
    cells: int
    """Cells they are drawn in."""

    @classmethod
    def over(cls, windows: Sequence[Mapping[str, Any]]) -> Axis:
        """Return the axis of windows, oldest first."""
        starts = tuple(short_time(window["from"]) for window in windows)
        return cls(starts=starts, cells=min(len(starts), MOST_CELLS))

    @property
    def step(self) -> float:
        """Width of a cell."""
        return min(WIDEST, (AXIS_WIDTH - AXIS_LEFT - AXIS_RIGHT) / max(1, self.cells))

    def x(self, cell: float) -> float:
        """Left end of a cell."""
        return AXIS_LEFT + cell * self.step

    def middle(self, window: int) -> float:
        """Middle of a window; windows that share a cell stand side by side in it."""
        return AXIS_LEFT + (window + 0.5) * self.step * self.cells / max(1, len(self.starts))

    def span(self, windows: Sequence[Mapping[str, Any]], first: int, last: int) -> str:
        """Say from when to when the cells ``[first, last)`` reach, and how many windows they are."""
        begin, end = _first(len(windows), self.cells, first), _first(len(windows), self.cells, last)
        number = "1 window" if end - begin == 1 else f"{end - begin} windows"
        return f"{short_time(windows[begin]['from'])} to {short_time(windows[end - 1]['to'])} ({number})"

    def block(self, first: int, last: int, top: float, height: float, *, css: str, title: str) -> str:
        """Draw the cells ``[first, last)`` as one mark that bears a title."""
        gap = 1.0 if self.step > 6 else 0.0
        width = (last - first) * self.step - gap
        where = f'x="{self.x(first):.1f}" y="{top:.1f}" width="{width:.1f}" height="{height:.1f}"'
        return mark(f'rect {where} class="{css}"', title)

    def outline(self, first: int, last: int, top: float, height: float, *, css: str, title: str) -> str:
        """Draw a frame around the cells ``[first, last)``; the keyboard reaches it."""
        width = max(2.0, (last - first) * self.step - 1.6)
        where = f'x="{self.x(first) + 0.3:.1f}" y="{top:.1f}" width="{width:.1f}" height="{height:.1f}"'
        label = f'tabindex="0" role="img" aria-label="{escape(title)}"'
        return mark(f'rect {where} rx="2" class="{css}" {label}', title)

    def name(self, text: str, baseline: float, *, css: str) -> str:
        """Write a row's name left of the axis, shortened where it is long; its title is the whole."""
        short = text if len(text) <= LONGEST_NAME else f"{text[: LONGEST_NAME - 1]}…"
        where = f'x="{AXIS_LEFT - 10}" y="{baseline:.1f}"'
        return f'<text {where} class="{css}"><title>{escape(text)}</title>{escape(short)}</text>'

    def ticks(self, top: float) -> str:
        """Write the begin of some windows below the charts, evenly spread."""
        n = len(self.starts)
        room = max(1, int(self.step * self.cells // 125))
        every = max(1, -(-n // room))
        parts = []
        for window in range(0, n, every):
            x = AXIS_LEFT + window * self.step * self.cells / n
            parts.append(f'<path d="M{x:.1f} {top:.1f}v5" class="rule"/>')
            if x + 105 <= AXIS_WIDTH:
                at = f'x="{x:.1f}" y="{top + 18:.1f}"'
                parts.append(f'<text {at} class="tick">{escape(self.starts[window])}</text>')
        return "".join(parts)

    def drawing(self, body: str, *, height: float, label: str, extra: str = "", left: int = 0) -> str:
        """Return the whole SVG, from ``left`` on."""
        size = f'viewBox="{left} 0 {AXIS_WIDTH - left} {height:.0f}"'
        return f'<svg {size} role="group" aria-label="{escape(label)}" {extra}>{body}</svg>'


def mark(shape: str, title: str) -> str:
    """Return a shape of an SVG, given as its name and attributes, that bears a title.

    >>> mark('path d="M0 0h9"', "a < b")
    '<path d="M0 0h9"><title>a &lt; b</title></path>'
    """
    return f"<{shape}><title>{escape(title)}</title></{shape.partition(' ')[0]}>"


def pool(values: Sequence[T], cells: int) -> list[Sequence[T]]:
    """Divide values over cells, in order, as evenly as it goes.

    >>> pool("abcde", 2), pool("ab", 2)
    (['ab', 'cde'], ['a', 'b'])
    """
    n = len(values)
    return [values[_first(n, cells, cell) : _first(n, cells, cell + 1)] for cell in range(cells)]


def runs(cells: Sequence[Any], *, by: Callable[[Any], Any]) -> Iterator[tuple[int, int, list[Any]]]:
    """Yield runs of neighbours that are equal ``by`` something: first place, end, and what they are."""
    place = 0
    for _, group in groupby(cells, key=by):
        shown = list(group)
        yield place, place + len(shown), shown
        place += len(shown)


def _first(n: int, cells: int, cell: int) -> int:
    """First of ``n`` values in a cell."""
    return cell * n // max(1, cells)


# Histograms of numbers from profiles: few cells of equal width for the eye, from many of equal mass.


CELLS = 28
_TAIL = 0.005
MOST_VALUES = 24


@dataclass(frozen=True, kw_only=True)
class Distribution:
    """One column's distribution in the reference and in a window, over the same b cells."""

    labels: tuple[str, ...]
    """Length b; what each cell holds, of a private column numbered groups."""
    reference: tuple[float, ...]
    current: tuple[float, ...]
    """``reference``, ``current`` (length b; shares of the rows, each sums to one (of a histogram: to the share of):
    finite ones)"""
    ticks: tuple[str, ...] = ()
    """Length b + 1; what stands at the borders of ordered cells; empty: cells are names."""

    def draw(self, title: str) -> str:
        """Return a chart of both sides.

        With ticks the cells are ordered and drawn as columns from left to right; without, they are names and drawn as
        pairs of bars. Classes ``past`` and ``current``, ``line``, ``grid``, ``tick`` and ``head`` are styled by the
        page (`evergreen.tasks.core.reports.html.MARKS`). Every cell has a title with both shares.

        Parameters
        ----------
        title : str
            Name of the column; escaped here, as the labels are.

        Raises
        ------
        InputError
            When the lengths differ.
        """
        labels, reference, current, ticks = self.labels, self.reference, self.current, self.ticks
        if not len(labels) == len(reference) == len(current) or len(ticks) not in (0, len(labels) + 1):
            raise InputError(
                f"A chart got {len(labels)} labels, {len(reference)} and {len(current)} shares and {len(ticks)} ticks. "
                "Allowed: as many shares as labels on both sides, and one tick more or none."
            )
        greatest, cells = max([*reference, *current], default=0.0) or 1.0, len(labels)
        pairs = list(zip(labels, reference, current, strict=True))
        if ticks:
            height = CHART_HEIGHT
            parts = [
                _columns(reference, greatest, css="past"),
                _columns(current, greatest, css="current", opacity=0.35),
                _outline(current, greatest),
                *(_tick(place, text, cells) for place, text in enumerate(ticks) if text),
                *(_hover(place, *pair, cells) for place, pair in enumerate(pairs)),
            ]
        else:
            height = 26 + cells * BARS_ROW
            parts = [_bars_row(place, *pair, greatest) for place, pair in enumerate(pairs)]
        name = escape(title)
        return (
            f'<svg viewBox="0 0 {CHART_WIDTH} {height}" role="img" aria-label="Distribution of {name}">'
            f'<text x="0" y="14" class="head">{name}</text>{"".join(parts)}</svg>'
        )


def histogram(grid: ColumnGrid, reference: ColumnProfile, current: ColumnProfile) -> Distribution:
    """Return the histogram of a numeric column; both sides must have rows.

    Cells span the middle 99 % of both sides, but no more than three interquartile ranges beyond the quartiles; what
    lies outside is in the first and the last. Within a fine bin rows are taken as evenly spread. A column of few
    single values (or one without a range) is shown value by value, without ticks.
    """
    edges, single = np.asarray(grid.edges, dtype=np.float64), grid.single_value_bins
    few = reference.counts_array[~single].sum() == 0 and single.sum() <= MOST_VALUES
    if few or not (reference.finite and current.finite):
        return _by_value(grid, reference, current)
    cumulated = [_Cumulated.of(grid, side) for side in (reference, current)]
    low = min(side.reach(-1) for side in cumulated)
    high = max(side.reach(1) for side in cumulated)
    if not low < high or not np.isfinite(high - low):
        return _by_value(grid, reference, current)
    starts = edges[~single[:-1]] if len(edges) else edges
    borders = _borders(low, high, whole=bool((starts == np.rint(starts)).all()))
    inner = borders[1:-1]
    shares = [
        np.diff(np.concatenate([[0.0], side.below(inner), [1.0]])) * one.finite / one.n
        for side, one in zip(cumulated, (reference, current), strict=True)
    ]
    labels = [f"{a:.4g} – {b:.4g}" for a, b in pairwise(borders.tolist())]
    labels[0], labels[-1] = f"< {borders[1]:.4g}", f"≥ {borders[-2]:.4g}"
    shown = {round(place * len(labels) / 4) for place in range(5)}
    ticks = tuple(f"{at:.3g}" if place in shown else "" for place, at in enumerate(borders))
    before, now = (tuple(side.tolist()) for side in shares)
    return Distribution(labels=tuple(labels), ticks=ticks, reference=before, current=now)


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


def _by_value(grid: ColumnGrid, reference: ColumnProfile, current: ColumnProfile) -> Distribution:
    """Return the shares of the bins that hold rows, each labelled by its value, or by what it lies between."""
    single, labels = grid.single_value_bins, []
    held = [place for place in range(grid.bins) if reference.counts[place] or current.counts[place]]
    for place in held:
        low = f"{grid.edges[place - 1]:.6g}" if place else ""
        high = f"{grid.edges[place]:.6g}" if place < len(grid.edges) and not single[place] else ""
        between = f"{low} – {high}" if low and high else f"< {high}" if high else f"> {low}" if low else "all"
        labels.append(low if single[place] else between)
    before, now = (tuple(one.counts[place] / one.n for place in held) for one in (reference, current))
    return Distribution(labels=tuple(labels), reference=before, current=now)


# Two distributions side by side as SVG.


def _bars_row(place: int, label: str, before: float, now: float, greatest: float) -> str:
    """Draw two bars to one scale: the reference, and what is now."""
    top = 26 + place * BARS_ROW
    short = label if len(label) <= 18 else f"{label[:17]}…"
    bars = "".join(
        f'<rect x="{BARS_LEFT}" y="{top + side * (BARS_HEIGHT + 1)}" height="{BARS_HEIGHT}" class="{css}" '
        f'width="{max(0.5, value / greatest * (CHART_WIDTH - BARS_LEFT - 46)):.1f}"/>'
        for side, (value, css) in enumerate(((before, "past"), (now, "current")))
    )
    end = BARS_LEFT + max(before, now) / greatest * (CHART_WIDTH - BARS_LEFT - 46) + 5
    return (
        f"<g><title>{_share_title(label, before, now)}</title>"
        f'<rect x="0" y="{top - 3}" width="{CHART_WIDTH}" height="{BARS_ROW}" fill="transparent"/>'
        f'<text x="{BARS_LEFT - 8}" y="{top + 12}" class="name">{escape(short)}</text>{bars}'
        f'<text x="{end:.1f}" y="{top + 12}" class="tick">{now:.0%}</text></g>'
    )


def _share_title(label: str, before: float, now: float) -> str:
    return escape(f"{label}: {before:.1%} in the reference, {now:.1%} now")


# Two distributions in one chart, as inline SVG: grey columns were, coloured ones are.


CHART_WIDTH, CHART_HEIGHT, CHART_TOP, CHART_FOOT, CHART_SIDE = 420, 190, 28, 22, 10
BARS_LEFT, BARS_ROW, BARS_HEIGHT = 130, 24, 8


def _x(place: int, cells: int) -> float:
    return CHART_SIDE + place * (CHART_WIDTH - 2 * CHART_SIDE) / cells


def _y(share: float, greatest: float) -> float:
    return CHART_HEIGHT - CHART_FOOT - share / greatest * (CHART_HEIGHT - CHART_FOOT - CHART_TOP)


def _columns(shares: Sequence[float], greatest: float, *, css: str, opacity: float = 1.0) -> str:
    """Draw all columns of one side as one path."""
    parts = [
        f"M{_x(place, len(shares)):.1f} {CHART_HEIGHT - CHART_FOOT}V{_y(share, greatest):.1f}"
        f"H{_x(place + 1, len(shares)):.1f}V{CHART_HEIGHT - CHART_FOOT}Z"
        for place, share in enumerate(shares)
        if share > 0
    ]
    return f'<path d="{"".join(parts)}" class="{css}" fill-opacity="{opacity:g}"/>'


def _outline(shares: Sequence[float], greatest: float) -> str:
    """Draw the steps of one side as a line."""
    steps = [f"M{CHART_SIDE} {_y(shares[0], greatest):.1f}", f"H{_x(1, len(shares)):.1f}"]
    for place, (_, share) in enumerate(pairwise(shares), start=1):
        steps += [f"V{_y(share, greatest):.1f}", f"H{_x(place + 1, len(shares)):.1f}"]
    return f'<path d="{"".join(steps)}" class="line"/>'


def _tick(place: int, text: str, cells: int) -> str:
    x = _x(place, cells)
    anchor = "start" if place == 0 else "end" if place == cells else "middle"
    return (
        f'<path d="M{x:.1f} {CHART_HEIGHT - CHART_FOOT}v4" class="rule"/>'
        f'<text x="{x:.1f}" y="{CHART_HEIGHT - 5}" class="tick" text-anchor="{anchor}">{escape(text)}</text>'
    )


def _hover(place: int, label: str, before: float, now: float, cells: int) -> str:
    width = (CHART_WIDTH - 2 * CHART_SIDE) / cells
    return (
        f'<rect x="{_x(place, cells):.1f}" y="{CHART_TOP}" width="{width:.1f}" '
        f'height="{CHART_HEIGHT - CHART_FOOT - CHART_TOP}" fill="transparent">'
        f"<title>{_share_title(label, before, now)}</title></rect>"
    )

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
from evergreen.tasks.core.profiles.grid import ColumnGrid
from evergreen.tasks.core.profiles.profile import ColumnProfile

T = TypeVar("T")
AXIS_WIDTH, AXIS_LEFT, AXIS_RIGHT = 1080, 190, 12
MOST_CELLS = 300
WIDEST = 44.0
LONGEST_NAME = 28


@dataclass(frozen=True, kw_only=True)
class Axis:
    """Windows from left to right, each as wide as the others; beyond ``MOST_CELLS`` several share a cell.

    Attributes
    ----------
    starts : tuple of str
        Begin of each window, as it is written.
    cells : int
        Cells they are drawn in.
    """

    starts: tuple[str, ...]
    cells: int

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
        return f'<rect {where} class="{css}"><title>{escape(title)}</title></rect>'

    def outline(self, first: int, last: int, top: float, height: float, *, css: str, title: str) -> str:
        """Draw a frame around the cells ``[first, last)``; the keyboard reaches it."""
        width = max(2.0, (last - first) * self.step - 1.6)
        where = f'x="{self.x(first) + 0.3:.1f}" y="{top:.1f}" width="{width:.1f}" height="{height:.1f}"'
        said = escape(title)
        return (
            f'<rect {where} rx="2" class="{css}" tabindex="0" role="img" aria-label="{said}">'
            f"<title>{said}</title></rect>"
        )

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


# Colours and shapes of the drift page: light and dark, legible without colour, fit for paper.


_LIGHT = (
    "--paper:#fff;--card:#f6f8fa;--ink:#1b1f23;--soft:#57606a;--rule:#d0d7de;--s0:#eef1f4;--s1:#fde7c2;--s2:#fdb863;"
    "--s3:#e0651b;--s4:#8c2d04;--mark:#111827;--quiet:#7fb3a6;--warning:#c98a00;--drift:#b42318;--blue:#0b6bcb;"
    "--band:#0b6bcb26;--drifted:#b4231818;--hatch:#8b949e;--throne:#7a3ea8;--current:#2f6fb7;--past:#9aa4af"
)
_DARK = (
    "--paper:#0d1117;--card:#161b22;--ink:#e6edf3;--soft:#9aa4af;--rule:#30363d;--s0:#1c232c;--s1:#4d3a1c;--s2:#8f5a12;"
    "--s3:#e0802a;--s4:#ffd9a0;--mark:#f0f6fc;--quiet:#3f8f7d;--warning:#d9a021;--drift:#ff7b6b;--blue:#58a6ff;"
    "--band:#58a6ff30;--drifted:#ff7b6b22;--hatch:#6e7681;--throne:#c297ff;--current:#58a6ff;--past:#6e7681"
)
COLOURS = (
    f":root{{color-scheme:light dark;{_LIGHT}}}"
    f"@media(prefers-color-scheme:dark){{:root{{{_DARK}}}}}"
    f"@media print{{:root{{color-scheme:light;{_LIGHT}}}}}"
)
MARKS = """
svg text{font-size:12px;fill:var(--ink)}svg .name,svg .kind{text-anchor:end}svg .tick{fill:var(--soft);font-size:11px}
svg .kind,svg .now,svg .head{font-weight:600}svg .head{font-size:15px}
.s0{fill:var(--s0);background:var(--s0)}.s1{fill:var(--s1);background:var(--s1)}.s2{fill:var(--s2);background:var(--s2)}
.s3{fill:var(--s3);background:var(--s3)}.s4{fill:var(--s4);background:var(--s4)}
.hatch{fill:var(--hatch)}svg .void,.l-insufficient{fill:url(#void)}
svg .none{fill:var(--paper);stroke:var(--rule);stroke-width:.5}
.alarm{fill:none;stroke:var(--mark);stroke-width:2}
.warn{fill:none;stroke:var(--mark);stroke-width:1;stroke-dasharray:2 2}
.alarm:focus,.warn:focus{outline:2px solid var(--blue);outline-offset:2px}
.l-quiet{fill:var(--quiet)}.l-warning{fill:var(--warning)}.l-drift{fill:var(--drift)}
.rule{stroke:var(--soft)}.grid{stroke:var(--rule)}.band{fill:var(--band)}.drifted{fill:var(--drifted)}
.begin{fill:var(--drift)}.line{fill:none;stroke:var(--blue);stroke-width:1.8}.guess.line{stroke-dasharray:3 4}
.dot{fill:var(--blue);stroke:var(--paper)}.guess.dot{fill:var(--paper);stroke:var(--blue);stroke-width:1.5}
.reference{stroke:var(--ink);stroke-width:1.4;stroke-dasharray:8 4}
.past{fill:var(--past)}.current{fill:var(--current)}
.throne{stroke:var(--throne);stroke-width:2}svg .flag{fill:var(--throne);font-weight:600}
"""
_PAGE = """
*{box-sizing:border-box}body{font:15px/1.5 system-ui,sans-serif;max-width:74rem;margin:0 auto;padding:1.5rem 1rem 4rem;
color:var(--ink);background:var(--paper)}
h1{font-size:1.5rem;margin:0 0 1rem}h2{font-size:1.15rem;margin:2.2rem 0 .4rem}p{margin:.3rem 0 .8rem;max-width:62rem}
.soft{color:var(--soft)}
.card{background:var(--card);border:1px solid var(--rule);border-left:8px solid var(--soft);border-radius:8px;
padding:1rem 1.2rem}
.card.quiet{border-left-color:var(--quiet)}.card.warning{border-left-color:var(--warning)}
.card.drift{border-left-color:var(--drift)}
.state{font-size:1.3rem;font-weight:700;margin-right:.8rem}.card .what{font-size:1.08rem;margin:.3rem 0}
.facts{display:flex;flex-wrap:wrap;gap:.4rem 2.2rem;margin:.9rem 0 0}.facts div{min-width:7rem}
.facts dt{color:var(--soft);font-size:.82rem}.facts dd{margin:0;font-weight:600}
svg{width:100%;height:auto;display:block}.scroll{overflow-x:auto}.scroll svg{min-width:46rem}
.legend{list-style:none;display:flex;flex-wrap:wrap;gap:.25rem 1.1rem;padding:0;margin:.3rem 0 .5rem;font-size:.86rem;
color:var(--soft)}
.key{display:inline-block;width:15px;height:12px;margin-right:.4rem;vertical-align:-1px;border:1px solid var(--rule)}
.key.alarm{border:2px solid var(--mark)}.key.warn{border:1px dashed var(--mark)}
.key.void{background:repeating-linear-gradient(45deg,var(--hatch) 0 1.6px,var(--s0) 1.6px 5px)}
.key.k-line{border:0;height:3px;background:var(--blue);vertical-align:3px}
.key.k-guess{border:0;border-top:2px dashed var(--blue);height:0;vertical-align:4px}
.key.k-band{background:var(--band)}.key.k-ref{border:0;border-top:2px dashed var(--ink);height:0;vertical-align:4px}
.key.k-drifted{background:var(--drifted)}.key.k-open{border:6px solid transparent;border-top:9px solid var(--drift);
width:0;height:0;vertical-align:-4px}
.key.k-throne{border:0;width:2px;background:var(--throne)}
.pair{display:grid;grid-template-columns:repeat(auto-fill,minmax(25rem,1fr));gap:1rem}
.pair figure{margin:0;border:1px solid var(--rule);border-radius:8px;padding:.6rem .8rem;overflow:hidden}
figcaption{font-size:.86rem;color:var(--soft)}
table{border-collapse:collapse;width:100%;font-size:.92rem}
th,td{border-bottom:1px solid var(--rule);padding:.35rem .6rem;
text-align:left;vertical-align:top}th{color:var(--soft);font-weight:600}td{overflow-wrap:anywhere}
.word-drift,.word-alarm{color:var(--drift);font-weight:600}.word-warning{color:var(--warning);font-weight:600}
summary{cursor:pointer;margin:.8rem 0 .4rem}footer{margin-top:3rem;color:var(--soft);font-size:.85rem}
@media print{body{max-width:none;padding:0;-webkit-print-color-adjust:exact;print-color-adjust:exact}
figure,.card,tr{break-inside:avoid}h2{break-after:avoid}.scroll{overflow:visible}.scroll svg{min-width:0}}
"""


def document(title: str, parts: Sequence[str]) -> str:
    """Return a whole page from parts that are HTML already; nothing in it asks a server."""
    head = (
        '<meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{escape(title)}</title><style>{COLOURS}{MARKS}{_PAGE}</style>"
    )
    body = "\n".join([f"<h1>{escape(title)}</h1>", *parts])
    return f'<!DOCTYPE html>\n<html lang="en"><head>{head}</head><body>\n{body}\n</body></html>\n'


def section(title: str, *parts: str, note: str = "") -> str:
    """Return a section with a heading; ``note`` is plain text under it."""
    said = f'<p class="soft">{escape(note)}</p>' if note else ""
    return "\n".join([f"<section><h2>{escape(title)}</h2>{said}", *parts, "</section>"])


def legend(items: Sequence[tuple[str, str]]) -> str:
    """Return a legend of pairs: CSS class of the key, and what it means."""
    keys = "".join(f'<li><i class="key {css}"></i>{escape(word)}</li>' for css, word in items)
    return f'<ul class="legend">{keys}</ul>'

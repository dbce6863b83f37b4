"""The axis of windows that the charts of a drift page share, and the marks that are drawn on it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from itertools import groupby
from typing import Any, TypeVar

from tasks.core.drift.phrases import short_time

T = TypeVar("T")
WIDTH, LEFT, RIGHT = 1080, 190, 12
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
        return min(WIDEST, (WIDTH - LEFT - RIGHT) / max(1, self.cells))

    def x(self, cell: float) -> float:
        """Left end of a cell."""
        return LEFT + cell * self.step

    def middle(self, window: int) -> float:
        """Middle of a window; windows that share a cell stand side by side in it."""
        return LEFT + (window + 0.5) * self.step * self.cells / max(1, len(self.starts))

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
        where = f'x="{LEFT - 10}" y="{baseline:.1f}"'
        return f'<text {where} class="{css}"><title>{escape(text)}</title>{escape(short)}</text>'

    def ticks(self, top: float) -> str:
        """Write the begin of some windows below the charts, evenly spread."""
        n = len(self.starts)
        room = max(1, int(self.step * self.cells // 125))
        every = max(1, -(-n // room))
        parts = []
        for window in range(0, n, every):
            x = LEFT + window * self.step * self.cells / n
            parts.append(f'<path d="M{x:.1f} {top:.1f}v5" class="rule"/>')
            if x + 105 <= WIDTH:
                at = f'x="{x:.1f}" y="{top + 18:.1f}"'
                parts.append(f'<text {at} class="tick">{escape(self.starts[window])}</text>')
        return "".join(parts)

    def drawing(self, body: str, *, height: float, label: str, extra: str = "", left: int = 0) -> str:
        """Return the whole SVG, from ``left`` on."""
        size = f'viewBox="{left} 0 {WIDTH - left} {height:.0f}"'
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

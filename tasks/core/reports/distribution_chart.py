"""Two distributions side by side as SVG."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from itertools import pairwise

from evergreen.tasks.core.errors import InputError

BARS_WIDTH, BARS_LEFT, BARS_ROW, BARS_HEIGHT = 420, 130, 24, 8


def bars_svg(
    labels: Sequence[str], reference: Sequence[float], current: Sequence[float], *, title: str
) -> str:
    """Return two bars a label, drawn to one scale: the reference, and what is now.

    Parameters
    ----------
    labels : sequence of str, length b
        What was counted.
    reference, current : sequence of float, length b
        Shares.
    title : str
        Name of the column.
    """
    greatest = max([*reference, *current], default=0.0) or 1.0
    rows = [
        _bars_row(place, label, (before, now), greatest)
        for place, (label, before, now) in enumerate(zip(labels, reference, current, strict=True))
    ]
    height = 26 + len(rows) * BARS_ROW
    said = escape(title)
    return (
        f'<svg viewBox="0 0 {BARS_WIDTH} {height}" role="img" aria-label="Distribution of {said}">'
        f'<text x="0" y="14" class="head">{said}</text>{"".join(rows)}</svg>'
    )


def _bars_row(place: int, label: str, sides: tuple[float, float], greatest: float) -> str:
    top = 26 + place * BARS_ROW
    short = label if len(label) <= 18 else f"{label[:17]}…"
    title = f"{label}: {sides[0]:.1%} in the reference, {sides[1]:.1%} now"
    bars = "".join(
        f'<rect x="{BARS_LEFT}" y="{top + side * (BARS_HEIGHT + 1)}" height="{BARS_HEIGHT}" class="{css}" '
        f'width="{max(0.5, value / greatest * (BARS_WIDTH - BARS_LEFT - 46)):.1f}"/>'
        for side, (value, css) in enumerate(zip(sides, ("past", "current"), strict=True))
    )
    end = BARS_LEFT + max(sides) / greatest * (BARS_WIDTH - BARS_LEFT - 46) + 5
    return (
        f"<g><title>{escape(title)}</title>"
        f'<rect x="0" y="{top - 3}" width="{BARS_WIDTH}" height="{BARS_ROW}" fill="transparent"/>'
        f'<text x="{BARS_LEFT - 8}" y="{top + 12}" class="name">{escape(short)}</text>{bars}'
        f'<text x="{end:.1f}" y="{top + 12}" class="tick">{sides[1]:.0%}</text></g>'
    )


# Two distributions in one chart, as inline SVG: grey columns were, coloured ones are.


CHART_WIDTH, CHART_HEIGHT, CHART_TOP, CHART_FOOT, CHART_SIDE = 420, 190, 28, 22, 10


def distribution_svg(
    labels: Sequence[str],
    reference: Sequence[float],
    current: Sequence[float],
    *,
    title: str,
    ticks: Sequence[str] = (),
) -> str:
    """Return a chart of two distributions over the same cells.

    With ``ticks`` the cells are ordered and drawn as columns from left to right; without, they are names and drawn as
    pairs of bars. Classes ``past`` and ``current``, ``line``, ``grid``, ``tick`` and ``head`` are styled by the page
    (`evergreen.tasks.core.reports.charts.MARKS`). Every cell has a title with both shares.

    Parameters
    ----------
    labels : sequence of str, length b
        What each cell holds.
    reference, current : sequence of float, length b
        Shares of the rows.
    title : str
        Name of the column; escaped here, as the labels are.
    ticks : sequence of str, length b + 1, optional
        Texts at the borders of the cells.

    Raises
    ------
    InputError
        When the lengths differ.
    """
    if not len(labels) == len(reference) == len(current) or len(ticks) not in (0, len(labels) + 1):
        raise InputError(
            f"A chart got {len(labels)} labels, {len(reference)} and {len(current)} shares and {len(ticks)} ticks. "
            "Allowed: as many shares as labels on both sides, and one tick more or none."
        )
    if not ticks:
        return bars_svg(labels, reference, current, title=title)
    greatest = max([*reference, *current], default=0.0) or 1.0
    body = [
        f'<text x="0" y="14" class="head">{escape(title)}</text>',
        _columns(reference, greatest, css="past"),
        _columns(current, greatest, css="current", opacity=0.35),
        _outline(current, greatest),
        *(_tick(place, text, len(labels)) for place, text in enumerate(ticks) if text),
        *(
            _hover(place, label, reference[place], current[place], len(labels))
            for place, label in enumerate(labels)
        ),
    ]
    return (
        f'<svg viewBox="0 0 {CHART_WIDTH} {CHART_HEIGHT}" role="img" aria-label="Distribution of {escape(title)}">'
        f"{''.join(body)}</svg>"
    )


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


def _hover(place: int, label: str, before: float, after: float, cells: int) -> str:
    title = escape(f"{label}: {before:.1%} in the reference, {after:.1%} now")
    width = (CHART_WIDTH - 2 * CHART_SIDE) / cells
    return (
        f'<rect x="{_x(place, cells):.1f}" y="{CHART_TOP}" width="{width:.1f}" '
        f'height="{CHART_HEIGHT - CHART_FOOT - CHART_TOP}" fill="transparent"><title>{title}</title></rect>'
    )

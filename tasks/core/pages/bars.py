"""Two distributions side by side as SVG."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

WIDTH, LEFT, ROW, BAR = 420, 130, 24, 8


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
        _row(place, label, (before, now), greatest)
        for place, (label, before, now) in enumerate(zip(labels, reference, current, strict=True))
    ]
    height = 26 + len(rows) * ROW
    said = escape(title)
    return (
        f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="Distribution of {said}">'
        f'<text x="0" y="14" class="head">{said}</text>{"".join(rows)}</svg>'
    )


def _row(place: int, label: str, sides: tuple[float, float], greatest: float) -> str:
    top = 26 + place * ROW
    short = label if len(label) <= 18 else f"{label[:17]}…"
    title = f"{label}: {sides[0]:.1%} in the reference, {sides[1]:.1%} now"
    bars = "".join(
        f'<rect x="{LEFT}" y="{top + side * (BAR + 1)}" height="{BAR}" class="{css}" '
        f'width="{max(0.5, value / greatest * (WIDTH - LEFT - 46)):.1f}"/>'
        for side, (value, css) in enumerate(zip(sides, ("past", "current"), strict=True))
    )
    end = LEFT + max(sides) / greatest * (WIDTH - LEFT - 46) + 5
    return (
        f"<g><title>{escape(title)}</title>"
        f'<rect x="0" y="{top - 3}" width="{WIDTH}" height="{ROW}" fill="transparent"/>'
        f'<text x="{LEFT - 8}" y="{top + 12}" class="name">{escape(short)}</text>{bars}'
        f'<text x="{end:.1f}" y="{top + 12}" class="tick">{sides[1]:.0%}</text></g>'
    )

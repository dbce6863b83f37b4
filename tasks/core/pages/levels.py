"""What was said of each kind of drift, window by window, as rows of a drawing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tasks.core.drift.words import DriftKind, Level, worst
from tasks.core.pages.axis import Axis, pool, runs
from tasks.core.pages.watched import level_of

Windows = Sequence[Mapping[str, Any]]
STRIP = 20
VOID = (
    '<defs><pattern id="void" width="5" height="5" patternUnits="userSpaceOnUse" patternTransform="rotate(45)">'
    '<rect width="5" height="5" class="s0"/><rect width="1.6" height="5" class="hatch"/></pattern></defs>'
)
"""Hatching of what could not be judged; a drawing that uses it must hold it."""


def level_strips(windows: Windows, axis: Axis, top: float) -> tuple[str, float]:
    """Return a row for each kind that was looked at, and the height of all of them."""
    kinds = [kind for kind in DriftKind if any(level_of(window, kind) is not None for window in windows)]
    drawn = [_strip(windows, kind, axis, top + place * STRIP) for place, kind in enumerate(kinds)]
    return "".join(drawn), len(kinds) * STRIP


def _strip(windows: Windows, kind: DriftKind, axis: Axis, top: float) -> str:
    """Draw a kind's levels; the height of a mark says the level once more."""
    levels = [level_of(window, kind) for window in windows]
    cells = [_gravest(group) for group in pool(levels, axis.cells)]
    parts = [axis.name(kind.value, top + STRIP - 7, css="kind")]
    for first, last, shown in runs(cells, by=lambda level: level):
        level = shown[0]
        if level is None:
            continue
        tall = {Level.QUIET: 0.3, Level.WARNING: 0.65}.get(level, 1.0) * (STRIP - 4)
        title = f"{kind.value}: {level.value}, {axis.span(windows, first, last)}"
        parts.append(
            axis.block(first, last, top + STRIP - 4 - tall, tall, css=f"l-{level.value}", title=title)
        )
    return "".join(parts)


def _gravest(levels: Sequence[Level | None]) -> Level | None:
    seen = [level for level in levels if level is not None]
    return worst(seen) if seen else None

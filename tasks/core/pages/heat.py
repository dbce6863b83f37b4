"""The map of a watched model: one row a kind of drift or column, one cell a window, as inline SVG."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tasks.core.drift.words import DriftKind
from tasks.core.pages.axis import Axis, pool, runs
from tasks.core.pages.levels import VOID, level_strips
from tasks.core.pages.style import legend
from tasks.core.pages.watched import JUDGED, Watched, level_of, real

MOST_COLUMNS = 60
ROW, GAP = 17, 14
STEPS = 5
"""Shades of the population stability index: half the warning level, warning, critical, twice critical."""


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One column in one window (or the worst of several that share a cell).

    Attributes
    ----------
    shade : str
        CSS class: ``s0`` … ``s4`` by PSI (``s0`` too where chance explains it: exceeded in one of 20 windows without
        drift), ``none`` without one, ``void`` where it could not be judged.
    psi : float
        Population stability index; NaN without one.
    mark : str
        ``alarm``, ``warn`` or nothing.
    """

    shade: str
    psi: float
    mark: str


def heat_map(watched: Watched) -> str:
    """Return the map; the columns that moved first, at most ``MOST_COLUMNS`` of them."""
    axis = Axis.over(watched.windows)
    shown = map_columns(watched)[:MOST_COLUMNS]
    levels, height = level_strips(watched.windows, axis, GAP)
    top = GAP + height + GAP
    height = top + len(shown) * ROW
    body = [_row(watched, name, axis, top + place * ROW) for place, name in enumerate(shown)]
    label = f"Map of {len(shown)} columns over {len(watched.windows)} windows"
    return axis.drawing("".join([VOID, levels, *body, axis.ticks(height)]), height=height + 26, label=label)


def map_columns(watched: Watched) -> list[str]:
    """Return the columns of the map: what moves first, then what has moved, then by the greatest PSI."""
    moved = list(
        dict.fromkeys(move.column for move in watched.moves if move.kind is not DriftKind.PERFORMANCE)
    )
    greatest: dict[str, float] = {}
    for window in watched.windows:
        for one in window.get("columns", ()):
            psi = real(one.get("psi"))
            name = str(one["column"])
            greatest[name] = max(greatest.get(name, 0.0), 0.0 if math.isnan(psi) else psi)
    return [*moved, *sorted(set(greatest) - set(moved), key=lambda name: (-greatest[name], name))]


def cells_of(watched: Watched, column: str) -> list[Cell]:
    """Return a column's cell in each window."""
    return [_cell(watched, window, column) for window in watched.windows]


def _cell(watched: Watched, window: Mapping[str, Any], column: str) -> Cell:
    measured = next((one for one in window.get("columns", ()) if one["column"] == column), None)
    psi = real(measured.get("psi")) if measured else math.nan
    moves = [one for one in window.get("moved", ()) if one["column"] == column]
    mark = "alarm" if any(one.get("alarm") for one in moves) else "warn" if moves else ""
    judged = any(level_of(window, kind) in JUDGED for kind in DriftKind)
    if math.isnan(psi):
        return Cell(shade="void" if measured or not judged else "none", psi=psi, mark=mark)
    explained = measured is not None and psi <= real(measured.get("psi_chance"))
    return Cell(shade="s0" if explained else _shade(psi, watched), psi=psi, mark=mark)


def _shade(psi: float, watched: Watched) -> str:
    warning, critical = watched.config.drift.psi_warning, watched.config.drift.psi_critical
    return f"s{sum(psi >= edge for edge in (warning / 2, warning, critical, 2 * critical))}"


def _row(watched: Watched, column: str, axis: Axis, top: float) -> str:
    """Draw a column's row: neighbours of one shade are one mark, whose title says when and how much."""
    cells = [_worst(group) for group in pool(cells_of(watched, column), axis.cells)]
    current = " now" if any(move.column == column for move in watched.current) else ""
    parts = [axis.name(column, top + ROW - 5, css=f"name{current}")]
    for first, last, shown in runs(cells, by=lambda cell: cell.shade):
        title = _title(watched, column, axis, first, last, shown)
        parts.append(axis.block(first, last, top, ROW - 2, css=shown[0].shade, title=title))
    for first, last, shown in runs(cells, by=lambda cell: cell.mark):
        if shown[0].mark:
            title = _title(watched, column, axis, first, last, shown)
            parts.append(axis.outline(first, last, top, ROW - 2, css=shown[0].mark, title=title))
    return "".join(parts)


def _title(watched: Watched, column: str, axis: Axis, first: int, last: int, cells: Sequence[Cell]) -> str:
    known = [cell.psi for cell in cells if not math.isnan(cell.psi)]
    psi = f", PSI {'up to ' if len(known) > 1 else ''}{max(known):.3g}" if known else ""
    said = {"void": ", could not be judged"}.get(cells[0].shade, "")
    mark = {"alarm": ", alarm", "warn": ", warning"}.get(cells[0].mark, "")
    return f"{column}: {axis.span(watched.windows, first, last)}{psi}{said}{mark}"


def _worst(cells: Sequence[Cell]) -> Cell:
    order = ("void", "none", *(f"s{step}" for step in range(STEPS)))
    gravest = max(cells, key=lambda cell: order.index(cell.shade))
    marks = {cell.mark for cell in cells}
    mark = "alarm" if "alarm" in marks else "warn" if "warn" in marks else ""
    return Cell(shade=gravest.shade, psi=gravest.psi, mark=mark)


def heat_legend(watched: Watched) -> str:
    """Return the legend of the map."""
    drift = watched.config.drift
    edges = (drift.psi_warning / 2, drift.psi_warning, drift.psi_critical, 2 * drift.psi_critical)
    words = [f"PSI below {edges[0]:g} or no more than chance", *(f"from {edge:g}" for edge in edges)]
    shades = [(f"s{step}", words[step]) for step in range(STEPS)]
    marks = [("alarm", "alarm"), ("warn", "warning"), ("void", "could not be judged"), ("none", "no PSI")]
    return legend([*shades, *marks])

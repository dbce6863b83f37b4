"""Distributions of the moved columns against the reference, from profiles alone."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from itertools import groupby
from typing import Any

import numpy as np

from evergreen.tasks.core.drift.types import DriftKind, Level, listed, short_time
from evergreen.tasks.core.profiles.grid import ColumnGrid
from evergreen.tasks.core.profiles.profile import ColumnProfile
from evergreen.tasks.core.reports.charts import AXIS_LEFT, Axis, Distribution, histogram, mark, pool, runs
from evergreen.tasks.core.reports.html import COLOURS, MARKS, legend
from evergreen.tasks.core.reports.monitored_model import (
    JUDGED,
    VOID,
    MonitoredModel,
    level_of,
    level_strips,
    performance_of,
    real,
)

MOST_CATEGORIES = 12


def column_figure(monitored: MonitoredModel, column: str) -> str:
    """Return a column's chart with what it leaves out below; nothing where its profiles are not at hand."""
    for before, now in monitored.profiles:
        if column in before.columns and column in now.columns and before.grid.id == now.grid.id:
            grid = before.grid.columns[column]
            reference, current = before.columns[column], now.columns[column]
            break
    else:
        return ""
    if not (reference.n and current.n) or (column.startswith("@") and not current.finite):
        return ""  # a side without rows, or a window of inputs that has no outcome yet
    private = column in monitored.private or grid.hashed
    missing = [side.nulls / side.n for side in (reference, current)]
    notes = [
        f"Missing: {missing[0]:.1%} in the reference, {missing[1]:.1%} now." if any(missing) else "",
        "Private: neither values nor names are shown." if private else "",
    ]
    chart = distribution(grid, reference, current, private=private).draw(column)
    return f"<figure>{chart}<figcaption>{escape(' '.join(filter(None, notes)))}</figcaption></figure>"


def distribution(
    grid: ColumnGrid, reference: ColumnProfile, current: ColumnProfile, *, private: bool
) -> Distribution:
    """Return a histogram of numbers, else the shares of groups; of a private column without values and names."""
    if grid.kind == "numeric" and not private and reference.finite and current.finite:
        return histogram(grid, reference, current)
    return side_shares(grid, reference, current, hidden=private)


def group_words(monitored: MonitoredModel, column: str, group: str) -> str:
    """Return a group of a signal (``share:<group>``) for people: of numbers the interval, else the category itself."""
    grids = [reference.grid.columns for reference, _ in monitored.profiles]
    grid = next((columns[column] for columns in grids if column in columns), None)
    if grid is None or grid.kind != "numeric":
        return group
    return _numeric_groups(grid)[int(group) - 1][0]


def side_shares(
    grid: ColumnGrid, reference: ColumnProfile, current: ColumnProfile, *, hidden: bool
) -> Distribution:
    """Return a column's distributions from its profiles, each with rows; ``hidden``: without values and names."""
    groups = _numeric_groups(grid) if grid.kind == "numeric" else _category_groups(grid, reference, current)
    sides = (reference, current)
    counts = [[float(np.sum(np.take(side.counts, bins))) for _, bins in groups] for side in sides]
    labels = [f"group {place + 1}" if hidden else label for place, (label, _) in enumerate(groups)]
    for name, beyond in (
        ("missing", [side.nulls for side in sides]),
        ("infinite", [side.plus_inf + side.minus_inf for side in sides]),
    ):
        if any(beyond):
            labels.append(name)
            for side, count in zip(counts, beyond, strict=True):
                side.append(float(count))
    shares = [tuple(count / side.n for count in mine) for side, mine in zip(sides, counts, strict=True)]
    return Distribution(labels=tuple(labels), reference=shares[0], current=shares[1])


def _numeric_groups(grid: ColumnGrid) -> list[tuple[str, range]]:
    """Return the coarse groups: a label, and the fine bins in it."""
    ends = (*grid.cuts[1:], grid.bins)
    bins = [range(first, end) for first, end in zip(grid.cuts, ends, strict=True)]
    return [(_interval(grid, one.start, one.stop), one) for one in bins]


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
    share = np.maximum(*(np.asarray(side.counts[:own]) / side.n for side in (reference, current)))
    chosen = sorted(np.argsort(-share, kind="stable")[:MOST_CATEGORIES].tolist())
    rest = [place for place in range(own) if place not in chosen]
    groups: list[tuple[str, Sequence[int]]] = [(grid.categories[place], [place]) for place in chosen]
    groups += [("other", [*rest, own]), ("never seen", [own + 1])]
    return [
        (label, bins)
        for label, bins in groups
        if label in grid.categories or any(reference.counts[b] or current.counts[b] for b in bins)
    ]


# The map of a monitored model: one row a kind of drift or column, one cell a window, as inline SVG.


MOST_COLUMNS = 60
ROW, GAP = 17, 14
STEPS = 5
"""Shades of the population stability index: half the warning level, warning, critical, twice critical."""


@dataclass(frozen=True, kw_only=True)
class HeatmapCell:
    """One column in one window (or the worst of several that share a cell)."""

    shade: str
    """CSS class: ``s0`` … ``s4`` by PSI (``s0`` too where chance explains it: exceeded in one of 20 windows without
    drift), ``none`` without one, ``void`` where it could not be judged."""
    psi: float
    """Population stability index; NaN without one."""
    mark: str
    """``alarm``, ``warn`` or nothing."""


def heat_map(monitored: MonitoredModel) -> str:
    """Return the map; the columns that moved first, at most ``MOST_COLUMNS`` of them."""
    axis = Axis.over(monitored.windows)
    shown = map_columns(monitored)[:MOST_COLUMNS]
    levels, height = level_strips(monitored.windows, axis, GAP)
    top = GAP + height + GAP
    height = top + len(shown) * ROW
    body = [_row(monitored, name, axis, top + place * ROW) for place, name in enumerate(shown)]
    label = f"Map of {len(shown)} columns over {len(monitored.windows)} windows"
    return axis.drawing("".join([VOID, levels, *body, axis.ticks(height)]), height=height + 26, label=label)


def map_columns(monitored: MonitoredModel) -> list[str]:
    """Return the columns of the map: what moves first, then what has moved, then by the greatest PSI."""
    of_columns = (move for move in monitored.moves if move.kind is not DriftKind.PERFORMANCE)
    moved = list(dict.fromkeys(move.column for move in of_columns))
    greatest: dict[str, float] = {}
    for window in monitored.windows:
        for one in window.get("columns", ()):
            psi = real(one.get("psi"))
            name = str(one["column"])
            greatest[name] = max(greatest.get(name, 0.0), 0.0 if math.isnan(psi) else psi)
    return [*moved, *sorted(set(greatest) - set(moved), key=lambda name: (-greatest[name], name))]


def cells_of(monitored: MonitoredModel, column: str) -> list[HeatmapCell]:
    """Return a column's cell in each window."""
    return [_cell(monitored, window, column) for window in monitored.windows]


def _psi_levels(monitored: MonitoredModel) -> tuple[float, float, float, float]:
    """Return the PSI from which on each darker shade begins."""
    drift = monitored.config.drift
    return drift.psi_warning / 2, drift.psi_warning, drift.psi_critical, 2 * drift.psi_critical


def _cell(monitored: MonitoredModel, window: Mapping[str, Any], column: str) -> HeatmapCell:
    measured = next((one for one in window.get("columns", ()) if one["column"] == column), None)
    psi = real(measured.get("psi")) if measured else math.nan
    moves = [one for one in window.get("moved", ()) if one["column"] == column]
    mark = "alarm" if any(one.get("alarm") for one in moves) else "warn" if moves else ""
    judged = any(level_of(window, kind) in JUDGED for kind in DriftKind)
    if math.isnan(psi):
        return HeatmapCell(shade="void" if measured or not judged else "none", psi=psi, mark=mark)
    explained = measured is not None and psi <= real(measured.get("psi_chance"))
    shade = 0 if explained else sum(psi >= level for level in _psi_levels(monitored))
    return HeatmapCell(shade=f"s{shade}", psi=psi, mark=mark)


def _row(monitored: MonitoredModel, column: str, axis: Axis, top: float) -> str:
    """Draw a column's row: neighbours of one shade are one mark, whose title says when and how much."""
    cells = [_worst(group) for group in pool(cells_of(monitored, column), axis.cells)]
    current = " now" if any(move.column == column for move in monitored.current) else ""
    parts = [axis.name(column, top + ROW - 5, css=f"name{current}")]
    for first, last, shown in runs(cells, by=lambda cell: cell.shade):
        title = _title(monitored, column, axis, first, last, shown)
        parts.append(axis.block(first, last, top, ROW - 2, css=shown[0].shade, title=title))
    for first, last, shown in runs(cells, by=lambda cell: cell.mark):
        if shown[0].mark:
            title = _title(monitored, column, axis, first, last, shown)
            parts.append(axis.outline(first, last, top, ROW - 2, css=shown[0].mark, title=title))
    return "".join(parts)


def _title(
    monitored: MonitoredModel, column: str, axis: Axis, first: int, last: int, cells: Sequence[HeatmapCell]
) -> str:
    points = [cell.psi for cell in cells if not math.isnan(cell.psi)]
    psi = f", PSI {'up to ' if len(points) > 1 else ''}{max(points):.3g}" if points else ""
    text = {"void": ", could not be judged"}.get(cells[0].shade, "")
    mark = {"alarm": ", alarm", "warn": ", warning"}.get(cells[0].mark, "")
    return f"{column}: {axis.span(monitored.windows, first, last)}{psi}{text}{mark}"


def _worst(cells: Sequence[HeatmapCell]) -> HeatmapCell:
    order = ("void", "none", *(f"s{step}" for step in range(STEPS)))
    worst = max(cells, key=lambda cell: order.index(cell.shade))
    marks = {cell.mark for cell in cells}
    mark = "alarm" if "alarm" in marks else "warn" if "warn" in marks else ""
    return HeatmapCell(shade=worst.shade, psi=worst.psi, mark=mark)


def heat_legend(monitored: MonitoredModel) -> str:
    """Return the legend of the map."""
    edges = _psi_levels(monitored)
    words = [f"PSI below {edges[0]:g} or no more than chance", *(f"from {edge:g}" for edge in edges)]
    shades = [(f"s{step}", words[step]) for step in range(STEPS)]
    marks = [("alarm", "alarm"), ("warn", "warning"), ("void", "could not be judged"), ("none", "no PSI")]
    return legend([*shades, *marks])


# Performance over time as SVG: value with interval, reference, estimates, alarms and changes of champion.


Windows = Sequence[Mapping[str, Any]]
TOP, HEIGHT, MOST_DOTS = 34, 210, 400


def performance_chart(windows: Windows, promotions: Windows = ()) -> str:
    """Return the chart; an empty text when no window has a performance.

    Parameters
    ----------
    windows : sequence of dict
        Oldest first.
    promotions : sequence of dict
        ``version``, ``kind`` and ``at``; each is drawn where its version first answered a window.
    """
    body, height = performance_parts(windows, promotions)
    label = f"performance over {len(windows)} windows"
    return Axis.over(windows).drawing(body, height=height, label=label) if body else ""


def performance_parts(windows: Windows, promotions: Windows) -> tuple[str, float]:
    """Return what the chart is made of, and its height."""
    points = [(place, one) for place, window in enumerate(windows) if (one := performance_of(window))]
    if not points:
        return "", 0.0
    axis, scale = Axis.over(windows), ValueAxis.over([one for _, one in points])
    body = [
        *_alarms(windows, axis),
        scale.rules(axis),
        _band(points, axis, scale),
        *_references(points, axis, scale),
        *_lines(points, axis, scale),
        *_dots(points, windows, axis, scale),
        *_version_changes(windows, promotions, axis),
        f'<text x="{AXIS_LEFT - 10}" y="{TOP - 8}" class="kind">{escape(str(points[0][1]["metric"]))}</text>',
        axis.ticks(TOP + HEIGHT),
    ]
    return "".join(body), TOP + HEIGHT + 26.0


def performance_picture(windows: Windows, promotions: Windows = (), *, title: str) -> str:
    """Return levels and performance as a file of its own, light or dark as the reader's screen is."""
    axis = Axis.over(windows)
    strips, tall = level_strips(windows, axis, 26)
    chart, height = performance_parts(windows, promotions)
    if not chart:
        chart = f'<text x="{AXIS_LEFT}" y="{TOP}" class="tick">no window has a performance</text>'
        height = 2.0 * TOP
    body = (
        f"<style>{COLOURS}{MARKS}svg{{background:var(--paper)}}</style>{VOID}"
        f'<text x="{AXIS_LEFT}" y="15" class="head">{escape(title)}</text>{strips}'
        f'<g transform="translate(0 {tall + 34})">{chart}</g>'
    )
    extra = 'xmlns="http://www.w3.org/2000/svg" font-family="system-ui,sans-serif"'
    return axis.drawing(body, height=height + tall + 34, label=title, extra=extra, left=80)


class ValueAxis:
    """The vertical axis: values from ``low`` to ``high``."""

    def __init__(self, low: float, high: float) -> None:
        self.low, self.high = low, high

    @classmethod
    def over(cls, points: Windows) -> ValueAxis:
        """Return the scale that holds values, references and intervals (these up to three times the values)."""
        sure = [
            float(one[name]) for one in points for name in ("value", "reference") if one.get(name) is not None
        ]
        low, high = min(sure), max(sure)
        room = (high - low) or abs(high) * 0.05 or 1.0
        ends = [float(one[name]) for one in points for name in ("low", "high") if one.get(name) is not None]
        low, high = max(min([low, *ends]), low - 2 * room), min(max([high, *ends]), high + 2 * room)
        return cls(low - 0.05 * room, high + 0.05 * room)

    def y(self, value: float) -> float:
        """Height of a value, kept inside the chart."""
        share = (value - self.low) / (self.high - self.low)
        return TOP + HEIGHT * (1 - min(1.0, max(0.0, share)))

    def rules(self, axis: Axis) -> str:
        """Draw round values as lines."""
        right = axis.x(axis.cells)
        parts = []
        for value in round_values(self.low, self.high):
            y = self.y(value)
            parts.append(f'<path d="M{AXIS_LEFT} {y:.1f}H{right:.1f}" class="grid"/>')
            parts.append(f'<text x="{AXIS_LEFT - 10}" y="{y + 4:.1f}" class="name">{value:.6g}</text>')
        return "".join(parts)


def round_values(low: float, high: float) -> list[float]:
    """Return four to eleven round values between two, ascending.

    >>> round_values(0.66, 0.81)
    [0.66, 0.68, 0.7, 0.72, 0.74, 0.76, 0.78, 0.8]
    """
    rough = (high - low) / 4
    power = 10.0 ** math.floor(math.log10(rough))
    step = max(size * power for size in (1, 2, 5) if size * power <= rough)
    places = range(math.ceil(low / step), math.floor(high / step) + 1)
    return [float(f"{place * step:.10g}") for place in places]


MetricPoints = list[tuple[int, Mapping[str, Any]]]


def _band(points: MetricPoints, axis: Axis, scale: ValueAxis) -> str:
    """Draw the intervals as one band; windows that are no neighbours are not joined."""
    parts = []
    for run in _neighbours([(place, one) for place, one in points if one.get("low") is not None]):
        half = axis.step / 2 if len(run) == 1 else 0.0
        upper = [f"{axis.middle(place) - half:.1f} {scale.y(one['high']):.1f}" for place, one in run]
        lower = [f"{axis.middle(place) + half:.1f} {scale.y(one['low']):.1f}" for place, one in reversed(run)]
        if half:
            place, one = run[0]
            upper.append(f"{axis.middle(place) + half:.1f} {scale.y(one['high']):.1f}")
            lower.append(f"{axis.middle(place) - half:.1f} {scale.y(one['low']):.1f}")
        parts.append(f'<path d="M{"L".join([*upper, *lower])}Z" class="band"/>')
    return "".join(parts)


def _lines(points: MetricPoints, axis: Axis, scale: ValueAxis) -> Iterator[str]:
    for estimated in (False, True):
        mine = [(place, one) for place, one in points if bool(one.get("estimated")) is estimated]
        for run in _neighbours(mine):
            path = [f"{axis.middle(place):.1f} {scale.y(one['value']):.1f}" for place, one in run]
            yield f'<path d="M{"L".join(path)}" class="line{" guess" if estimated else ""}"/>'


def _references(points: MetricPoints, axis: Axis, scale: ValueAxis) -> Iterator[str]:
    """Draw the reference of each champion; a new champion has its own."""
    for value, group in groupby(points, key=lambda pair: pair[1].get("reference")):
        run = list(group)
        if value is None:
            continue
        first, last = axis.middle(run[0][0]) - axis.step / 2, axis.middle(run[-1][0]) + axis.step / 2
        path = f'path d="M{first:.1f} {scale.y(value):.1f}H{last:.1f}" class="reference"'
        yield mark(path, f"reference {value:.4g}")


def _dots(points: MetricPoints, windows: Windows, axis: Axis, scale: ValueAxis) -> Iterator[str]:
    """Draw the values with their titles; of very many only each so many."""
    every, radius = -(-len(points) // MOST_DOTS), 3 if axis.step > 8 else 1.8
    for place, one in points[::every]:
        estimated = bool(one.get("estimated"))
        between = "" if one.get("low") is None else f" [{one['low']:.4g}, {one['high']:.4g}]"
        text = f"{short_time(windows[place]['from'])}: {one['metric']} {one['value']:.4g}{between}"
        text += ", estimated without labels" if estimated else ""
        at = f'cx="{axis.middle(place):.1f}" cy="{scale.y(one["value"]):.1f}"'
        css = "guess dot" if estimated else "dot"
        yield mark(f'circle {at} r="{radius}" class="{css}"', text)


def _alarms(windows: Windows, axis: Axis) -> Iterator[str]:
    """Shade the windows whose performance has drifted; a triangle marks where alarms open."""
    drifted = [level_of(window, DriftKind.PERFORMANCE) is Level.DRIFT for window in windows]
    for first, last, shown in runs(drifted, by=bool):
        if shown[0]:
            x, end = axis.middle(first) - axis.step / 2, axis.middle(last - 1) + axis.step / 2
            where = f'x="{x:.1f}" y="{TOP}" width="{max(1.0, end - x):.1f}" height="{HEIGHT}"'
            begin = short_time(windows[first]["from"])
            yield mark(f'rect {where} class="drifted"', f"performance drifted since {begin}")
    for place, window in enumerate(windows):
        opened = [one for one in window.get("changes", ()) if one["change"] == "opened"]
        if opened:
            names = listed([f"{one['column']} ({one['kind']})" for one in opened], most=8)
            path = f'path d="M{axis.middle(place) - 5:.1f} {TOP - 10}h10l-5 9z" class="begin"'
            yield mark(path, f"{short_time(window['from'])}: alarm of {names} opened")


def _version_changes(windows: Windows, promotions: Windows, axis: Axis) -> Iterator[str]:
    """Mark where another version begins to answer."""
    by_version = {str(one["version"]): one for one in promotions}
    for place in range(1, len(windows)):
        version = windows[place].get("version")
        if version is None or version == windows[place - 1].get("version"):
            continue
        one = by_version.get(str(version), {})
        what = one.get("kind") or "another champion"
        title = f"version {version}: {what} {short_time(one.get('at') or '')}"
        x = axis.middle(place) - axis.step / 2
        yield mark(f'path d="M{x:.1f} {TOP - 4}V{TOP + HEIGHT}" class="champion"', title)
        yield f'<text x="{x + 4:.1f}" y="{TOP + HEIGHT - 6}" class="flag">v{escape(str(version))}</text>'


def _neighbours(points: MetricPoints) -> Iterator[MetricPoints]:
    """Yield runs of windows that follow one another."""
    for _, group in groupby(enumerate(points), key=lambda pair: pair[1][0] - pair[0]):
        yield [pair for _, pair in group]

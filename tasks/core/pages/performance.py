"""Performance over time as SVG: value with interval, reference, estimates, alarms and changes of the throne."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from itertools import groupby
from typing import Any

from tasks.core.drift.phrases import listed, short_time
from tasks.core.drift.words import DriftKind, Level
from tasks.core.pages.axis import LEFT, Axis, runs
from tasks.core.pages.levels import VOID, level_strips
from tasks.core.pages.style import COLOURS, MARKS
from tasks.core.pages.watched import level_of, performance_of

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
    known = [(place, one) for place, window in enumerate(windows) if (one := performance_of(window))]
    if not known:
        return "", 0.0
    axis, scale = Axis.over(windows), Scale.over([one for _, one in known])
    body = [
        *_alarms(windows, axis),
        scale.rules(axis),
        _band(known, axis, scale),
        *_references(known, axis, scale),
        *_lines(known, axis, scale),
        *_dots(known, windows, axis, scale),
        *_thrones(windows, promotions, axis),
        f'<text x="{LEFT - 10}" y="{TOP - 8}" class="kind">{escape(str(known[0][1]["metric"]))}</text>',
        axis.ticks(TOP + HEIGHT),
    ]
    return "".join(body), TOP + HEIGHT + 26.0


def performance_picture(windows: Windows, promotions: Windows = (), *, title: str) -> str:
    """Return levels and performance as a file of its own, light or dark as the reader's screen is."""
    axis = Axis.over(windows)
    strips, tall = level_strips(windows, axis, 26)
    chart, height = performance_parts(windows, promotions)
    if not chart:
        chart, height = (
            f'<text x="{LEFT}" y="{TOP}" class="tick">no window has a performance</text>',
            2.0 * TOP,
        )
    body = (
        f"<style>{COLOURS}{MARKS}svg{{background:var(--paper)}}</style>{VOID}"
        f'<text x="{LEFT}" y="15" class="head">{escape(title)}</text>{strips}'
        f'<g transform="translate(0 {tall + 34})">{chart}</g>'
    )
    extra = 'xmlns="http://www.w3.org/2000/svg" font-family="system-ui,sans-serif"'
    return axis.drawing(body, height=height + tall + 34, label=title, extra=extra, left=80)


class Scale:
    """The vertical axis: values from ``low`` to ``high``."""

    def __init__(self, low: float, high: float) -> None:
        self.low, self.high = low, high

    @classmethod
    def over(cls, known: Windows) -> Scale:
        """Return the scale that holds values, references and intervals (these up to three times the values)."""
        sure = [
            float(one[name]) for one in known for name in ("value", "reference") if one.get(name) is not None
        ]
        low, high = min(sure), max(sure)
        room = (high - low) or abs(high) * 0.05 or 1.0
        ends = [float(one[name]) for one in known for name in ("low", "high") if one.get(name) is not None]
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
            parts.append(f'<path d="M{LEFT} {y:.1f}H{right:.1f}" class="grid"/>')
            parts.append(f'<text x="{LEFT - 10}" y="{y + 4:.1f}" class="name">{value:.6g}</text>')
        return "".join(parts)


def round_values(low: float, high: float) -> list[float]:
    """Return four to eleven round values between two, ascending.

    >>> round_values(0.66, 0.81)
    [0.66, 0.68, 0.7, 0.72, 0.74, 0.76, 0.78, 0.8]
    """
    rough = (high - low) / 4
    power = 10.0 ** math.floor(math.log10(rough))
    step = max(size * power for size in (1, 2, 5) if size * power <= rough)
    return [
        float(f"{place * step:.10g}") for place in range(math.ceil(low / step), math.floor(high / step) + 1)
    ]


Known = list[tuple[int, Mapping[str, Any]]]


def _band(known: Known, axis: Axis, scale: Scale) -> str:
    """Draw the intervals as one band; windows that are no neighbours are not joined."""
    parts = []
    for run in _neighbours([(place, one) for place, one in known if one.get("low") is not None]):
        half = axis.step / 2 if len(run) == 1 else 0.0
        upper = [f"{axis.middle(place) - half:.1f} {scale.y(one['high']):.1f}" for place, one in run]
        lower = [f"{axis.middle(place) + half:.1f} {scale.y(one['low']):.1f}" for place, one in reversed(run)]
        if half:
            place, one = run[0]
            upper.append(f"{axis.middle(place) + half:.1f} {scale.y(one['high']):.1f}")
            lower.append(f"{axis.middle(place) - half:.1f} {scale.y(one['low']):.1f}")
        parts.append(f'<path d="M{"L".join([*upper, *lower])}Z" class="band"/>')
    return "".join(parts)


def _lines(known: Known, axis: Axis, scale: Scale) -> Iterator[str]:
    for estimated in (False, True):
        mine = [(place, one) for place, one in known if bool(one.get("estimated")) is estimated]
        for run in _neighbours(mine):
            points = [f"{axis.middle(place):.1f} {scale.y(one['value']):.1f}" for place, one in run]
            yield f'<path d="M{"L".join(points)}" class="line{" guess" if estimated else ""}"/>'


def _references(known: Known, axis: Axis, scale: Scale) -> Iterator[str]:
    """Draw the reference of each reign; a new champion has its own."""
    for value, group in groupby(known, key=lambda pair: pair[1].get("reference")):
        run = list(group)
        if value is None:
            continue
        first, last = axis.middle(run[0][0]) - axis.step / 2, axis.middle(run[-1][0]) + axis.step / 2
        title = f"reference {value:.4g}"
        yield (
            f'<path d="M{first:.1f} {scale.y(value):.1f}H{last:.1f}" class="reference">'
            f"<title>{escape(title)}</title></path>"
        )


def _dots(known: Known, windows: Windows, axis: Axis, scale: Scale) -> Iterator[str]:
    """Draw the values with their titles; of very many only each so many."""
    every, radius = -(-len(known) // MOST_DOTS), 3 if axis.step > 8 else 1.8
    for place, one in known[::every]:
        estimated = bool(one.get("estimated"))
        between = "" if one.get("low") is None else f" [{one['low']:.4g}, {one['high']:.4g}]"
        said = f"{short_time(windows[place]['from'])}: {one['metric']} {one['value']:.4g}{between}"
        said += ", estimated without labels" if estimated else ""
        at = f'cx="{axis.middle(place):.1f}" cy="{scale.y(one["value"]):.1f}"'
        css = "guess dot" if estimated else "dot"
        yield f'<circle {at} r="{radius}" class="{css}"><title>{escape(said)}</title></circle>'


def _alarms(windows: Windows, axis: Axis) -> Iterator[str]:
    """Shade the windows whose performance is adrift; a triangle marks where alarms open."""
    adrift = [level_of(window, DriftKind.PERFORMANCE) is Level.DRIFT for window in windows]
    for first, last, shown in runs(adrift, by=bool):
        if shown[0]:
            x, end = axis.middle(first) - axis.step / 2, axis.middle(last - 1) + axis.step / 2
            where = f'x="{x:.1f}" y="{TOP}" width="{max(1.0, end - x):.1f}" height="{HEIGHT}"'
            title = f"performance adrift since {short_time(windows[first]['from'])}"
            yield f'<rect {where} class="adrift"><title>{escape(title)}</title></rect>'
    for place, window in enumerate(windows):
        opened = [one for one in window.get("changes", ()) if one["change"] == "opened"]
        if opened:
            names = listed([f"{one['column']} ({one['kind']})" for one in opened], most=8)
            title = escape(f"{short_time(window['from'])}: alarm of {names} opened")
            x = axis.middle(place)
            yield f'<path d="M{x - 5:.1f} {TOP - 10}h10l-5 9z" class="begin"><title>{title}</title></path>'


def _thrones(windows: Windows, promotions: Windows, axis: Axis) -> Iterator[str]:
    """Mark where another version begins to answer."""
    told = {str(one["version"]): one for one in promotions}
    for place in range(1, len(windows)):
        version = windows[place].get("version")
        if version is None or version == windows[place - 1].get("version"):
            continue
        one = told.get(str(version), {})
        title = (
            f"version {version}: {one.get('kind') or 'another champion'} {short_time(one.get('at') or '')}"
        )
        x = axis.middle(place) - axis.step / 2
        yield f'<path d="M{x:.1f} {TOP - 4}V{TOP + HEIGHT}" class="throne"><title>{escape(title)}</title></path>'
        yield f'<text x="{x + 4:.1f}" y="{TOP + HEIGHT - 6}" class="flag">v{escape(str(version))}</text>'


def _neighbours(known: Known) -> Iterator[Known]:
    """Yield runs of windows that follow one another."""
    for _, group in groupby(enumerate(known), key=lambda pair: pair[1][0] - pair[0]):
        yield [pair for _, pair in group]

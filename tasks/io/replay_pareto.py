"""The replay's plot of quality against the number of retrainings: policies, Pareto front, and those a search tried."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import Any, NamedTuple

from evergreen.tasks.core.drift.types import short_time
from evergreen.tasks.core.replay.results import pareto_front
from evergreen.tasks.core.reports.html import document, section
from evergreen.tasks.core.reports.monitored_model import real
from evergreen.tasks.core.reports.replay_page import (
    SORTER,
    STYLE,
    card,
    decision_section,
    notes_section,
    search_section,
    table_section,
)
from evergreen.tasks.core.reports.replay_summary import ReplayDocument, interval, number, times
from evergreen.tasks.io.replay_plots import (
    CSS,
    INK,
    SOFT,
    PolicyStyle,
    Trace,
    axis,
    gain_plot,
    layout,
    metric_plot,
    plot_html,
    plotly_script,
    policy_styles,
    scatter,
    straight_line,
    value_range,
)

TRIAL = PolicyStyle("#009E73", "solid", "circle")
_CHARACTER, _ROW = 7.2, 18
"""Pixels that a letter and a line of a label take."""


class Point(NamedTuple):
    """A policy on the plot: how many retrainings, which quality, the label of its point."""

    name: str
    x: float
    y: float
    label: str
    hover: str
    style: PolicyStyle


class Panel(NamedTuple):
    """The frame of some points: ranges of both axes, and its size in pixels where the page is narrow."""

    x: tuple[float, float]
    y: tuple[float, float]
    width: float
    height: float

    @classmethod
    def around(cls, points: Sequence[Point], *, width: float, height: float) -> Panel:
        """Return a frame with room for labels."""
        most = max([one.x for one in points], default=0.0) or 1.0
        ys = [one.y for one in points] or [0.0]
        room = (max(ys) - min(ys)) or abs(max(ys)) * 0.02 or 1.0
        return cls((-0.06 * most, 1.14 * most), (min(ys) - 0.25 * room, max(ys) + 0.25 * room), width, height)

    def pixels(self, one: Point) -> tuple[float, float]:
        """Return where a point lies, from the upper left corner."""
        (left, right), (low, high) = self.x, self.y
        return (one.x - left) / (right - left) * self.width, (high - one.y) / (high - low) * self.height


def pareto_plot(replay: ReplayDocument) -> str:
    """Draw mean quality against retrainings, the front as steps, and each policy's gap to the best in hindsight."""
    styles = policy_styles([one["policy"] for one in replay.policies])
    by_name = {one["policy"]: one for one in replay.policies}
    points = [
        _point(by_name[one["policy"]], styles[one["policy"]], label=f"{one['policy']}: {gap}")
        for one in replay.pareto
        for gap in ["best" if one["gap"] == 0 else f"{number(one['gap'])} behind"]
        if math.isfinite(real(one["quality"]))
    ]
    panel = Panel.around(points, width=500, height=300)
    best = replay.best
    level = real(best["mean"]) if best else 0.0
    gaps = [
        straight_line(x=one.x, y=(one.y, level), color=one.style.colour, width=1, dash="dot")
        for one in points
    ]
    lines = [straight_line(y=(level, level), color=SOFT, width=2), *gaps] if best else []
    shape = layout(
        height=440,
        showlegend=False,
        xaxis=_retrainings(panel),
        yaxis=axis(f"mean {replay.metric} ({replay.direction})", range=list(panel.y)),
        annotations=list(_labels(points, panel, axes=("x", "y"))),
        shapes=[line | {"layer": "below"} for line in lines],
    )
    return plot_html(_traces(points, replay.sign, panel), shape, name="quality-against-retrainings")


def search_plot(replay: ReplayDocument, search: Mapping[str, Any]) -> str:
    """Draw what a search tried on the first part of history, beside what was confirmed on the part not seen."""
    names = [one["policy"] for one in replay.policies]
    chosen = {one["policy"] for one in search["chosen"]}
    sides = (
        ("tried on the first part", search["trials"]),
        (f"confirmed from {short_time(search['unseen_from'])} on", search["unseen"]),
    )
    traces, marks, axes = list[Trace](), list[dict[str, Any]](), dict[str, Any]()
    for domain, place, (title, summaries) in zip(([0, 0.44], [0.56, 1]), ("", "2"), sides, strict=True):
        x, y = f"x{place}", f"y{place}"
        points = list(_search_points(summaries, policy_styles(names), chosen))
        panel = Panel.around(points, width=230, height=280)
        traces += [{**one, "xaxis": x, "yaxis": y} for one in _traces(points, replay.sign, panel)]
        marks += _labels([one for one in points if one.label], panel, axes=(x, y))
        axes[f"xaxis{place}"] = _retrainings(panel, domain=domain, anchor=y)
        axes[f"yaxis{place}"] = axis("" if place else f"mean {replay.metric}", range=list(panel.y), anchor=x)
        corner = {"xref": "paper", "yref": "paper", "x": domain[0], "y": 1.02}
        anchor = {"xanchor": "left", "yanchor": "bottom", "showarrow": False}
        marks.append({**corner, **anchor, "text": f"<b>{escape(title)}</b>"})
    shape = layout(height=420, showlegend=False, annotations=marks, **axes)
    return plot_html(traces, shape, name="search")


def _retrainings(panel: Panel, **options: Any) -> dict[str, Any]:
    """Return the horizontal axis; ticks at whole numbers where there are few."""
    ticks = {"dtick": 1} if panel.x[1] <= 10 else {}
    return axis("retrainings", range=list(panel.x), tickformat=",d", **options, **ticks)


def _search_points(
    summaries: Sequence[Mapping[str, Any]], styles: Mapping[str, PolicyStyle], chosen: set[str]
) -> Iterator[Point]:
    """Yield the points of a part; only the chosen settings and the policies beside them bear their name."""
    for one in summaries:
        if math.isfinite(real(one["mean"])):
            name = one["policy"]
            named = name in chosen or "overlay" not in one or one["overlay"] is None
            style = styles.get(name, TRIAL if name in chosen else PolicyStyle(INK, "solid", "circle-open"))
            yield _point(one, style, label=name if named else "")


def _point(one: Mapping[str, Any], style: PolicyStyle, *, label: str) -> Point:
    hover = (
        f"{one['policy']}: {number(one['mean'])} {interval(*one['mean_interval'])}, {times(one['retrainings'])}, "
        f"{one['promotions']:,} promoted, worst window {number(one['worst'])}"
    )
    return Point(one["policy"], float(one["retrainings"]), float(one["mean"]), label, hover, style)


def _traces(points: Sequence[Point], sign: int, panel: Panel) -> list[Trace]:
    """Return the best quality for each number of retrainings as steps, and a dot for each point."""
    best = [points[place] for place in pareto_front([(one.y, one.x) for one in points], sign=sign)]
    steps = {"shape": "hv", "color": INK, "width": 1.5, "dash": "dot"}
    fronts = [
        scatter(
            [*(one.x for one in best), panel.x[1]],
            [*(one.y for one in best), last.y],
            name="front",
            line=steps,
        )
        for last in best[-1:]
    ]
    return fronts + [
        scatter(
            [one.x],
            [one.y],
            mode="markers",
            name=escape(one.name),
            text=[escape(one.hover)],
            marker={"symbol": one.style.symbol, "size": 13 if one.label else 7, "color": one.style.colour},
        )
        for one in points
    ]


_FAR = (-34, 34, -52, 52, -70, 70, -90, 90)
_OFFSETS = (
    (12, 0, "left"),
    (-12, 0, "right"),
    (0, -18, "center"),
    (0, 18, "center"),
    (14, -16, "left"),
    (14, 16, "left"),
    (-14, -16, "right"),
    (-14, 16, "right"),
    *((14, dy, "left") for dy in _FAR),
    *((-14, dy, "right") for dy in _FAR),
)


def _labels(points: Sequence[Point], panel: Panel, *, axes: tuple[str, str]) -> Iterator[dict[str, Any]]:
    """Yield the labels, each at the first place where it covers no point and no other label."""
    covered = [_box(*panel.pixels(one), 0, "dot") for one in points]
    arrow = {"showarrow": True, "arrowhead": 0, "arrowwidth": 1, "arrowcolor": SOFT, "standoff": 6}
    for one in sorted(points, key=lambda one: (one.y, one.x)):
        x, y = panel.pixels(one)
        wide = _CHARACTER * len(one.label)
        boxes = [(dx, dy, anchor, _box(x + dx, y + dy, wide, anchor)) for dx, dy, anchor in _OFFSETS]
        free = [
            choice
            for choice in boxes
            if _inside(choice[3], panel) and not any(_meet(choice[3], other) for other in covered)
        ]
        dx, dy, anchor, box = (free or boxes)[0]
        covered.append(box)
        place = {"xref": axes[0], "yref": axes[1], "x": one.x, "y": one.y, "ax": dx, "ay": dy}
        yield {**place, **arrow, "text": escape(one.label), "xanchor": anchor, "font": {"size": 12}}


def _box(x: float, y: float, wide: float, anchor: str) -> tuple[float, float, float, float]:
    """Return left, top, right and bottom of a label, or of a dot."""
    if anchor == "dot":
        return x - 8, y - 8, x + 8, y + 8
    left = {"left": x, "right": x - wide, "center": x - wide / 2}[anchor]
    return left, y - _ROW / 2, left + wide, y + _ROW / 2


def _meet(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def _inside(box: tuple[float, ...], panel: Panel) -> bool:
    return box[0] >= 0 and box[2] <= panel.width and box[1] >= 0 and box[3] <= panel.height


# The interactive page of a replay: one file that opens offline.


def draw_replay_page(result: Mapping[str, Any], *, search: Mapping[str, Any] | None = None) -> str:
    """Return the page, about 5 MB, which asks no server.

    Parameters
    ----------
    result : mapping
        `evergreen.tasks.core.replay.results.ReplayResult.to_dict`, with ``model``, ``start`` and ``clock``.
    search : mapping, optional
        `evergreen.tasks.core.replay.search.SearchResult.to_dict`.

    See Also
    --------
    evergreen.tasks.core.reports.replay_page.replay_markdown : the same in words, for a terminal.
    """
    replay = ReplayDocument.from_dict(result)
    parts = [f"<style>{STYLE}{CSS}</style>", plotly_script(), card(replay), table_section(replay)]
    parts += [
        section(f"{replay.metric} over time", metric_plot(replay), note=_over_time(replay)),
        section("Gained over time", gain_plot(replay), note=_gained(replay)),
        section("Quality against retrainings", pareto_plot(replay), note=_against(replay)),
    ]
    if search is not None:
        parts.append(search_section(search, sign=replay.sign, plot=search_plot(replay, search)))
    parts += [decision_section(replay), notes_section(replay), f"<script>{SORTER}</script>"]
    parts.append("<footer>Made by Evergreen; it holds no row of the data.</footer>")
    return document(f"Replay of {replay.model}", [part for part in parts if part])


def _over_time(replay: ReplayDocument) -> str:
    text = (
        f"A point a window; {replay.direction}. Windows in which the metric is undefined are gaps. Below, a lane for "
        "each policy: above where a kind of drift begins, beneath its retrainings. A click in the legend hides, a "
        "double click shows one alone; the menu at the lower left says whose 95 % band is drawn."
    )
    far = replay.baseline is not None and value_range(replay)[2]
    return f"{text} 'Same as last label' lies far off; click it in the legend to see it." if far else text


def _gained(replay: ReplayDocument) -> str:
    base = "never" if replay.named("never") else "the best policy"
    return f"The difference to {base}, window by window, summed up; rising is better than {base}."


def _against(replay: ReplayDocument) -> str:
    return (
        f"{'Up' if replay.sign > 0 else 'Down'} and to the left is better. The dotted steps are the front: the best "
        "quality for each number of retrainings. The lines from each policy to the level of the best show its gap, "
        "which is known only in hindsight."
    )

"""The replay over time: each policy's metric with its events, and what it gained on the policy that never retrains."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from itertools import groupby
from typing import Any, NamedTuple

import numpy as np

from evergreen.tasks.core.arrays import FloatArray
from evergreen.tasks.core.reports.monitored_model import real
from evergreen.tasks.core.reports.replay_summary import (
    PROMOTED,
    ReplayDocument,
    decisions_by_window,
    interval,
    name_of,
    number,
    opened_alarms,
    span,
    values_of,
)

Trace = dict[str, Any]
INK, SOFT = "#7d8590", "rgba(125,133,144,0.35)"
"""Greys that are legible on white and on black."""
CONFIG = {
    "responsive": True,
    "displaylogo": False,
    "plotlyServerURL": "",
    "modeBarButtonsToRemove": ["lasso2d", "select2d"],
}
CSS = """
.js-plotly-plot .main-svg{width:100%;height:100%}.modebar-btn svg{width:1em;height:1em;display:inline}
.js-plotly-plot .main-svg text{fill:var(--ink)!important}.js-plotly-plot .hoverlayer .legend .bg,
.js-plotly-plot .hoverlayer .axistext path{fill:var(--card)!important;stroke:var(--rule)!important}
.js-plotly-plot .updatemenu-item-rect{fill:var(--card)!important;stroke:var(--rule)!important}
.js-plotly-plot .modebar-btn path{fill:var(--soft)!important}.js-plotly-plot .modebar-group{background:none!important}
.js-plotly-plot .annotation .bg{fill:var(--paper)!important;fill-opacity:.75!important}
.js-plotly-plot .modebar-container{top:-28px!important}.plot{margin:2.2rem 0 0}
"""


class PolicyStyle(NamedTuple):
    """A colour (Okabe and Ito's, which colour-blind people tell apart), a dash and a symbol."""

    colour: str
    dash: str
    symbol: str
    width: float = 1.6


_FIXED_STYLES = {
    "configured": PolicyStyle("#0072B2", "solid", "circle", 3.0),
    "every": PolicyStyle("#D55E00", "solid", "square"),
    "never": PolicyStyle(INK, "solid", "diamond"),
}
_OTHER_STYLES = (
    PolicyStyle("#009E73", "dash", "triangle-up"),
    PolicyStyle("#CC79A7", "dashdot", "triangle-down"),
    PolicyStyle("#E69F00", "dot", "star"),
    PolicyStyle("#56B4E9", "longdash", "hexagon"),
    PolicyStyle("#8c6bb1", "longdashdot", "cross"),
)
LAST_LABEL = PolicyStyle("#94711f", "6px 4px", "x")


def policy_styles(names: Sequence[str]) -> Mapping[str, PolicyStyle]:
    """Return a style for each policy: the same on every page for the fixed ones, in turn for the others."""
    free = [name for name in names if name not in _FIXED_STYLES]
    turns = {name: _OTHER_STYLES[place % len(_OTHER_STYLES)] for place, name in enumerate(free)}
    return {**_FIXED_STYLES, **turns}


def axis(title: str, **options: Any) -> dict[str, Any]:
    """Return an axis with its title and quiet lines."""
    plain = {
        "title": {"text": escape(title), "standoff": 12},
        "gridcolor": SOFT,
        "linecolor": SOFT,
        "zeroline": False,
        "automargin": True,
        "exponentformat": "none",
        "separatethousands": True,
    }
    return {**plain, **options}


def layout(*, height: int, **options: Any) -> dict[str, Any]:
    """Return what all figures share; ``height`` in pixels."""
    return {
        "height": height,
        "margin": {"l": 60, "r": 20, "t": 40, "b": 50},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "font": {"family": "system-ui,sans-serif", "size": 13, "color": INK},
        "legend": {"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom"},
        "hoverlabel": {"align": "left"},
        **options,
    }


def scatter(x: Sequence[Any], y: Sequence[Any], *, mode: str = "lines", **options: Any) -> Trace:
    """Return a trace of lines or markers; ``text`` is shown where the pointer is, without it nothing."""
    hover = "text" if "text" in options else "skip"
    return {"type": "scatter", "mode": mode, "x": x, "y": y, "hoverinfo": hover, **options}


def straight_line(*, y: tuple[float, float], color: str, x: float | None = None, **style: Any) -> Trace:
    """Return a line over the whole width of a figure, or upright at ``x``."""
    ends = {"xref": "paper", "x0": 0, "x1": 1} if x is None else {"x0": x, "x1": x}
    return {"type": "line", **ends, "y0": y[0], "y1": y[1], "line": {"color": color, **style}}


def plot_html(traces: Sequence[Trace], shape: Mapping[str, Any], *, name: str) -> str:
    """Return a figure as a piece of a page that holds plotly.js already.

    Parameters
    ----------
    name : str
        Id of its element.
    """
    from plotly.graph_objects import Figure
    from plotly.io import to_html

    figure = Figure(data=list(traces), layout=dict(shape))
    html = to_html(figure, full_html=False, include_plotlyjs=False, div_id=name, config=dict(CONFIG))
    return f'<div class="plot">{html}</div>'


def plotly_script() -> str:
    """Return plotly.js as an element of a page (about 4.5 MB)."""
    from plotly.offline import get_plotlyjs

    return f"<script>{get_plotlyjs()}</script>"


Policy = Mapping[str, Any]
MOST_DOTS = 80
LANE, LINES, FOOT = 26, 330, 40
"""Pixels: of a policy's lane of events, of the lines above them, of what is below."""


def metric_plot(replay: ReplayDocument) -> str:
    """Draw the metric over time, a band for one policy at a time, and a lane of events for each policy."""
    lanes = [one for one in replay.policies if any(_events(one).values())]
    tall = LINES + LANE * len(lanes) + (FOOT if lanes else 0)
    with_band = replay.named("configured") or replay.policies[0]
    bands = [_band(replay, one) | {"visible": one is with_band} for one in replay.policies]
    low, high, far = value_range(replay)
    lines = [_line(replay, one, values_of(one), _hover(replay, one)) for one in replay.everyone]
    if replay.baseline and far:
        lines[-1]["visible"] = "legendonly"
    top = 1 - LINES / tall
    shape = layout(
        height=tall + 170,
        hovermode="x unified",
        xaxis=axis(f"end of the window{_unit(replay)}", anchor="y2" if lanes else "y"),
        yaxis=axis(f"{replay.metric} ({replay.direction})", domain=[top, 1], range=[low, high]),
        updatemenus=[_menu(replay)],
    )
    if lanes:
        shape["yaxis2"] = axis(
            "",
            domain=[0, top - 12 / tall],
            tickvals=[-lane for lane in range(len(lanes))],
            ticktext=[escape(one["policy"]) for one in lanes],
            range=[0.6 - len(lanes), 0.6],
            fixedrange=True,
        )
    traces = [*bands, _window_names(replay, low), *lines, *_event_traces(replay, lanes)]
    return plot_html(traces, shape, name="metric-over-time")


def gain_plot(replay: ReplayDocument) -> str:
    """Draw each policy's cumulative difference to never, or to the best where that was not replayed."""
    base = replay.named("never") or replay.best or replay.policies[0]
    traces = [_window_names(replay, 0.0)]
    for one in (one for one in replay.everyone if one is not base):
        leads = replay.leads(one, base)
        gained = np.where(np.isnan(leads), np.nan, np.nancumsum(leads))
        name = escape(name_of(replay, one))
        texts = [
            f"{name}: {number(total, signed=True)} ({number(lead, signed=True)} in this window)"
            for total, lead in zip(gained, leads, strict=True)
        ]
        traces.append(_line(replay, one, gained, texts))
        if one is replay.baseline and value_range(replay)[2]:
            traces[-1]["visible"] = "legendonly"
    flat = np.zeros(len(base["windows"]))
    traces.append({**_line(replay, base, flat, []), "mode": "lines", "hoverinfo": "skip"})
    shape = layout(
        height=420,
        hovermode="x unified",
        showlegend=True,
        xaxis=axis(f"end of the window{_unit(replay)}"),
        yaxis=axis(f"{replay.metric} gained on {base['policy']}, summed up"),
    )
    return plot_html(traces, shape, name="gain-over-time")


def value_range(replay: ReplayDocument) -> tuple[float, float, bool]:
    """Return the ends of the vertical axis, and whether the baseline lies too far away to be shown at first.

    Intervals may reach half the spread of the values beyond them; the baseline stretches it to twice that at most.
    """
    values = _finite(np.concatenate([values_of(one) for one in replay.policies]))
    if not len(values):
        return 0.0, 1.0, False
    low, high = float(values.min()), float(values.max())
    room = (high - low) or abs(high) * 0.05 or 1.0
    ends = _finite([real(end) for window in replay.policies[0]["windows"] for end in window["interval"]])
    lowest = max(min([low, *ends]), low - room / 2) - room / 20
    highest = min(max([high, *ends]), high + room / 2) + room / 20
    baseline = _finite(values_of(replay.baseline)) if replay.baseline else np.zeros(0)
    far = bool(np.any((baseline < low - 1.5 * room) | (baseline > high + 1.5 * room)))
    if len(baseline) and not far:
        lowest, highest = min(lowest, baseline.min() - room / 20), max(highest, baseline.max() + room / 20)
    return float(lowest), float(highest), far


def _finite(values: Any) -> FloatArray:
    array = np.asarray(values, dtype=np.float64)
    return array[np.isfinite(array)]


def _line(replay: ReplayDocument, one: Policy, values: Any, texts: Sequence[str]) -> Trace:
    """Return a policy's line; a window without a value is a gap."""
    style = _style_of(replay, one)
    dots = len(values) <= MOST_DOTS or bool(np.isnan(values).any())
    return scatter(
        _ends(replay, one),
        [float(value) if math.isfinite(value) else None for value in values],
        mode="lines+markers" if dots else "lines",
        name=escape(name_of(replay, one)),
        text=list(texts),
        connectgaps=False,
        line={"color": style.colour, "dash": style.dash, "width": style.width},
        marker={"symbol": style.symbol, "size": 5, "color": style.colour},
    )


def _hover(replay: ReplayDocument, one: Policy) -> list[str]:
    """Return the text of each window: name, value, interval, rows, version."""
    name = name_of(replay, one)
    return [
        escape(
            f"{name}: {number(window['value'])} {interval(*window['interval'])}, n {window['n']:,}"
            + ("" if one is replay.baseline else f", version {window['version']}")
        )
        for window in one["windows"]
    ]


def _window_names(replay: ReplayDocument, height: float) -> Trace:
    """Return invisible markers whose text heads what is shown of a window: from where to where it goes."""
    texts = [f"<b>{escape(span(window))}</b>" for window in replay.windows]
    return scatter(
        _ends(replay, replay.policies[0]),
        [height] * len(texts),
        mode="markers",
        text=texts,
        showlegend=False,
        name="window",
        marker={"size": 0.1, "opacity": 0},
    )


def _band(replay: ReplayDocument, one: Policy) -> Trace:
    """Return the 95 % band as polygons, one for each run of windows that have an interval."""
    across, along = list[Any](), list[Any]()
    ends = [
        (place, *map(real, window["interval"]))
        for place, window in zip(_ends(replay, one), one["windows"], strict=True)
    ]
    for has_interval, group in groupby(ends, key=lambda end: math.isfinite(end[1]) and math.isfinite(end[2])):
        if has_interval:
            places, lows, highs = map(list, zip(*group, strict=True))
            across += [*places, *places[::-1], None]
            along += [*highs, *lows[::-1], None]
    colour = _style_of(replay, one).colour
    return scatter(
        across,
        along,
        fill="toself",
        opacity=0.25,
        fillcolor=colour,
        line={"width": 0.5, "color": colour},
        showlegend=False,
        name=f"band of {escape(one['policy'])}",
    )


def _menu(replay: ReplayDocument) -> dict[str, Any]:
    """Return the drop-down that selects the policy of the shown band."""
    names = [one["policy"] for one in replay.policies]
    choices = {f"95 % band: {escape(name)}": name for name in names} | {"no band": None}
    buttons = [
        {
            "label": label,
            "method": "restyle",
            "args": [{"visible": [other == name for other in names]}, list(range(len(names)))],
        }
        for label, name in choices.items()
    ]
    place = {"x": 0, "xanchor": "left", "y": -0.1, "yanchor": "top", "direction": "up", "font": {"size": 12}}
    return {"buttons": buttons, "active": names.index("configured") if "configured" in names else 0, **place}


def _events(one: Policy) -> dict[str, list[tuple[int, str]]]:
    """Return the windows after which something happened, and what, by kind of event."""
    events: dict[str, list[tuple[int, str]]] = {"promoted": [], "refused": []}
    for place, (_, decision) in enumerate(decisions_by_window(one)):
        if decision["state"]:
            kind = "promoted" if decision["state"] == PROMOTED else "refused"
            version = f", version {decision['version']}" if decision["version"] is not None else ""
            events[kind].append((place, f"{decision['state']}{version}"))
    events["alarm"] = [(place, f"alarm: {', '.join(kinds)}") for place, kinds in opened_alarms(one)]
    return events


_MARKS = {
    "promoted": ("triangle-up", -0.2, "promotion"),
    "refused": ("x-thin", -0.2, "refused challenger"),
    "alarm": ("diamond-open", 0.22, "alarm"),
}


def _event_traces(replay: ReplayDocument, lanes: Sequence[Policy]) -> Iterator[Trace]:
    """Yield the marks of each kind of event over all lanes, so that one click hides a kind."""
    for kind, (symbol, shift, name) in _MARKS.items():
        marks = [
            (_ends(replay, one)[place], -lane + shift, escape(f"{one['policy']}: {text}"), colour)
            for lane, one in enumerate(lanes)
            for colour in [_style_of(replay, one).colour]
            for place, text in _events(one)[kind]
        ]
        if marks:
            across, along, texts, colours = (list(some) for some in zip(*marks, strict=True))
            marker = {"symbol": symbol, "size": 9, "color": colours, "line": {"width": 2, "color": colours}}
            yield scatter(across, along, mode="markers", yaxis="y2", name=name, text=texts, marker=marker)


def _style_of(replay: ReplayDocument, one: Policy) -> PolicyStyle:
    if one is replay.baseline:
        return LAST_LABEL
    return policy_styles([other["policy"] for other in replay.policies])[one["policy"]]


def _ends(replay: ReplayDocument, one: Policy) -> list[Any]:
    """Return where its windows end, as Plotly reads it."""
    ends = [window["to"] for window in one["windows"]]
    return [end[:19] for end in ends] if replay.clock == "timestamp" else [float(end) for end in ends]


def _unit(replay: ReplayDocument) -> str:
    return {"timestamp": "", "seconds": " (seconds)", "rows": " (row)"}.get(replay.clock, "")

"""The replay over time: each policy's metric with its events, and what it gained on the policy that never retrains."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from itertools import groupby
from typing import Any, NamedTuple

import numpy as np

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

# How the replay's plots look: a colour, a dash and a symbol by policy, axes, and a figure as HTML.


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
    """Return a look for each policy: the same on every page for the fixed ones, in turn for the others."""
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
    drawn = to_html(figure, full_html=False, include_plotlyjs=False, div_id=name, config=dict(CONFIG))
    return f'<div class="plot">{drawn}</div>'


def plotly_script() -> str:
    """Return plotly.js as an element of a page (about 4.5 MB)."""
    from plotly.offline import get_plotlyjs

    return f"<script>{get_plotlyjs()}</script>"


Policy = Mapping[str, Any]
MOST_DOTS = 80
LANE, LINES, FOOT = 26, 330, 40
"""Pixels: of a policy's lane of events, of the lines above them, of what stands below."""


def metric_plot(told: ReplayDocument) -> str:
    """Draw the metric over time, a band for one policy at a time, and a lane of events for each policy."""
    lanes = [one for one in told.policies if any(_events(one).values())]
    tall = LINES + LANE * len(lanes) + (FOOT if lanes else 0)
    bands = [_band(told, one) for one in told.policies]
    for place, one in enumerate(told.policies):
        bands[place]["visible"] = one is (told.named("configured") or told.policies[0])
    low, high, far = value_range(told)
    lines = [_line(told, one, values_of(one), _hover(told, one)) for one in told.everyone]
    if told.baseline and far:
        lines[-1]["visible"] = "legendonly"
    top = 1 - LINES / tall
    shape = layout(
        height=tall + 170,
        hovermode="x unified",
        xaxis=axis(f"end of the window{_unit(told)}", anchor="y2" if lanes else "y"),
        yaxis=axis(f"{told.metric} ({told.direction})", domain=[top, 1], range=[low, high]),
        updatemenus=[_menu(told)],
    )
    if lanes:
        shape["yaxis2"] = _lane_axis(lanes, top - 12 / tall)
    return plot_html(
        [*bands, _window_names(told, low), *lines, *_event_traces(told, lanes)],
        shape,
        name="metric-over-time",
    )


def gain_plot(told: ReplayDocument) -> str:
    """Draw each policy's cumulative difference to never, or to the best where that was not replayed."""
    base = told.named("never") or told.best or told.policies[0]
    traces = [_window_names(told, 0.0)]
    for one in (one for one in told.everyone if one is not base):
        leads = told.leads(one, base)
        gained = np.where(np.isnan(leads), np.nan, np.nancumsum(leads))
        name = escape(name_of(told, one))
        texts = [
            f"{name}: {number(total, signed=True)} ({number(lead, signed=True)} in this window)"
            for total, lead in zip(gained, leads, strict=True)
        ]
        traces.append(_line(told, one, gained, texts))
        if one is told.baseline and value_range(told)[2]:
            traces[-1]["visible"] = "legendonly"
    flat = np.zeros(len(base["windows"]))
    traces.append({**_line(told, base, flat, []), "mode": "lines", "hoverinfo": "skip"})
    shape = layout(
        height=420,
        hovermode="x unified",
        showlegend=True,
        xaxis=axis(f"end of the window{_unit(told)}"),
        yaxis=axis(f"{told.metric} gained on {base['policy']}, summed up"),
    )
    return plot_html(traces, shape, name="gain-over-time")


def value_range(told: ReplayDocument) -> tuple[float, float, bool]:
    """Return the ends of the vertical axis, and whether the baseline lies too far away to be shown at first.

    Intervals may reach half the spread of the values beyond them; the baseline stretches it to twice that at most.
    """
    known = np.concatenate([values_of(one) for one in told.policies])
    known = known[np.isfinite(known)]
    if not len(known):
        return 0.0, 1.0, False
    low, high = float(known.min()), float(known.max())
    room = (high - low) or abs(high) * 0.05 or 1.0
    ends = [real(end) for window in told.policies[0]["windows"] for end in window["interval"]]
    sure = [end for end in ends if math.isfinite(end)]
    low_end, high_end = (
        max(min([low, *sure]), low - room / 2) - room / 20,
        min(max([high, *sure]), high + room / 2) + room / 20,
    )
    if told.baseline is None:
        return low_end, high_end, False
    others = values_of(told.baseline)
    others = others[np.isfinite(others)]
    far = bool(len(others)) and (others.min() < low - 1.5 * room or others.max() > high + 1.5 * room)
    if len(others) and not far:
        low_end, high_end = min(low_end, others.min() - room / 20), max(high_end, others.max() + room / 20)
    return float(low_end), float(high_end), far


def _line(told: ReplayDocument, one: Policy, values: Any, texts: Sequence[str]) -> Trace:
    """Return a policy's line; a window without a value is a gap."""
    look = _style_of(told, one)
    dots = len(values) <= MOST_DOTS or bool(np.isnan(values).any())
    return {
        "type": "scatter",
        "mode": "lines+markers" if dots else "lines",
        "name": escape(name_of(told, one)),
        "x": _places(told, one),
        "y": [float(value) if math.isfinite(value) else None for value in values],
        "text": list(texts),
        "hoverinfo": "text",
        "connectgaps": False,
        "line": {"color": look.colour, "dash": look.dash, "width": look.width},
        "marker": {"symbol": look.symbol, "size": 5, "color": look.colour},
    }


def _hover(told: ReplayDocument, one: Policy) -> list[str]:
    """Return what is said of each window: name, value, interval, rows, version."""
    name = name_of(told, one)
    return [
        escape(
            f"{name}: {number(window['value'])} {interval(*window['interval'])}, n {window['n']:,}"
            + ("" if one is told.baseline else f", version {window['version']}")
        )
        for window in one["windows"]
    ]


def _window_names(told: ReplayDocument, height: float) -> Trace:
    """Return what is drawn nowhere and heads what is said of a window: from where to where it goes."""
    texts = [f"<b>{escape(span(window))}</b>" for window in told.windows]
    return {
        "type": "scatter",
        "mode": "markers",
        "x": _places(told, told.policies[0]),
        "y": [height] * len(texts),
        "text": texts,
        "hoverinfo": "text",
        "showlegend": False,
        "name": "window",
        "marker": {"size": 0.1, "opacity": 0},
    }


def _band(told: ReplayDocument, one: Policy) -> Trace:
    """Return the 95 % band as polygons, one for each run of windows that have an interval."""
    across, along, places = list[Any](), list[Any](), _places(told, one)
    ends = [
        (place, *map(real, window["interval"])) for place, window in zip(places, one["windows"], strict=True)
    ]
    for sure, group in groupby(ends, key=lambda end: math.isfinite(end[1]) and math.isfinite(end[2])):
        if sure:
            run = list(group)
            across += [*(place for place, _, _ in run), *(place for place, _, _ in reversed(run)), None]
            along += [*(high for _, _, high in run), *(low for _, low, _ in reversed(run)), None]
    colour = _style_of(told, one).colour
    return {
        "type": "scatter",
        "mode": "lines",
        "fill": "toself",
        "x": across,
        "y": along,
        "opacity": 0.25,
        "fillcolor": colour,
        "line": {"width": 0.5, "color": colour},
        "hoverinfo": "skip",
        "showlegend": False,
        "name": f"band of {escape(one['policy'])}",
    }


def _menu(told: ReplayDocument) -> dict[str, Any]:
    """Return the drop-down that says whose band is shown."""
    names = [one["policy"] for one in told.policies]
    places = list(range(len(names)))
    buttons = [
        {
            "label": f"95 % band: {escape(name)}",
            "method": "restyle",
            "args": [{"visible": [other == name for other in names]}, places],
        }
        for name in names
    ]
    buttons.append(
        {"label": "no band", "method": "restyle", "args": [{"visible": [False] * len(names)}, places]}
    )
    first = names.index("configured") if "configured" in names else 0
    return {
        "buttons": buttons,
        "active": first,
        "x": 0,
        "xanchor": "left",
        "y": -0.1,
        "yanchor": "top",
        "direction": "up",
        "font": {"size": 12},
    }


def _events(one: Policy) -> dict[str, list[tuple[int, str]]]:
    """Return the windows after which something happened, and what, by kind of event."""
    found: dict[str, list[tuple[int, str]]] = {"promoted": [], "refused": [], "alarm": []}
    for place, (_, decision) in enumerate(decisions_by_window(one)):
        if decision["state"]:
            kind = "promoted" if decision["state"] == PROMOTED else "refused"
            version = f", version {decision['version']}" if decision["version"] is not None else ""
            found[kind].append((place, f"{decision['state']}{version}"))
    found["alarm"] = [(place, f"alarm: {', '.join(kinds)}") for place, kinds in opened_alarms(one)]
    return found


_MARKS = {
    "promoted": ("triangle-up", -0.2, "promotion"),
    "refused": ("x-thin", -0.2, "refused challenger"),
    "alarm": ("diamond-open", 0.22, "alarm"),
}


def _event_traces(told: ReplayDocument, lanes: Sequence[Policy]) -> Iterator[Trace]:
    """Yield the marks of each kind of event over all lanes, so that one click hides a kind."""
    for kind, (symbol, shift, name) in _MARKS.items():
        marks = [
            (
                _places(told, one)[place],
                -lane + shift,
                escape(f"{one['policy']}: {said}"),
                _style_of(told, one).colour,
            )
            for lane, one in enumerate(lanes)
            for place, said in _events(one)[kind]
        ]
        if marks:
            across, along, texts, colours = (list(some) for some in zip(*marks, strict=True))
            yield {
                "type": "scatter",
                "mode": "markers",
                "x": across,
                "y": along,
                "yaxis": "y2",
                "name": name,
                "text": texts,
                "hoverinfo": "text",
                "marker": {
                    "symbol": symbol,
                    "size": 9,
                    "color": colours,
                    "line": {"width": 2, "color": colours},
                },
            }


def _lane_axis(lanes: Sequence[Policy], top: float) -> dict[str, Any]:
    names = [escape(one["policy"]) for one in lanes]
    return axis(
        "",
        domain=[0, top],
        tickvals=[-lane for lane in range(len(lanes))],
        ticktext=names,
        range=[0.6 - len(lanes), 0.6],
        fixedrange=True,
    )


def _style_of(told: ReplayDocument, one: Policy) -> PolicyStyle:
    if one is told.baseline:
        return LAST_LABEL
    return policy_styles([other["policy"] for other in told.policies])[one["policy"]]


def _places(told: ReplayDocument, one: Policy) -> list[Any]:
    """Return where its windows end, as Plotly reads it."""
    ends = [window["to"] for window in one["windows"]]
    return [end[:19] for end in ends] if told.clock == "timestamp" else [float(end) for end in ends]


def _unit(told: ReplayDocument) -> str:
    return {"timestamp": "", "seconds": " (seconds)", "rows": " (row)"}.get(told.clock, "")

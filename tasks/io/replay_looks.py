"""How the replay's plots look: a colour, a dash and a symbol by policy, axes, and a figure as HTML."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any, NamedTuple

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


class Look(NamedTuple):
    """A colour (Okabe and Ito's, which colour-blind people tell apart), a dash and a symbol."""

    colour: str
    dash: str
    symbol: str
    width: float = 1.6


_KNOWN = {
    "configured": Look("#0072B2", "solid", "circle", 3.0),
    "every": Look("#D55E00", "solid", "square"),
    "never": Look(INK, "solid", "diamond"),
}
_OTHERS = (
    Look("#009E73", "dash", "triangle-up"),
    Look("#CC79A7", "dashdot", "triangle-down"),
    Look("#E69F00", "dot", "star"),
    Look("#56B4E9", "longdash", "hexagon"),
    Look("#8c6bb1", "longdashdot", "cross"),
)
LAST_LABEL = Look("#94711f", "6px 4px", "x")


def looks_of(names: Sequence[str]) -> Mapping[str, Look]:
    """Return a look for each policy: the same on every page for the fixed ones, in turn for the others."""
    free = [name for name in names if name not in _KNOWN]
    turns = {name: _OTHERS[place % len(_OTHERS)] for place, name in enumerate(free)}
    return {**_KNOWN, **turns}


def axis(title: str, **options: Any) -> dict[str, Any]:
    """Return an axis with its title and quiet lines."""
    plain = {
        "title": {"text": escape(title), "standoff": 12}, "gridcolor": SOFT, "linecolor": SOFT, "zeroline": False,
        "automargin": True, "exponentformat": "none", "separatethousands": True,
    }  # fmt: skip
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

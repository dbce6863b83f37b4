"""The confidence sequence of a live test over its looks: as an image for MLflow, and as an interactive plot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from tasks.core.ab.definition import LiveTest
from tasks.core.logitems import Figure
from tasks.io.plots_numbers import canvas
from tasks.io.replay_looks import axis, layout, plot_html

Point = Mapping[str, Any]
_BLUE, _BAND, _RED = "#0072B2", "rgba(0,114,178,0.18)", "#D55E00"


def trace_figure(test: LiveTest, variant: str, points: Sequence[Point]) -> Figure:
    """Return the improvement with its sequence at each look as an image.

    Parameters
    ----------
    points : sequence of mapping
        `tasks.core.ab.history.TestState.trace`; looks at which nothing was known yet are gaps.
    """
    known = _known(points)
    drawing = canvas(width=8.0, height=4.0)
    axes = drawing.subplots()
    rows = [point["n"] for point in known]
    axes.fill_between(rows, [p["low"] for p in known], [p["high"] for p in known], alpha=0.25, step="post")
    axes.plot(rows, [point["improvement"] for point in known], "o-", markersize=3)
    for height, style in ((0.0, "k-"), (test.effect, "k--"), (-test.effect, "k--")):
        axes.plot([min(rows, default=0), max(rows, default=1)], [height, height], style, linewidth=0.8)
    axes.set(xlabel="units", ylabel=f"improvement of {test.metric}", title=f"{variant} against the champion")
    return Figure(f"plots/trace-{variant}.png", drawing)


def trace_plot(test: LiveTest, variant: str, points: Sequence[Point]) -> str:
    """Return the same as a piece of an interactive page."""
    known = _known(points)
    when = [point["at"] for point in known]
    band = {
        "type": "scatter", "x": [*when, *when[::-1]], "y": [p["high"] for p in known] + [p["low"] for p in known[::-1]],
        "fill": "toself", "fillcolor": _BAND, "line": {"width": 0}, "name": "confidence sequence", "hoverinfo": "skip",
    }  # fmt: skip
    line = {
        "type": "scatter", "mode": "lines+markers", "x": when, "y": [p["improvement"] for p in known],
        "line": {"color": _BLUE}, "marker": {"size": 5}, "name": "improvement", "hovertext": [_said(p) for p in known],
        "hoverinfo": "text",
    }  # fmt: skip
    lines = [_level(0.0, "solid"), _level(test.effect, "dash"), _level(-test.effect, "dash")]
    shape = layout(
        height=420,
        shapes=lines,
        xaxis=axis("look"),
        yaxis=axis(f"improvement of {test.metric} (up is better)"),
    )
    return plot_html([band, line], shape, name=f"trace-{variant}")


def maturity_plot(maturity: Mapping[str, Any]) -> str:
    """Return which share of each cohort's predictions was labelled by each age, with the curve over all of them."""
    traces: list[dict[str, Any]] = [
        {
            "type": "scatter", "mode": "lines", "x": maturity["ages"], "y": cohort["shares"], "showlegend": False,
            "line": {"color": "rgba(125,133,144,0.45)", "width": 1}, "hoverinfo": "skip",
        }
        for cohort in maturity["cohorts"]
    ]  # fmt: skip
    traces.append(
        {
            "type": "scatter", "mode": "lines+markers", "x": maturity["ages"], "y": maturity["curve"],
            "line": {"color": _RED, "width": 3}, "name": "all cohorts",
        }
    )  # fmt: skip
    shape = layout(
        height=320,
        xaxis=axis("age of the prediction (clock's unit)"),
        yaxis=axis("share labelled", range=[0, 1.02]),
    )
    return plot_html(traces, shape, name="maturity")


def _known(points: Sequence[Point]) -> list[Point]:
    return [p for p in points if None not in (p["improvement"], p["low"], p["high"])]


def _said(point: Point) -> str:
    interval = f"[{point['low']:+.4g}, {point['high']:+.4g}]"
    return escape(f"{point['improvement']:+.4g} {interval}, {point['n']} units: {point['verdict']}")


def _level(height: float, dash: str) -> dict[str, Any]:
    return {
        "type": "line", "xref": "paper", "x0": 0, "x1": 1, "y0": height, "y1": height,
        "line": {"color": "#7d8590", "width": 1, "dash": dash},
    }  # fmt: skip

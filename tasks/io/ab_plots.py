"""Plots of a live test: its confidence sequence over the analyses, as an image and as an interactive page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from evergreen.tasks.core.ab_testing.definition import LiveTest
from evergreen.tasks.core.ab_testing.report import Point, maturity_line, number, split_line
from evergreen.tasks.core.data.clock import format_position
from evergreen.tasks.core.log_items import Figure
from evergreen.tasks.core.reports.html import document, section
from evergreen.tasks.core.verdict import StageResult, State
from evergreen.tasks.io.plots import canvas
from evergreen.tasks.io.replay_plots import (
    CSS,
    INK,
    axis,
    layout,
    plot_html,
    plotly_script,
    scatter,
    straight_line,
)

TracePoint = Mapping[str, Any]
_BLUE, _BAND, _RED = "#0072B2", "rgba(0,114,178,0.18)", "#D55E00"


def trace_figure(test: LiveTest, variant: str, points: Sequence[TracePoint]) -> Figure:
    """Return the improvement with its sequence at each analysis as an image.

    Parameters
    ----------
    points : sequence of mapping
        `evergreen.tasks.core.ab_testing.ledger.TestState.trace`; analyses without a value yet are gaps.
    """
    complete = _complete_points(points)
    drawing, axes = canvas(width=8.0, height=4.0)
    rows = [point["n"] for point in complete]
    axes.fill_between(
        rows, [p["low"] for p in complete], [p["high"] for p in complete], alpha=0.25, step="post"
    )
    axes.plot(rows, [point["improvement"] for point in complete], "o-", markersize=3)
    for height, style in ((0.0, "k-"), (test.effect, "k--"), (-test.effect, "k--")):
        axes.plot([min(rows, default=0), max(rows, default=1)], [height, height], style, linewidth=0.8)
    axes.set(xlabel="units", ylabel=f"improvement of {test.metric}", title=f"{variant} against the champion")
    return Figure(f"plots/trace-{variant}.png", drawing)


def trace_plot(test: LiveTest, variant: str, points: Sequence[TracePoint]) -> str:
    """Return the same as a piece of an interactive page."""
    complete = _complete_points(points)
    when = [point["at"] for point in complete]
    highs, lows = [point["high"] for point in complete], [point["low"] for point in complete]
    band = scatter(
        [*when, *when[::-1]],
        highs + lows[::-1],
        fill="toself",
        fillcolor=_BAND,
        line={"width": 0},
        name="confidence sequence",
    )
    line = scatter(
        when,
        [point["improvement"] for point in complete],
        mode="lines+markers",
        line={"color": _BLUE},
        marker={"size": 5},
        name="improvement",
        text=[_hover_text(point) for point in complete],
    )
    levels = ((0.0, "solid"), (test.effect, "dash"), (-test.effect, "dash"))
    shape = layout(
        height=420,
        shapes=[straight_line(y=(level, level), color=INK, width=1, dash=dash) for level, dash in levels],
        xaxis=axis("analysis"),
        yaxis=axis(f"improvement of {test.metric} (up is better)"),
    )
    return plot_html([band, line], shape, name=f"trace-{variant}")


def maturity_plot(maturity: Mapping[str, Any]) -> str:
    """Return which share of each cohort's predictions was labelled by each age, with the curve over all of them."""
    thin = {"color": "rgba(125,133,144,0.45)", "width": 1}
    ages, cohorts = maturity["ages"], maturity["cohorts"]
    traces = [scatter(ages, cohort["shares"], showlegend=False, line=thin) for cohort in cohorts]
    curve = {"color": _RED, "width": 3}
    traces.append(
        scatter(
            ages, maturity["curve"], mode="lines+markers", line=curve, name="all cohorts", hoverinfo="all"
        )
    )
    shape = layout(
        height=320,
        xaxis=axis("age of the prediction (clock's unit)"),
        yaxis=axis("share labelled", range=[0, 1.02]),
    )
    return plot_html(traces, shape, name="maturity")


def _complete_points(points: Sequence[TracePoint]) -> list[TracePoint]:
    return [p for p in points if None not in (p["improvement"], p["low"], p["high"])]


def _hover_text(point: TracePoint) -> str:
    interval = f"[{point['low']:+.4g}, {point['high']:+.4g}]"
    return escape(f"{point['improvement']:+.4g} {interval}, {point['n']} units: {point['verdict']}")


# The interactive page of a live test: one file that opens offline.


_CARDS = {
    State.ABORTED: "drift",
    State.CHAMPION_KEPT: "warning",
    State.LIVE_TEST_RUNNING: "",
    State.WON: "quiet",
    State.PROMOTED: "quiet",
}


def draw_live_page(
    test: LiveTest, judged: StageResult, traces: Mapping[str, Sequence[Point]], *, clock: str
) -> str:
    """Return the page of an analysis, about 5 MB, which asks no server.

    Parameters
    ----------
    judged : StageResult
        With ``look`` and ``maturity`` in its details.
    traces : mapping of str to sequence
        The sequence at each analysis by variant (`evergreen.tasks.core.ab_testing.ledger.TestState.trace`).
    clock : str
        Kind of the model's clock.
    """
    look, maturity = judged.details["look"], judged.details["maturity"]
    parts = [f"<style>{CSS}</style>", plotly_script(), _card(test, judged, clock=clock)]
    for one in look["challengers"]:
        variant = one["variant"]
        note = f"Shaded: the confidence sequence, valid at every analysis. Dashed: ±{test.effect:g}, the effect sought."
        parts.append(
            section(f"{variant}: {one['verdict']}", trace_plot(test, variant, traces[variant]), note=note)
        )
    parts.append(section("Evidence", _table(look), note=split_line(test, look)))
    parts.append(section("How complete labels are", maturity_plot(maturity), note=maturity_line(maturity)))
    parts.append("<footer>Made by Evergreen; it holds no row of the data.</footer>")
    return document(f"Live test {test.name} of {judged.model}", parts)


def _card(test: LiveTest, judged: StageResult, *, clock: str) -> str:
    facts = {
        "metric": test.metric,
        "mode": test.mode,
        "least that matters": number(test.effect),
        "alpha": number(test.alpha),
        "from": format_position(test.start, clock=clock),
        "until at most": format_position(test.end, clock=clock),
    }
    listed = "".join(
        f"<div><dt>{escape(name)}</dt><dd>{escape(str(value))}</dd></div>" for name, value in facts.items()
    )
    messages = "".join(f'<p class="what">{escape(reason.message)}</p>' for reason in judged.reasons)
    css = _CARDS.get(judged.state, "")
    return (
        f'<div class="card {css}"><span class="state">{escape(judged.state.value)}</span>{escape(test.hypothesis)}'
        f'{messages}<dl class="facts">{listed}</dl></div>'
    )


def _table(look: Mapping[str, object]) -> str:
    counts = look["counts"]
    if not isinstance(counts, Mapping):
        return ""
    names = ("due", "labelled", "counted", "undefined", "clipped", "unpaired")
    head = "".join(f"<th>{name}</th>" for name in ("variant", *names))
    rows = "".join(
        f"<tr><td>{escape(str(arm))}</td>{''.join(f'<td>{one.get(name, 0)}</td>' for name in names)}</tr>"
        for arm, one in counts.items()
    )
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>'

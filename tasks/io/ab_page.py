"""The interactive page of a live test: one file that opens offline."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

from tasks.core.ab.definition import LiveTest
from tasks.core.ab.report import Point, maturity_line, number, split_line
from tasks.core.data.clock import format_position
from tasks.core.pages.style import document, section
from tasks.core.verdict import StageResult, State
from tasks.io.ab_figures import maturity_plot, trace_plot
from tasks.io.replay_looks import CSS, plotly_script

_CARDS = {
    State.ABORTED: "drift",
    State.KEPT: "warning",
    State.TESTING: "",
    State.WON: "quiet",
    State.PROMOTED: "quiet",
}


def draw_live_page(
    test: LiveTest, judged: StageResult, traces: Mapping[str, Sequence[Point]], *, clock: str
) -> str:
    """Return the page of a look, about 5 MB, which asks no server.

    Parameters
    ----------
    judged : StageResult
        With ``look`` and ``maturity`` in its details.
    traces : mapping of str to sequence
        The sequence at each look by variant (`tasks.core.ab.history.TestState.trace`).
    clock : str
        Kind of the model's clock.
    """
    look, maturity = judged.details["look"], judged.details["maturity"]
    parts = [f"<style>{CSS}</style>", plotly_script(), _card(test, judged, clock=clock)]
    for one in look["challengers"]:
        variant = one["variant"]
        note = f"Shaded: where the truth lies at every look at once. Dashed: ±{test.effect:g}, the least that matters."
        parts.append(
            section(f"{variant}: {one['verdict']}", trace_plot(test, variant, traces[variant]), note=note)
        )
    parts.append(section("Evidence", _table(look), note=split_line(test, look)))
    parts.append(section("How complete labels are", maturity_plot(maturity), note=maturity_line(maturity)))
    parts.append("<footer>Made by Evergreen; it holds no row of the data.</footer>")
    return document(f"Live test {test.name} of {judged.model}", parts)


def _card(test: LiveTest, judged: StageResult, *, clock: str) -> str:
    facts = {
        "metric": test.metric, "mode": test.mode, "least that matters": number(test.effect),
        "alpha": number(test.alpha), "from": format_position(test.start, clock=clock),
        "until at most": format_position(test.end, clock=clock),
    }  # fmt: skip
    listed = "".join(
        f"<div><dt>{escape(name)}</dt><dd>{escape(str(value))}</dd></div>" for name, value in facts.items()
    )
    said = "".join(f'<p class="what">{escape(reason.message)}</p>' for reason in judged.reasons)
    css = _CARDS.get(judged.state, "")
    return (
        f'<div class="card {css}"><span class="state">{escape(judged.state.value)}</span>{escape(test.hypothesis)}'
        f'{said}<dl class="facts">{listed}</dl></div>'
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

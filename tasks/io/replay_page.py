"""The interactive page of a replay: one file that opens offline."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tasks.core.pages.replay_sections import (
    SORTER,
    STYLE,
    card,
    decision_section,
    notes_section,
    search_section,
    table_section,
)
from tasks.core.pages.replayed import Replayed
from tasks.core.pages.style import document, section
from tasks.io.replay_figures import gain_plot, metric_plot, value_range
from tasks.io.replay_looks import CSS, plotly_script
from tasks.io.replay_pareto import pareto_plot, search_plot


def draw_replay_page(result: Mapping[str, Any], *, search: Mapping[str, Any] | None = None) -> str:
    """Return the page, about 5 MB, which asks no server.

    Parameters
    ----------
    result : mapping
        `tasks.core.replay.results.ReplayResult.to_dict`, with ``model``, ``start`` and ``clock``.
    search : mapping, optional
        `tasks.core.replay.search.SearchResult.to_dict`.

    See Also
    --------
    tasks.core.pages.replay_report.replay_markdown : the same in words, for a terminal.
    """
    told = Replayed.of(result)
    parts = [f"<style>{STYLE}{CSS}</style>", plotly_script(), card(told), table_section(told)]
    parts += [
        section(f"{told.metric} over time", metric_plot(told), note=_over_time(told)),
        section("Gained over time", gain_plot(told), note=_gained(told)),
        section("Quality against retrainings", pareto_plot(told), note=_against(told)),
    ]
    if search is not None:
        parts.append(search_section(search, sign=told.sign, plot=search_plot(told, search)))
    parts += [decision_section(told), notes_section(told), f"<script>{SORTER}</script>"]
    parts.append("<footer>Made by Evergreen; it holds no row of the data.</footer>")
    return document(f"Replay of {told.model}", [part for part in parts if part])


def _over_time(told: Replayed) -> str:
    said = (
        f"A point a window; {told.direction}. Windows in which the metric is undefined are gaps. Below, a lane for "
        "each policy: above where a kind of drift begins, beneath its retrainings. A click in the legend hides, a "
        "double click shows one alone; the menu at the lower left says whose 95 % band is drawn."
    )
    far = told.baseline is not None and value_range(told)[2]
    return f"{said} 'Same as last label' lies far off; click it in the legend to see it." if far else said


def _gained(told: Replayed) -> str:
    base = "never" if told.named("never") else "the best policy"
    return f"The difference to {base}, window by window, summed up; rising is better than {base}."


def _against(told: Replayed) -> str:
    return (
        f"{'Up' if told.sign > 0 else 'Down'} and to the left is better. The dotted steps are the front: the best "
        "quality for each number of retrainings. The lines from each policy to the level of the best show its gap, "
        "which is known only in hindsight."
    )

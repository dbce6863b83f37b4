"""Evergreen's drift page: one file that opens offline and says what moved, how surely, and what to do."""

from __future__ import annotations

import math
from html import escape

from evergreen.tasks.core.drift.types import DriftKind, Level, short_time
from evergreen.tasks.core.reports import html
from evergreen.tasks.core.reports.drift_charts import (
    MOST_COLUMNS,
    column_figure,
    heat_legend,
    heat_map,
    map_columns,
    performance_chart,
)
from evergreen.tasks.core.reports.drift_text import (
    advice,
    headline,
    insufficient_rows,
    limit_rows,
    performance_words,
    signal_words,
)
from evergreen.tasks.core.reports.html import document, legend, scrolled, section
from evergreen.tasks.core.reports.monitored_model import ColumnMove, MonitoredModel

MOST_CHARTS, MOST_ROWS = 8, 60
SIGNS = {Level.QUIET: "●", Level.WARNING: "▲", Level.DRIFT: "◆", Level.INSUFFICIENT: "○"}


def drift_page(watched: MonitoredModel) -> str:
    """Return the whole page.

    Parameters
    ----------
    watched : Watched
        The model, its windows, and profiles of the reference and the newest window.
    """
    parts = [_card(watched)]
    if watched.windows:
        parts += [_map(watched), _performance(watched), _moved(watched), _distributions(watched)]
    parts += [
        _insufficient(watched),
        section("How the limits were made", html.table(("", ""), limit_rows(watched))),
    ]
    parts.append("<footer>Made by Evergreen from profiles alone; it holds no row of the data.</footer>")
    return document(f"Drift of {watched.model}", [part for part in parts if part])


def facts(watched: MonitoredModel) -> list[tuple[str, str]]:
    """Return what a reader wants to know beside the headline: a name and a value each."""
    windows = watched.windows
    if not windows:
        return []
    newest = windows[-1]
    drifting = [move for move in watched.current if move.alarm]
    version = newest.get("version")
    return [
        ("Windows", f"{len(windows)}, {short_time(windows[0]['from'])} to {short_time(newest['to'])}"),
        ("Rows in the newest", f"{newest['n'] or 0:,}"),
        ("Champion", "none" if version is None else f"version {version}"),
        ("Columns that moved", f"{len(watched.current)}, {len(drifting)} of them in alarm"),
        ("Performance", performance_words(watched.performance)),
    ]


def _card(watched: MonitoredModel) -> str:
    level = watched.level
    return (
        f'<section class="card {level.value}"><span class="state">{SIGNS[level]} {level.state.value}</span>'
        f'<p class="what">{escape(headline(watched))}</p><p>{escape(advice(watched))}</p>'
        f"{html.fact_list(facts(watched))}</section>"
    )


def _map(watched: MonitoredModel) -> str:
    columns = len(map_columns(watched))
    left = f" The {MOST_COLUMNS} that moved most of {columns} are shown." if columns > MOST_COLUMNS else ""
    note = (
        "One row a column, one cell a window: colour is the population stability index (PSI) against the reference, "
        "frames are moves beyond chance. Above it what was said of each kind of drift: a taller bar is more "
        "severe, blank where it was not checked (yet). Dark without a frame is far from the whole reference, yet not "
        f"beyond what the model's own past has shown at such times. Rest on a mark to read it.{left}"
    )
    return section("What moved, and when", heat_legend(watched), scrolled(heat_map(watched)), note=note)


def _performance(watched: MonitoredModel) -> str:
    chart = performance_chart(watched.windows, watched.promotions)
    if not chart:
        note = "No window has a performance yet: no labels, no estimate."
        return section("Performance over time", note=note)
    items = (
        ("k-line", "measured on labels"),
        ("k-band", "interval"),
        ("k-guess", "estimated without labels"),
        ("k-ref", "reference"),
        ("k-drifted", "performance drifted"),
        ("k-open", "an alarm opens"),
        ("k-champion", "another champion"),
    )
    return section("Performance over time", legend(items), scrolled(chart))


def _moved(watched: MonitoredModel) -> str:
    moves = watched.current
    past = [move for move in watched.moves if not watched.goes_on(move)]
    parts = [_table(watched, moves)] if moves else []
    if past:
        shown = _table(watched, past)
        parts.append(f"<details><summary>Moves that have ended ({len(past)})</summary>{shown}</details>")
    note = "" if moves else "No column moves beyond chance in the newest windows."
    confidence = (
        "Confidence is one minus the corrected p-value (Benjamini and Hochberg 1995) in the newest window."
    )
    return section("Moved columns", *parts, note=note or confidence)


def _table(watched: MonitoredModel, moves: tuple[ColumnMove, ...] | list[ColumnMove]) -> str:
    head = ("column", "kind", "level", "what moved", "effect", "limit", "confidence", "since", "until")
    table = html.table(head, [_cells(watched, move) for move in moves[:MOST_ROWS]])
    more = len(moves) - MOST_ROWS
    left = html.paragraph(f"{more} more stand in monitoring.json.") if more > 0 else ""
    return f"{scrolled(table)}{left}"


def _cells(watched: MonitoredModel, move: ColumnMove) -> tuple[str, ...]:
    times = "" if math.isnan(move.times) else f" ({move.times:.1f} × limit)"
    level = "alarm" if move.alarm else "warning"
    return (
        move.column,
        move.kind.value,
        html.cell(level, css=f"word-{level}"),
        signal_words(watched, move),
        f"{move.effect:+.3g}{times}" if not math.isnan(move.effect) else "–",
        f"{move.limit:.3g}" if not math.isnan(move.limit) else "–",
        confidence_words(move.confidence),
        short_time(watched.windows[move.first]["from"]),
        "now" if watched.goes_on(move) else short_time(watched.windows[move.last]["to"]),
    )


def confidence_words(confidence: float) -> str:
    """Write a confidence; what rounds to one is written as a bound.

    >>> confidence_words(0.98765), confidence_words(0.9999999), confidence_words(float("nan"))
    ('0.9877', '> 0.9999', '–')
    """
    if math.isnan(confidence):
        return "–"
    return "> 0.9999" if confidence > 0.9999 else f"{confidence:.4g}"


def _distributions(watched: MonitoredModel) -> str:
    moved = [move.column for move in watched.current if move.kind is not DriftKind.PERFORMANCE]
    figures = [drawn for column in dict.fromkeys(moved) if (drawn := column_figure(watched, column))]
    if not figures:
        return ""
    note = (
        "Shares of rows in the newest window (coloured) beside the reference frozen with the champion (grey)."
    )
    charts = f'<div class="pair">{"".join(figures[:MOST_CHARTS])}</div>'
    return section("Distributions of moved columns", charts, note=note)


def _insufficient(watched: MonitoredModel) -> str:
    rows = insufficient_rows(watched.windows)
    if not rows:
        return ""
    note = "INSUFFICIENT is no verdict: it never counts as 'no drift'."
    head = ("kind", "why", "newest window", "windows")
    return section("What could not be judged", html.table(head, rows[:MOST_ROWS]), note=note)

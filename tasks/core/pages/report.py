"""A monitoring run for the places where it is read: markdown and tables for Prefect, items for MLflow."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tasks.core.drift.phrases import short_time
from tasks.core.logitems import Json, LogItem, Metrics, Tags, Text
from tasks.core.pages.drift_page import confidence_words, drift_page, facts
from tasks.core.pages.phrases import advice, headline, insufficient_rows, signal_words
from tasks.core.pages.watched import Watched, performance_of, real
from tasks.core.verdict import Reason, StageResult

DRIFT_PAGE, EVIDENTLY_PAGE, DOCUMENT = "drift.html", "evidently.html", "monitoring.json"
MOST_ROWS = 100


def monitoring_markdown(watched: Watched, *, run_url: str | None = None, notes: Sequence[Reason] = ()) -> str:
    """Return the summary for the Prefect UI.

    Parameters
    ----------
    run_url : str, optional
        The run in MLflow that holds the pages.
    notes : sequence of Reason
        What else is to be said, e.g. why there is no Evidently page.
    """
    lines = [
        f"# {watched.model}: {watched.level.state.value}",
        "",
        headline(watched),
        "",
        advice(watched),
        "",
    ]
    lines += ["| what | value |", "| --- | --- |", *(_line(pair) for pair in facts(watched))]
    if watched.current:
        lines += ["", "## Moved columns", "", *_table(moved_rows(watched))]
    unjudged = insufficient_rows(watched.windows)
    if unjudged:
        lines += ["", "## What could not be judged", ""]
        lines += [
            f"- {kind}: {why} ({number} window(s), the newest {newest})"
            for kind, why, newest, number in unjudged
        ]
    if notes:
        lines += ["", "## Notes", "", *(f"- {note.message}" for note in notes)]
    if run_url:
        lines += ["", f"[The pages {DRIFT_PAGE} and {EVIDENTLY_PAGE} in MLflow]({run_url})"]
    return "\n".join(lines)


def moved_rows(watched: Watched) -> list[dict[str, Any]]:
    """Return the moves that go on, one flat row each, for a table artifact; at most ``MOST_ROWS``."""
    return [
        {
            "column": move.column,
            "kind": move.kind.value,
            "level": "alarm" if move.alarm else "warning",
            "what moved": signal_words(watched, move),
            "effect": _rounded(move.effect),
            "limit": _rounded(move.limit),
            "confidence": confidence_words(move.confidence),
            "since": short_time(watched.windows[move.first]["from"]),
        }
        for move in watched.current[:MOST_ROWS]
    ]


def monitoring_items(
    watched: Watched, result: StageResult, *, evidently: str | None = None
) -> Iterator[LogItem]:
    """Describe what is logged of a monitoring run: the two pages, the document, numbers by window.

    Parameters
    ----------
    watched : Watched
        What is told; metrics are those of the run's own windows.
    result : StageResult
        Of the run; ``monitoring.json`` is its JSON.
    evidently : str, optional
        Evidently's page.
    """
    for window in result.details["windows"]:
        values = window_metrics(window)
        if values:
            yield Metrics(values, step=window_step(window))
    yield Tags(
        {
            "evergreen.stage": "monitoring",
            "evergreen.state": result.state.value,
            "evergreen.version": str(result.version),
            "evergreen.decision": str(result.decision_id),
        }
    )
    yield Json(DOCUMENT, result.to_dict())
    yield Text(DRIFT_PAGE, drift_page(watched))
    yield Text("monitoring.md", monitoring_markdown(watched))
    if evidently is not None:
        yield Text(EVIDENTLY_PAGE, evidently)


def window_metrics(window: Mapping[str, Any]) -> dict[str, float]:
    """Return a window's numbers by MLflow name; what could not be measured is absent."""
    psi = [value for one in window["columns"] if not math.isnan(value := real(one.get("psi")))]
    one = performance_of(window)
    found = {
        "rows": real(window.get("n")),
        "labelled_rows": real(window.get("labelled")),
        "moved_columns": float(len({str(moved["column"]) for moved in window["moved"]})),
        "alarmed_columns": float(
            len({str(moved["column"]) for moved in window["moved"] if moved.get("alarm")})
        ),
        "psi_max": max(psi, default=math.nan),
        "psi_mean": sum(psi) / len(psi) if psi else math.nan,
    }
    if one is not None:
        name = str(one["metric"]).replace("@", "_at_")
        found[f"estimated_{name}" if one.get("estimated") else name] = float(one["value"])
    return {name: value for name, value in found.items() if math.isfinite(value)}


def window_step(window: Mapping[str, Any]) -> int:
    """Return where a window stands among MLflow's steps: its start on the clock, in whole seconds or rows."""
    return math.floor(float(window["start"]))


def _table(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    names = list(rows[0])
    return [_line(names), _line(["---"] * len(names)), *(_line(list(row.values())) for row in rows)]


def _line(cells: Sequence[Any]) -> str:
    return f"| {' | '.join(str(cell).replace('|', chr(92) + '|').replace(chr(10), ' ') for cell in cells)} |"


def _rounded(value: float) -> float | None:
    return None if math.isnan(value) else float(f"{value:.4g}")

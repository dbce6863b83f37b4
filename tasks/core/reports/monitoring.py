"""A monitoring run for the places where it is read: markdown and tables for Prefect, items for MLflow."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from evergreen.tasks.core.config import ModelConfig
from evergreen.tasks.core.data.rows import Rows
from evergreen.tasks.core.data.schema import Schema
from evergreen.tasks.core.drift.types import short_time
from evergreen.tasks.core.errors import counted
from evergreen.tasks.core.log_items import Json, LogItem, Metrics, Tags, Text
from evergreen.tasks.core.profiles.grid import tokens
from evergreen.tasks.core.reports.drift_page import (
    advice,
    confidence_words,
    drift_page,
    facts,
    headline,
    insufficient_rows,
    signal_words,
)
from evergreen.tasks.core.reports.html import markdown_table
from evergreen.tasks.core.reports.monitored_model import MonitoredModel, performance_of, real, rounded
from evergreen.tasks.core.seeds import seed_for
from evergreen.tasks.core.training.features import feature_frame
from evergreen.tasks.core.verdict import Reason, StageResult

DRIFT_PAGE, EVIDENTLY_PAGE, DOCUMENT = "drift.html", "evidently.html", "monitoring.json"
MOST_ROWS = 100


def monitoring_markdown(
    monitored: MonitoredModel, *, run_url: str | None = None, notes: Sequence[Reason] = ()
) -> str:
    """Return the summary for the Prefect UI.

    Parameters
    ----------
    run_url : str, optional
        The run in MLflow that holds the pages.
    notes : sequence of Reason
        What else is to be said, e.g. why there is no Evidently page.
    """
    lines = [f"# {monitored.model}: {monitored.level.state.value}", "", headline(monitored), ""]
    lines += [advice(monitored), "", *markdown_table(("what", "value"), facts(monitored))]
    if monitored.current:
        rows = moved_rows(monitored)
        lines += ["", "## Moved columns", "", *markdown_table(list(rows[0]), (row.values() for row in rows))]
    unjudged = insufficient_rows(monitored.windows)
    if unjudged:
        lines += ["", "## What could not be judged", ""]
    for kind, why, newest, number in unjudged:
        lines.append(f"- {kind}: {why} ({counted(number, 'window')}, the newest {newest})")
    if notes:
        lines += ["", "## Notes", "", *(f"- {note.message}" for note in notes)]
    if run_url:
        lines += ["", f"[The pages {DRIFT_PAGE} and {EVIDENTLY_PAGE} in MLflow]({run_url})"]
    return "\n".join(lines)


def moved_rows(monitored: MonitoredModel) -> list[dict[str, Any]]:
    """Return the moves that go on, one flat row each, for a table artifact; at most ``MOST_ROWS``."""
    return [
        {
            "column": move.column,
            "kind": move.kind.value,
            "level": "alarm" if move.alarm else "warning",
            "what moved": signal_words(monitored, move),
            "effect": rounded(move.effect, digits=4),
            "limit": rounded(move.limit, digits=4),
            "confidence": confidence_words(move.confidence),
            "since": short_time(monitored.windows[move.first]["from"]),
        }
        for move in monitored.current[:MOST_ROWS]
    ]


def monitoring_items(
    monitored: MonitoredModel, result: StageResult, *, evidently: str | None = None
) -> Iterator[LogItem]:
    """Describe what is logged of a monitoring run: the two pages, the document, numbers by window.

    Parameters
    ----------
    monitored : MonitoredModel
        What is reported; metrics are those of the run's own windows.
    result : StageResult
        Of the run; ``monitoring.json`` is its JSON.
    evidently : str, optional
        Evidently's page.
    """
    for window in result.details["windows"]:
        values = window_metrics(window)
        if values:
            yield Metrics(values, step=window_step(window))
    tags = {"evergreen.stage": "monitoring", "evergreen.state": result.state.value}
    tags |= {"evergreen.version": str(result.version), "evergreen.decision": str(result.decision_id)}
    yield Tags(tags)
    yield Json(DOCUMENT, result.to_dict())
    yield Text(DRIFT_PAGE, drift_page(monitored))
    yield Text("monitoring.md", monitoring_markdown(monitored))
    if evidently is not None:
        yield Text(EVIDENTLY_PAGE, evidently)


def window_metrics(window: Mapping[str, Any]) -> dict[str, float]:
    """Return a window's numbers by MLflow name; what could not be measured is absent."""
    psi = [value for one in window["columns"] if not math.isnan(value := real(one.get("psi")))]
    alarmed = {str(moved["column"]) for moved in window["moved"] if moved.get("alarm")}
    one = performance_of(window)
    values = {
        "rows": real(window.get("n")),
        "labelled_rows": real(window.get("labelled")),
        "moved_columns": float(len({str(moved["column"]) for moved in window["moved"]})),
        "alarmed_columns": float(len(alarmed)),
        "psi_max": max(psi, default=math.nan),
        "psi_mean": sum(psi) / len(psi) if psi else math.nan,
    }
    if one is not None:
        name = str(one["metric"]).replace("@", "_at_")
        values[f"estimated_{name}" if one.get("estimated") else name] = float(one["value"])
    return {name: value for name, value in values.items() if math.isfinite(value)}


def window_step(window: Mapping[str, Any]) -> int:
    """Return where a window stands among MLflow's steps: its start on the clock, in whole seconds or rows."""
    return math.floor(float(window["start"]))


# A bounded sample of rows without private columns: for pages drawn from rows, never for a decision.


Document = dict[str, Any]


@dataclass(frozen=True, kw_only=True, eq=False)
class ComparableColumns:
    """Columns that can be compared on two samples."""

    numeric: tuple[str, ...]
    categorical: tuple[str, ...]
    """``numeric``, ``categorical``: the columns, by kind."""
    left_out: dict[str, str]
    """Each column that cannot be compared, and why."""


def draw_sample(
    frame: pd.DataFrame, *, schema: Schema, config: ModelConfig, rng: np.random.Generator
) -> Document:
    """Draw rows of the features, private columns left out, in their JSON form.

    Parameters
    ----------
    frame : DataFrame, shape (n, …)
        Rows with at least the features; left untouched.
    rng : Generator
        What draws, without replacement; ``monitoring.report_rows`` rows, or all where there are fewer.

    Returns
    -------
    dict
        ``numeric`` and ``categorical``: values by column; categories are text, numbers have seven digits, what is
        missing or infinite is null.
    """
    private = set(config.data.private)
    most = min(len(frame), config.monitoring.report_rows)
    chosen = np.sort(rng.choice(len(frame), size=most, replace=False))
    features = feature_frame(frame.iloc[chosen], schema)
    numbers = {name: features[name].tolist() for name in schema.numeric if name not in private}
    categories = {name: tokens(features[name]).tolist() for name in schema.categorical if name not in private}
    return {
        "numeric": {
            name: [float(f"{value:.7g}") if np.isfinite(value) else None for value in values]
            for name, values in numbers.items()
        },
        "categorical": {
            name: [None if pd.isna(value) else str(value) for value in values]
            for name, values in categories.items()
        },
    }


def frozen_sample(rows: Rows, *, schema: Schema, config: ModelConfig) -> dict[str, Document]:
    """Return the document ``sample`` that is stored with a version; nothing where it is switched off."""
    if not config.monitoring.report_rows:
        return {}
    rng = np.random.default_rng(seed_for(config.model, rows.fingerprint, "sample"))
    return {"sample": draw_sample(rows.frame, schema=schema, config=config, rng=rng)}


def sample_frame(document: Mapping[str, Any]) -> pd.DataFrame:
    """Return the sample as a frame: float64 and object columns."""
    columns = {name: pd.Series(values, dtype=np.float64) for name, values in document["numeric"].items()}
    columns |= {name: pd.Series(values, dtype=object) for name, values in document["categorical"].items()}
    return pd.DataFrame(columns)


def compare_columns(
    reference: Mapping[str, Any], current: Mapping[str, Any], *, private: frozenset[str] = frozenset()
) -> ComparableColumns:
    """Say which columns of two samples (in their JSON form) can be compared, and why others cannot."""
    usable: dict[str, list[str]] = {"numeric": [], "categorical": []}
    left_out: dict[str, str] = {}
    for name in sorted({name for side in (reference, current) for kind in usable for name in side[kind]}):
        before, now = (
            next((kind for kind in usable if name in side[kind]), None) for side in (reference, current)
        )
        sides = ((reference, before, "the reference"), (current, now, "the window"))
        absent = [where for _, kind, where in sides if kind is None]
        empty = [where for side, kind, where in sides if kind and set(side[kind][name]) <= {None}]
        if name in private:
            left_out[name] = "private"
        elif absent:
            left_out[name] = f"{absent[0]} has no such column"
        elif before != now:
            left_out[name] = f"{before} in the reference, {now} in the window"
        elif empty:
            left_out[name] = f"no value in the sample of {empty[0]}"
        else:
            usable[str(before)].append(name)
    return ComparableColumns(**{kind: tuple(names) for kind, names in usable.items()}, left_out=left_out)

"""The drift page: one file that opens offline and says what moved, how surely, and what to do; and its sentences."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from evergreen.tasks.core.config import ModelConfig
from evergreen.tasks.core.drift.policy import critical_levels
from evergreen.tasks.core.drift.types import DriftKind, Level, listed, short_time
from evergreen.tasks.core.errors import counted
from evergreen.tasks.core.registry import DRIFT_MEASURES
from evergreen.tasks.core.reports import html
from evergreen.tasks.core.reports.drift_charts import (
    MOST_COLUMNS,
    column_figure,
    group_words,
    heat_legend,
    heat_map,
    map_columns,
    performance_chart,
)
from evergreen.tasks.core.reports.html import document, legend, scrolled, section
from evergreen.tasks.core.reports.monitored_model import ColumnMove, MonitoredModel, level_of, real

KIND_WORDS = {
    DriftKind.DATA: "inputs",
    DriftKind.PREDICTION: "predictions",
    DriftKind.OUTCOME: "outcome",
    DriftKind.CONCEPT: "link of inputs and outcome",
    DriftKind.PERFORMANCE: "performance",
}
_SIGNALS = {
    "location": "location (mean rank)",
    "spread": "spread (mean distance from the middle rank)",
    "missing": "share of missing values",
    "unseen": "share of categories never seen before",
    "information": "mutual information with the outcome",
    "correlation": "correlation with the outcome",
    "level": "level",
}
_CALIBRATIONS = {
    "reference": "from the model's own past windows",
    "theory": "from sampling theory: too few past windows to learn from",
    "literal": "fixed levels",
}


def headline(monitored: MonitoredModel) -> str:
    """Return one sentence that says what happened."""
    level = monitored.level
    if level is Level.INSUFFICIENT:
        return _nothing_judged(monitored)
    if not monitored.current and not monitored.still_open:
        many = len(monitored.windows)
        return f"Nothing moved beyond chance in the newest of {counted(many, 'window')}."
    parts = [_findings(monitored, kind) for kind in DriftKind if _moves(monitored, kind)]
    if monitored.still_open:
        still_open = [(one, when(monitored, one["since"])) for one in monitored.still_open]
        names = [f"{one['column']} ({one['kind']}, since {since})" for one, since in still_open]
        parts.append(f"not resolved yet: {listed(names)}")
    return f"{'; '.join(parts)}."


def advice(monitored: MonitoredModel) -> str:
    """Return one sentence that says what to do."""
    now, model = monitored.now, monitored.model
    if monitored.level is Level.INSUFFICIENT:
        return "Nothing can be said before there are more rows: see below how many would do."
    if monitored.level is Level.QUIET:
        return "Nothing to do."
    if monitored.level is Level.WARNING:
        return "One window is no proof: the next windows decide whether it is an alarm."
    again = f"train anew and let the new version meet the champion (evergreen retrain {model})"
    if now.get(DriftKind.PERFORMANCE) is Level.DRIFT:
        return f"The model is worse than it was: {again}."
    if Level.DRIFT in (now.get(DriftKind.CONCEPT), now.get(DriftKind.OUTCOME)):
        return f"Check that labels are still made as before; if they are, {again}."
    inspect = f"Look at the source of what moved first; if the change is real and here to stay, {again}."
    return f"{_performance_held(monitored)}{inspect}"


def _performance_held(monitored: MonitoredModel) -> str:
    """Say of a performance that is not called worse whether it has held."""
    one = monitored.performance
    drop = real(one.get("drop")) if one else math.nan
    if monitored.now.get(DriftKind.PERFORMANCE) is not Level.QUIET or math.isnan(drop):
        return ""
    if drop <= monitored.config.performance_drop:
        return "Performance has held so far. "
    return f"Performance is {drop:.0%} worse than its reference, which its limit does not call more than chance. "


def when(monitored: MonitoredModel, text: Any) -> str:
    """Write a point of the model's clock for a sentence: a time, or the number of a row."""
    return f"row {text}" if monitored.config.data.clock == "rows" else short_time(text)


def signal_words(monitored: MonitoredModel, move: ColumnMove) -> str:
    """Return what moved, for people; of a private column no group's name.

    A numbered group of numbers is named by its interval where profiles are at hand. A signal that is unknown here
    stands for itself.
    """
    private = move.column in monitored.private
    name, _, group = move.signal.partition(":")
    if name == "share":
        shown = "one group" if private or not group else group_words(monitored, move.column, group)
        return f"share of {shown}"
    if name in (plain := {**_SIGNALS, **{one.name: one.title for one in DRIFT_MEASURES.standard().values()}}):
        return plain[name]
    return "one signal" if private else move.signal


def performance_words(one: Mapping[str, Any] | None) -> str:
    """Return a performance in words: metric, value, interval, reference.

    >>> performance_words({"metric": "auc", "value": 0.7, "low": 0.68, "high": 0.72, "reference": 0.8})
    'auc 0.7 [0.68, 0.72], reference 0.8'
    >>> performance_words({"metric": "rmse", "value": 60.0, "reference": 40.0, "drop": 0.5})
    'rmse 60 (50% worse than the reference 40)'
    """
    if one is None:
        return "not known"
    value = f"{one['metric']} {one['value']:.4g}"
    between = "" if one.get("low") is None else f" [{one['low']:.4g}, {one['high']:.4g}]"
    standard, drop = one.get("reference"), real(one.get("drop"))
    reference = "" if standard is None else f", reference {standard:.4g}"
    if standard is not None and not math.isnan(drop):
        way = "worse" if drop > 0 else "better"
        reference = f" ({abs(drop):.0%} {way} than the reference {standard:.4g})"
    return f"{value}{between}{reference}{' (estimated without labels)' if one.get('estimated') else ''}"


def insufficient_rows(windows: Sequence[Mapping[str, Any]]) -> list[tuple[str, str, str, int]]:
    """Return what could not be judged and why: kind, reason, newest window, number of windows; newest first."""
    rows: dict[tuple[str, str], tuple[str, str, str, int]] = {}
    for window in windows:
        for kind in DriftKind:
            if level_of(window, kind) is not Level.INSUFFICIENT:
                continue
            for code, message in _reasons(window, kind):
                former = rows.pop((kind.value, code), ("", "", "", 0))
                rows[kind.value, code] = (kind.value, message, short_time(window["from"]), former[3] + 1)
    return list(rows.values())[::-1]


def limit_rows(monitored: MonitoredModel) -> list[tuple[str, str]]:
    """Return how the limits were made: a name and a sentence each."""
    config = monitored.config
    rules = _fixed_thresholds(config) if config.drift.policy == "fixed_thresholds" else _calibrated(config)
    rows = [
        ("Policy", config.drift.policy),
        *rules,
        ("Kinds", ", ".join(config.drift.kinds)),
        *_calibrations(monitored),
        ("Least rows", f"A window with fewer than {config.monitoring.min_rows} rows is not judged."),
    ]
    return list({**dict(rows), **monitored.limits}.items())


def _calibrated(config: ModelConfig) -> list[tuple[str, str]]:
    drift = config.drift
    return [
        ("Budget", f"{drift.false_alarms} of a stationary stream, shared among windows, columns and kinds."),
        ("Smallest effect", f"{drift.min_effect:g} of rows or rank; a smaller move never alarms."),
        (
            "Alarm",
            f"{drift.num_violation_windows} of the last {drift.num_evaluation_windows} windows of a column, "
            "the newest among them; fewer warn.",
        ),
        ("Seasons", "each phase of a season has its own reference" if drift.seasons == "auto" else "none"),
    ]


def _fixed_thresholds(config: ModelConfig) -> list[tuple[str, str]]:
    drift = config.drift
    deciding = [(DRIFT_MEASURES.get(name), level) for name, level in critical_levels(config).items()]
    return [
        ("Population stability index", f"{drift.psi_warning:g} warns, {drift.psi_critical:g} is drift."),
        *((one.title, f"{one.phrase(level)} is drift.") for one, level in deciding),
        ("Tests", f"Kolmogorov–Smirnov and χ² at {drift.ks_significance:g}."),
        ("Outcome", f"a total variation of {drift.outcome_threshold:g}."),
        ("Concept", f"a loss higher by {drift.concept_threshold:.0%}."),
        ("Performance", f"worse by {config.performance_drop:.0%}."),
    ]


def _calibrations(monitored: MonitoredModel) -> list[tuple[str, str]]:
    """Return where the newest limits of each kind come from."""
    checked = (pair for window in monitored.windows for pair in window.get("kinds", {}).items())
    newest = {kind: one.get("calibration") for kind, one in checked}
    kinds: dict[str, list[str]] = {}
    for kind, calibration in newest.items():
        kinds.setdefault(_CALIBRATIONS.get(str(calibration), ""), []).append(kind)
    return [("Limits", f"{', '.join(some)}: {source}.") for source, some in kinds.items() if source]


def _findings(monitored: MonitoredModel, kind: DriftKind) -> str:
    moves = _moves(monitored, kind)
    since = when(monitored, monitored.windows[min(move.first for move in moves)]["from"])
    if kind is DriftKind.PERFORMANCE:
        return f"{performance_words(monitored.performance)}, worse since {since}"
    names = listed([move.column for move in moves])
    how = "drift" if monitored.now[kind] is Level.DRIFT else "a first sign"
    return f"{names} moved since {since} ({KIND_WORDS[kind]}, {how})"


def _nothing_judged(monitored: MonitoredModel) -> str:
    if not monitored.windows:
        return "No window was checked."
    why = insufficient_rows(monitored.windows)
    return f"No window could be judged. {why[0][1] if why else ''}".strip()


def _moves(monitored: MonitoredModel, kind: DriftKind) -> list[ColumnMove]:
    return [move for move in monitored.current if move.kind is kind]


def _reasons(window: Mapping[str, Any], kind: DriftKind) -> list[tuple[str, str]]:
    given = window.get("kinds", {}).get(kind.value, {}).get("reasons") or ()
    reasons = [(str(reason["code"]), str(reason["message"])) for reason in given]
    return reasons or [("unsaid", f"{kind.value} could not be judged; the window gives no reason.")]


# The page.


MOST_CHARTS, MOST_ROWS = 8, 60
SIGNS = {Level.QUIET: "●", Level.WARNING: "▲", Level.DRIFT: "◆", Level.INSUFFICIENT: "○"}


def drift_page(monitored: MonitoredModel) -> str:
    """Return the whole page.

    Parameters
    ----------
    monitored : MonitoredModel
        The model, its windows, and profiles of the reference and the newest window.
    """
    parts = [_card(monitored)]
    if monitored.windows:
        parts += [_map(monitored), _performance(monitored), _moved(monitored), _distributions(monitored)]
    limits = html.table(("", ""), limit_rows(monitored))
    parts += [_insufficient(monitored), section("How the limits were made", limits)]
    parts.append("<footer>Made by Evergreen from profiles alone; it holds no row of the data.</footer>")
    return document(f"Drift of {monitored.model}", [part for part in parts if part])


def facts(monitored: MonitoredModel) -> list[tuple[str, str]]:
    """Return what a reader wants to know beside the headline: a name and a value each."""
    windows = monitored.windows
    if not windows:
        return []
    newest = windows[-1]
    drifting = [move for move in monitored.current if move.alarm]
    version = newest.get("version")
    return [
        ("Windows", f"{len(windows)}, {short_time(windows[0]['from'])} to {short_time(newest['to'])}"),
        ("Rows in the newest", f"{newest['n'] or 0:,}"),
        ("Champion", "none" if version is None else f"version {version}"),
        ("Columns that moved", f"{len(monitored.current)}, {len(drifting)} of them in alarm"),
        ("Performance", performance_words(monitored.performance)),
    ]


def _card(monitored: MonitoredModel) -> str:
    level = monitored.level
    return (
        f'<section class="card {level.value}"><span class="state">{SIGNS[level]} {level.state.value}</span>'
        f'<p class="what">{escape(headline(monitored))}</p><p>{escape(advice(monitored))}</p>'
        f"{html.fact_list(facts(monitored))}</section>"
    )


def _map(monitored: MonitoredModel) -> str:
    columns = len(map_columns(monitored))
    left = f" The {MOST_COLUMNS} that moved most of {columns} are shown." if columns > MOST_COLUMNS else ""
    note = (
        "One row a column, one cell a window: colour is the population stability index (PSI) against the reference, "
        "frames are moves beyond chance. Above it what was said of each kind of drift: a taller bar is more "
        "severe, blank where it was not checked (yet). Dark without a frame is far from the whole reference, yet not "
        f"beyond what the model's own past has shown at such times. Rest on a mark to read it.{left}"
    )
    return section("What moved, and when", heat_legend(monitored), scrolled(heat_map(monitored)), note=note)


def _performance(monitored: MonitoredModel) -> str:
    chart = performance_chart(monitored.windows, monitored.promotions)
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


def _moved(monitored: MonitoredModel) -> str:
    moves = monitored.current
    past = [move for move in monitored.moves if not monitored.goes_on(move)]
    parts = [_table(monitored, moves)] if moves else []
    if past:
        shown = _table(monitored, past)
        parts.append(f"<details><summary>Moves that have ended ({len(past)})</summary>{shown}</details>")
    note = "" if moves else "No column moves beyond chance in the newest windows."
    confidence = (
        "Confidence is one minus the corrected p-value (Benjamini and Hochberg 1995) in the newest window."
    )
    return section("Moved columns", *parts, note=note or confidence)


def _table(monitored: MonitoredModel, moves: tuple[ColumnMove, ...] | list[ColumnMove]) -> str:
    head = ("column", "kind", "level", "what moved", "effect", "limit", "confidence", "since", "until")
    table = html.table(head, [_cells(monitored, move) for move in moves[:MOST_ROWS]])
    more = len(moves) - MOST_ROWS
    left = html.paragraph(f"{more} more stand in monitoring.json.") if more > 0 else ""
    return f"{scrolled(table)}{left}"


def _cells(monitored: MonitoredModel, move: ColumnMove) -> tuple[str, ...]:
    times = "" if math.isnan(move.times) else f" ({move.times:.1f} × limit)"
    level = "alarm" if move.alarm else "warning"
    return (
        move.column,
        move.kind.value,
        html.cell(level, css=f"word-{level}"),
        signal_words(monitored, move),
        f"{move.effect:+.3g}{times}" if not math.isnan(move.effect) else "–",
        f"{move.limit:.3g}" if not math.isnan(move.limit) else "–",
        confidence_words(move.confidence),
        short_time(monitored.windows[move.first]["from"]),
        "now" if monitored.goes_on(move) else short_time(monitored.windows[move.last]["to"]),
    )


def confidence_words(confidence: float) -> str:
    """Write a confidence; what rounds to one is written as a bound.

    >>> confidence_words(0.98765), confidence_words(0.9999999), confidence_words(float("nan"))
    ('0.9877', '> 0.9999', '–')
    """
    if math.isnan(confidence):
        return "–"
    return "> 0.9999" if confidence > 0.9999 else f"{confidence:.4g}"


def _distributions(monitored: MonitoredModel) -> str:
    moved = [move.column for move in monitored.current if move.kind is not DriftKind.PERFORMANCE]
    figures = [drawn for column in dict.fromkeys(moved) if (drawn := column_figure(monitored, column))]
    if not figures:
        return ""
    note = (
        "Shares of rows in the newest window (coloured) beside the reference frozen with the champion (grey)."
    )
    charts = f'<div class="pair">{"".join(figures[:MOST_CHARTS])}</div>'
    return section("Distributions of moved columns", charts, note=note)


def _insufficient(monitored: MonitoredModel) -> str:
    rows = insufficient_rows(monitored.windows)
    if not rows:
        return ""
    note = "INSUFFICIENT is no verdict: it never counts as 'no drift'."
    head = ("kind", "why", "newest window", "windows")
    return section("What could not be judged", html.table(head, rows[:MOST_ROWS]), note=note)

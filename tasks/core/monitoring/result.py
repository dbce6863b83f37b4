"""How a monitoring run ends: one state for a model, from its windows and its open alarms."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from evergreen.tasks.core.drift.types import DriftKind, Level, worst
from evergreen.tasks.core.verdict import Reason, StageResult

MOST_NAMED = 5
"""Columns a sentence names before it counts the others."""


def conclude_monitoring(
    model: str,
    windows: Sequence[Mapping[str, Any]],
    *,
    version: int,
    open_alarms: Sequence[Mapping[str, Any]] | None = None,
    fresh: bool = True,
    notes: Sequence[Reason] = (),
    details: Mapping[str, Any] | None = None,
) -> StageResult:
    """Return a run's result.

    Parameters
    ----------
    windows : sequence of dict
        The windows of this run, in clock order, as `evergreen.tasks.core.monitoring.window_result.merge_results`
        tells them.
    version : int
        The champion.
    open_alarms : sequence of dict, optional
        Alarms that are open now (``kind``, ``column``, ``since``). None: a past range was looked at again, and the
        gravest of its windows counts.
    fresh : bool
        False where nothing was due, and the windows are the newest that earlier runs have looked at.
    notes : sequence of Reason
        Further reasons, as they are.
    details : mapping, optional
        Further facts of the run.
    """
    level = _most_severe(windows) if open_alarms is None else _now(windows, open_alarms)
    reasons = (_reason(level, windows, open_alarms or (), fresh=fresh), *_insufficient(windows), *notes)
    facts = {"windows": list(windows), "open_alarms": list(open_alarms or ()), **(details or {})}
    return StageResult(state=level.state, model=model, version=version, reasons=reasons, details=facts)


def newest_levels(windows: Sequence[Mapping[str, Any]]) -> dict[str, Level]:
    """Return the newest level of each kind that could be judged; INSUFFICIENT for one that never could."""
    found: dict[str, Level] = {}
    for window in windows:
        for kind, text in window["verdicts"].items():
            level = Level(text)
            if level is not Level.INSUFFICIENT or kind not in found:
                found[kind] = level
    return found


def _now(windows: Sequence[Mapping[str, Any]], open_alarms: Sequence[Mapping[str, Any]]) -> Level:
    if open_alarms:
        return Level.DRIFT
    newest = worst(newest_levels(windows).values())
    judged = [window for window in windows if window["verdicts"]]
    if newest is Level.QUIET and judged[-1]["level"] == Level.INSUFFICIENT.value:
        return (
            Level.INSUFFICIENT
        )  # windows that were quiet before say nothing of one that could not be judged
    return Level.WARNING if newest is Level.DRIFT else newest


def _most_severe(windows: Sequence[Mapping[str, Any]]) -> Level:
    return worst(Level(window["level"]) for window in windows)


def _reason(
    level: Level,
    windows: Sequence[Mapping[str, Any]],
    open_alarms: Sequence[Mapping[str, Any]],
    *,
    fresh: bool,
) -> Reason:
    n = sum(window["n"] or 0 for window in windows)
    if not windows:
        return Reason(code="no_window", message="No window was full and due.", n=0)
    span = f"{len(windows)} window(s) from {windows[0]['from']} to {windows[-1]['to']}"
    if not fresh:
        span = f"No window was due; the newest, from {windows[0]['from']} to {windows[-1]['to']}"
    if level is Level.DRIFT and open_alarms:
        return Reason(code="drift", message=f"{span}: {_alarms(open_alarms)}", observed=len(open_alarms), n=n)
    if level in (Level.DRIFT, Level.WARNING):
        columns = sorted({f"{one['column']} ({one['kind']})" for w in windows for one in w["moved"]})
        return Reason(
            code=level.value, message=f"{span}: {_listed(columns)} moved.", observed=len(columns), n=n
        )
    if level is Level.QUIET:
        return Reason(code="quiet", message=f"{span}: nothing moved more than chance allows.", n=n)
    return Reason(code="insufficient", message=f"{span}: {_unjudged(windows)}", n=n)


def _unjudged(windows: Sequence[Mapping[str, Any]]) -> str:
    known = any(window["level"] != Level.INSUFFICIENT.value for window in windows)
    return "the newest could not be judged." if known else "none could be judged."


def _alarms(open_alarms: Sequence[Mapping[str, Any]]) -> str:
    columns = [f"{one['column']} ({one['kind']}, since {one['since']})" for one in open_alarms]
    return f"alarm: {_listed(columns)}."


def _insufficient(windows: Sequence[Mapping[str, Any]]) -> list[Reason]:
    """Return why kinds could not be judged in the newest window that says so, once a kind and code."""
    found: dict[tuple[str, str], Reason] = {}
    for window in windows:
        for kind in DriftKind:
            verdict = window["kinds"].get(kind.value)
            if verdict is None or verdict["level"] != Level.INSUFFICIENT.value:
                continue
            for reason in verdict["reasons"]:
                message = f"{kind.value}, window from {window['from']}: {reason['message']}"
                found[kind.value, reason["code"]] = Reason(**{**reason, "message": message})
    return list(found.values())


def _listed(names: Sequence[str]) -> str:
    more = len(names) - MOST_NAMED
    return ", ".join(names[:MOST_NAMED]) + (f" and {more} more" if more > 0 else "")

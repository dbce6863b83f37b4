"""The result of a window's check, both checks of a window as one, how a run ends, and the alert of a check."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any

from evergreen.tasks.core.alerts.alert import WINDOW_WARNING, Alarm, Alert, AlertLevel, next_alert
from evergreen.tasks.core.config import ModelConfig
from evergreen.tasks.core.data.clock import Window, format_position
from evergreen.tasks.core.drift.types import (
    DriftKind,
    KindVerdict,
    Level,
    MovedColumn,
    Phase,
    first_names,
    worst,
)
from evergreen.tasks.core.errors import counted
from evergreen.tasks.core.serial import to_plain
from evergreen.tasks.core.verdict import Reason, StageResult

MOST_MOVED = 20
"""Moved columns of one kind that the ledger keeps by name; the log has them all."""


@dataclass(frozen=True, kw_only=True)
class WindowResult:
    """The check of one window."""

    window: Window
    """The slice of the clock."""
    phase: Phase
    """``inputs`` as soon as it was full, ``outcomes`` when its labels were due."""
    version: int
    """The champion that was monitored."""
    rows: int
    """Rows of the window (phase ``outcomes``: those with a label)."""
    kinds: tuple[KindVerdict, ...]
    """One verdict per kind of drift of the phase."""
    changes: tuple[Mapping[str, Any], ...] = ()
    """Alarms that opened, worsened or resolved with this window."""
    columns: tuple[Mapping[str, Any], ...] = ()
    """Distances of each column from the reference, for the reader."""
    performance: Mapping[str, Any] | None = None
    """The metric with its interval, measured or estimated; None where neither could be."""
    notes: tuple[Reason, ...] = ()
    """What is worth knowing beside (labels that came late, rows from the future)."""

    @property
    def level(self) -> Level:
        """The most severe level of its kinds."""
        return worst(verdict.level for verdict in self.kinds)

    def to_entry(self, *, clock: str) -> dict[str, Any]:
        """Return what the ledger keeps: decisions and reasons, no distances."""
        moved = {one.column for verdict in self.kinds for one in verdict.moved[:MOST_MOVED]}
        kinds = {verdict.kind: verdict.to_dict() for verdict in self.kinds}
        plain = {
            "start": self.window.start,
            "end": self.window.end,
            "from": format_position(self.window.start, clock=clock),
            "to": format_position(self.window.end, clock=clock),
            "phase": self.phase,
            "version": self.version,
            "n": self.rows,
            "level": self.level,
            "kinds": {
                kind: {**one, "moved": one["moved"][:MOST_MOVED], "moved_columns": len(one["moved"])}
                for kind, one in kinds.items()
            },
            "changes": self.changes,
            "performance": self.performance,
            "psi": {one["column"]: one["psi"] for one in self.columns if one["column"] in moved},
            "notes": self.notes,
        }
        return to_plain(plain)

    def to_dict(self, *, clock: str) -> dict[str, Any]:
        """Return everything, with all moved columns and all distances."""
        full = {verdict.kind: verdict for verdict in self.kinds}
        return {**self.to_entry(clock=clock), **to_plain({"kinds": full, "columns": self.columns})}


def merge_results(results: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the results of both checks of each window as one, in clock order.

    Parameters
    ----------
    results : iterable of dict
        From ``WindowResult.to_dict`` or ``WindowResult.to_entry``, of both phases, in any order.

    Returns
    -------
    list of dict
        One a window: ``from``, ``to``, ``start``, ``end``, ``n``, ``labelled``, ``version``, ``level``, ``verdicts``
        (level by kind), ``kinds``, ``moved``, ``columns``, ``performance``, ``changes``, ``notes``. A kind whose time
        has not come is absent.
    """
    windows: dict[tuple[float, float], list[Mapping[str, Any]]] = {}
    for result in results:
        windows.setdefault((result["start"], result["end"]), []).append(result)
    return [_merged(windows[place]) for place in sorted(windows)]


def _merged(results: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    by_phase = {result["phase"]: result for result in results}
    inputs, outcomes = by_phase.get("inputs"), by_phase.get("outcomes")
    first = inputs or outcomes or results[0]
    verdict_by_kind = {name: verdict for result in results for name, verdict in result["kinds"].items()}
    kinds = {kind.value: verdict_by_kind[kind.value] for kind in DriftKind if kind.value in verdict_by_kind}
    verdicts = {name: verdict["level"] for name, verdict in kinds.items()}
    performances = [
        result["performance"] for result in (outcomes, inputs) if result and result.get("performance")
    ]
    return {
        **{name: first[name] for name in ("from", "to", "start", "end", "version")},
        "n": inputs["n"] if inputs else None,
        "labelled": outcomes["n"] if outcomes else None,
        "level": worst(map(Level, verdicts.values())).value,
        "verdicts": verdicts,
        "kinds": kinds,
        "moved": list(chain.from_iterable(verdict["moved"] for verdict in kinds.values())),
        "columns": list(chain.from_iterable(result.get("columns", ()) for result in results)),
        "performance": performances[0] if performances else None,
        "changes": list(chain.from_iterable(result["changes"] for result in results)),
        "notes": list(chain.from_iterable(result["notes"] for result in results)),
    }


# How a monitoring run ends: one state for a model, from its windows and its open alarms.


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
        returns them.
    version : int
        The champion.
    open_alarms : sequence of dict, optional
        Alarms that are open now (``kind``, ``column``, ``since``). None: a past range was checked again, and the
        most severe of its windows counts.
    fresh : bool
        False where nothing was due, and the windows are the newest that earlier runs have checked.
    notes : sequence of Reason
        Further reasons, as they are.
    details : mapping, optional
        Further facts of the run.
    """
    level = worst(Level(window["level"]) for window in windows)
    if open_alarms is not None:
        level = _now(windows, open_alarms)
    reasons = (_reason(level, windows, open_alarms or (), fresh=fresh), *_insufficient(windows), *notes)
    facts = {"windows": list(windows), "open_alarms": list(open_alarms or ()), **(details or {})}
    return StageResult(state=level.state, model=model, version=version, reasons=reasons, details=facts)


def newest_levels(windows: Sequence[Mapping[str, Any]]) -> dict[str, Level]:
    """Return the newest level of each kind that could be judged; INSUFFICIENT for one that never could."""
    levels: dict[str, Level] = {}
    for window in windows:
        for kind, text in window["verdicts"].items():
            level = Level(text)
            if level is not Level.INSUFFICIENT or kind not in levels:
                levels[kind] = level
    return levels


def _now(windows: Sequence[Mapping[str, Any]], open_alarms: Sequence[Mapping[str, Any]]) -> Level:
    if open_alarms:
        return Level.DRIFT
    newest = worst(newest_levels(windows).values())
    judged = [window for window in windows if window["verdicts"]]
    if newest is Level.QUIET and judged[-1]["level"] == Level.INSUFFICIENT.value:
        return Level.INSUFFICIENT  # quiet windows before say nothing of one that could not be judged
    return Level.WARNING if newest is Level.DRIFT else newest


def _reason(
    level: Level, windows: Sequence[Mapping[str, Any]], open_alarms: Sequence[Mapping[str, Any]], fresh: bool
) -> Reason:
    n = sum(window["n"] or 0 for window in windows)
    if not windows:
        return Reason(code="no_window", message="No window was full and due.", n=0)
    span = f"{counted(len(windows), 'window')} from {windows[0]['from']} to {windows[-1]['to']}"
    if not fresh:
        span = f"No window was due; the newest, from {windows[0]['from']} to {windows[-1]['to']}"
    if level is Level.DRIFT and open_alarms:
        alarms = first_names(
            [f"{one['column']} ({one['kind']}, since {one['since']})" for one in open_alarms]
        )
        return Reason(code="drift", message=f"{span}: alarm: {alarms}.", observed=len(open_alarms), n=n)
    if level in (Level.DRIFT, Level.WARNING):
        columns = sorted({f"{one['column']} ({one['kind']})" for w in windows for one in w["moved"]})
        message = f"{span}: {first_names(columns)} moved."
        return Reason(code=level.value, message=message, observed=len(columns), n=n)
    if level is Level.QUIET:
        return Reason(code="quiet", message=f"{span}: nothing moved more than chance allows.", n=n)
    some_judged = any(window["level"] != Level.INSUFFICIENT.value for window in windows)
    which = "the newest" if some_judged else "none"
    return Reason(
        code="insufficient", message=f"{span}: {which} could {'not ' if some_judged else ''}be judged.", n=n
    )


def _insufficient(windows: Sequence[Mapping[str, Any]]) -> list[Reason]:
    """Return why kinds could not be judged in the newest window that says so, once a kind and code."""
    reasons: dict[tuple[str, str], Reason] = {}
    for window in windows:
        for kind in DriftKind:
            verdict = window["kinds"].get(kind.value)
            if verdict is None or verdict["level"] != Level.INSUFFICIENT.value:
                continue
            for reason in verdict["reasons"]:
                message = f"{kind.value}, window from {window['from']}: {reason['message']}"
                reasons[kind.value, reason["code"]] = Reason(**{**reason, "message": message})
    return list(reasons.values())


# The alert of a window's check: which alarms of drift are open after it.


def window_alert(result: WindowResult, before: Alert | None, *, config: ModelConfig, clock: str) -> Alert:
    """Return the alert of a check at a window; most say nothing.

    An alarm opens once, worsens when its change says so or when its column's PSI passes
    ``alerts.drift_critical``, and resolves once. A new champion closes what was open. Where ``alerts.level`` is
    ``warning``, a kind that warns has an alarm of its own until it is quiet again; INSUFFICIENT leaves it.

    Parameters
    ----------
    result : WindowResult
        What was seen; ``changes`` as `evergreen.tasks.core.drift.detect.AlarmChange.to_dict` gives them, ``psi``
        by column
        among ``columns``.
    before : Alert or None
        The alert of the same phase's check before.
    config : ModelConfig
        Of the model: when an alarm warns or is critical, and whose values are not shown.
    clock : str
        Unit of the windows' positions (`evergreen.tasks.core.data.clock`).
    """
    open_before = before.open if before and before.version == result.version else ()
    alarms = {alarm.key: alarm for alarm in open_before if alarm.name != WINDOW_WARNING}
    start, end = (format_position(one, clock=clock) for one in (result.window.start, result.window.end))
    worsened = _apply_changes(alarms, result, config, clock) | _raise_levels(alarms, result, config)
    warned = config.alerts.level == "warning"
    warnings = _warnings(result, start, open_before, {kind for kind, _ in alarms}) if warned else ()
    now = Alert(
        model=config.model,
        topic=result.phase.value,
        version=result.version,
        number=0,
        start=start,
        end=end,
        open=(*alarms.values(), *warnings),
        performance=performance_sentence(result.performance),
    )
    return next_alert(before, now, worsened=sorted(worsened))


def performance_sentence(performance: Mapping[str, Any] | None) -> str:
    """Return what became of the metric.

    >>> performance_sentence({"metric": "roc_auc", "value": 0.8, "low": 0.78, "high": 0.82, "reference": 0.9,
    ...                       "drop": 0.111, "estimated": False})
    'roc_auc 0.8 (95 % interval 0.78 to 0.82), reference 0.9: 11.1 % worse.'
    """
    if not performance or performance.get("value") is None:
        return ""
    sentence = f"{performance['metric']} {performance['value']:.4g}"
    if performance.get("low") is not None and performance.get("high") is not None:
        sentence += f" (95 % interval {performance['low']:.4g} to {performance['high']:.4g})"
    if performance.get("reference") is not None:
        sentence += f", reference {performance['reference']:.4g}"
    if performance.get("drop") is not None:
        sentence += f": {abs(performance['drop']):.1%} ".replace("%", " %") + (
            "worse" if performance["drop"] >= 0 else "better"
        )
    return sentence + (", estimated without labels." if performance.get("estimated") else ".")


def _apply_changes(
    alarms: dict[tuple[str, str], Alarm], result: WindowResult, config: ModelConfig, clock: str
) -> set[tuple[str, str]]:
    """Carry the changes out on what is open; return what has worsened."""
    moved = {(one.kind.value, one.column): one for verdict in result.kinds for one in verdict.moved}
    worsened = set()
    for change in result.changes:
        key = (str(change["kind"]), str(change["column"]))
        if change["change"] == "resolved":
            alarms.pop(key, None)
            continue
        if key in alarms:
            worsened.add(key)
        since = alarms[key].since if key in alarms else format_position(change["since"], clock=clock)
        alarms[key] = _alarm(change, moved.get(key), since=since, private=key[1] in config.data.private)
    return worsened


def _alarm(change: Mapping[str, Any], moved: MovedColumn | None, *, since: str, private: bool) -> Alarm:
    return Alarm(
        kind=str(change["kind"]),
        name=str(change["column"]),
        since=since,
        message=_describe_move(moved, private=private) if moved else f"moved by {change['effect']:+.4g}",
        level=AlertLevel.DRIFT,
        effect=_finite(change["effect"]),
        confidence=_finite(moved.confidence) if moved else None,
    )


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _describe_move(moved: MovedColumn, *, private: bool) -> str:
    """Say how a column moved; of a private one neither category nor value."""
    sure = f"confidence {moved.confidence:.4f}"
    if private:
        return f"{moved.signal.partition(':')[0]} moved ({sure})"
    return f"{moved.signal} {moved.observed:.4g} instead of {moved.expected:.4g} ({sure})"


def _raise_levels(
    alarms: dict[tuple[str, str], Alarm], result: WindowResult, config: ModelConfig
) -> set[tuple[str, str]]:
    """Call alarms critical whose column's PSI is; return those that were not before."""
    psi = {column["column"]: column.get("psi") or 0.0 for column in result.columns}
    raised = set()
    for key, alarm in alarms.items():
        critical = psi.get(alarm.name, 0.0) >= config.drift_critical
        if critical and alarm.level is not AlertLevel.CRITICAL:
            alarms[key] = replace(alarm, level=AlertLevel.CRITICAL)
            raised.add(key)
    return raised


def _warnings(
    result: WindowResult, start: str, open_before: Sequence[Alarm], alarmed: set[str]
) -> tuple[Alarm, ...]:
    """Return the alarms of kinds that warn and have no alarm of a column."""
    former = {alarm.kind: alarm for alarm in open_before if alarm.name == WINDOW_WARNING}
    verdict_by_kind: dict[str, KindVerdict | None] = dict.fromkeys(former)
    verdict_by_kind |= {verdict.kind.value: verdict for verdict in result.kinds}
    open_now = []
    for kind, verdict in verdict_by_kind.items():
        if kind in alarmed:
            continue
        if verdict is not None and verdict.level in (Level.WARNING, Level.DRIFT):
            open_now.append(former.get(kind) or _warning(verdict, start))
        elif kind in former and (verdict is None or verdict.level is Level.INSUFFICIENT):
            open_now.append(former[kind])
    return tuple(open_now)


def _warning(verdict: KindVerdict, since: str) -> Alarm:
    columns = list(dict.fromkeys(one.column for one in verdict.moved))
    return Alarm(
        kind=verdict.kind.value,
        name=WINDOW_WARNING,
        since=since,
        message=f"{first_names(columns)} moved in this window alone" if columns else "warns",
        level=AlertLevel.WARNING,
    )

"""The alert of one look at one window: which alarms of drift are open after it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from evergreen.tasks.core.alerts.alert import WINDOW_WARNING, Alarm, Alert, AlertLevel, next_alert
from evergreen.tasks.core.config.monitoring import AlertsConfig
from evergreen.tasks.core.data.clock import format_position
from evergreen.tasks.core.drift.types import KindVerdict, Level, MovedColumn
from evergreen.tasks.core.monitoring.window_result import WindowResult


@dataclass(frozen=True, kw_only=True)
class AlertPolicy:
    """Tells alarms of a model: its clock, its levels, what may not be said.

    Attributes
    ----------
    model, clock : str
        The model, and the unit of its positions (`evergreen.tasks.core.data.clock`).
    config : AlertsConfig
        Levels.
    critical : float
        PSI from which an open alarm is critical.
    private : frozenset of str
        Columns of which no value is shown.
    link : str | None
        Where the windows' page is.
    """

    model: str
    clock: str
    config: AlertsConfig
    critical: float = 0.25
    private: frozenset[str] = frozenset()
    link: str | None = None

    def tell(self, position: float) -> str:
        """Return a position as text."""
        return format_position(position, clock=self.clock)


def window_alert(looked: WindowResult, before: Alert | None, *, teller: AlertPolicy) -> Alert:
    """Return the alert of a look at a window; most say nothing.

    An alarm opens once, worsens when the policy says so or when its column's PSI passes
    ``alerts.drift_critical``, and resolves once. A new champion closes what was open. Where ``alerts.level`` is
    ``warning``, a kind that warns has an alarm of its own until it is quiet again; INSUFFICIENT leaves it.

    Parameters
    ----------
    looked : Looked
        What was seen; ``changes`` as `evergreen.tasks.core.drift.detect.AlarmChange.to_dict` gives them, ``psi``
        by column
        among ``columns``.
    before : Alert or None
        The alert of the same phase's look before.
    teller : Teller
        Whose windows they are, and what may be said of them.
    """
    kept = before.open if before and before.version == looked.version else ()
    alarms = {alarm.key: alarm for alarm in kept if alarm.name != WINDOW_WARNING}
    worsened = _apply_changes(alarms, looked, teller) | _raise_levels(alarms, looked, teller)
    warned = teller.config.level == "warning"
    warnings = _warnings(looked, teller, kept, {kind for kind, _ in alarms}) if warned else ()
    now = Alert(
        model=teller.model,
        topic=looked.phase.value,
        version=looked.version,
        number=0,
        start=teller.tell(looked.window.start),
        end=teller.tell(looked.window.end),
        open=(*alarms.values(), *warnings),
        performance=performance_sentence(looked.performance),
        link=teller.link,
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
    said = f"{performance['metric']} {performance['value']:.4g}"
    if performance.get("low") is not None and performance.get("high") is not None:
        said += f" (95 % interval {performance['low']:.4g} to {performance['high']:.4g})"
    if performance.get("reference") is not None:
        said += f", reference {performance['reference']:.4g}"
    if performance.get("drop") is not None:
        said += f": {abs(performance['drop']):.1%} ".replace("%", " %") + (
            "worse" if performance["drop"] >= 0 else "better"
        )
    return said + (", estimated without labels." if performance.get("estimated") else ".")


def _apply_changes(
    alarms: dict[tuple[str, str], Alarm], looked: WindowResult, teller: AlertPolicy
) -> set[tuple[str, str]]:
    """Carry the policy's changes out on what is open; return what has worsened."""
    moved = {(one.kind.value, one.column): one for verdict in looked.kinds for one in verdict.moved}
    worsened = set()
    for change in looked.changes:
        key = (str(change["kind"]), str(change["column"]))
        if change["change"] == "resolved":
            alarms.pop(key, None)
            continue
        if key in alarms:
            worsened.add(key)
        since = alarms[key].since if key in alarms else teller.tell(change["since"])
        alarms[key] = _alarm(change, moved.get(key), since=since, private=key[1] in teller.private)
    return worsened


def _alarm(change: Mapping[str, Any], moved: MovedColumn | None, *, since: str, private: bool) -> Alarm:
    return Alarm(
        kind=str(change["kind"]),
        name=str(change["column"]),
        since=since,
        said=_describe_move(moved, private=private) if moved else f"moved by {change['effect']:+.4g}",
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
    alarms: dict[tuple[str, str], Alarm], looked: WindowResult, teller: AlertPolicy
) -> set[tuple[str, str]]:
    """Call alarms critical whose column's PSI is; return those that were not before."""
    psi = {column["column"]: column.get("psi") or 0.0 for column in looked.columns}
    raised = set()
    for key, alarm in alarms.items():
        grave = psi.get(alarm.name, 0.0) >= teller.critical
        if grave and alarm.level is not AlertLevel.CRITICAL:
            alarms[key] = replace(alarm, level=AlertLevel.CRITICAL)
            raised.add(key)
    return raised


def _warnings(
    looked: WindowResult, teller: AlertPolicy, kept: Sequence[Alarm], alarmed: set[str]
) -> tuple[Alarm, ...]:
    """Return the alarms of kinds that warn and have no alarm of a column."""
    former = {alarm.kind: alarm for alarm in kept if alarm.name == WINDOW_WARNING}
    found: dict[str, KindVerdict | None] = dict.fromkeys(former)
    found |= {verdict.kind.value: verdict for verdict in looked.kinds}
    open_now = []
    for kind, verdict in found.items():
        if kind in alarmed:
            continue
        if verdict is not None and verdict.level in (Level.WARNING, Level.DRIFT):
            open_now.append(former.get(kind) or _warning(verdict, teller.tell(looked.window.start)))
        elif kind in former and (verdict is None or verdict.level is Level.INSUFFICIENT):
            open_now.append(former[kind])
    return tuple(open_now)


def _warning(verdict: KindVerdict, since: str) -> Alarm:
    columns = list(dict.fromkeys(one.column for one in verdict.moved))
    more = f" and {len(columns) - 5} more" if len(columns) > 5 else ""
    return Alarm(
        kind=verdict.kind.value,
        name=WINDOW_WARNING,
        since=since,
        said=f"{', '.join(columns[:5])}{more} moved in this window alone" if columns else "warns",
        level=AlertLevel.WARNING,
    )

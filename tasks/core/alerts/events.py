"""Which events an alert is to automations: each once a change, none for what only stays open."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any
from uuid import NAMESPACE_URL, UUID, uuid5

from tasks.core.alerts.alert import HEALTH, Alarm, Alert, AlertLevel
from tasks.core.drift.words import DriftKind

DETECTED = "evergreen.drift.detected"
DEGRADED = "evergreen.performance.degraded"
WARNING = "evergreen.monitor.warning"
UNHEALTHY = "evergreen.health.failed"
RESOLVED = "evergreen.drift.resolved"
RECOVERED = "evergreen.performance.recovered"
HEALTHY = "evergreen.health.recovered"
_BEGUN = {HEALTH: UNHEALTHY, DriftKind.PERFORMANCE.value: DEGRADED}
_ENDED = {HEALTH: HEALTHY, DriftKind.PERFORMANCE.value: RECOVERED}


@dataclass(frozen=True, kw_only=True)
class AlertEvent:
    """One event.

    Attributes
    ----------
    id : UUID
        The same for the same change of the same window, so that it counts once however often it is emitted.
    name : str
        ``evergreen.drift.detected``, ``evergreen.performance.degraded``, …
    payload : dict
        JSON: ``model``, ``version``, ``topic``, ``window`` (``from``, ``to``), ``kinds``, ``columns``, ``alarms``,
        ``open``, ``level``, ``performance``, ``link``, ``decision_id``.
    """

    id: UUID
    name: str
    payload: dict[str, Any] = field(hash=False)


def alert_events(alert: Alert) -> tuple[AlertEvent, ...]:
    """Return the events of an alert, at most one of a name; what resolves is one once nothing like it is open."""
    begun: dict[str, list[Alarm]] = {}
    for alarm in (*alert.opened, *alert.worsened):
        begun.setdefault(_begun(alarm), []).append(alarm)
    still = {_ended(alarm) for alarm in alert.open if alarm.level is not AlertLevel.WARNING}
    ended: dict[str, list[Alarm]] = {}
    for alarm in alert.resolved:
        if alarm.level is not AlertLevel.WARNING and _ended(alarm) not in still:
            ended.setdefault(_ended(alarm), []).append(alarm)
    return tuple(_event(alert, name, alarms) for name, alarms in {**begun, **ended}.items())


def _begun(alarm: Alarm) -> str:
    return WARNING if alarm.level is AlertLevel.WARNING else _BEGUN.get(alarm.kind, DETECTED)


def _ended(alarm: Alarm) -> str:
    return _ENDED.get(alarm.kind, RESOLVED)


def _event(alert: Alert, name: str, alarms: list[Alarm]) -> AlertEvent:
    payload = {
        "model": alert.model,
        "version": alert.version,
        "topic": alert.topic,
        "window": {"from": alert.start, "to": alert.end},
        "kinds": _unique(alarm.kind for alarm in alarms),
        "columns": _unique(alarm.name for alarm in alarms),
        "alarms": [_plain(alarm) for alarm in alarms[:20]],
        "open": [_plain(alarm) for alarm in alert.open[:20]],
        "level": alert.level.value,
        "performance": alert.performance,
        "link": alert.link,
        "decision_id": alert.entry_id,
    }
    return AlertEvent(id=uuid5(NAMESPACE_URL, f"{name}/{alert.key}"), name=name, payload=payload)


def _plain(alarm: Alarm) -> dict[str, Any]:
    return {**vars(alarm), "level": alarm.level.value}


def _unique(names: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(names))

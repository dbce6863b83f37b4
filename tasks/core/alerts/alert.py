"""Open alarms, the alerts that tell what changed among them, and what each channel has received."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, ClassVar
from uuid import NAMESPACE_URL, UUID, uuid5

from evergreen.tasks.core.drift.types import DriftKind
from evergreen.tasks.core.promotion.ledger import LedgerEntry
from evergreen.tasks.core.serial import Struct, to_plain


class AlertLevel(StrEnum):
    """How severe an alarm or an alert is; ``info`` tells that something is over."""

    INFO = "info"
    WARNING = "warning"
    DRIFT = "drift"
    CRITICAL = "critical"


ORDER = tuple(AlertLevel)
"""Levels, the most severe last."""

WINDOW_WARNING = "(window)"
"""Name of the alarm of a kind of drift that warns without an alarm of a column."""

HEALTH = "health"
"""Kind of an alarm, and topic of an alert, that is about the machinery and not about drift."""


@dataclass(frozen=True, kw_only=True)
class Alarm(Struct):
    """One thing that is wrong."""

    kind: str
    """Kind of drift, or ``health``."""
    name: str
    """The column that moved, or the check that failed."""
    since: str
    """When it began, as text: on the model's clock for drift, in UTC for health."""
    message: str = field(metadata={"key": "said"})
    """What is seen, without values of private columns."""
    level: AlertLevel
    """warning, drift or critical."""
    effect: float | None = None
    confidence: float | None = None
    """``effect``, ``confidence``: how far it moved, signed; one minus the corrected p-value."""

    @property
    def key(self) -> tuple[str, str]:
        """What the alarm is about."""
        return self.kind, self.name


@dataclass(frozen=True, kw_only=True)
class Alert(Struct):
    """What changed among the alarms of one topic, and which are open afterwards.

    One is kept with every window, and with every change of health; most say nothing.
    """

    also: ClassVar = ("key", "change", "level")
    model: str
    topic: str
    """``model``, ``topic``: the model; ``inputs``, ``outcomes`` or ``health``."""
    version: int | None
    """Champion at that time."""
    number: int
    """How many alerts of this topic have said something so far, this one included."""
    start: str
    end: str
    """``start``, ``end``: the window, as text on the model's clock (health: the moment, in UTC)."""
    opened: tuple[Alarm, ...] = ()
    worsened: tuple[Alarm, ...] = ()
    resolved: tuple[Alarm, ...] = ()
    """``opened``, ``worsened``, ``resolved``: what changed."""
    open: tuple[Alarm, ...] = ()
    """All that is open afterwards, in the order in which it began."""
    performance: str = ""
    """What became of the metric, in a sentence; empty where it is not known."""
    link: str | None = None
    """Where to look."""
    entry_id: str | None = None
    """The ledger's entry it was read from."""

    @property
    def speaks(self) -> bool:
        """True when something changed that is worth a message."""
        return bool(self.opened or self.worsened or self.resolved)

    @property
    def change(self) -> str:
        """The most severe change: opened, worsened, resolved, or none."""
        changes = ("opened", "worsened", "resolved")
        return next((name for name in changes if getattr(self, name)), "none")

    @property
    def key(self) -> str:
        """Stable name of the message: a receiver who sees it twice may drop the second."""
        return f"{self.model}/{self.topic}/{self.end}/{self.change}"

    @property
    def level(self) -> AlertLevel:
        """The most severe of what opened or worsened; ``info`` when things only resolved."""
        levels = [alarm.level for alarm in (*self.opened, *self.worsened)]
        return max(levels, key=ORDER.index, default=AlertLevel.INFO)


def next_alert(before: Alert | None, now: Alert, *, worsened: Sequence[tuple[str, str]] = ()) -> Alert:
    """Return an alert with its changes: what is open now against what was open before.

    Parameters
    ----------
    before : Alert or None
        The topic's alert before this one.
    now : Alert
        Knows which alarms are open; its changes and number are set here.
    worsened : sequence of (kind, name)
        Those that have become worse.
    """
    former = {alarm.key: alarm for alarm in before.open} if before else {}
    current = {alarm.key for alarm in now.open}
    made = replace(
        now,
        opened=tuple(alarm for alarm in now.open if alarm.key not in former),
        worsened=tuple(alarm for alarm in now.open if alarm.key in former and alarm.key in set(worsened)),
        resolved=tuple(a for key, a in former.items() if key not in current and not _has_grown(a, now)),
    )
    return replace(made, number=(before.number if before else 0) + made.speaks)


def _has_grown(alarm: Alarm, now: Alert) -> bool:
    """Return True for a warning that is gone because its kind has an alarm now."""
    return alarm.name == WINDOW_WARNING and any(other.kind == alarm.kind for other in now.open)


def merge_alerts(received: Alert | None, since: Sequence[Alert]) -> Alert:
    """Return the alerts since one received as a single alert: the newest state, and how it differs.

    Parameters
    ----------
    received : Alert or None
        The newest that received; None: nothing yet, so that all that is open is new.
    since : sequence of Alert
        The later ones, oldest first; at least one.
    """
    worse = [alarm.key for alert in since for alarm in (*alert.opened, *alert.worsened)]
    return replace(next_alert(received, since[-1], worsened=worse), number=since[-1].number)


# Which events an alert is to automations: each once a change, none for what only stays open.


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
    """One event."""

    id: UUID
    """The same for the same change of the same window, so that it counts once however often it is emitted."""
    name: str
    """``evergreen.drift.detected``, ``evergreen.performance.degraded``, …"""
    payload: dict[str, Any] = field(hash=False)
    """JSON: ``model``, ``version``, ``topic``, ``window`` (``from``, ``to``), ``kinds``, ``columns``, ``alarms``,
    ``open``, ``level``, ``performance``, ``link``, ``decision_id``."""


def alert_events(alert: Alert) -> tuple[AlertEvent, ...]:
    """Return the events of an alert, at most one of a name; what resolves is one once nothing like it is open."""
    begun: dict[str, list[Alarm]] = {}
    for alarm in (*alert.opened, *alert.worsened):
        name = WARNING if alarm.level is AlertLevel.WARNING else _BEGUN.get(alarm.kind, DETECTED)
        begun.setdefault(name, []).append(alarm)
    still = {_ended(alarm) for alarm in alert.open if alarm.level is not AlertLevel.WARNING}
    ended: dict[str, list[Alarm]] = {}
    for alarm in alert.resolved:
        if alarm.level is not AlertLevel.WARNING and _ended(alarm) not in still:
            ended.setdefault(_ended(alarm), []).append(alarm)
    return tuple(_event(alert, name, alarms) for name, alarms in {**begun, **ended}.items())


def _ended(alarm: Alarm) -> str:
    return _ENDED.get(alarm.kind, RESOLVED)


def _event(alert: Alert, name: str, alarms: list[Alarm]) -> AlertEvent:
    payload = {
        "model": alert.model,
        "version": alert.version,
        "topic": alert.topic,
        "window": {"from": alert.start, "to": alert.end},
        "kinds": list(dict.fromkeys(alarm.kind for alarm in alarms)),
        "columns": list(dict.fromkeys(alarm.name for alarm in alarms)),
        "alarms": to_plain(alarms[:20]),
        "open": to_plain(alert.open[:20]),
        "level": alert.level.value,
        "performance": alert.performance,
        "link": alert.link,
        "decision_id": alert.entry_id,
    }
    return AlertEvent(id=uuid5(NAMESPACE_URL, f"{name}/{alert.key}"), name=name, payload=payload)


# An alert in words: a title and a short plain text, the same for every channel.


_SHOWN = 10
_OF_ANSWERS = {"concept", "performance"}


def alert_title(alert: Alert) -> str:
    """Return one line: how severe, which model, what."""
    about = alert.opened or alert.worsened or alert.resolved
    names = ", ".join(dict.fromkeys(map(_name, about)))
    if alert.change == "resolved" and not alert.open:
        return f"[resolved] {alert.model}: {_shortened(names)}"
    verb = {"opened": "", "worsened": " worse", "resolved": " resolved, more is open"}[alert.change]
    return f"[{alert.level.value}] {alert.model}: {_shortened(names)}{verb}"


def alert_text(alert: Alert) -> str:
    """Return the message: since when, what moved by how much, the metric, what to do, where to look, its stable key."""
    return "\n".join(_lines(alert))


def _lines(alert: Alert) -> Iterator[str]:
    version = f" version {alert.version}" if alert.version else ""
    when = f"at {alert.end}" if alert.topic == HEALTH else f"window {alert.start} to {alert.end}"
    yield f"{alert.model}{version}, {when}."
    changed = {alarm.key for alarm in (*alert.opened, *alert.worsened)}
    yield from _listed("New", alert.opened)
    yield from _listed("Worse", alert.worsened)
    yield from _listed("Resolved", alert.resolved)
    yield from _listed("Still open", [alarm for alarm in alert.open if alarm.key not in changed])
    if alert.performance:
        yield f"Performance: {alert.performance}"
    yield f"Next: {next_step(alert)}"
    if alert.link:
        yield f"See {alert.link}"
    yield f"Message {alert.key}"


def next_step(alert: Alert) -> str:
    """Return what to do about what is open."""
    kinds = {alarm.kind for alarm in alert.open}
    if not kinds:
        return "nothing to do."
    if kinds == {HEALTH}:
        return f"correct it, then check by 'evergreen doctor' and 'evergreen status {alert.model}'."
    if all(alarm.level is AlertLevel.WARNING for alarm in alert.open):
        return "wait: one window alone is no alarm."
    if kinds & _OF_ANSWERS:
        return (
            f"train on newer rows ('evergreen retrain {alert.model}'), or return to the former "
            f"champion ('evergreen rollback {alert.model}')."
        )
    return (
        "look upstream for a new source, unit or category; where the change is real and lasts, "
        f"'evergreen retrain {alert.model}'."
    )


def _listed(title: str, alarms: Sequence[Alarm]) -> Iterator[str]:
    if alarms:
        yield f"{title}:"
        yield from (f"  {_name(alarm)}: {alarm.message}, since {alarm.since}" for alarm in alarms[:_SHOWN])
    if len(alarms) > _SHOWN:
        yield f"  and {len(alarms) - _SHOWN} more"


def _name(alarm: Alarm) -> str:
    """Name an alarm: what moved, and the kind of drift.

    >>> from evergreen.tasks.core.alerts.alert import AlertLevel
    >>> _name(Alarm(kind="data", name="age", since="", message="", level=AlertLevel.DRIFT))
    'age (data)'
    """
    return f"{alarm.kind} drift" if alarm.name == WINDOW_WARNING else f"{alarm.name} ({alarm.kind})"


def _shortened(text: str, *, most: int = 120) -> str:
    return text if len(text) <= most else f"{text[: most - 4]} ..."


# What a channel has received, folded from the ledger: at least once, the newest state alone.


STREAM = "deliveries"
SENT, FAILED, SUPERSEDED = "sent", "failed", "superseded"
TOPICS = {"inputs": "windows-inputs", "outcomes": "windows-outcomes", "health": "health"}
"""Topics of alerts, and the stream of the ledger each of them is kept in."""
EVENTS = "events"
"""The channel of Prefect events; every model has it."""


@dataclass(frozen=True, kw_only=True)
class Cursor:
    """How far a channel has come in a topic."""

    received: Alert | None = None
    """The newest alert it received; None: nothing yet."""
    number: int = 0
    """Number of the newest alert that is settled: sent, or superseded."""
    failed: int = 0
    """Attempts that failed since."""


@dataclass(frozen=True, kw_only=True)
class PendingDelivery:
    """What is to be reported to a channel."""

    channel: str
    topic: str
    """``channel``, ``topic``: to whom, about what."""
    alert: Alert | None
    """The newest state as against what it received; None: it is what it was, nothing needs saying."""
    superseded: tuple[str, ...]
    """Keys of the alerts that are reported no more, oldest first."""
    number: int
    """Number of the newest alert this settles."""
    failed: int = 0
    """Attempts that failed before."""
    received: Alert | None = None
    """What the channel received last."""


def cursor(deliveries: Sequence[LedgerEntry], channel: str, topic: str) -> Cursor:
    """Return how far a channel has come, from the stream ``deliveries`` (or a tail that reaches back far enough)."""
    received, number, failed = None, 0, 0
    for entry in deliveries:
        if (entry.payload["channel"], entry.payload["topic"]) != (channel, topic):
            continue
        if entry.kind == FAILED:
            failed += 1
            continue
        number, failed = entry.payload["number"], 0
        if entry.payload["alert"]:
            received = Alert.from_dict(entry.payload["alert"])
    return Cursor(received=received, number=number, failed=failed)


def undelivered(alerts: Sequence[Alert], at: Cursor, channel: str) -> PendingDelivery | None:
    """Return what a channel is to be reported now; None when it is reported everything.

    After an outage many alerts may wait: they are reported as one, the newest state against what the channel knows.

    Parameters
    ----------
    alerts : sequence of Alert
        A topic's alerts, oldest first; at least those after the cursor's number.
    at : Cursor
        How far the channel has come.
    channel : str
        The channel.
    """
    later = [alert for alert in alerts if alert.speaks and alert.number > at.number]
    if not later:
        return None
    news = merge_alerts(at.received, later)
    keys = tuple(alert.key for alert in (later[:-1] if news.speaks else later))
    return PendingDelivery(
        channel=channel,
        topic=later[-1].topic,
        alert=news if news.speaks else None,
        superseded=keys,
        number=later[-1].number,
        failed=at.failed,
        received=at.received,
    )


def settled_payload(due: PendingDelivery) -> dict[str, Any]:
    """Return the payload of a ``sent`` entry, or of a ``superseded`` one where nothing needed saying."""
    received = due.alert or due.received
    return {
        **_plain(due),
        "superseded": list(due.superseded),
        "alert": received.to_dict() if received else None,
    }


def failed_payload(due: PendingDelivery, why: str) -> dict[str, Any]:
    """Return the payload of a ``failed`` entry; ``why`` holds no credentials."""
    return {**_plain(due), "why": why}


def _plain(due: PendingDelivery) -> dict[str, Any]:
    key = due.alert.key if due.alert else None
    numbers = {"number": due.number, "attempt": due.failed + 1}
    return {"channel": due.channel, "topic": due.topic, "key": key, **numbers}

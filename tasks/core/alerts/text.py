"""An alert in words: a title and a short plain text, the same for every channel."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tasks.core.alerts.alert import HEALTH, WARNED, Alarm, Alert, AlertLevel

_SHOWN = 10
_OF_ANSWERS = {"concept", "performance"}


def alert_title(alert: Alert) -> str:
    """Return one line: how grave, which model, what."""
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
        return (
            f"mend it, then 'evergreen doctor' and 'evergreen status {alert.model}' tell whether it is well."
        )
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
        yield from (f"  {_name(alarm)}: {alarm.said}, since {alarm.since}" for alarm in alarms[:_SHOWN])
    if len(alarms) > _SHOWN:
        yield f"  and {len(alarms) - _SHOWN} more"


def _name(alarm: Alarm) -> str:
    """Name an alarm: what moved, and the kind of drift.

    >>> from tasks.core.alerts.alert import AlertLevel
    >>> _name(Alarm(kind="data", name="age", since="", said="", level=AlertLevel.DRIFT))
    'age (data)'
    """
    return f"{alarm.kind} drift" if alarm.name == WARNED else f"{alarm.name} ({alarm.kind})"


def _shortened(text: str, *, most: int = 120) -> str:
    return text if len(text) <= most else f"{text[: most - 4]} ..."

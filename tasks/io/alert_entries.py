"""Read alerts, and what channels were told, from the ledger: no more of a stream than it takes."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from tasks.core.alerts.alert import Alert
from tasks.core.alerts.deliveries import STREAM, TOPICS, Cursor, cursor
from tasks.core.drift.words import Phase
from tasks.io.ledger import Ledger

_TAIL, _DELIVERIES, _WINDOWS = 50, 200, 120


def read_alerts(ledger: Ledger, model: str, topic: str, *, after: int) -> list[Alert]:
    """Return a topic's alerts that say something, those numbered above ``after``, oldest first.

    Reads no more of the stream than it takes: most runs read one entry.
    """
    count = 1
    while True:
        entries = ledger.read_tail(model, TOPICS[topic], count)
        alerts = [Alert.from_dict(e.payload["alert"]) for e in entries if e.payload.get("alert")]
        if len(entries) < count or (alerts and alerts[0].number <= after):
            return [alert for alert in alerts if alert.speaks and alert.number > after]
        count *= _TAIL


def read_cursor(ledger: Ledger, model: str, channel: str, topic: str) -> Cursor:
    """Return how far a channel has come, reading no more than it takes."""
    entries = ledger.read_tail(model, STREAM, _DELIVERIES)
    found = cursor(entries, channel, topic)
    if found.number or len(entries) < _DELIVERIES:
        return found
    return cursor(ledger.read(model=model, stream=STREAM), channel, topic)


def open_alarms(ledger: Ledger, model: str) -> list[dict[str, Any]]:
    """Return what is open now, topic by topic, as the ledger has it."""
    newest = [ledger.last(model, stream) for stream in TOPICS.values()]
    alerts = [
        Alert.from_dict(entry.payload["alert"]) for entry in newest if entry and entry.payload.get("alert")
    ]
    return [plain for alert in alerts for plain in alert.to_dict()["open"]]


def last_run(ledger: Ledger, model: str, *, before: datetime) -> datetime | None:
    """Return when monitoring last left an entry before a moment: a window, or its decision; None: never."""
    read = ledger.read_tail
    entries = [e for phase in Phase for e in read(model, f"windows-{phase.value}", _WINDOWS)]
    entries += [e for e in read(model, "decisions", _WINDOWS) if e.kind == "monitor"]
    return max((entry.at for entry in entries if entry.at < before), default=None)

"""What a channel has been told, folded from the ledger: at least once, the newest state alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from evergreen.tasks.core.alerts.alert import Alert, merge_alerts
from evergreen.tasks.core.promotion.ledger import LedgerEntry

STREAM = "deliveries"
SENT, FAILED, SUPERSEDED = "sent", "failed", "superseded"
TOPICS = {"inputs": "windows-inputs", "outcomes": "windows-outcomes", "health": "health"}
"""Topics of alerts, and the stream of the ledger each of them is kept in."""
EVENTS = "events"
"""The channel of Prefect events; every model has it."""


@dataclass(frozen=True, kw_only=True)
class Cursor:
    """How far a channel has come in a topic.

    Attributes
    ----------
    told : Alert or None
        The newest alert it was told; None: nothing yet.
    number : int
        Number of the newest alert that is settled: sent, or superseded.
    failed : int
        Attempts that failed since.
    """

    told: Alert | None = None
    number: int = 0
    failed: int = 0


@dataclass(frozen=True, kw_only=True)
class PendingDelivery:
    """What is to be told to a channel.

    Attributes
    ----------
    channel, topic : str
        To whom, about what.
    alert : Alert or None
        The newest state as against what it was told; None: it is what it was, nothing needs saying.
    superseded : tuple of str
        Keys of the alerts that are told no more, oldest first.
    number : int
        Number of the newest alert this settles.
    failed : int
        Attempts that failed before.
    told : Alert or None
        What the channel was told last.
    """

    channel: str
    topic: str
    alert: Alert | None
    superseded: tuple[str, ...]
    number: int
    failed: int = 0
    told: Alert | None = None


def cursor(deliveries: Sequence[LedgerEntry], channel: str, topic: str) -> Cursor:
    """Return how far a channel has come, from the stream ``deliveries`` (or a tail that reaches back far enough)."""
    told, number, failed = None, 0, 0
    for entry in deliveries:
        if (entry.payload["channel"], entry.payload["topic"]) != (channel, topic):
            continue
        if entry.kind == FAILED:
            failed += 1
            continue
        number, failed = entry.payload["number"], 0
        if entry.payload["alert"]:
            told = Alert.from_dict(entry.payload["alert"])
    return Cursor(told=told, number=number, failed=failed)


def undelivered(alerts: Sequence[Alert], at: Cursor, channel: str) -> PendingDelivery | None:
    """Return what a channel is to be told now; None when it is told everything.

    After an outage many alerts may wait: they are told as one, the newest state against what the channel knows.

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
    news = merge_alerts(at.told, later)
    keys = tuple(alert.key for alert in (later[:-1] if news.speaks else later))
    return PendingDelivery(
        channel=channel,
        topic=later[-1].topic,
        alert=news if news.speaks else None,
        superseded=keys,
        number=later[-1].number,
        failed=at.failed,
        told=at.told,
    )


def settled_payload(due: PendingDelivery) -> dict[str, Any]:
    """Return the payload of a ``sent`` entry, or of a ``superseded`` one where nothing needed saying."""
    told = due.alert or due.told
    return {**_plain(due), "superseded": list(due.superseded), "alert": told.to_dict() if told else None}


def failed_payload(due: PendingDelivery, why: str) -> dict[str, Any]:
    """Return the payload of a ``failed`` entry; ``why`` holds no credentials."""
    return {**_plain(due), "why": why}


def _plain(due: PendingDelivery) -> dict[str, Any]:
    key = due.alert.key if due.alert else None
    numbers = {"number": due.number, "attempt": due.failed + 1}
    return {"channel": due.channel, "topic": due.topic, "key": key, **numbers}

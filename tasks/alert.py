"""Deliver alerts: at least once to every channel, the newest state alone, never at monitoring's expense."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

from tasks.announce import announce_monitoring
from tasks.channels import Send, open_channel
from tasks.core.alerts.alert import Alert, AlertLevel
from tasks.core.alerts.deliveries import (
    EVENTS,
    FAILED,
    SENT,
    STREAM,
    SUPERSEDED,
    TOPICS,
    Due,
    failed_payload,
    settled_payload,
    undelivered,
)
from tasks.core.alerts.text import alert_text, alert_title
from tasks.core.errors import ConfigError, Unreachable
from tasks.core.verdict import Reason
from tasks.io.alert_entries import read_alerts, read_cursor
from tasks.io.clock import utc_now
from tasks.io.setup import Setup
from tasks.retries import SIDE_EFFECT
from tasks.stage_task import stage_task

PAUSES = (1.0, 4.0)
"""Seconds between attempts at one channel within a run; the next run tries again."""


@stage_task(name="deliver_alerts", **SIDE_EFFECT)
def deliver_alerts(
    setup: Setup, *, automations: bool = True, sleep: Callable[[float], None] = time.sleep
) -> list[Reason]:
    """Tell every channel, and Prefect's automations, what they were not told yet; a failure is only noted.

    Parameters
    ----------
    setup : Setup
        The model.
    automations : bool
        Whether automations are told now; else they are by the next run.
    sleep : callable
        How to wait between attempts.

    Returns
    -------
    list of Reason
        ``alert_sent`` and ``alert_not_delivered``, one a message; empty where nothing was due.
    """
    if setup.config.monitoring.run_mode != "enabled":
        return []
    channels = (*([EVENTS] if automations else []), *dict.fromkeys(setup.config.alerts.notify))
    told = [_tell(setup, channel, sleep) for channel in channels]
    return [reason for reasons in told for reason in reasons]


def _tell(setup: Setup, channel: str, sleep: Callable[[float], None]) -> list[Reason]:
    """Tell one channel what is due; after a failure its other topics wait for the next run."""
    reasons: list[Reason] = []
    for due in _due(setup, channel):
        why = _attempt(due.alert, channel, sleep) if due.alert else None
        kind = FAILED if why else SENT if due.alert else SUPERSEDED
        payload = failed_payload(due, why) if why else settled_payload(due)
        setup.stores.ledger.append(model=setup.model, stream=STREAM, kind=kind, payload=payload, at=utc_now())
        reasons += [_reason(due, due.alert, why)] if due.alert else []
        if why:
            break
    return reasons


def _due(setup: Setup, channel: str) -> Iterator[Due]:
    ledger, model = setup.stores.ledger, setup.model
    for topic in TOPICS:
        at = read_cursor(ledger, model, channel, topic)
        due = undelivered(read_alerts(ledger, model, topic, after=at.number), at, channel)
        if due:
            yield due


def _attempt(alert: Alert, channel: str, sleep: Callable[[float], None]) -> str | None:
    """Send, a few times; return why it failed, None when it arrived."""
    if channel == EVENTS:
        announce_monitoring(alert)
        return None
    try:
        send = open_channel(channel)
        return _repeated(send, alert, sleep)
    except ConfigError as error:
        return str(error)
    except Exception as error:  # monitoring goes on whatever a channel does; its words may hold credentials
        return f"{type(error).__name__} while the channel was opened or asked."


def _repeated(send: Send, alert: Alert, sleep: Callable[[float], None]) -> str | None:
    why = None
    for pause in (0.0, *PAUSES):
        sleep(pause)
        try:
            send(alert_title(alert), alert_text(alert), alert.level)
        except Unreachable as error:
            why = str(error)
        else:
            return None
    return why


def _reason(due: Due, alert: Alert, why: str | None) -> Reason:
    waited = f" (with {len(due.superseded)} older ones in it)" if due.superseded else ""
    if why is None:
        message = f"Told '{due.channel}': {alert_title(alert)}{waited}."
        return Reason(code="alert_sent", message=message, observed=alert.key)
    message = (
        f"Could not tell '{due.channel}' of {alert.key}: {why.rstrip('.')}. The next run tries again; "
        f"'evergreen alert {alert.model} --test' tries the channels now."
    )
    return Reason(code="alert_not_delivered", message=message, observed=due.channel, n=due.failed + 1)


def send_test(setup: Setup) -> list[dict[str, Any]]:
    """Send a test message to every channel of ``alerts.notify``.

    Returns
    -------
    list of dict
        ``channel``, ``arrived``, ``message``, one a channel.

    Raises
    ------
    ConfigError
        When no channel is configured, or one is no channel; nothing is sent then.
    """
    names = list(dict.fromkeys(setup.config.alerts.notify))
    if not names:
        raise ConfigError(
            f"alerts.notify of '{setup.model}' is empty, so nobody is told. Allowed: Prefect notification blocks "
            "'type/name', env:NAME, secret:BLOCK. Name at least one in its configuration."
        )
    sends = {name: open_channel(name) for name in names}
    return [_try_out(setup.model, name, send) for name, send in sends.items()]


def _try_out(model: str, name: str, send: Send) -> dict[str, Any]:
    text = f"This is a test message of Evergreen: alerts of the model '{model}' arrive here. Nothing has happened."
    try:
        send(f"[test] {model}: alerts arrive", text, AlertLevel.INFO)
    except Unreachable as error:
        return {"channel": name, "arrived": False, "message": str(error)}
    return {"channel": name, "arrived": True, "message": "taken"}

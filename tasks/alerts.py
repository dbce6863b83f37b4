"""Deliver alerts: at least once to every channel, the newest state alone, never at monitoring's expense."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from typing import Any

from evergreen.tasks.core.alerts import alert as core_alerts
from evergreen.tasks.core.alerts.alert import Alert, AlertLevel, PendingDelivery
from evergreen.tasks.core.errors import ConfigError, Unreachable
from evergreen.tasks.core.verdict import Reason
from evergreen.tasks.io import alerts as stored_alerts
from evergreen.tasks.io.settings import utc_now
from evergreen.tasks.io.setup import Setup
from evergreen.tasks.runtime.events import announce_monitoring
from evergreen.tasks.runtime.task import SIDE_EFFECT, stage_task

# Channels of alerts: a Prefect notification block, or an Apprise URL in a variable or a Secret block.


Send = Callable[[str, str, AlertLevel], None]
"""Sends (title, text, level) and returns when the channel accepted it, else raises ``Unreachable`` with the reason."""

_ALLOWED = (
    "Allowed: a Prefect notification block 'type/name' such as slack-webhook/ops, env:NAME, or secret:BLOCK."
)


def open_channel(name: str) -> Send:
    """Return what sends to a channel of ``alerts.notify``.

    Parameters
    ----------
    name : str
        ``type/name`` of a Prefect notification block; ``env:NAME`` or ``secret:BLOCK`` holds an Apprise URL.

    Raises
    ------
    ConfigError
        When there is no such block or variable, or the block cannot notify.
    """
    kind, _, place = name.partition(":")
    if kind == "env":
        return _apprise(_read_variable(place, name))
    if kind == "secret":
        return _apprise(str(_load(f"secret/{place}", name).get()))
    block = _load(name, name)
    if not callable(getattr(block, "notify", None)):
        raise ConfigError(f"The Prefect block '{name}' in alerts.notify sends no messages. {_ALLOWED}")
    return _block(block)


def _apprise(url: str) -> Send:
    return lambda title, text, level: stored_alerts.send_by_apprise(url, title=title, text=text, level=level)


def _block(block: Any) -> Send:
    def send(title: str, text: str, level: AlertLevel) -> None:
        try:
            with block.raise_on_failure():
                block.notify(body=text, subject=title)
        except Exception as error:  # each kind of block raises its own
            message = getattr(error, "log", None) or f"{type(error).__name__}: {error}"
            raise Unreachable(stored_alerts.reason_without_secrets(message, set(_secrets(block)))) from None

    return send


def _read_variable(variable: str, name: str) -> str:
    if not os.environ.get(variable):
        raise ConfigError(
            f"alerts.notify names '{name}', but the environment variable {variable} is not set. Set it to an Apprise "
            "URL where the flows run."
        )
    return os.environ[variable]


def _load(block: str, name: str) -> Any:
    """Load a Prefect block; an unknown one is reported without the client's own words."""
    import prefect.blocks.notifications  # noqa: F401  (registers the types of blocks)
    from prefect.blocks.core import Block

    if block.count("/") != 1:
        raise ConfigError(f"alerts.notify names '{name}', which is no channel. {_ALLOWED}")
    try:
        return Block.load(block)
    except ValueError:
        raise ConfigError(
            f"alerts.notify names '{name}', but this Prefect server has no such block. {_ALLOWED} "
            "'prefect block ls' lists the blocks there are."
        ) from None


def _secrets(value: Any) -> Iterator[str]:
    """Yield every text a block holds that may be secret, and the parts of addresses among them."""
    if hasattr(value, "get_secret_value"):
        value = value.get_secret_value()
    if isinstance(value, dict):
        for item in value.values():
            yield from _secrets(item)
    elif isinstance(value, str):
        yield from stored_alerts.secrets_of(value) if "://" in value else (value,)
    elif hasattr(type(value), "model_fields"):
        for name in set(type(value).model_fields) - {"method", "name", "notify_type"}:
            yield from _secrets(getattr(value, name))


PAUSES = (1.0, 4.0)
"""Seconds between attempts at one channel within a run; the next run tries again."""


@stage_task(name="deliver_alerts", **SIDE_EFFECT)
def deliver_alerts(
    setup: Setup,
    *,
    automations: bool = True,
    sleep: Callable[[float], None] = time.sleep,
    announce: Callable[[Alert], object] = announce_monitoring,
) -> list[Reason]:
    """Send all channels, and Prefect's automations, what they were not sent yet; a failure is only recorded.

    Parameters
    ----------
    setup : Setup
        The model.
    automations : bool
        Whether automations get their events now; else the next run sends them.
    sleep : callable
        How to wait between attempts.
    announce : callable
        Emits the events of an alert for Prefect's automations.

    Returns
    -------
    list of Reason
        ``alert_sent`` and ``alert_not_delivered``, one a message; empty where nothing was due.
    """
    channels = _channels(setup, automations=automations)
    return [reason for channel in channels for reason in _notify_channel(setup, channel, sleep, announce)]


def everything_delivered(setup: Setup) -> bool:
    """Return whether every channel, and Prefect's automations, were sent all that they are to be sent."""
    return not any(due for channel in _channels(setup) for due in _due(setup, channel))


def _channels(setup: Setup, *, automations: bool = True) -> tuple[str, ...]:
    if setup.config.monitoring.run_mode != "enabled":
        return ()
    return (*([core_alerts.EVENTS] if automations else []), *dict.fromkeys(setup.config.alerts.notify))


def _notify_channel(
    setup: Setup, channel: str, sleep: Callable[[float], None], announce: Callable[[Alert], object]
) -> list[Reason]:
    """Send one channel what is due; after a failure its other topics wait for the next run."""
    reasons: list[Reason] = []
    for due in _due(setup, channel):
        error = _attempt(due.alert, channel, sleep, announce) if due.alert else None
        kind = core_alerts.FAILED if error else core_alerts.SENT if due.alert else core_alerts.SUPERSEDED
        payload = core_alerts.failed_payload(due, error) if error else core_alerts.settled_payload(due)
        setup.stores.ledger.append(
            model=setup.model, stream=core_alerts.STREAM, kind=kind, payload=payload, at=utc_now()
        )
        reasons += [_reason(due, due.alert, error)] if due.alert else []
        if error:
            break
    return reasons


def _due(setup: Setup, channel: str) -> Iterator[PendingDelivery]:
    ledger, model = setup.stores.ledger, setup.model
    for topic in core_alerts.TOPICS:
        at = stored_alerts.read_cursor(ledger, model, channel, topic)
        due = core_alerts.undelivered(
            stored_alerts.read_alerts(ledger, model, topic, after=at.number), at, channel
        )
        if due:
            yield due


def _attempt(
    alert: Alert, channel: str, sleep: Callable[[float], None], announce: Callable[[Alert], object]
) -> str | None:
    """Send, a few times; return why it failed, None when it arrived."""
    if channel == core_alerts.EVENTS:
        announce(alert)
        return None
    problem = None
    try:
        send = open_channel(channel)
        for pause in (0.0, *PAUSES):
            sleep(pause)
            try:
                send(core_alerts.alert_title(alert), core_alerts.alert_text(alert), alert.level)
            except Unreachable as error:
                problem = str(error)
            else:
                return None
    except ConfigError as error:
        return str(error)
    except Exception as error:  # monitoring goes on whatever a channel does; its text may hold credentials
        return f"{type(error).__name__} while the channel was opened or used."
    return problem


def _reason(due: PendingDelivery, alert: Alert, error: str | None) -> Reason:
    if error is None:
        older = f" (with {len(due.superseded)} older ones in it)" if due.superseded else ""
        message = f"Sent to '{due.channel}': {core_alerts.alert_title(alert)}{older}."
        return Reason(code="alert_sent", message=message, observed=alert.key)
    message = (
        f"The alert {alert.key} could not be sent to '{due.channel}': {error.rstrip('.')}. The next run tries again; "
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
            f"alerts.notify of '{setup.model}' is empty, so no one gets alerts. Allowed: Prefect notification blocks "
            "'type/name', env:NAME, secret:BLOCK. Name at least one in its configuration."
        )
    sends = {name: open_channel(name) for name in names}
    model, results = setup.model, []
    text = f"This is a test message of Evergreen: alerts of the model '{model}' arrive here. Nothing has happened."
    for name, send in sends.items():
        message = "taken"
        try:
            send(f"[test] {model}: alerts arrive", text, AlertLevel.INFO)
        except Unreachable as error:
            message = str(error)
        results.append({"channel": name, "arrived": message == "taken", "message": message})
    return results

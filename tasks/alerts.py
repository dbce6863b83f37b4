"""Deliver alerts: at least once to every channel, the newest state alone, never at monitoring's expense."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from typing import Any

from evergreen.tasks.core.alerts.alert import (
    EVENTS,
    FAILED,
    SENT,
    STREAM,
    SUPERSEDED,
    TOPICS,
    Alert,
    AlertLevel,
    PendingDelivery,
    alert_text,
    alert_title,
    failed_payload,
    settled_payload,
    undelivered,
)
from evergreen.tasks.core.errors import ConfigError, Unreachable
from evergreen.tasks.core.verdict import Reason
from evergreen.tasks.io.alerts import (
    read_alerts,
    read_cursor,
    reason_without_secrets,
    secrets_of,
    send_by_apprise,
)
from evergreen.tasks.io.settings import utc_now
from evergreen.tasks.io.setup import Setup
from evergreen.tasks.runtime.events import announce_monitoring
from evergreen.tasks.runtime.task import SIDE_EFFECT, stage_task

# Channels of alerts: a Prefect notification block, or an Apprise URL kept in a variable or a Secret block.


Send = Callable[[str, str, AlertLevel], None]
"""Sends (title, text, level) and returns when it was taken; ``Unreachable`` says why it was not."""

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
    if name.startswith("env:"):
        return _apprise(_read_variable(name))
    if name.startswith("secret:"):
        return _apprise(str(_load(f"secret/{name.removeprefix('secret:')}", name).get()))
    block = _load(name, name)
    if not callable(getattr(block, "notify", None)):
        raise ConfigError(f"The Prefect block '{name}' in alerts.notify sends no messages. {_ALLOWED}")
    return _block(block)


def _apprise(url: str) -> Send:
    return lambda title, text, level: send_by_apprise(url, title=title, text=text, level=level)


def _block(block: Any) -> Send:
    def send(title: str, text: str, level: AlertLevel) -> None:
        try:
            with block.raise_on_failure():
                block.notify(body=text, subject=title)
        except Exception as error:  # each kind of block raises its own; what it says is what must be known
            said = getattr(error, "log", None) or f"{type(error).__name__}: {error}"
            raise Unreachable(reason_without_secrets(said, set(_secrets(block)))) from None

    return send


def _read_variable(name: str) -> str:
    variable = name.removeprefix("env:")
    if not os.environ.get(variable):
        raise ConfigError(
            f"alerts.notify names '{name}', but the environment variable {variable} is not set. Set it to an Apprise "
            "URL where the flows run."
        )
    return os.environ[variable]


def _load(block: str, name: str) -> Any:
    """Load a Prefect block; an unknown one is told without the client's own words."""
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
        yield from secrets_of(value) if "://" in value else (value,)
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
    """Tell every channel, and Prefect's automations, what they were not told yet; a failure is only noted.

    Parameters
    ----------
    setup : Setup
        The model.
    automations : bool
        Whether automations are told now; else they are by the next run.
    sleep : callable
        How to wait between attempts.
    announce : callable
        Tells Prefect's automations of an alert.

    Returns
    -------
    list of Reason
        ``alert_sent`` and ``alert_not_delivered``, one a message; empty where nothing was due.
    """
    channels = _channels(setup, automations=automations)
    told = [_notify_channel(setup, channel, sleep, announce) for channel in channels]
    return [reason for reasons in told for reason in reasons]


def everything_delivered(setup: Setup) -> bool:
    """Tell whether every channel, and Prefect's automations, were told all that they are to be told."""
    return not any(due for channel in _channels(setup) for due in _due(setup, channel))


def _channels(setup: Setup, *, automations: bool = True) -> tuple[str, ...]:
    if setup.config.monitoring.run_mode != "enabled":
        return ()
    return (*([EVENTS] if automations else []), *dict.fromkeys(setup.config.alerts.notify))


def _notify_channel(
    setup: Setup, channel: str, sleep: Callable[[float], None], announce: Callable[[Alert], object]
) -> list[Reason]:
    """Tell one channel what is due; after a failure its other topics wait for the next run."""
    reasons: list[Reason] = []
    for due in _due(setup, channel):
        why = _attempt(due.alert, channel, sleep, announce) if due.alert else None
        kind = FAILED if why else SENT if due.alert else SUPERSEDED
        payload = failed_payload(due, why) if why else settled_payload(due)
        setup.stores.ledger.append(model=setup.model, stream=STREAM, kind=kind, payload=payload, at=utc_now())
        reasons += [_reason(due, due.alert, why)] if due.alert else []
        if why:
            break
    return reasons


def _due(setup: Setup, channel: str) -> Iterator[PendingDelivery]:
    ledger, model = setup.stores.ledger, setup.model
    for topic in TOPICS:
        at = read_cursor(ledger, model, channel, topic)
        due = undelivered(read_alerts(ledger, model, topic, after=at.number), at, channel)
        if due:
            yield due


def _attempt(
    alert: Alert, channel: str, sleep: Callable[[float], None], announce: Callable[[Alert], object]
) -> str | None:
    """Send, a few times; return why it failed, None when it arrived."""
    if channel == EVENTS:
        announce(alert)
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


def _reason(due: PendingDelivery, alert: Alert, why: str | None) -> Reason:
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
    return [_send_test_to(setup.model, name, send) for name, send in sends.items()]


def _send_test_to(model: str, name: str, send: Send) -> dict[str, Any]:
    text = f"This is a test message of Evergreen: alerts of the model '{model}' arrive here. Nothing has happened."
    try:
        send(f"[test] {model}: alerts arrive", text, AlertLevel.INFO)
    except Unreachable as error:
        return {"channel": name, "arrived": False, "message": str(error)}
    return {"channel": name, "arrived": True, "message": "taken"}

"""Channels of alerts: a Prefect notification block, or an Apprise URL kept in a variable or a Secret block."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any

from tasks.core.alerts.alert import AlertLevel
from tasks.core.errors import ConfigError, Unreachable
from tasks.io.alerts import reason_without_secrets, secrets_of, send_by_apprise

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

"""Retry what can be transient (a server that does not answer), never a decision or a wrong input."""

from __future__ import annotations

from typing import Any

from prefect.cache_policies import NO_CACHE

from tasks.core.errors import Unreachable

_NETWORK = (Unreachable, ConnectionError, TimeoutError)
_NETWORK_NAMES = {"OperationalError", "ConnectionError", "ConnectTimeout", "ReadTimeout", "ConnectError"}


def is_transient(task: Any, task_run: Any, state: Any) -> bool:
    """Return True when a task failed because something did not answer (Prefect's ``retry_condition_fn``)."""
    try:
        state.result()
    except _NETWORK:
        return True
    except Exception as error:  # the state carries whatever the task raised; only its kind is looked at
        return type(error).__name__ in _NETWORK_NAMES
    return False


SIDE_EFFECT: dict[str, Any] = {"cache_policy": NO_CACHE}
"""Options of a task that must run each time and is not retried."""

TRANSIENT: dict[str, Any] = {
    "cache_policy": NO_CACHE,
    "retries": 2,
    "retry_delay_seconds": 2,
    "retry_condition_fn": is_transient,
}
"""Options of a task that reads or writes a store and may be repeated without harm."""

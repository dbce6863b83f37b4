"""Keys and values of the configuration that were renamed: understood for one release, each with a warning."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from evergreen.tasks.core.errors import ConfigError, warn_renamed

RENAMED_KEYS: Mapping[str, str] = {
    "data.value": "value_column",
    "promotion.path": "evidence",
    "live.longest": "max_duration",
    "live.follow_up": "label_delay",
    "live.clip": "winsorize",
    "alerts.max_silence": "max_data_age",
}
"""The new name of a key of a section, by section and old name."""

RENAMED_VALUES: Mapping[str, Mapping[str, str]] = {
    "drift.policy": {"literal": "fixed_thresholds"},
    "retraining.preset": {"literal": "fixed_thresholds"},
}
"""New values by key and old value."""


def in_todays_keys(values: Mapping[str, Any], *, origin: str) -> dict[str, Any]:
    """Return what a file says in today's keys and values; each old one warns.

    Parameters
    ----------
    values : mapping
        What a model's file or the base file says, section by section; not changed.
    origin : str
        Its name, for messages.

    Raises
    ------
    ConfigError
        When a section holds a key under its old and its new name.
    """
    return {
        name: _section(name, section, origin) if isinstance(section, Mapping) else section
        for name, section in values.items()
    }


def _section(name: str, section: Mapping[str, Any], origin: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in section.items():
        today = RENAMED_KEYS.get(f"{name}.{key}", key)
        if today != key and today in section:
            raise ConfigError(
                f"'{name}.{key}' and '{name}.{today}' in {origin} are the old and the new name of one key. Remove "
                f"'{name}.{key}'."
            )
        if today != key:
            _warn(f"{name}.{key}", f"{name}.{today}", origin)
        values = RENAMED_VALUES.get(f"{name}.{today}", {})
        renamed = values.get(value, value) if isinstance(value, str) else value
        if renamed != value:
            _warn(f"{name}.{key}: {value}", f"{name}.{today}: {renamed}", origin)
        found[today] = renamed
    return found


def _warn(old: str, new: str, origin: str) -> None:
    warn_renamed(old, new, where=origin, remedy="Run 'evergreen config migrate' to rewrite the file.")

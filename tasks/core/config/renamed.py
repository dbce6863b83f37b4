"""Renamed keys and values of the configuration: understood for one release with a warning, or rewritten in a file."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import yaml

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
        Its path, for messages and the command that rewrites it; what the values come from where it is no file.

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
    renamed_section: dict[str, Any] = {}
    for key, value in section.items():
        today = RENAMED_KEYS.get(f"{name}.{key}", key)
        if today != key:
            if today in section:
                raise ConfigError(
                    f"'{name}.{key}' and '{name}.{today}' in {origin} are the old and the new name of one key. "
                    f"Remove '{name}.{key}'."
                )
            _warn(f"{name}.{key}", f"{name}.{today}", origin)
        values = RENAMED_VALUES.get(f"{name}.{today}", {})
        renamed = values.get(value, value) if isinstance(value, str) else value
        if renamed != value:
            _warn(f"{name}.{key}: {value}", f"{name}.{today}: {renamed}", origin)
        renamed_section[today] = renamed
    return renamed_section


def _warn(old: str, new: str, origin: str) -> None:
    which = origin if origin.endswith((".yaml", ".yml")) else "--all"
    warn_renamed(
        old, new, where=origin, remedy=f"Run 'evergreen config migrate {which}' to rewrite the file."
    )


# A model's YAML is rewritten in place: comments, order and layout stay.


@dataclass(frozen=True, kw_only=True)
class ConfigEdit:
    """One word that is replaced in a text.

    Attributes
    ----------
    line : number of its line, from 1.
    start, end : characters of the text that are replaced: from ``start``, before ``end``.
    old, new : what was written, with its section (``live.longest``), and what is written now.
    word : what stands in the text afterwards.
    """

    line: int
    start: int
    end: int
    old: str
    new: str
    word: str


def migrate_text(text: str) -> tuple[str, tuple[ConfigEdit, ...]]:
    r"""Return a model's YAML in today's words, and what was changed; YAML that cannot be read raises ``YAMLError``.

    >>> migrate_text("live:\n  longest: 5d  # a week's work\n")[0]
    "live:\n  max_duration: 5d  # a week's work\n"
    """
    edits = tuple(
        sorted(_edits(yaml.compose(text, Loader=yaml.SafeLoader), text), key=lambda edit: edit.start)
    )
    replaced = {(edit.start, edit.end): edit.word for edit in edits}  # once, where aliases name a word again
    for (start, end), word in reversed(replaced.items()):
        text = text[:start] + word + text[end:]
    return text, edits


def _edits(document: yaml.Node | None, text: str) -> Iterator[ConfigEdit]:
    if not isinstance(document, yaml.MappingNode):
        return
    for name, section in document.value:
        for key, value in _pairs(section):
            old = f"{name.value}.{key.value}"
            today = RENAMED_KEYS.get(old, key.value)
            new = f"{name.value}.{today}"
            if today != key.value:
                yield _edit(key, text, old, new, today)
            words = RENAMED_VALUES.get(new, {}) if isinstance(value, yaml.ScalarNode) else {}
            word = words.get(str(value.value))
            if word is not None:
                yield _edit(value, text, f"{old}: {value.value}", f"{new}: {word}", word)


def _pairs(section: yaml.Node) -> Iterator[tuple[yaml.Node, yaml.Node]]:
    """Yield the keys and values of a section, those that ``<<`` brings into it among them."""
    for key, value in section.value if isinstance(section, yaml.MappingNode) else ():
        if key.tag == "tag:yaml.org,2002:merge":
            for merged in value.value if isinstance(value, yaml.SequenceNode) else (value,):
                yield from _pairs(merged)
        else:
            yield key, value


def _edit(node: yaml.Node, text: str, old: str, new: str, word: str) -> ConfigEdit:
    """Return the edit of a scalar; its anchor and tag (``&name``, ``!!str``) stay."""
    start, end = node.start_mark, node.end_mark
    properties = re.match(r"(?:[&!]\S*\s+)*", text[start.index : end.index])
    begin = start.index + (properties.end() if properties else 0)
    return ConfigEdit(line=start.line + 1, start=begin, end=end.index, old=old, new=new, word=word)

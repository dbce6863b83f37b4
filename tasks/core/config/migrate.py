"""Rewrite the renamed keys and values of a model's YAML in place: comments, order and layout stay."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import yaml

from evergreen.tasks.core.config.renamed import RENAMED_KEYS, RENAMED_VALUES


@dataclass(frozen=True, kw_only=True)
class ConfigEdit:
    """One word that is replaced in a text.

    Attributes
    ----------
    line : int
        Number of its line, from 1.
    start, end : int
        Characters of the text that are replaced: from ``start``, before ``end``.
    old, new : str
        What was written, with its section (``live.longest``), and what is written now.
    word : str
        What stands in the text afterwards.
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
    edits = tuple(sorted(_edits(yaml.compose(text, Loader=yaml.SafeLoader)), key=lambda edit: edit.start))
    for edit in reversed(edits):
        text = text[: edit.start] + edit.word + text[edit.end :]
    return text, edits


def _edits(document: yaml.Node | None) -> Iterator[ConfigEdit]:
    if not isinstance(document, yaml.MappingNode):
        return
    for name, section in document.value:
        for key, value in section.value if isinstance(section, yaml.MappingNode) else ():
            old = f"{name.value}.{key.value}"
            today = RENAMED_KEYS.get(old, key.value)
            new = f"{name.value}.{today}"
            if today != key.value:
                yield _edit(key, old, new, today)
            word = (
                RENAMED_VALUES.get(new, {}).get(value.value) if isinstance(value, yaml.ScalarNode) else None
            )
            if word is not None:
                yield _edit(value, f"{old}: {value.value}", f"{new}: {word}", word)


def _edit(node: yaml.Node, old: str, new: str, word: str) -> ConfigEdit:
    start, end = node.start_mark, node.end_mark
    return ConfigEdit(line=start.line + 1, start=start.index, end=end.index, old=old, new=new, word=word)

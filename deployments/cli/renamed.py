"""Commands and options of version 0.1: understood for one release, each with a warning that names the new word."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

from evergreen.deployments.cli.output import note
from evergreen.tasks.core.errors import RenamedWord

COMMANDS = {"calibrate": "drift-limits", "score": "predict-batch"}
"""The new name of each command that was renamed."""
OPTIONS = {"--why": "--reason", "--longest": "--max-duration"}
"""The new name of each option that was renamed."""


def todays_arguments(arguments: Sequence[str]) -> list[str]:
    """Return what was typed with today's commands and options; each old one is warned about on stderr.

    >>> todays_arguments(["status", "rides"])
    ['status', 'rides']
    """
    found = list(arguments)
    if found and found[0] in COMMANDS:
        found[0] = _renamed("command", found[0], COMMANDS[found[0]])
    for place, word in enumerate(found):
        if word == "--":
            break
        option, equals, value = word.partition("=")
        if option in OPTIONS:
            found[place] = _renamed("option", option, OPTIONS[option]) + equals + value
    return found


def show_warning(message: Warning | str, category: type[Warning], *place: Any, **options: Any) -> None:
    """Print a warning about a renamed word as one plain line on stderr, any other as Python does."""
    if issubclass(category, RenamedWord):
        note(f"Warning: {message}")
        return
    shown = warnings.WarningMessage(message, category, *place, **options)
    note(
        warnings.formatwarning(
            shown.message, shown.category, shown.filename, shown.lineno, shown.line
        ).rstrip()
    )


def _renamed(what: str, old: str, new: str) -> str:
    note(f"Warning: the {what} '{old}' is now called '{new}'; the old word is understood for one release.")
    return new

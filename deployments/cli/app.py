"""Put the commands together; one mapping from outcome to exit code; words of version 0.1 are still understood."""

from __future__ import annotations

import importlib
import pkgutil
import sys
import traceback
import warnings
from collections.abc import Sequence
from typing import Any

import typer
from typer.exceptions import TyperException

from evergreen.deployments.cli import models, monitoring, project, retraining, serving, traffic
from evergreen.deployments.cli.output import note, print_error
from evergreen.tasks.core.errors import EvergreenError, InputError, RenamedWord
from evergreen.tasks.core.redact import without_credentials

_FIRST = (project, models, monitoring, retraining, serving, traffic)
"""The modules whose commands help lists first, in this order."""
COMMANDS = {"calibrate": "drift-limits", "score": "predict-batch"}
"""The new name of each command that was renamed; the old one is understood for one release."""
OPTIONS = {"--why": "--reason", "--longest": "--max-duration"}
"""The new name of each option that was renamed; the old one is understood for one release."""


def build_app() -> typer.Typer:
    """Return the command: those of above, then of every other file of this folder that has ``add_commands``."""
    whole = typer.Typer(
        name="evergreen",
        help="Keep tabular models good after they ship: train, gate, challenge, promote, roll back.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
    )
    folder = sys.modules[__name__.rpartition(".")[0]]
    prefix = f"{folder.__name__}."
    names = [module.__name__ for module in _FIRST]
    names += [f"{prefix}{file.name}" for file in pkgutil.iter_modules(folder.__path__)]
    for name in dict.fromkeys(names):
        if name in (__name__, f"{prefix}__main__"):
            continue
        add_commands = getattr(importlib.import_module(name), "add_commands", None)
        if add_commands is not None:
            add_commands(whole)
    return whole


app = build_app()


def main() -> None:
    """Run the command: exit code 0 for any decided outcome, 2 for wrong input, 1 for a failure."""
    warnings.showwarning = show_warning
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Run one command and return its exit code; with ``--json`` stdout holds one object however it ends."""
    as_json = "--json" in arguments
    try:
        return int(app(current_arguments(arguments), prog_name="evergreen", standalone_mode=False) or 0)
    except TyperException as error:
        context = getattr(error, "ctx", None)
        command = context.command_path if context else "evergreen"
        wrong = InputError(f"{error.format_message().rstrip('.')}. See '{command} --help'.")
        print_error(wrong, as_json=as_json)
        return wrong.exit_code
    except EvergreenError as error:
        print_error(error, as_json=as_json)
        return error.exit_code
    except KeyboardInterrupt:
        note(
            "Interrupted. What was recorded stays; if a promotion was under way, 'evergreen reconcile MODEL' "
            "finishes or abandons it."
        )
        return 130
    except Exception as error:  # a bug or a broken machine: exit code 1, with the traceback
        note(without_credentials(traceback.format_exc()))
        message = " ".join(without_credentials(f"{type(error).__name__}: {error}").split()).rstrip(".")
        print_error(EvergreenError(f"{message}."), as_json=as_json)
        return 1


def current_arguments(arguments: Sequence[str]) -> list[str]:
    """Return the arguments with the current names of commands and options; each old one is warned about on stderr.

    >>> current_arguments(["status", "rides"])
    ['status', 'rides']
    """
    current = list(arguments)
    if current and current[0] in COMMANDS:
        current[0] = _renamed("command", current[0], COMMANDS[current[0]])
    for place, word in enumerate(current):
        if word == "--":
            break
        option, equals, value = word.partition("=")
        if option in OPTIONS:
            current[place] = _renamed("option", option, OPTIONS[option]) + equals + value
    return current


def _renamed(what: str, old: str, new: str) -> str:
    note(f"Warning: the {what} '{old}' is now called '{new}'; the old word is understood for one release.")
    return new


def show_warning(message: Warning | str, category: type[Warning], *place: Any, **options: Any) -> None:
    """Print a warning about a renamed word as one plain line on stderr, any other as Python does."""
    if issubclass(category, RenamedWord):
        note(f"Warning: {message}")
        return
    shown = warnings.WarningMessage(message, category, *place, **options)
    text = warnings.formatwarning(shown.message, shown.category, shown.filename, shown.lineno, shown.line)
    note(text.rstrip())

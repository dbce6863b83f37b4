"""Options that several commands share, and how a group of commands is added."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Annotated, Any

import typer
from typer import Argument, Option

from evergreen.tasks.core.errors import InputError

_MODEL_HELP = "A configured model's name, or the path of its YAML file."

Json = Annotated[bool, Option("--json", help="Print exactly one JSON object on stdout.")]
ReasonText = Annotated[str, Option("--reason", help="Reason, kept in the ledger.")]
Model = Annotated[str, Argument(metavar="MODEL", help=_MODEL_HELP)]
OptionalModel = Annotated[str | None, Argument(metavar="MODEL", help=_MODEL_HELP)]
AsOf = Annotated[str | None, Option("--until", help="Use only rows before this time of the model's clock.")]
DryRun = Annotated[bool, Option("--dry-run", help="Decide and report, but change nothing.")]


def add_group(
    app: typer.Typer, name: str, commands: Mapping[str, Callable[..., Any]], *, summary: str
) -> None:
    """Add commands that share a first word, e.g. ``evergreen traffic show``."""
    group = typer.Typer(name=name, help=summary, no_args_is_help=True, rich_markup_mode=None)
    group.callback()(lambda: None)  # without it a single command would stand for its group
    for word, function in commands.items():
        group.command(word)(function)
    app.add_typer(group)


def split_names(text: str | None) -> list[str]:
    """Return the names of a comma-separated option.

    >>> split_names("amount, country,")
    ['amount', 'country']
    """
    return [name.strip() for name in (text or "").split(",") if name.strip()]


def read_duration(text: str, *, option: str) -> timedelta:
    """Return the duration an option gives, e.g. ``90d``.

    Raises
    ------
    InputError
        When it is none.
    """
    from evergreen.tasks.core.config.units import parse_duration

    try:
        return timedelta(seconds=parse_duration(text).amount)
    except ValueError as error:
        raise InputError(f"Duration '{text}' of {option} cannot be read: {error}.") from error

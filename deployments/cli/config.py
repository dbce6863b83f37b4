"""Commands about configurations: config migrate."""

from __future__ import annotations

import json as json_module
from typing import Annotated, Any

import typer

from evergreen.deployments.cli.options import Json
from evergreen.tasks.core.errors import InputError


def add_commands(app: typer.Typer) -> None:
    """Register this module's commands."""
    group = typer.Typer(
        name="config", help="Configurations of models.", no_args_is_help=True, rich_markup_mode=None
    )
    group.callback()(lambda: None)
    group.command("migrate")(migrate)
    app.add_typer(group)


def migrate(
    model: Annotated[
        str | None,
        typer.Argument(metavar="MODEL", help="A configured model's name, or the path of its YAML file."),
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="Every file of the folder, base.yaml too.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would change, write nothing.")
    ] = False,
    json: Json = False,
) -> None:
    """Rewrite keys and values that were renamed; comments and order stay."""
    if (model is None) == (not every):
        raise InputError("Name one MODEL, or --all for every file of the folder.")
    from evergreen.tasks.io.migrate_config import migrate_configs
    from evergreen.tasks.io.settings import read_settings

    result = migrate_configs(read_settings(), model, dry_run=dry_run)
    if json:
        print(json_module.dumps(result))
    else:
        _print_changes(result)


def _print_changes(result: dict[str, Any]) -> None:
    for one in result["files"]:
        for change in one["changes"]:
            print(f"{one['file']}, line {change['line']}: {change['old']} -> {change['new']}")
    if not result["files"]:
        print("Every key and value is up to date; nothing was changed.")
    elif result["dry_run"]:
        print("This was a dry run; nothing was written.")

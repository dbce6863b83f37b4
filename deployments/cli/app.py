"""Put the commands together; one mapping from outcome to exit code."""

from __future__ import annotations

import sys

import typer

from deployments.cli import inspection, servers, stages
from deployments.cli.output import print_error
from tasks.core.errors import EvergreenError

app = typer.Typer(
    name="evergreen",
    help="Keep tabular models good after they ship: train, gate, challenge, promote, roll back.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
for module in (inspection, stages, servers):
    module.add_commands(app)


def main() -> None:
    """Run the command: exit code 0 for any decided outcome, 2 for wrong input, 1 for a failure."""
    as_json = "--json" in sys.argv[1:]
    try:
        app(standalone_mode=True)
    except EvergreenError as error:
        print_error(error, as_json=as_json)
        sys.exit(error.exit_code)

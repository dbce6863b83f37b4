"""Options that several commands share."""

from __future__ import annotations

from typing import Annotated

import typer

Json = Annotated[bool, typer.Option("--json", help="Print exactly one JSON object on stdout.")]


ReasonText = Annotated[str, typer.Option("--reason", help="Reason, kept in the ledger.")]


Model = Annotated[
    str, typer.Argument(metavar="MODEL", help="A configured model's name, or the path of its YAML file.")
]


AsOf = Annotated[
    str | None, typer.Option("--until", help="Use nothing at or after this moment of the model's clock.")
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Decide and report, do not act.")]

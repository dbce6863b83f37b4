"""The command that scores a batch: score."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from deployments.cli.output import print_result
from deployments.cli.session import prepare_prefect, run_flow
from deployments.cli.stages import Json, Model
from tasks.io.setup import open_setup
from tasks.io.store_checks import reach_servers


def add_commands(app: typer.Typer) -> None:
    """Register this module's commands."""
    app.command()(score)


def score(
    model: Model,
    to: Annotated[str, typer.Option(help="Parquet file, or SQLAlchemy URL of a database (with --to-table).")],
    source: Annotated[
        str | None,
        typer.Option(help="CSV, Parquet, SQLAlchemy URL or function to score (default: data.source)."),
    ] = None,
    table: Annotated[str | None, typer.Option(help="Table of a --source that is a database.")] = None,
    query: Annotated[str | None, typer.Option(help="Query on a --source that is a database.")] = None,
    to_table: Annotated[
        str | None, typer.Option("--to-table", help="Table to write; made where it is missing.")
    ] = None,
    mode: Annotated[
        Literal["append", "replace"],
        typer.Option(help="append: rows of the table stay as they are; replace: it holds this batch alone."),
    ] = "append",
    keep: Annotated[
        str | None, typer.Option(help="Columns of the source to write too, by comma, e.g. its key.")
    ] = None,
    version: Annotated[
        str | None, typer.Option(help="Version number or alias that scores (default: the champion).")
    ] = None,
    log: Annotated[
        bool, typer.Option("--log/--no-log", help="Write predictions to the log, as live ones are.")
    ] = True,
    at: Annotated[str | None, typer.Option(help="Moment of all rows, where the model has no clock.")] = None,
    since: Annotated[str | None, typer.Option(help="Score rows from this moment of the clock on.")] = None,
    until: Annotated[str | None, typer.Option(help="Score rows before this moment of the clock.")] = None,
    rows: Annotated[int, typer.Option(min=1, help="Rows in memory at once.")] = 50_000,
    json: Json = False,
) -> None:
    """Score a batch by the champion; run again it takes up what is missing and changes nothing that is there."""
    setup = open_setup(model)
    reach_servers(setup.settings)
    prepare_prefect(setup.settings)
    options = {
        "to": to, "source": source, "table": table, "query": query, "to_table": to_table, "mode": mode,
        "keep": [name.strip() for name in keep.split(",") if name.strip()] if keep else None,
        "version": version, "log": log, "at": at, "since": since, "until": until, "rows": rows,
    }  # fmt: skip
    result = run_flow("flows.score:score", {"model": model, **options})
    print_result({"rows": 0, "written": 0, "logged": 0, **result}, as_json=json)

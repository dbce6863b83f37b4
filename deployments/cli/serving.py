"""Commands about serving: serve, and the keys of those who may ask."""

from __future__ import annotations

import json as json_module
import os
from pathlib import Path
from typing import Annotated, Literal

import typer

from evergreen.deployments.cli.options import Json, Model
from evergreen.deployments.cli.output import (
    note,
    open_model,
    prepare_prefect,
    print_result,
    quiet_environment,
    run_flow,
)
from evergreen.tasks.core.errors import InputError
from evergreen.tasks.io.settings import read_settings, utc_now

Models = Annotated[
    list[str],
    typer.Argument(metavar="MODEL...", help="Names of configured models, or paths of their YAML files."),
]
Name = Annotated[str, typer.Argument(metavar="NAME", help="What the key is called, e.g. the client's name.")]
_FAIL_FAST = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1", "MLFLOW_HTTP_REQUEST_TIMEOUT": "5"}
"""A registry that is away is asked again at the next look; MLflow's own retries would take minutes."""

keys = typer.Typer(help="API keys of the prediction service.", no_args_is_help=True)


def add_serving_commands(app: typer.Typer) -> None:
    """Register this module's commands."""
    app.command()(serve)
    keys.command("create")(key_create)
    keys.command("list")(key_list)
    keys.command("revoke")(key_revoke)
    app.add_typer(keys, name="key")


def serve(
    models: Models,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0: any free one.")] = 8000,
    tls_cert: Annotated[Path | None, typer.Option(help="PEM file of the certificate (chain).")] = None,
    tls_key: Annotated[Path | None, typer.Option(help="PEM file of its private key.")] = None,
    insecure: Annotated[
        bool, typer.Option("--insecure", help="Listen beyond this machine although there are no API keys.")
    ] = False,
    drain: Annotated[
        int, typer.Option(min=1, help="Seconds that requests in flight may take after SIGTERM.")
    ] = 30,
) -> None:
    """Serve predictions of each model's @champion, until SIGTERM or Ctrl-C."""
    from evergreen.tasks.io.setup import open_setup

    setups = [open_setup(model) for model in models]
    names = [setup.model for setup in setups]
    if len(set(names)) < len(names):
        raise InputError(f"A model is named twice: {', '.join(names)}. Name each once.")
    quiet_environment(setups[0].settings)
    for name, value in _FAIL_FAST.items():
        os.environ.setdefault(name, value)
    from evergreen.deployments.service.run import Place, bind, check_place, log_to_stderr, run_service
    from evergreen.deployments.service.service import Service

    if any(setup.config.serving.log == "durable" for setup in setups):
        _ = setups[0].stores.log  # one that cannot be opened is said now, with an exit code
    place = Place(host=host, port=port, tls_cert=tls_cert, tls_key=tls_key, insecure=insecure, drain=drain)
    service = Service(setups)
    check_place(place, guarded=service.guard.keys.guarded)
    listener = bind(place)
    url = f"{place.scheme}://{f'[{host}]' if ':' in host else host}:{listener.getsockname()[1]}"
    print(f"{url}/models/{names[0]}/predict", flush=True)
    note(
        f"Serving {', '.join(names)} on {url} ({url}/docs describes it, {url}/ready says when). Ctrl-C ends it."
    )
    log_to_stderr()
    run_service(service, place, listener)


def key_create(
    name: Name,
    expires: Annotated[
        str | None, typer.Option(help="How long it is good for, e.g. 90d; default: for ever.")
    ] = None,
    json: Json = False,
) -> None:
    """Create a key and print its secret, which is kept nowhere and shown only now."""
    from datetime import timedelta

    from evergreen.tasks.io.serving_keys import create_key, keys_path

    now = utc_now()
    until = now + timedelta(seconds=_seconds(expires)) if expires else None
    path = keys_path(read_settings())
    secret = create_key(path, name, at=now, expires=until)
    if json:
        said = {"state": "Created", "reasons": [], "name": name, "secret": secret}
        print(json_module.dumps({**said, "expires": until.isoformat() if until else None}))
        return
    print(secret)
    note(
        f"Key '{name}' is in {path} as a digest; its secret is shown this once. "
        "Services take it within a second."
    )


def key_list(json: Json = False) -> None:
    """List the keys: names and dates; secrets are not known."""
    from evergreen.tasks.io.serving_keys import keys_path, read_keys

    found = read_keys(keys_path(read_settings()))
    now = utc_now()
    rows = [
        {
            "name": key.name,
            "created": key.created.isoformat(timespec="seconds"),
            "expires": key.expires.isoformat(timespec="seconds") if key.expires else None,
            "expired": key.expires is not None and key.expires <= now,
        }
        for key in found
    ]
    if json:
        print(json_module.dumps({"state": "Listed", "reasons": [], "keys": rows}))
        return
    for row in rows:
        ends = (
            f"{'expired' if row['expired'] else 'expires'} {row['expires']}"
            if row["expires"]
            else "never expires"
        )
        print(f"{row['name']:24} created {row['created']}  {ends}")
    if not rows:
        print("There are no keys: the service listens on this machine alone, for everybody on it.")


def key_revoke(name: Name, json: Json = False) -> None:
    """Revoke a key: running services refuse it within a second."""
    from evergreen.tasks.io.serving_keys import keys_path, revoke_key

    revoke_key(keys_path(read_settings()), name)
    if json:
        print(json_module.dumps({"state": "Revoked", "reasons": [], "name": name}))
    else:
        print(f"revoked: {name}")


def _seconds(text: str) -> float:
    from evergreen.tasks.core.config.units import parse_duration

    try:
        return parse_duration(text).amount
    except ValueError as error:
        raise InputError(f"Wrong value '{text}' for --expires: {error}.") from None


# The command that scores a batch: predict-batch.


def add_batch_command(app: typer.Typer) -> None:
    """Register this module's commands."""
    app.command("predict-batch")(predict_batch)


def predict_batch(
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
    setup = open_model(model)
    prepare_prefect(setup.settings)
    options = {
        "to": to,
        "source": source,
        "table": table,
        "query": query,
        "to_table": to_table,
        "mode": mode,
        "keep": [name.strip() for name in keep.split(",") if name.strip()] if keep else None,
        "version": version,
        "log": log,
        "at": at,
        "since": since,
        "until": until,
        "rows": rows,
    }
    result = run_flow("evergreen.flows.score:predict_batch", {"model": model, **options})
    print_result({"rows": 0, "written": 0, "logged": 0, **result}, as_json=json)

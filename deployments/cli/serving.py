"""Commands about serving: serve, predict-batch, and the keys of the prediction service."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from typer import Argument, Option

from evergreen.deployments.cli.options import Json, Model, add_group, read_duration, split_names
from evergreen.deployments.cli.output import note, print_result, quiet_environment, run_stage, show
from evergreen.tasks.core.errors import InputError
from evergreen.tasks.io.settings import read_settings, utc_now

_FAIL_FAST = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1", "MLFLOW_HTTP_REQUEST_TIMEOUT": "5"}
"""The service asks an unreachable registry again at its next poll; MLflow's own retries would take minutes."""


def add_commands(app: typer.Typer) -> None:
    """Register this module's commands."""
    app.command()(serve)
    app.command("predict-batch")(predict_batch)
    add_group(
        app,
        "key",
        {"create": create_key, "list": list_keys, "revoke": revoke_key},
        summary="Manage the API keys of the prediction service.",
    )


def serve(
    models: Annotated[
        list[str],
        Argument(metavar="MODEL...", help="Names of configured models, or paths of their YAML files."),
    ],
    host: Annotated[str, Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, Option(min=0, max=65535, help="Port to listen on; 0: any free one.")] = 8000,
    tls_cert: Annotated[Path | None, Option(help="PEM file of the TLS certificate (chain).")] = None,
    tls_key: Annotated[Path | None, Option(help="PEM file of the certificate's private key.")] = None,
    insecure: Annotated[bool, Option("--insecure", help="Accept other machines without API keys.")] = False,
    drain: Annotated[int, Option(min=1, help="Seconds that open requests may take after SIGTERM.")] = 30,
) -> None:
    """Serve the predictions of champions over HTTP. SIGTERM or Ctrl-C ends it."""
    from evergreen.tasks.io.setup import open_setup

    setups = [open_setup(model) for model in models]
    names = [setup.model for setup in setups]
    if len(set(names)) < len(names):
        raise InputError(f"A model is named twice: {', '.join(names)}. Name each once.")
    quiet_environment(setups[0].settings)
    for name, value in _FAIL_FAST.items():
        os.environ.setdefault(name, value)
    from evergreen.deployments.service.run import bind, check_address, log_to_stderr, run_service
    from evergreen.deployments.service.service import Service

    if any(setup.config.serving.log == "durable" for setup in setups):
        _ = setups[0].stores.log  # a log that cannot be opened ends the command here
    service = Service(setups)
    guarded = service.authenticator.keys.guarded
    check_address(host, guarded=guarded, tls_cert=tls_cert, tls_key=tls_key, insecure=insecure)
    listener = bind(host, port)
    url = f"{'https' if tls_cert else 'http'}://{f'[{host}]' if ':' in host else host}:{listener.getsockname()[1]}"
    print(f"{url}/models/{names[0]}/predict", flush=True)
    note(f"Serving {', '.join(names)} on {url}: see {url}/docs and {url}/ready. Ctrl-C stops it.")
    log_to_stderr()
    run_service(service, listener, tls_cert=tls_cert, tls_key=tls_key, drain=drain)


Name = Annotated[str, Argument(metavar="NAME", help="Name of the key, e.g. the client's.")]


def create_key(
    name: Name,
    expires: Annotated[str | None, Option(help="Lifetime of the key, e.g. 90d (default: no end).")] = None,
    json: Json = False,
) -> None:
    """Create a key and print its secret, which is shown only once."""
    from evergreen.tasks.io import serving_keys

    now, path = utc_now(), serving_keys.keys_path(read_settings())
    until = now + read_duration(expires, option="--expires") if expires else None
    secret = serving_keys.create_key(path, name, at=now, expires=until)
    result = {"state": "Created", "reasons": [], "name": name, "secret": secret}
    show({**result, "expires": until.isoformat() if until else None}, secret, as_json=json)
    if not json:
        note(f"Copy it now: {path} keeps only a digest of it. Services accept key '{name}' within a second.")


def list_keys(json: Json = False) -> None:
    """List the keys by name, with their dates; secrets are not stored."""
    from evergreen.tasks.io.serving_keys import keys_path, read_keys

    now = utc_now()
    rows = [
        {
            "name": key.name,
            "created": key.created.isoformat(timespec="seconds"),
            "expires": key.expires.isoformat(timespec="seconds") if key.expires else None,
            "expired": key.expires is not None and key.expires <= now,
        }
        for key in read_keys(keys_path(read_settings()))
    ]
    show({"state": "Listed", "reasons": [], "keys": rows}, _print_keys, as_json=json)


def _print_keys(result: dict[str, Any]) -> None:
    for row in result["keys"]:
        ends = f"{'expired' if row['expired'] else 'expires'} {row['expires']}"
        print(f"{row['name']:24} created {row['created']}  {ends if row['expires'] else 'never expires'}")
    if not result["keys"]:
        print("There are no keys: the service accepts this machine alone, and every user of it.")


def revoke_key(name: Name, json: Json = False) -> None:
    """Revoke a key: running services refuse it within a second."""
    from evergreen.tasks.io import serving_keys

    serving_keys.revoke_key(serving_keys.keys_path(read_settings()), name)
    show({"state": "Revoked", "reasons": [], "name": name}, f"revoked: {name}", as_json=json)


def predict_batch(
    model: Model,
    to: Annotated[str, Option(help="Parquet file to write, or SQLAlchemy URL (with --to-table).")],
    source: Annotated[
        str | None, Option(help="CSV, Parquet, SQLAlchemy URL or function to score (default: data.source).")
    ] = None,
    table: Annotated[str | None, Option(help="Table to read, where --source is a database.")] = None,
    query: Annotated[str | None, Option(help="Query to read, where --source is a database.")] = None,
    to_table: Annotated[
        str | None, Option("--to-table", help="Table to write; made if it is missing.")
    ] = None,
    mode: Annotated[
        Literal["append", "replace"],
        Option(help="append keeps the table's other rows; replace removes them."),
    ] = "append",
    keep: Annotated[str | None, Option(help="Columns of the source to write too, by comma.")] = None,
    version: Annotated[str | None, Option(help="Version or alias that scores (default: @champion).")] = None,
    log: Annotated[bool, Option("--log/--no-log", help="Write the predictions to the log.")] = True,
    at: Annotated[str | None, Option(help="Time of all rows, where the source has no time column.")] = None,
    since: Annotated[str | None, Option(help="Score rows from this time of the clock on.")] = None,
    until: Annotated[str | None, Option(help="Score rows before this time of the clock.")] = None,
    rows: Annotated[int, Option(min=1, help="Rows to hold in memory at once.")] = 50_000,
    json: Json = False,
) -> None:
    """Score a table of rows. Run again, it writes only what is missing."""
    result = run_stage(
        "score:predict_batch",
        model,
        to=to,
        source=source,
        table=table,
        query=query,
        to_table=to_table,
        mode=mode,
        keep=split_names(keep) or None,
        version=version,
        log=log,
        at=at,
        since=since,
        until=until,
        rows=rows,
    )
    print_result({"rows": 0, "written": 0, "logged": 0, **result}, as_json=json)

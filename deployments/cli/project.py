"""Commands about a project and its servers: init, doctor, up, down, deploy, config migrate."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from typer import Argument, Option

from evergreen.deployments.cli.options import Json, OptionalModel, add_group
from evergreen.deployments.cli.output import note, quiet_environment, require_prefect, show
from evergreen.deployments.servers import start_servers, stop_servers
from evergreen.tasks.core.errors import InputError, NotLearnable
from evergreen.tasks.core.verdict import Reason
from evergreen.tasks.io.settings import read_settings


def add_commands(app: typer.Typer) -> None:
    """Register this module's commands."""
    for command in (init, doctor, up, down, deploy):
        app.command()(command)
    add_group(app, "config", {"migrate": migrate}, summary="Update the configurations of models.")


def init(
    data: Annotated[str, Argument(metavar="DATA", help="CSV or Parquet file, or SQLAlchemy URL.")],
    target: Annotated[str, Option(help="Column to predict.")],
    time: Annotated[str | None, Option(help="Column that says when a row happened.")] = None,
    group: Annotated[str | None, Option(help="Column that names a row's group, for a ranking model.")] = None,
    table: Annotated[str | None, Option(help="Table to read, where DATA is a SQLAlchemy URL.")] = None,
    out: Annotated[Path | None, Option(help="File to write (default: config/<data>.yaml).")] = None,
    force: Annotated[bool, Option("--force", help="Overwrite an existing file.")] = False,
    json: Json = False,
) -> None:
    """Write a commented configuration for your data. It runs unedited."""
    from evergreen.tasks.io.init_config import init_config

    try:
        result = init_config(data, target=target, time=time, group=group, table=table, out=out, force=force)
    except NotLearnable as error:  # no file was written, so the command did not do what it was asked for
        wrong = InputError(str(error))
        wrong.code = error.reason_code
        raise wrong from None
    show(result, _print_init, as_json=json)


def _print_init(result: dict[str, Any]) -> None:
    print(f"Wrote {result['path']}: {result['problem']}, metric {result.get('metric', 'by default')}.")
    for name, reason in (result.get("exclude") or {}).items():
        print(f"  excluded {name}: {reason}")
    for warning in result.get("warnings") or []:
        print(f"  check: {warning}")
    print(f"Next: evergreen train {result['path']}")


def doctor(json: Json = False) -> None:
    """Check the machine, servers, packages and configurations. Says what to fix."""
    from evergreen.deployments.doctor import run_checks

    checks = run_checks()
    failed = [check for check in checks if not check["ok"]]
    reasons = [Reason(code=check["check"], message=check["message"]).to_dict() for check in failed]
    result = {"state": "Unhealthy" if failed else "Healthy", "reasons": reasons, "checks": checks}
    lines = [f"{'ok  ' if one['ok'] else 'FIX '} {one['check']}: {one['message']}" for one in checks]
    show(result, "\n".join(lines), as_json=json)
    raise typer.Exit(1 if failed else 0)


def up(
    prefect_port: Annotated[int, Option(help="Prefect's port, or the next free one after it.")] = 4200,
    mlflow_port: Annotated[int, Option(help="MLflow's port, or the next free one after it.")] = 5000,
    worker: Annotated[bool, Option("--worker", help="Also start a worker for the deployments.")] = False,
    json: Json = False,
) -> None:
    """Start the local Prefect and MLflow servers in the background."""
    from evergreen.tasks.io.databases import check_places

    settings = read_settings()
    check_places(settings)
    quiet_environment(settings)
    note("Starting the Prefect and MLflow servers (about 30 s the first time) ...")
    running = start_servers(settings, prefect_port=prefect_port, mlflow_port=mlflow_port, worker=worker)
    urls = {name: running[name]["ui"] for name in ("prefect", "mlflow") if name in running}
    result = {"state": "Up", "reasons": [], "servers": urls, "worker": "worker" in running}
    show(result, _print_servers, as_json=json)


def _print_servers(result: dict[str, Any]) -> None:
    for name, url in result["servers"].items():
        print(f"{name:8} {url}")
    if result["worker"]:
        print("worker   pool 'evergreen'")


def down(json: Json = False) -> None:
    """Stop the servers that 'evergreen up' started."""
    stopped = stop_servers(read_settings().home)
    text = f"stopped: {', '.join(stopped)}" if stopped else "nothing was running"
    show({"state": "Down", "reasons": [], "ended": stopped}, text, as_json=json)


def deploy(json: Json = False) -> None:
    """Create or update every model's Prefect deployments."""
    settings = read_settings()
    require_prefect("Deployments live on a Prefect server and none is running.", settings)
    from evergreen.deployments.deploy import deploy_models

    names = deploy_models(settings)
    next_step = "Start a worker with: evergreen up --worker   (or: prefect worker start --pool evergreen)"
    result = {"state": "Deployed", "reasons": [], "deployments": names}
    show(result, "\n".join([*names, next_step]), as_json=json)


def migrate(
    model: OptionalModel = None,
    every: Annotated[bool, Option("--all", help="Every file of the folder, base.yaml too.")] = False,
    dry_run: Annotated[bool, Option("--dry-run", help="Show what would change, but write nothing.")] = False,
    json: Json = False,
) -> None:
    """Rewrite keys and values that were renamed; comments and order stay."""
    if (model is None) == (not every):
        raise InputError("Name one MODEL, or --all for every file of the folder.")
    from evergreen.tasks.io.config import migrate_configs

    show(migrate_configs(read_settings(), model, dry_run=dry_run), _print_changes, as_json=json)


def _print_changes(result: dict[str, Any]) -> None:
    for file in result["files"]:
        for change in file["changes"]:
            print(f"{file['file']}, line {change['line']}: {change['old']} -> {change['new']}")
    if not result["files"]:
        print("Every key and value is up to date; nothing was changed.")
    elif result["dry_run"]:
        print("This was a dry run; nothing was written.")

"""Commands about servers: up, down, deploy."""

from __future__ import annotations

import json as json_module
from typing import Annotated

import typer

from evergreen.deployments.cli.options import Json
from evergreen.deployments.cli.output import note, prepare_prefect, quiet_environment
from evergreen.deployments.servers import start_servers, stop_servers
from evergreen.tasks.core.errors import EvergreenError
from evergreen.tasks.io.settings import read_settings


def add_commands(app: typer.Typer) -> None:
    """Register this module's commands."""
    for command in (up, down, deploy):
        app.command()(command)


def up(
    prefect_port: Annotated[
        int, typer.Option(help="Port of the Prefect server (or the next free one).")
    ] = 4200,
    mlflow_port: Annotated[
        int, typer.Option(help="Port of the MLflow server (or the next free one).")
    ] = 5000,
    worker: Annotated[
        bool, typer.Option("--worker", help="Also start a process worker for deployments.")
    ] = False,
    json: Json = False,
) -> None:
    """Start the local Prefect and MLflow servers in the background and print their addresses."""
    from evergreen.tasks.io.store_checks import check_places

    settings = read_settings()
    check_places(settings)
    quiet_environment(settings)
    note("Starting the Prefect and MLflow servers (about 30 s the first time) ...")
    running = start_servers(settings, prefect_port=prefect_port, mlflow_port=mlflow_port, worker=worker)
    urls = {name: running[name]["ui"] for name in ("prefect", "mlflow") if name in running}
    if json:
        state = {"state": "Up", "reasons": [], "servers": urls, "worker": "worker" in running}
        print(json_module.dumps(state))
        return
    for name, url in urls.items():
        print(f"{name:8} {url}")
    if "worker" in running:
        print("worker   pool 'evergreen'")


def down(json: Json = False) -> None:
    """End the servers that 'evergreen up' started."""
    ended = stop_servers(read_settings().home)
    if json:
        print(json_module.dumps({"state": "Down", "reasons": [], "ended": ended}))
    else:
        print(f"ended: {', '.join(ended)}" if ended else "nothing was running")


def deploy(json: Json = False) -> None:
    """Create the deployments of every model from its configuration; can be run again at will."""
    settings = read_settings()
    if not prepare_prefect(settings):
        raise EvergreenError(
            "Deployments live on a Prefect server and none is running. Start one by 'evergreen up'."
        )
    from evergreen.deployments.deploy import deploy_models

    names = deploy_models(settings)
    if json:
        print(json_module.dumps({"state": "Deployed", "reasons": [], "deployments": names}))
        return
    for name in names:
        print(name)
    print("Start a worker with: evergreen up --worker   (or: prefect worker start --pool evergreen)")

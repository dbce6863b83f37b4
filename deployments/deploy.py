"""Create the deployments of every model from its configuration; running it again changes nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from prefect import Flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.exceptions import ObjectAlreadyExists

from deployments.cli.output import quiet_stdout
from tasks.io.configs import list_models
from tasks.io.settings import Settings

POOL = "evergreen"
ROOT = Path(__file__).resolve().parents[1]
FLOWS = {
    "train": ("flows/train.py:train", "Train {model} and register the winner as @candidate."),
    "validate": ("flows/validate.py:validate", "Pass the candidate of {model} through the gate."),
    "challenge": ("flows/challenge.py:challenge", "Let the challenger of {model} meet its champion."),
    "rollback": ("flows/promote.py:rollback", "Return {model} to its fallback, or to a named version."),
    "reconcile": ("flows/promote.py:reconcile", "Settle plans of {model} whose holder died."),
}


def deploy_models(settings: Settings) -> list[str]:
    """Create or update one deployment per flow and model.

    Returns
    -------
    list[str]
        ``flow/deployment`` names, e.g. ``train/fraud``.
    """
    ensure_pool()
    return [
        _deploy(stage, entrypoint, description, model)
        for model in list_models(settings.config_dir)
        for stage, (entrypoint, description) in FLOWS.items()
    ]


def ensure_pool() -> None:
    """Create the process work pool where it is missing."""
    with get_client(sync_client=True) as client:
        try:
            client.create_work_pool(WorkPoolCreate(name=POOL, type="process"))
        except ObjectAlreadyExists:
            return


def _deploy(stage: str, entrypoint: str, description: str, model: str) -> str:
    with quiet_stdout():
        flow: Any = Flow.from_source(source=str(ROOT), entrypoint=entrypoint)
        flow.deploy(
            name=model,
            work_pool_name=POOL,
            parameters={"model": model},
            tags=["evergreen", stage, f"model:{model}"],
            description=description.format(model=model),
            enforce_parameter_schema=True,
            build=False,
            push=False,
            print_next_steps=False,
            ignore_warnings=True,
        )
    return f"{stage}/{model}"

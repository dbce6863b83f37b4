"""Create the deployments of every model: its flows, with their schedules and triggers."""

from __future__ import annotations

import ast
import sys
from collections.abc import Mapping
from contextlib import redirect_stdout
from datetime import UTC, datetime
from importlib import import_module
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Any

from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import DeploymentScheduleCreate, WorkPoolCreate
from prefect.client.schemas.objects import ConcurrencyLimitConfig, ConcurrencyLimitStrategy
from prefect.client.schemas.schedules import IntervalSchedule
from prefect.deployments.runner import RunnerDeployment
from prefect.events import DeploymentEventTrigger
from prefect.exceptions import ObjectAlreadyExists
from prefect.runner.storage import LocalStorage

from evergreen.tasks.core.alerts.alert import DEGRADED, DETECTED
from evergreen.tasks.core.config import ModelConfig
from evergreen.tasks.io.config import find_model, list_models, read_config
from evergreen.tasks.io.settings import Settings
from evergreen.tasks.runtime.result import OURS, Schedule, model_tag

_ANCHOR = datetime(2020, 1, 1, tzinfo=UTC)
"""Intervals count from here, so that deploying again moves no run."""
REASON = "{{ ('performance' if 'performance' in event.event else 'drift') }}"
"""The trigger that a retraining records. Prefect appends a filter to the expression: hence the brackets."""


def schedules_of(stage: str, entrypoint: str, config: ModelConfig) -> list[DeploymentScheduleCreate]:
    """Return the schedule that a flow's file declares for a model, by its function ``schedule(config)``."""
    flow_file = import_module(entrypoint.rpartition(".")[0])
    declared: Schedule | None = flow_file.schedule(config) if hasattr(flow_file, "schedule") else None
    if declared is None:
        return []
    schedule = IntervalSchedule(interval=declared.every, anchor_date=_ANCHOR, timezone="UTC")
    options: dict[str, Any] = {"active": declared.active, "parameters": declared.parameters}
    return [DeploymentScheduleCreate(slug=stage, schedule=schedule, **options)]


def triggers_of(stage: str, config: ModelConfig) -> list[DeploymentEventTrigger]:
    """Return the triggers of a model's stage: drift and degraded performance ask for a retraining.

    A new one is on unless ``retraining.run_mode`` is disabled: the cooldown is in the ledger, whatever triggers. One
    that was switched off (or on) in Prefect's pages stays so when it is deployed again.
    """
    if stage != "retrain":
        return []
    name = trigger_name(config.model)
    parameters: dict[str, Any] = {"model": config.model, "trigger": REASON}
    return [
        DeploymentEventTrigger(
            name=name,
            description=f"Retrain {config.model} when monitoring finds drift or degraded performance.",
            enabled=_is_on(name, otherwise=config.retraining.run_mode != "disabled"),
            match={"prefect.resource.id": f"evergreen.model.{config.model}"},
            expect={DETECTED, DEGRADED},
            for_each={"prefect.resource.id"},
            parameters=parameters,
        )
    ]


def trigger_name(model: str) -> str:
    """Return the name of the automation that retrains a model on drift."""
    return f"evergreen-retrain-on-drift-{model}"


def _is_on(name: str, *, otherwise: bool) -> bool:
    """Return whether an automation is on; ``otherwise`` where there is none yet."""
    with get_client(sync_client=True) as client:
        found = client.read_automations_by_name(name)
    return any(one.enabled for one in found) if found else otherwise


POOL = "evergreen"


def find_flows(folder: Traversable, *, package: str) -> dict[str, tuple[str, str]]:
    """Return the flows of a folder by name: their entrypoint, and the first line of their docstring.

    A file's flow is its function of a ``model`` under ``@flow(name=…)``; nothing is imported. Entrypoints are module
    paths with dots throughout, found in whatever environment Evergreen is installed in.

    Parameters
    ----------
    folder : Traversable
        Holds one file a flow.
    package : str
        Import path of the folder.
    """
    found = {}
    for file in sorted(folder.iterdir(), key=lambda one: one.name):
        if not file.name.endswith(".py") or file.name.startswith("_"):
            continue
        for node in ast.parse(file.read_text(encoding="utf-8")).body:
            name = _flow_name(node)
            if name is not None and isinstance(node, ast.FunctionDef) and node.args.args[0].arg == "model":
                summary = (ast.get_docstring(node) or "").partition("\n")[0]
                found[name] = f"{package}.{file.name.removesuffix('.py')}.{node.name}", summary
    return found


def _flow_name(node: ast.stmt) -> str | None:
    """Return the name that ``@flow(name=…)`` gives a function; None for anything else."""
    for mark in node.decorator_list if isinstance(node, ast.FunctionDef) else ():
        if isinstance(mark, ast.Call) and ast.unparse(mark.func) == "flow":
            return next((ast.literal_eval(one.value) for one in mark.keywords if one.arg == "name"), None)
    return None


FLOWS = find_flows(files("evergreen.flows"), package="evergreen.flows")
"""Every flow that is deployed: a file in flows/ is enough."""


def deploy_models(settings: Settings, *, flows: Mapping[str, tuple[str, str]] = FLOWS) -> list[str]:
    """Create or update one deployment per flow and model, with the schedules and triggers of its configuration.

    Parameters
    ----------
    settings : Settings
        The machine, and where its configurations are.
    flows : mapping of str to (str, str)
        Entrypoint and description by stage.

    Returns
    -------
    list[str]
        ``flow/deployment`` names, e.g. ``train/fraud``.

    Raises
    ------
    ConfigError
        When a configuration is wrong; nothing is deployed then.
    """
    names = list_models(settings.config_dir)
    configs = {name: read_config(find_model(name, config_dir=settings.config_dir)) for name in names}
    ensure_pool()
    return [
        _deploy(stage, entrypoint, f"{name}: {description}", name, config, settings)
        for name, config in configs.items()
        for stage, (entrypoint, description) in flows.items()
    ]


def ensure_pool() -> None:
    """Create the process work pool where it is missing."""
    with get_client(sync_client=True) as client:
        try:
            client.create_work_pool(WorkPoolCreate(name=POOL, type="process"))
        except ObjectAlreadyExists:
            return


def _deploy(
    stage: str, entrypoint: str, description: str, model: str, config: ModelConfig, settings: Settings
) -> str:
    """Create or update one deployment; one run of a model's stage at a time, the others wait.

    Runs work in the folder above the configurations, where paths of data and the team's modules are found.
    """
    # any worker here finds the same configurations and state
    places = {"EVERGREEN_HOME": str(settings.home), "EVERGREEN_CONFIG": str(settings.config_dir)}
    with redirect_stdout(sys.stderr):
        deployment: Any = RunnerDeployment.from_storage(
            storage=LocalStorage(str(settings.config_dir.parent)),
            entrypoint=entrypoint,
            name=model,
            parameters={"model": model},
            tags=[OURS, stage, model_tag(model)],
            description=description,
            schedules=schedules_of(stage, entrypoint, config),
            triggers=[*triggers_of(stage, config)],
            enforce_parameter_schema=True,
            concurrency_limit=ConcurrencyLimitConfig(
                limit=1, collision_strategy=ConcurrencyLimitStrategy.ENQUEUE
            ),
            work_pool_name=POOL,
            job_variables={"env": places},
        )
        deployment.apply()
    return f"{stage}/{model}"

"""What runs by itself: each model's monitoring on its interval, and a training that drift can start."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import DeploymentScheduleCreate
from prefect.client.schemas.schedules import IntervalSchedule
from prefect.events import DeploymentEventTrigger

from tasks.core.alerts.events import DEGRADED, DETECTED
from tasks.core.config import ModelConfig

_ANCHOR = datetime(2020, 1, 1, tzinfo=UTC)
"""Intervals count from here, so that deploying again moves no run."""
REASON = "{{ ('performance' if 'performance' in event.event else 'drift') }}"
"""What the training says it was asked by. Prefect appends a filter to the expression: hence the brackets."""


def schedules_of(stage: str, config: ModelConfig) -> list[DeploymentScheduleCreate]:
    """Return the schedules of a model's stage: monitoring every ``monitoring.interval``, off where it is disabled."""
    if stage != "monitor":
        return []
    interval = timedelta(seconds=config.monitoring.interval.amount)
    return [
        DeploymentScheduleCreate(
            slug="monitor",
            schedule=IntervalSchedule(interval=interval, anchor_date=_ANCHOR, timezone="UTC"),
            active=config.monitoring.run_mode != "disabled",
        )
    ]


def triggers_of(stage: str, model: str) -> list[DeploymentEventTrigger]:
    """Return the triggers of a model's stage: drift and degraded performance start a training.

    A new one is off, for the cooldown is not the trigger's: switch it on in Prefect's pages (Automations). Deploying
    again leaves it as it is.
    """
    if stage != "train":
        return []
    name = trigger_name(model)
    parameters: dict[str, Any] = {"model": model, "trigger": REASON}
    return [
        DeploymentEventTrigger(
            name=name,
            description=f"Train {model} when monitoring finds drift or degraded performance.",
            enabled=_is_on(name),
            match={"prefect.resource.id": f"evergreen.model.{model}"},
            expect={DETECTED, DEGRADED},
            for_each={"prefect.resource.id"},
            parameters=parameters,
        )
    ]


def trigger_name(model: str) -> str:
    """Return the name of the automation that trains a model on drift."""
    return f"evergreen-train-on-drift-{model}"


def _is_on(name: str) -> bool:
    """Return whether somebody has switched an automation on."""
    with get_client(sync_client=True) as client:
        return any(found.enabled for found in client.read_automations_by_name(name))

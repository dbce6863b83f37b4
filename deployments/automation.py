"""What runs by itself: monitoring on its interval, a look at what is due, and a retraining that drift starts."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import DeploymentScheduleCreate
from prefect.client.schemas.schedules import IntervalSchedule
from prefect.events import DeploymentEventTrigger

from tasks.core.ab.admission import LIVE_PATHS
from tasks.core.alerts.events import DEGRADED, DETECTED
from tasks.core.config import ModelConfig

_ANCHOR = datetime(2020, 1, 1, tzinfo=UTC)
"""Intervals count from here, so that deploying again moves no run."""
_HOURLY = timedelta(hours=1)
_DAILY = timedelta(days=1)
"""How often what is due by the calendar or by labels is looked for, unless it may be due more often."""
REASON = "{{ ('performance' if 'performance' in event.event else 'drift') }}"
"""What the retraining says it was asked by. Prefect appends a filter to the expression: hence the brackets."""


def schedules_of(stage: str, config: ModelConfig) -> list[DeploymentScheduleCreate]:
    """Return the schedules of a model's stage; off where its ``run_mode`` is disabled.

    Monitoring runs every ``monitoring.interval``. Retraining looks once a day, or every ``retraining.every`` if that is
    shorter, whether anything is due: most of these runs start nothing and end Held. Live tests are looked at every
    hour where ``promotion.path`` asks for live evidence.
    """
    if stage == "monitor":
        return [
            _schedule(stage, timedelta(seconds=config.monitoring.interval.amount), config.monitoring.run_mode)
        ]
    if stage == "retrain":
        every = config.retraining.every
        often = timedelta(seconds=every.amount) if every.unit == "seconds" and every.amount else _DAILY
        return [_schedule(stage, min(often, _DAILY), config.retraining.run_mode)]
    if stage == "ab-test":
        return [_schedule(stage, _HOURLY, "enabled")] if config.promotion.path in LIVE_PATHS else []
    return []


def schedule_parameters(stage: str) -> dict[str, Any]:
    """Return the parameters of scheduled runs beside the model."""
    return {"trigger": "schedule"} if stage == "retrain" else {}


def triggers_of(stage: str, config: ModelConfig) -> list[DeploymentEventTrigger]:
    """Return the triggers of a model's stage: drift and degraded performance ask for a retraining.

    A new one is on unless ``retraining.run_mode`` is disabled: the cooldown is in the ledger, whatever asks. One that
    somebody has switched off (or on) in Prefect's pages stays so when it is deployed again.
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


def _schedule(slug: str, interval: timedelta, run_mode: str) -> DeploymentScheduleCreate:
    return DeploymentScheduleCreate(
        slug=slug,
        schedule=IntervalSchedule(interval=interval, anchor_date=_ANCHOR, timezone="UTC"),
        active=run_mode != "disabled",
        parameters=schedule_parameters(slug),
    )


def _is_on(name: str, *, otherwise: bool) -> bool:
    """Return whether an automation is on; ``otherwise`` where there is none yet."""
    with get_client(sync_client=True) as client:
        found = client.read_automations_by_name(name)
    return any(one.enabled for one in found) if found else otherwise

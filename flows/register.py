"""Bring in a model that was trained elsewhere; it goes through the same gate as any other."""

from __future__ import annotations

from prefect import flow

from tasks.core.verdict import StageResult
from tasks.data import load_parts_task
from tasks.io.setup import open_setup
from tasks.outcomes import concluded
from tasks.parameters import ModelName, ModelUri, TrainedTo
from tasks.register import bring_in_task


@flow(name="register", flow_run_name="register-{model}", persist_result=False)
@concluded("register")
def register(model: ModelName, uri: ModelUri, trained_to: TrainedTo) -> StageResult:
    """Give a foreign model a profile and a contract from the data, and register it as @candidate."""
    setup = open_setup(model)
    parts = load_parts_task(setup, trained_to=trained_to)
    return bring_in_task(setup, parts, uri)

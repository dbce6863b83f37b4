"""Bring in a model that was trained elsewhere; it goes through the same gate as any other."""

from __future__ import annotations

from prefect import flow

from evergreen.tasks.core.verdict import StageResult
from evergreen.tasks.data import load_parts_task
from evergreen.tasks.io.setup import open_setup
from evergreen.tasks.registration import bring_in_task
from evergreen.tasks.runtime.parameters import ModelName, ModelUri, TrainedTo
from evergreen.tasks.runtime.result import concluded


@flow(name="register", flow_run_name="register-{model}", persist_result=False)
@concluded("register")
def register(model: ModelName, uri: ModelUri, trained_to: TrainedTo) -> StageResult:
    """Give a foreign model a profile and a contract from the data, and register it as @candidate."""
    setup = open_setup(model)
    parts = load_parts_task(setup, trained_to=trained_to)
    return bring_in_task(setup, parts, uri)

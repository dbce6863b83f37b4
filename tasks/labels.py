"""Make a run easy to find: by its model's name, even when the model was given as a path."""

from __future__ import annotations

from uuid import UUID

from prefect.client.orchestration import get_client
from prefect.runtime import flow_run

OURS = "evergreen"


def model_tag(model: str) -> str:
    """Return the tag that runs and deployments of a model carry."""
    return f"model:{model}"


def label_run(stage: str, model: str) -> None:
    """Tag the running flow with its stage and model, and name it after them; outside a run, do nothing."""
    run_id, tags = flow_run.get_id(), set(flow_run.get_tags())
    wanted = tags | {OURS, stage, model_tag(model)}
    if run_id is None or wanted == tags:
        return
    with get_client(sync_client=True) as client:
        client.update_flow_run(UUID(run_id), name=f"{stage}-{model}", tags=sorted(wanted))

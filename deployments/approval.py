"""Answer the question a paused challenge asks, from the command line."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowFilter, FlowRunFilter
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.flow_runs import resume_flow_run

from evergreen.tasks.core.verdict import Reason, State
from evergreen.tasks.runtime.result import model_tag


def answer_approval(model: str, *, approved: bool, why: str) -> dict[str, Any]:
    """Resume the newest challenge of a model that waits for an answer.

    Returns
    -------
    dict
        ``state`` Answered with the run it resumed, or InsufficientData when nothing waits.
    """
    run = _waiting_run(model)
    if run is None:
        message = f"No challenge of '{model}' waits for an answer; the Prefect UI lists Paused runs."
        reason = Reason(code="nothing_to_approve", message=message)
        return {"state": State.INSUFFICIENT_DATA.value, "model": model, "reasons": [reason.to_dict()]}
    resume_flow_run(run.id, run_input={"approve": approved, "why": why})
    answer = "yes" if approved else "no"
    reason = Reason(code="answered", message=f"Answered {answer}; the run goes on.", observed=answer)
    facts = {"flow_run_id": str(run.id), "run": run.name}
    return {"state": "Answered", "model": model, "reasons": [reason.to_dict()], **facts}


def _waiting_run(model: str) -> FlowRun | None:
    with get_client(sync_client=True) as client:
        runs = client.read_flow_runs(
            flow_filter=FlowFilter.model_validate({"name": {"any_": ["challenge"]}}),
            flow_run_filter=FlowRunFilter.model_validate({"state": {"type": {"any_": [StateType.PAUSED]}}}),
        )
    waiting = [run for run in runs if model_tag(model) in run.tags]
    return max(waiting, key=_started, default=None)


def _started(run: FlowRun) -> datetime:
    return run.start_time or run.created or datetime.min.replace(tzinfo=UTC)

"""Answer the question a paused challenge asks, from the command line."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import (
    FlowFilter,
    FlowFilterName,
    FlowRunFilter,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.flow_runs import resume_flow_run

from evergreen.tasks.core.verdict import State
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
        message = f"No challenge of '{model}' waits for an answer; see the Paused runs in the Prefect UI."
        reason = {"code": "nothing_to_approve", "message": message, "observed": None, "limit": None}
        return {"state": State.INSUFFICIENT_DATA.value, "model": model, "reasons": [reason]}
    resume_flow_run(run.id, run_input={"approve": approved, "why": why})
    answer = "yes" if approved else "no"
    reason = {
        "code": "answered",
        "message": f"Answered {answer}; the run goes on.",
        "observed": answer,
        "limit": None,
    }
    return {
        "state": "Answered",
        "model": model,
        "reasons": [reason],
        "flow_run_id": str(run.id),
        "run": run.name,
    }


def _waiting_run(model: str) -> FlowRun | None:
    with get_client(sync_client=True) as client:
        runs = client.read_flow_runs(
            flow_filter=FlowFilter(name=FlowFilterName(any_=["challenge"])),
            flow_run_filter=FlowRunFilter(
                state=FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType.PAUSED]))
            ),
        )
    waiting = [run for run in runs if model_tag(model) in run.tags]
    return max(waiting, key=_started, default=None)


def _started(run: FlowRun) -> datetime:
    return run.start_time or run.created or datetime.min.replace(tzinfo=UTC)

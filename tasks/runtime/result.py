"""How a flow begins and ends: its schedule, its run's name and tags, the Prefect state of its result."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any
from uuid import UUID

from prefect import get_run_logger
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import State as PrefectState
from prefect.runtime import flow_run
from prefect.states import Completed, Failed

from evergreen.tasks.core.errors import Blocked, InputError, StageRefusal
from evergreen.tasks.core.verdict import Reason, StageResult, State
from evergreen.tasks.io.setup import open_setup, record_decision

OURS = "evergreen"


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """How often a model's deployment of a flow runs; a flow's file declares it by a function ``schedule(config)``."""

    every: timedelta
    active: bool = True
    parameters: dict[str, Any] = field(default_factory=dict)
    """Parameters of scheduled runs, beside the model."""


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


# How a run ends: one mapping from a stage's result to the name of its Prefect state, recorded in the ledger.


def concluded(
    stage: str, *, label: str | None = None
) -> Callable[[Callable[..., StageResult]], Callable[..., PrefectState]]:
    """Turn a flow function's ``StageResult`` into a named Prefect state; put it under ``@flow``.

    Refusals are decisions, not crashes: ``NotLearnable`` ends InsufficientData and ``Blocked`` ends Blocked, both
    Completed. ``InputError`` ends Failed under its own name. Anything else is left to Prefect: Failed.

    Parameters
    ----------
    stage : str
        Name of the stage, the kind of its entry in the ledger's stream ``decisions``.
    label : str, optional
        What the run is named and tagged by; default: the stage.
    """

    def decorate(function: Callable[..., StageResult]) -> Callable[..., PrefectState]:
        signature = inspect.signature(function, eval_str=True)

        @functools.wraps(function)
        def run(*args: Any, **kwargs: Any) -> PrefectState:
            bound = signature.bind(*args, **kwargs)
            bound.apply_defaults()
            try:
                label_run(label or stage, open_setup(bound.arguments["model"]).model)
                return _completed(_recorded(stage, _decide(function, bound.arguments), bound.arguments))
            except InputError as error:
                get_run_logger().error("%s", error)
                return Failed(name=State.INPUT_ERROR.value, message=str(error), data=error)

        # Prefect looks names of annotations up in this module; the evaluated signature needs no looking up
        run.__signature__ = signature  # type: ignore[attr-defined]
        return run

    return decorate


def _decide(function: Callable[..., StageResult], options: dict[str, Any]) -> StageResult:
    try:
        return function(**options)
    except StageRefusal as error:
        state = State.BLOCKED if isinstance(error, Blocked) else State.INSUFFICIENT_DATA
        return StageResult(state=state, model=options["model"], reasons=(Reason.from_error(error),))


def _recorded(stage: str, result: StageResult, options: dict[str, Any]) -> StageResult:
    """Record what the stage has not recorded itself; a dry run, or a look back, records nothing."""
    if result.decision_id is not None or options.get("dry_run") or result.details.get("dry_run"):
        return result
    setup = open_setup(options["model"])
    return record_decision(setup, stage, replace(result, model=setup.model))


def _completed(result: StageResult) -> PrefectState:
    message = " ".join(reason.message for reason in result.reasons) or None
    get_run_logger().info("%s: %s%s", result.model, result.state.value, f" ({message})" if message else "")
    return Completed(name=result.state.value, message=message, data=result.to_dict())

"""Run one flow for every configured model in one process; a model that fails does not stop the others."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from prefect import get_run_logger
from prefect.client.schemas.objects import State as PrefectState
from prefect.states import Completed, Failed

from tasks.core.drift.words import Level, worst
from tasks.core.errors import InputError
from tasks.core.redact import without_credentials
from tasks.io.configs import list_models
from tasks.io.settings import read_settings


def fleet_models(models: list[str] | None) -> list[str]:
    """Return the models to visit: those named, else every configured one.

    Raises
    ------
    InputError
        When there is none.
    """
    settings = read_settings()
    found = list_models(settings.config_dir) if models is None else models
    if not found:
        raise InputError(
            f"There is no model to monitor: {settings.config_dir.name}/ holds no YAML file. "
            "Write one by 'evergreen init'."
        )
    return found


def visit(flow: Callable[..., PrefectState], model: str, **options: Any) -> dict[str, Any]:
    """Run a flow for one model as a subflow and return its result; a failure is a result like any other."""
    state = flow(model=model, **options, return_state=True)
    if state.is_completed():
        return dict(state.result())
    why = " ".join(without_credentials(str(state.message or state.name)).split())
    get_run_logger().error("%s: %s (%s)", model, state.name, why)
    reason = {"code": "failed", "message": why, "observed": state.name, "limit": None}
    return {"state": state.name or "Failed", "model": model, "reasons": [reason]}


def conclude_fleet(results: list[dict[str, Any]]) -> PrefectState:
    """Return the fleet's state: the gravest of its models, or Failed (naming them) where any of them failed."""
    known = {level.state.value: level for level in Level}
    broken = [one for one in results if one["state"] not in known and one["state"] != "Held"]
    if broken:
        names = "; ".join(f"{one['model']}: {one['reasons'][0]['message']}" for one in broken)
        return Failed(message=f"{len(broken)} of {len(results)} models failed: {names}")
    state = worst(known[one["state"]] for one in results if one["state"] in known).state.value
    message = ", ".join(f"{one['model']}: {one['state']}" for one in results)
    summary = {"state": state, "model": f"{len(results)} models", "reasons": [], "models": results}
    return Completed(name=state, message=message, data=summary)

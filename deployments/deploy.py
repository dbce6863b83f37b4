"""Create the deployments of every model from its configuration; running it again changes nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.client.schemas.objects import ConcurrencyLimitConfig, ConcurrencyLimitStrategy
from prefect.deployments.runner import RunnerDeployment
from prefect.exceptions import ObjectAlreadyExists
from prefect.runner.storage import LocalStorage

from deployments.automation import schedules_of, triggers_of
from deployments.cli.output import quiet_stdout
from tasks.core.config import ModelConfig
from tasks.io.configs import find_model, list_models, read_config
from tasks.io.settings import Settings
from tasks.labels import OURS, model_tag

POOL = "evergreen"
ROOT = Path(__file__).resolve().parents[1]
FLOWS = {
    "train": ("flows/train.py:train", "Train {model} and register the winner as @candidate."),
    "validate": ("flows/validate.py:validate", "Pass the candidate of {model} through the gate."),
    "challenge": ("flows/challenge.py:challenge", "Let the challenger of {model} meet its champion."),
    "ab-test": (
        "flows/ab_test.py:ab_test",
        "Look at the live test of {model}: go on, promote the winner, keep, or abort.",
    ),
    "retrain": (
        "flows/retrain.py:retrain",
        "Retrain {model} when something asks and nothing holds it: train, validate, challenge, promote or keep.",
    ),
    "replay": ("flows/replay.py:replay", "Replay policies of retraining over the history of {model}."),
    "monitor": (
        "flows/monitor.py:monitor",
        "Watch {model}: drift, performance, health; tell whom it concerns.",
    ),
    "score": ("flows/score.py:score", "Score a table or files by the champion of {model}."),
    "register": ("flows/register.py:register", "Bring in a {model} that was trained elsewhere."),
    "promote": ("flows/promote.py:promote", "Make a version of {model} the champion by hand."),
    "rollback": ("flows/promote.py:rollback", "Return {model} to its fallback, or to a named version."),
    "reconcile": ("flows/promote.py:reconcile", "Settle plans of {model} whose holder died."),
}


def deploy_models(settings: Settings) -> list[str]:
    """Create or update one deployment per flow and model, with the schedules and triggers of its configuration.

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
        _deploy(stage, entrypoint, description.format(model=name), name, config, settings)
        for name, config in configs.items()
        for stage, (entrypoint, description) in FLOWS.items()
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
    """Create or update one deployment; one run of a model's stage at a time, the others wait."""
    with quiet_stdout():
        deployment: Any = RunnerDeployment.from_storage(
            storage=LocalStorage(str(ROOT)),
            entrypoint=entrypoint,
            name=model,
            parameters={"model": model},
            tags=[OURS, stage, model_tag(model)],
            description=description,
            schedules=schedules_of(stage, config),
            triggers=[*triggers_of(stage, config)],
            enforce_parameter_schema=True,
            concurrency_limit=ConcurrencyLimitConfig(
                limit=1, collision_strategy=ConcurrencyLimitStrategy.ENQUEUE
            ),
            work_pool_name=POOL,
            job_variables={"env": _places(settings)},
        )
        deployment.apply()
    return f"{stage}/{model}"


def _places(settings: Settings) -> dict[str, str]:
    """Return where this machine keeps configurations and state, so that any worker here finds the same."""
    return {"EVERGREEN_HOME": str(settings.home), "EVERGREEN_CONFIG": str(settings.config_dir)}

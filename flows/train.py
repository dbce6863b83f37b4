"""Train the candidates of a model on its newest history and register the winner as @candidate."""

from __future__ import annotations

from prefect import flow

from evergreen.tasks.core.verdict import StageResult
from evergreen.tasks.data import load_parts_task
from evergreen.tasks.io.setup import open_setup
from evergreen.tasks.runtime.parameters import AsOf, ModelName, Since, Trigger
from evergreen.tasks.runtime.result import concluded
from evergreen.tasks.training import (
    change_position,
    choose,
    fit,
    keep,
    prepare,
    report_no_winner,
    report_training,
    try_candidate,
)


@flow(name="train", flow_run_name="train-{model}", persist_result=False)
@concluded("train")
def train(
    model: ModelName, until: AsOf = None, trigger: Trigger = "manual", since: Since = None
) -> StageResult:
    """Compare candidates by cross-validation, fit the winner, measure it on the holdout, register it."""
    setup = open_setup(model)
    parts = load_parts_task(setup, until=until, change_at=change_position(setup, since))
    lesson = prepare(setup, parts)
    runs = [try_candidate(setup, lesson, candidate) for candidate in setup.config.training.candidates]
    choice = choose(setup, lesson, runs)
    if choice.candidate is None:
        return report_no_winner(setup, lesson, choice)
    fitted = fit(setup, lesson, choice)
    version = keep(setup, lesson, choice, fitted, trigger=trigger)
    return report_training(setup, lesson, choice, fitted, version)

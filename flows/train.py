"""Train the candidates of a model on its newest history and register the winner as @candidate."""

from __future__ import annotations

from prefect import flow

from evergreen.tasks import training
from evergreen.tasks.core.verdict import StageResult
from evergreen.tasks.data import load_parts_task, position_of
from evergreen.tasks.io.config import check_names, shown_path
from evergreen.tasks.io.setup import open_setup
from evergreen.tasks.runtime.parameters import AsOf, ModelName, Since, Trigger
from evergreen.tasks.runtime.result import concluded


@flow(name="train", flow_run_name="train-{model}", persist_result=False)
@concluded("train")
def train(
    model: ModelName, until: AsOf = None, trigger: Trigger = "manual", since: Since = None
) -> StageResult:
    """Compare candidates by cross-validation, fit the winner, measure it on the holdout, register it."""
    setup = open_setup(model)
    check_names(setup.config, origin=shown_path(setup.path))
    parts = load_parts_task(setup, until=until, change_at=position_of(since, setup.config))
    task = training.prepare(setup, parts)
    runs = [training.try_candidate(setup, task, one) for one in setup.config.training.candidates]
    selection = training.choose(setup, task, runs)
    if selection.candidate is None:
        return training.report_no_winner(setup, task, selection)
    fitted = training.fit(setup, task, selection)
    version = training.register_candidate(setup, task, selection, fitted, trigger=trigger)
    return training.report_training(setup, task, selection, fitted, version)

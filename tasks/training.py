"""Train a model: compare candidates, fit and register the winner; refit the recipe of a judged version."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from evergreen.tasks.core.config.training import Candidate
from evergreen.tasks.core.data.rows import Parts, Rows, SplitPlan
from evergreen.tasks.core.data.schema import Schema
from evergreen.tasks.core.errors import NotLearnable
from evergreen.tasks.core.metrics.registry import deciding_metric
from evergreen.tasks.core.records import training as records
from evergreen.tasks.core.records.reference import check_same_classes, describe_refit, refit_reference_items
from evergreen.tasks.core.reports.monitoring import frozen_sample
from evergreen.tasks.core.training import training as core_training
from evergreen.tasks.core.training.cross_validation import CandidateScores, cross_validate
from evergreen.tasks.core.training.features import ModelSpec, outcomes, signature_features
from evergreen.tasks.core.training.scoring import Recipe, version_tags
from evergreen.tasks.core.training.training import Fitted, Selection, TrainingTask
from evergreen.tasks.core.verdict import StageResult, State
from evergreen.tasks.io.config import custom_metrics
from evergreen.tasks.io.mlflow_store.documents import read_documents, read_optional
from evergreen.tasks.io.mlflow_store.models import storing
from evergreen.tasks.io.mlflow_store.reader import VersionInfo
from evergreen.tasks.io.mlflow_store.tracking import open_tracker
from evergreen.tasks.io.mlflow_store.versions import VersionRecord, earlier_grid, store_version
from evergreen.tasks.io.plots import comparison_figure, holdout_figures, image_address, importance_figure
from evergreen.tasks.io.setup import Setup
from evergreen.tasks.promotion import Promoter
from evergreen.tasks.runtime.publish import Artifact, Report, publish, run_tags, show
from evergreen.tasks.runtime.task import SIDE_EFFECT, TRANSIENT, stage_task


@stage_task(**SIDE_EFFECT)
def prepare(setup: Setup, parts: Parts) -> TrainingTask:
    """Check everything that can be wrong before the first fit."""
    return core_training.prepare_training(parts, setup.config, custom=custom_metrics(setup.config))


@stage_task(task_run_name="cross-validate {candidate.name}", **SIDE_EFFECT)
def try_candidate(setup: Setup, task: TrainingTask, candidate: Candidate) -> CandidateScores:
    """Cross-validate one candidate inside the training rows."""
    started = time.perf_counter()
    spec = ModelSpec(task.schema, setup.config, task.classes)
    scores = cross_validate(candidate, task.parts.training, task.folds, spec, metrics=task.metrics)
    return replace(scores, seconds=time.perf_counter() - started)


@stage_task(**SIDE_EFFECT)
def choose(setup: Setup, task: TrainingTask, runs: Sequence[CandidateScores]) -> Selection:
    """Compare the candidates, choose one, and log the comparison to MLflow (``<model>/comparison``)."""
    selection = core_training.choose_candidate(task, tuple(runs), setup.config)
    name = f"compare {len(selection.runs)} candidates on {task.metric.name}"
    facts, tags = {"task": task, "selection": selection}, {"evergreen.stage": "comparison"}
    report = Report(setup, "train", name=name, tags=tags, facts=facts)
    publish(report, [*records.describe_comparison(task, selection), _candidates_figure(task, selection)])
    return selection


@stage_task(**SIDE_EFFECT)
def fit(setup: Setup, task: TrainingTask, selection: Selection) -> Fitted:
    """Fit the chosen candidate on the training rows; measure and explain it on the holdout."""
    return core_training.fit_winner(task, selection, setup.config)


@stage_task(**SIDE_EFFECT)
def register_candidate(
    setup: Setup, task: TrainingTask, selection: Selection, fitted: Fitted, *, trigger: str
) -> VersionInfo:
    """Log the run, register the version and point @candidate at it."""
    info = store_version(setup, training_version_record(setup, task, selection, fitted, trigger=trigger))
    Promoter.of(setup).set_candidate(info.version)
    return info


@stage_task(**TRANSIENT)
def report_training(
    setup: Setup, task: TrainingTask, selection: Selection, fitted: Fitted, info: VersionInfo
) -> StageResult:
    """Show the training in Prefect, and return its result."""
    run_id = str(info.run_id)
    run_url = open_tracker(setup.stores).run_url(run_id)
    page = records.training_markdown(task, selection, fitted, setup.config)
    rows, picture = records.candidate_rows(selection), image_address(_candidates_figure(task, selection))
    show(
        setup.model,
        Artifact("train-{model}", "Training", page),
        Artifact("train-{model}-candidates", "Candidates by cross-validation", table=rows),
        Artifact("train-{model}-candidates-plot", "Candidates fold by fold", image=picture),
        Artifact("train-{model}-run", "The whole record", link=f"MLflow run of version {info.version}"),
        run_url=run_url,
    )
    return records.training_result(setup.model, task, selection, fitted, info.version, run_id, run_url)


@stage_task(**SIDE_EFFECT)
def report_no_winner(setup: Setup, task: TrainingTask, selection: Selection) -> StageResult:
    """Show why no candidate may be registered, and return that as the result."""
    show(setup.model, Artifact("train-{model}", "Training", records.comparison_markdown(task, selection)))
    reasons = selection.comparison.verdict.reasons
    return StageResult(state=State.INSUFFICIENT_DATA, model=setup.model, reasons=reasons)


def training_version_record(
    setup: Setup, task: TrainingTask, selection: Selection, fitted: Fitted, *, trigger: str
) -> VersionRecord:
    """Return all that is stored with the version."""
    config, parts = setup.config, task.parts
    name = fitted.recipe.candidate.name if fitted.recipe.candidate else "none"
    tags = version_tags(parts.plan, parts.training, trigger=trigger, fingerprint=parts.fingerprint)
    features = signature_features(parts.training.frame, task.schema)
    described = records.describe_training(task, selection, fitted, config, earlier=earlier_grid(setup))
    figures = [
        *holdout_figures(fitted.holdout, problem=config.problem.value),
        *([importance_figure(fitted.importances, metric=task.metric.name)] if fitted.importances else []),
        _candidates_figure(task, selection),
    ]
    return VersionRecord(
        stage="train",
        title=name,
        items=[*described, *figures],
        parts={"training": parts.training, "holdout": parts.holdout},
        store=storing(setup, fitted.estimator, features),
        tags={**tags, **run_tags("train"), "evergreen.candidate": name},
        description=records.training_sentence(task, fitted, name=name),
        children={
            run.name: list(records.describe_candidate(run, chosen=run.name == name)) for run in selection.runs
        },
    )


def _candidates_figure(task: TrainingTask, selection: Selection) -> Any:
    scores = {run.name: run.scores[task.metric.name].tolist() for run in selection.runs}
    chosen = selection.candidate.name if selection.candidate else None
    return comparison_figure(scores, metric=task.metric.name, chosen=chosen)


def can_refit(setup: Setup, version: int) -> bool:
    """Tell whether a version can be fitted again: trained here, on rows with a clock."""
    if not setup.config.timed:
        return False
    info = setup.stores.registry.version(setup.model, version)
    return Recipe.from_dict(read_documents(setup, info, ("recipe",))["recipe"]).candidate is not None


def refit_version(setup: Setup, version: int, rows: Rows, *, plan: SplitPlan) -> VersionInfo:
    """Fit a version's recipe on rows and register the result with the tag ``evergreen.evaluated_as``.

    Recipe, settings and threshold stay those of the judged version: what was judged is what serves. So do its answers
    in the reference; features and outcome are profiled again (`refit_reference_items`).

    Parameters
    ----------
    version : int
        The judged version.
    rows : Rows
        All labelled rows.
    plan : SplitPlan
        How they were chosen; it gives from when on rows are new to the refit.

    Raises
    ------
    NotLearnable
        ``no_recipe`` for a model trained elsewhere; ``classes_changed`` when the rows hold other classes.
    """
    judged = setup.stores.registry.version(setup.model, version)
    documents = read_documents(setup, judged, ("schema", "recipe", "contract", "config"))
    recipe, schema = Recipe.from_dict(documents["recipe"]), Schema.from_dict(documents["schema"])
    if recipe.candidate is None:
        message = f"Version {version} was trained elsewhere, so that there is no recipe to fit again."
        raise NotLearnable("no_recipe", message)
    check_same_classes(outcomes(rows.frame, schema, setup.config), recipe)
    estimator = core_training.refit(recipe, rows, schema=schema, config=setup.config)
    documents |= frozen_sample(rows, schema=schema, config=setup.config)
    name = recipe.candidate.name
    items = describe_refit(documents, plan, recipe, n=len(rows), judged=version)
    reference = {**read_documents(setup, judged, ("profile",)), "past": read_optional(setup, judged, "past")}
    metric = deciding_metric(setup.config, custom=custom_metrics(setup.config))
    profiles = refit_reference_items(reference, rows, schema=schema, config=setup.config, metric=metric)
    tags = {**version_tags(plan, rows, trigger="refit"), **run_tags("refit"), "evergreen.candidate": name}
    return store_version(
        setup,
        VersionRecord(
            stage="refit",
            title=f"of v{version} {name}",
            items=[*items, *profiles],
            parts={"training": rows},
            store=storing(setup, estimator, signature_features(rows.frame, schema)),
            tags={**tags, "evergreen.evaluated_as": str(version)},
            description=f"The recipe of version {version} ({name}), refitted on {len(rows)} rows",
        ),
    )

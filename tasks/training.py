"""Refit: the recipe of a judged version, fitted on all labelled rows and registered as a version of its own."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from evergreen.tasks.core.config.training import Candidate
from evergreen.tasks.core.data.clock import parse_position
from evergreen.tasks.core.data.rows import Parts, Rows, SplitPlan
from evergreen.tasks.core.data.schema import Schema
from evergreen.tasks.core.errors import InputError, NotLearnable
from evergreen.tasks.core.log_items import LogItem
from evergreen.tasks.core.metrics.registry import deciding_metric
from evergreen.tasks.core.records.reference import check_same_classes, describe_refit, refit_reference_items
from evergreen.tasks.core.records.training import (
    candidate_rows,
    comparison_markdown,
    describe_candidate,
    describe_comparison,
    describe_training,
    training_markdown,
    training_result,
    training_sentence,
)
from evergreen.tasks.core.reports.monitoring import frozen_sample
from evergreen.tasks.core.training.cross_validation import CandidateScores, cross_validate
from evergreen.tasks.core.training.features import outcomes, signature_features
from evergreen.tasks.core.training.scoring import Recipe, version_tags
from evergreen.tasks.core.training.training import (
    Fitted,
    Selection,
    TrainingTask,
    choose_candidate,
    fit_winner,
    prepare_training,
    refit,
)
from evergreen.tasks.core.verdict import StageResult, State
from evergreen.tasks.io.config import custom_metrics
from evergreen.tasks.io.mlflow_store.documents import read_documents, read_optional
from evergreen.tasks.io.mlflow_store.models import storing
from evergreen.tasks.io.mlflow_store.reader import VersionInfo
from evergreen.tasks.io.mlflow_store.tracking import open_tracker
from evergreen.tasks.io.mlflow_store.versions import VersionRecord, earlier_grid, keep_version
from evergreen.tasks.io.plots import comparison_figure, holdout_figures, image_address, importance_figure
from evergreen.tasks.io.setup import Setup
from evergreen.tasks.promotion import Promoter
from evergreen.tasks.runtime.publish import Artifact, Report, publish, run_tags, show
from evergreen.tasks.runtime.task import SIDE_EFFECT, TRANSIENT, stage_task

# Train: prepare, try each candidate, choose, fit, keep what came of it.


def change_position(setup: Setup, since: str | None) -> float | None:
    """Return where the last change was detected, for ``retraining.window: since_change``; None: nowhere.

    Raises
    ------
    InputError
        When the moment is not on the model's clock, or there is none.
    """
    if since is None:
        return None
    if not setup.config.data.ordered:
        raise InputError(f"'{since}' is a point of a clock, but the model has none. Leave it out.")
    return parse_position(since, clock=setup.config.data.clock)


@stage_task(**SIDE_EFFECT)
def prepare(setup: Setup, parts: Parts) -> TrainingTask:
    """Look at everything that can be wrong before the first fit."""
    return prepare_training(parts, setup.config, custom=custom_metrics(setup.config))


@stage_task(task_run_name="cross-validate {candidate.name}", **SIDE_EFFECT)
def try_candidate(setup: Setup, lesson: TrainingTask, candidate: Candidate) -> CandidateScores:
    """Cross-validate one candidate inside the training rows."""
    started = time.perf_counter()
    scores = cross_validate(
        candidate,
        lesson.parts.training,
        lesson.folds,
        schema=lesson.schema,
        config=setup.config,
        metrics=lesson.metrics,
        classes=lesson.classes,
    )
    return replace(scores, seconds=time.perf_counter() - started)


@stage_task(**SIDE_EFFECT)
def choose(setup: Setup, lesson: TrainingTask, runs: Sequence[CandidateScores]) -> Selection:
    """Compare the candidates, choose one, and keep the comparison in ``<model>/comparison``."""
    choice = choose_candidate(lesson, tuple(runs), setup.config)
    report = Report(
        setup,
        "train",
        experiment="comparison",
        name=f"compare {len(choice.runs)} candidates on {lesson.metric.name}",
        tags={"evergreen.stage": "comparison"},
        facts={"task": lesson, "selection": choice},
    )
    publish(report, [*describe_comparison(lesson, choice), _candidates_figure(lesson, choice)])
    return choice


@stage_task(**SIDE_EFFECT)
def fit(setup: Setup, lesson: TrainingTask, choice: Selection) -> Fitted:
    """Fit the chosen candidate on the training rows; measure and explain it on the holdout."""
    return fit_winner(lesson, choice, setup.config)


@stage_task(**SIDE_EFFECT)
def keep(
    setup: Setup, lesson: TrainingTask, choice: Selection, fitted: Fitted, *, trigger: str
) -> VersionInfo:
    """Log the run, register the version and point @candidate at it."""
    info = keep_version(setup, training_version_record(setup, lesson, choice, fitted, trigger=trigger))
    Promoter.of(setup).set_candidate(info.version)
    return info


@stage_task(**TRANSIENT)
def report_training(
    setup: Setup, lesson: TrainingTask, choice: Selection, fitted: Fitted, info: VersionInfo
) -> StageResult:
    """Show what came of it in the Prefect UI, and return it."""
    run_url = open_tracker(setup.stores).run_url(str(info.run_id))
    picture = image_address(_candidates_figure(lesson, choice))
    show(
        setup.model,
        Artifact("train-{model}", "Training", training_markdown(lesson, choice, fitted, setup.config)),
        Artifact("train-{model}-candidates", "Candidates by cross-validation", table=candidate_rows(choice)),
        Artifact("train-{model}-candidates-plot", "Candidates fold by fold", image=picture),
        Artifact("train-{model}-run", "Where it is all kept", link=f"MLflow run of version {info.version}"),
        run_url=run_url,
    )
    return training_result(setup.model, lesson, choice, fitted, info.version, str(info.run_id), run_url)


@stage_task(**SIDE_EFFECT)
def report_no_winner(setup: Setup, lesson: TrainingTask, choice: Selection) -> StageResult:
    """Show why no candidate may be registered, and return it."""
    show(setup.model, Artifact("train-{model}", "Training", comparison_markdown(lesson, choice)))
    reasons = choice.comparison.verdict.reasons
    return StageResult(state=State.INSUFFICIENT_DATA, model=setup.model, reasons=reasons)


def training_version_record(
    setup: Setup, lesson: TrainingTask, choice: Selection, fitted: Fitted, *, trigger: str
) -> VersionRecord:
    """Put together all that is kept with the version."""
    config, parts = setup.config, lesson.parts
    name = fitted.recipe.candidate.name if fitted.recipe.candidate else "none"
    tags = version_tags(parts.plan, parts.training, trigger=trigger, fingerprint=parts.fingerprint)
    features = signature_features(parts.training.frame, lesson.schema)
    described = describe_training(lesson, choice, fitted, config, earlier=earlier_grid(setup))
    figures = [
        *holdout_figures(fitted.holdout, problem=config.problem.value),
        *([importance_figure(fitted.importances, metric=lesson.metric.name)] if fitted.importances else []),
        _candidates_figure(lesson, choice),
    ]
    return VersionRecord(
        stage="train",
        title=name,
        items=[*described, *figures],
        parts={"training": parts.training, "holdout": parts.holdout},
        store=storing(setup, fitted.estimator, features),
        tags={**tags, **run_tags("train"), "evergreen.candidate": name},
        description=training_sentence(lesson, fitted, name=name),
        children={run.name: list(describe_candidate(run, chosen=run.name == name)) for run in choice.runs},
    )


def _candidates_figure(lesson: TrainingTask, choice: Selection) -> Any:
    scores = {run.name: run.scores[lesson.metric.name].tolist() for run in choice.runs}
    chosen = choice.candidate.name if choice.candidate else None
    return comparison_figure(scores, metric=lesson.metric.name, chosen=chosen)


_COPIED_DOCUMENTS = ("schema", "recipe", "contract", "config")


def can_refit(setup: Setup, version: int) -> bool:
    """Tell whether a version can be fitted again: trained here, on rows with a clock."""
    if not setup.config.timed:
        return False
    info = setup.stores.registry.version(setup.model, version)
    return Recipe.from_dict(read_documents(setup, info, ("recipe",))["recipe"]).candidate is not None


def refit_version(setup: Setup, version: int, rows: Rows, *, plan: SplitPlan) -> VersionInfo:
    """Fit a version's recipe on rows and register the result with the tag ``evergreen.evaluated_as``.

    Recipe, settings and threshold stay those of the judged version: what was judged is what serves. So do its answers
    in the reference; features and outcome are profiled anew (`refit_reference_items`).

    Parameters
    ----------
    version : int
        The judged version.
    rows : Rows
        All labelled rows.
    plan : SplitPlan
        How they were chosen; it says from when on rows are new to the refit.

    Raises
    ------
    NotLearnable
        ``no_recipe`` for a model trained elsewhere; ``classes_changed`` when the rows hold other classes.
    """
    judged = setup.stores.registry.version(setup.model, version)
    kept = read_documents(setup, judged, _COPIED_DOCUMENTS)
    recipe, schema = Recipe.from_dict(kept["recipe"]), Schema.from_dict(kept["schema"])
    if recipe.candidate is None:
        raise NotLearnable(
            "no_recipe", f"Version {version} was trained elsewhere, so that there is no recipe to fit again."
        )
    check_same_classes(outcomes(rows.frame, schema, setup.config), recipe)
    estimator = refit(recipe, rows, schema=schema, config=setup.config)
    sample = frozen_sample(rows, schema=schema, config=setup.config)
    items = describe_refit({**kept, **sample}, plan, recipe, n=len(rows), judged=version)
    name = recipe.candidate.name
    tags = {**version_tags(plan, rows, trigger="refit"), **run_tags("refit"), "evergreen.candidate": name}
    return keep_version(
        setup,
        VersionRecord(
            stage="refit",
            title=f"of v{version} {name}",
            items=[*items, *_reference(setup, judged, rows, schema)],
            parts={"training": rows},
            store=storing(setup, estimator, signature_features(rows.frame, schema)),
            tags={**tags, "evergreen.evaluated_as": str(version)},
            description=f"The recipe of version {version} ({name}), refitted on {len(rows)} rows",
        ),
    )


def _reference(setup: Setup, judged: VersionInfo, rows: Rows, schema: Schema) -> Iterator[LogItem]:
    """Yield the reference of a refit."""
    kept = {**read_documents(setup, judged, ("profile",)), "past": read_optional(setup, judged, "past")}
    metric = deciding_metric(setup.config, custom=custom_metrics(setup.config))
    return refit_reference_items(kept, rows, schema=schema, config=setup.config, metric=metric)

"""Train: prepare, try each candidate, choose, fit, keep what came of it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from prefect.artifacts import (
    create_image_artifact,
    create_link_artifact,
    create_markdown_artifact,
    create_table_artifact,
)
from prefect.runtime import flow_run

from tasks.core.config.training import Candidate
from tasks.core.data.clock import parse_position
from tasks.core.data.rows import Parts
from tasks.core.errors import InputError
from tasks.core.learning.crossval import CandidateScores, cross_validate
from tasks.core.learning.features import signature_features
from tasks.core.learning.fitted import Fitted, fit_winner
from tasks.core.learning.lesson import Choice, Lesson, choose_candidate, prepare_lesson
from tasks.core.learning.version_tags import version_tags
from tasks.core.records.training_items import (
    candidate_rows,
    comparison_markdown,
    describe_candidate,
    describe_comparison,
    describe_training,
    training_markdown,
)
from tasks.core.records.training_result import training_result, training_sentence
from tasks.core.verdict import StageResult, State
from tasks.io.metric_paths import custom_metrics
from tasks.io.models import storing
from tasks.io.plots import comparison_figure, holdout_figures, image_address, importance_figure
from tasks.io.references import earlier_grid
from tasks.io.registry import VersionInfo
from tasks.io.setup import Setup
from tasks.io.tracking import open_tracker
from tasks.io.versions import Dossier, keep_version
from tasks.links import artifact_key
from tasks.promote import set_candidate
from tasks.retries import SIDE_EFFECT, TRANSIENT
from tasks.stage_task import stage_task


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
def prepare(setup: Setup, parts: Parts) -> Lesson:
    """Look at everything that can be wrong before the first fit."""
    return prepare_lesson(parts, setup.config, custom=custom_metrics(setup.config))


@stage_task(task_run_name="cross-validate {candidate.name}", **SIDE_EFFECT)
def try_candidate(setup: Setup, lesson: Lesson, candidate: Candidate) -> CandidateScores:
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
def choose(setup: Setup, lesson: Lesson, runs: Sequence[CandidateScores]) -> Choice:
    """Compare the candidates, choose one, and keep the comparison in ``<model>/comparison``."""
    choice = choose_candidate(lesson, tuple(runs), setup.config)
    tracker = open_tracker(setup.stores)
    name = f"compare {len(choice.runs)} candidates on {lesson.metric.name}"
    with tracker.run(setup.model, "comparison", name=name, tags=run_tags("comparison")) as run_id:
        tracker.write_items(run_id, describe_comparison(lesson, choice))
        tracker.write_items(run_id, [_candidates_figure(lesson, choice)])
    return choice


@stage_task(**SIDE_EFFECT)
def fit(setup: Setup, lesson: Lesson, choice: Choice) -> Fitted:
    """Fit the chosen candidate on the training rows; measure and explain it on the holdout."""
    return fit_winner(lesson, choice, setup.config)


@stage_task(**SIDE_EFFECT)
def keep(setup: Setup, lesson: Lesson, choice: Choice, fitted: Fitted, *, trigger: str) -> VersionInfo:
    """Log the run, register the version and point @candidate at it."""
    info = keep_version(setup, training_dossier(setup, lesson, choice, fitted, trigger=trigger))
    stores = setup.stores
    set_candidate(stores.registry, stores.ledger, model=setup.model, version=info.version)
    return info


@stage_task(**TRANSIENT)
def report_training(
    setup: Setup, lesson: Lesson, choice: Choice, fitted: Fitted, info: VersionInfo
) -> StageResult:
    """Show what came of it in the Prefect UI, and return it."""
    run_url = open_tracker(setup.stores).run_url(str(info.run_id))
    key = artifact_key("train", setup.model)
    create_markdown_artifact(
        training_markdown(lesson, choice, fitted, setup.config), key=key, description="Training"
    )
    _show_candidates(lesson, choice, key=f"{key}-candidates")
    if run_url:
        text = f"MLflow run of version {info.version}"
        create_link_artifact(run_url, link_text=text, key=f"{key}-run", description="Where it is all kept")
    return training_result(setup.model, lesson, choice, fitted, info.version, str(info.run_id), run_url)


@stage_task(**SIDE_EFFECT)
def report_no_winner(setup: Setup, lesson: Lesson, choice: Choice) -> StageResult:
    """Show why no candidate may be registered, and return it."""
    page = comparison_markdown(lesson, choice)
    create_markdown_artifact(page, key=artifact_key("train", setup.model), description="Training")
    reasons = choice.comparison.verdict.reasons
    return StageResult(state=State.INSUFFICIENT, model=setup.model, reasons=reasons)


def training_dossier(
    setup: Setup, lesson: Lesson, choice: Choice, fitted: Fitted, *, trigger: str
) -> Dossier:
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
    return Dossier(
        stage="train",
        title=name,
        items=[*described, *figures],
        parts={"training": parts.training, "holdout": parts.holdout},
        store=storing(setup, fitted.estimator, features),
        tags={**tags, **run_tags("train"), "evergreen.candidate": name},
        description=training_sentence(lesson, fitted, name=name),
        children={run.name: list(describe_candidate(run, chosen=run.name == name)) for run in choice.runs},
    )


def run_tags(stage: str) -> dict[str, str]:
    """Return the tags that name the stage and the Prefect run (when there is one)."""
    prefect_run: Any = flow_run.get_id()
    return {"evergreen.stage": stage, **({"evergreen.prefect_run": str(prefect_run)} if prefect_run else {})}


def _show_candidates(lesson: Lesson, choice: Choice, *, key: str) -> None:
    """Show the comparison as a table and as a picture."""
    create_table_artifact(candidate_rows(choice), key=key, description="Candidates by cross-validation")
    picture = image_address(_candidates_figure(lesson, choice))
    create_image_artifact(picture, key=f"{key}-plot", description="Candidates fold by fold")


def _candidates_figure(lesson: Lesson, choice: Choice) -> Any:
    scores = {run.name: run.scores[lesson.metric.name].tolist() for run in choice.runs}
    chosen = choice.candidate.name if choice.candidate else None
    return comparison_figure(scores, metric=lesson.metric.name, chosen=chosen)

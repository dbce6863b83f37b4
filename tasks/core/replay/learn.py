"""Make versions in a replay: train by the same steps as the flow, and refit a judged recipe."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from tasks.core.config import ModelConfig
from tasks.core.config.training import Candidate
from tasks.core.contract.learn import learn_contract
from tasks.core.data.rows import Parts
from tasks.core.drift.reference import Reference
from tasks.core.errors import NotLearnable
from tasks.core.learning.compare import Comparison
from tasks.core.learning.crossval import CandidateScores, cross_validate
from tasks.core.learning.features import outcomes
from tasks.core.learning.fitted import fit_chosen, refit
from tasks.core.learning.lesson import Choice, Lesson, choose_candidate, prepare_lesson
from tasks.core.learning.scorer import Scorer
from tasks.core.learning.scoring import frame_scores
from tasks.core.profiles.grid import Grid
from tasks.core.records.frozen import Frozen, freeze_refit, freeze_training
from tasks.core.records.refit_items import check_same_classes
from tasks.core.replay.tools import Tools
from tasks.core.replay.version import Version
from tasks.core.verdict import Outcome, Verdict


def fixed_recipe(config: ModelConfig, candidate: Candidate, settings: dict[str, Any]) -> ModelConfig:
    """Return a configuration under which one candidate, with the settings a search found, competes alone."""
    alone = candidate.model_copy(update={"params": {**candidate.params, **settings}, "search": {}})
    return config.model_copy(update={"training": config.training.model_copy(update={"candidates": [alone]})})


def train_version(
    parts: Parts, config: ModelConfig, *, number: int, tools: Tools, earlier: Version | None
) -> Version:
    """Train a version.

    Parameters
    ----------
    parts : Parts
        Rows as of now.
    number : int
        The number it gets.
    earlier : Version | None
        The champion, whose grid is kept while it fits.

    Raises
    ------
    NotLearnable
        When the rows cannot be learned from, or no candidate is eligible.
    """
    lesson = prepare_lesson(parts, config, custom=tools.metrics)
    choice = _choose(lesson, config)
    if choice.candidate is None:
        first = choice.comparison.verdict.reasons[0]
        raise NotLearnable(first.code, first.message, observed=first.observed, limit=first.limit, n=first.n)
    winner, grid = fit_chosen(lesson, choice, config), _grid(earlier)

    def freeze() -> Frozen:
        judged = choice if choice.runs else replace(choice, runs=_cross_validate(lesson, config))
        return freeze_training(lesson, judged, winner, config, earlier=grid)

    model = Scorer(estimator=winner.estimator, schema=lesson.schema, plan=parts.plan, recipe=winner.recipe)
    contract = None
    if config.contract.enabled and tools.check_contract is not None:
        contract = learn_contract(parts.training.frame, schema=lesson.schema, config=config)
    return Version(number=number, model=model, freeze=freeze, rows=len(parts.training), contract=contract)


def refit_version(
    judged: Version, parts: Parts, config: ModelConfig, *, number: int, tools: Tools
) -> Version:
    """Fit a judged version's recipe on all labelled rows.

    Parameters
    ----------
    parts : Parts
        Of a refit: everything is training.

    Raises
    ------
    NotLearnable
        ``classes_changed`` when the rows hold other classes.
    """
    rows, schema, recipe = parts.training, judged.model.schema, judged.model.recipe
    check_same_classes(outcomes(rows.frame, schema, config), recipe)
    estimator = refit(recipe, rows, schema=schema, config=config)

    def freeze() -> Frozen:
        metric = tools.metric(config)
        return freeze_refit(judged.frozen, rows, schema=schema, config=config, metric=metric)

    model = Scorer(estimator=estimator, schema=schema, plan=parts.plan, recipe=recipe)
    return Version(
        number=number, model=model, freeze=freeze, rows=len(rows), contract=judged.contract,
        judged_as=judged.number,
    )  # fmt: skip


def _choose(lesson: Lesson, config: ModelConfig) -> Choice:
    """Choose among the candidates; one that stands alone and is eligible whatever its folds say needs no trial.

    Its cross-validation is made up for where it is promoted, for the reference takes answers out of fold.
    """
    candidates = config.training.candidates
    if len(candidates) == 1 and _needs_no_trial(lesson, candidates[0], config):
        won = Comparison(
            metric=lesson.metric.name, level=0.05, winner=candidates[0].name, candidates=(),
            verdict=Verdict(outcome=Outcome.PASS),
        )  # fmt: skip
        return Choice(candidate=candidates[0], settings={}, comparison=won, runs=())
    return choose_candidate(lesson, _cross_validate(lesson, config), config)


def _needs_no_trial(lesson: Lesson, candidate: Candidate, config: ModelConfig) -> bool:
    """Tell whether a candidate is eligible whatever it answers: no criteria, and a metric defined on every fold."""
    if candidate.search or lesson.criteria is not None:
        return False
    return all(np.isfinite(_of_a_guess(lesson, config, test=fold.test)) for fold in lesson.folds)


def _of_a_guess(lesson: Lesson, config: ModelConfig, *, test: np.ndarray) -> float:
    """Return the metric of answers that are all the same."""
    rows, many = lesson.parts.training.take(test), len(lesson.classes)
    shape = (len(rows), many) if many > 2 or config.problem == "multiclass" else (len(rows),)
    guess = np.full(shape, 1 / max(many, 2))
    scored = frame_scores(rows, guess, schema=lesson.schema, config=config, classes=lesson.classes)
    if lesson.metric.needs == "value" and scored.value is None:
        return float("nan")
    return lesson.metric(scored)


def _cross_validate(lesson: Lesson, config: ModelConfig) -> tuple[CandidateScores, ...]:
    return tuple(
        cross_validate(
            candidate, lesson.parts.training, lesson.folds, schema=lesson.schema, config=config,
            metrics=lesson.metrics, classes=lesson.classes,
        )
        for candidate in config.training.candidates
    )  # fmt: skip


def _grid(earlier: Version | None) -> Grid | None:
    return None if earlier is None else Reference.from_dict(earlier.frozen.profile).inputs.grid

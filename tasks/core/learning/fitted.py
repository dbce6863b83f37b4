"""The winner: refitted on the training rows, given its threshold, measured and explained on the holdout."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.model_selection import FixedThresholdClassifier

from tasks.core.config import ModelConfig
from tasks.core.config.training import Candidate
from tasks.core.data.rows import Rows
from tasks.core.data.schema import Schema
from tasks.core.learning.baseline import all_baselines
from tasks.core.learning.fitting import fit_candidate
from tasks.core.learning.importance import Importance, measure_importance
from tasks.core.learning.lesson import Choice, Lesson
from tasks.core.learning.recipe import Recipe, config_digest
from tasks.core.learning.scoring import decided_by, score_rows
from tasks.core.learning.threshold import Threshold, choose_threshold
from tasks.core.metrics.measure import measure
from tasks.core.metrics.scored import Scored
from tasks.core.seeds import seed_for


@dataclass(frozen=True, kw_only=True, eq=False)
class Winner:
    """A fitted model and its answers on the holdout: all that later decisions take.

    Attributes
    ----------
    estimator : object
        Ready to serve; ``predict`` decides by the threshold.
    recipe : Recipe
        How it came about, classes and threshold.
    holdout : Scored
        Answers on the holdout.
    """

    estimator: Any
    recipe: Recipe
    holdout: Scored


@dataclass(frozen=True, kw_only=True, eq=False)
class Fitted(Winner):
    """A winner and what the holdout says about it.

    Attributes
    ----------
    metrics : dict of str to float
        By metric, on the holdout; undefined ones are left out.
    baselines : dict of str to dict
        The same for each naive baseline.
    importances : tuple of Importance
        By permutation, on the holdout; empty without one.
    """

    metrics: dict[str, float]
    baselines: dict[str, dict[str, float]]
    importances: tuple[Importance, ...]


def fit_winner(lesson: Lesson, choice: Choice, config: ModelConfig) -> Fitted:
    """Fit the chosen candidate on all training rows, choose its threshold, measure and explain it.

    Raises
    ------
    ConfigError
        When the estimator refuses its parameters or the data.
    ValueError
        When no candidate was chosen.
    """
    model, winner = _fit(lesson, choice, config)
    return Fitted(
        **vars(winner),
        metrics=measure(winner.holdout, lesson.metrics),
        baselines=measure_baselines(lesson, config),
        importances=measure_importance(
            model,
            lesson.parts.holdout,
            schema=lesson.schema,
            config=config,
            metric=lesson.metric,
            classes=lesson.classes,
            threshold=winner.recipe.threshold.value,
            rng=np.random.default_rng(seed_for(config.model, lesson.parts.fingerprint, "importance")),
        ),
    )


def fit_chosen(lesson: Lesson, choice: Choice, config: ModelConfig) -> Winner:
    """Fit the same winner as ``fit_winner`` without measuring and explaining it, which decides nothing."""
    return _fit(lesson, choice, config)[1]


def _fit(lesson: Lesson, choice: Choice, config: ModelConfig) -> tuple[Any, Winner]:
    """Return the fitted pipeline, and the winner it serves as."""
    if choice.candidate is None:
        raise ValueError("No candidate was chosen, so there is nothing to fit.")
    options: dict[str, Any] = {"schema": lesson.schema, "config": config}
    model = fit_candidate(choice.candidate, lesson.parts.training, settings=choice.settings, **options)
    scored = score_rows(model, lesson.parts.holdout, classes=lesson.classes, **options)
    threshold = pick_threshold(scored, config)
    estimator = with_threshold(model, threshold, classes=lesson.classes)
    recipe = make_recipe(choice, lesson.classes, threshold, config)
    decided = decided_by(scored, threshold.value)
    return model, Winner(estimator=estimator, recipe=recipe, holdout=decided)


def refit(recipe: Recipe, rows: Rows, *, schema: Schema, config: ModelConfig) -> Any:
    """Fit a version's recipe again, on other rows, with the threshold it was judged by.

    Raises
    ------
    ValueError
        When the recipe has no candidate: the model was trained elsewhere.
    """
    if recipe.candidate is None:
        raise ValueError("A model that was trained elsewhere has no recipe to fit again.")
    model = fit_candidate(recipe.candidate, rows, schema=schema, config=config, settings=recipe.settings)
    return with_threshold(model, recipe.threshold, classes=recipe.classes)


def pick_threshold(scored: Scored, config: ModelConfig) -> Threshold:
    """Choose the threshold for a binary model on the holdout; 0.5 for the others."""
    if config.problem != "binary":
        return Threshold(value=0.5, method="fixed")
    return choose_threshold(scored, config.evaluation.threshold)


def with_threshold(model: Any, threshold: Threshold, *, classes: tuple[Any, ...]) -> Any:
    """Wrap a fitted binary classifier so that ``predict`` decides by the threshold, also without Evergreen."""
    if len(classes) != 2:
        return model
    return FixedThresholdClassifier(
        model, threshold=threshold.value, pos_label=classes[1], response_method="predict_proba"
    )


def measure_baselines(lesson: Lesson, config: ModelConfig) -> dict[str, dict[str, float]]:
    """Measure the naive baselines on the holdout, by their name."""
    parts = lesson.parts
    if not len(parts.holdout):
        return {}
    found = all_baselines(
        training=parts.training,
        rows=parts.holdout,
        schema=lesson.schema,
        config=config,
        classes=lesson.classes,
        rng=np.random.default_rng(seed_for(config.model, parts.fingerprint, "baseline")),
    )
    return {kind: measure(scored, lesson.metrics) for kind, scored in found.items()}


def make_recipe(
    choice: Choice, classes: tuple[Any, ...], threshold: Threshold, config: ModelConfig
) -> Recipe:
    """Write down what was chosen."""
    candidate: Candidate | None = choice.candidate
    return Recipe(
        problem=config.problem.value,
        candidate=candidate,
        settings=choice.settings,
        classes=classes,
        threshold=threshold,
        config_digest=config_digest(config),
    )

"""The winner: refitted on the training rows, given its threshold, measured and explained on the holdout."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from sklearn.model_selection import FixedThresholdClassifier

from evergreen.tasks.core.arrays import FloatArray, IntArray
from evergreen.tasks.core.config import ModelConfig
from evergreen.tasks.core.config.training import Candidate
from evergreen.tasks.core.data.columns import check_unmixed
from evergreen.tasks.core.data.rows import Parts, Rows
from evergreen.tasks.core.data.schema import Schema, check_learnable, infer_schema, unnamed_columns
from evergreen.tasks.core.metrics.base import Metric
from evergreen.tasks.core.metrics.registry import measure, metrics_of
from evergreen.tasks.core.metrics.scored import Classes, Scored
from evergreen.tasks.core.seeds import seed_for
from evergreen.tasks.core.training.baseline import all_baselines
from evergreen.tasks.core.training.cross_validation import CandidateScores, Fold, make_folds
from evergreen.tasks.core.training.estimators import build_pipeline
from evergreen.tasks.core.training.features import (
    ModelSpec,
    answer,
    class_labels,
    feature_frame,
    group_codes,
    outcomes,
)
from evergreen.tasks.core.training.fitting import fit_candidate
from evergreen.tasks.core.training.scoring import (
    Recipe,
    Threshold,
    choose_threshold,
    config_digest,
    decided_by,
    frame_scores,
    score_rows,
)
from evergreen.tasks.core.training.selection import (
    CandidateComparison,
    CandidateResult,
    Criteria,
    compare_candidates,
    parse_criteria,
)

# The rows of a training: the parts, their columns and classes, the folds, and what is measured.


@dataclass(frozen=True, kw_only=True, eq=False)
class TrainingTask:
    """A training that may begin: configuration and rows were checked."""

    parts: Parts
    """Training, holdout and evaluation rows."""
    schema: Schema
    """Roles of the columns, read from the training rows."""
    classes: Classes
    """(negative, positive) for binary, all classes for multiclass, else empty."""
    folds: tuple[Fold, ...]
    """Of the training rows."""
    metrics: tuple[Metric, ...]
    """All that is measured; the first one decides."""
    criteria: Criteria | None
    """What a candidate must meet; None: nothing."""
    excluded: frozenset[str] = frozenset()
    """Columns that the configuration excludes; others are left out for what they hold."""

    @property
    def metric(self) -> Metric:
        """The deciding metric."""
        return self.metrics[0]


@dataclass(frozen=True, kw_only=True, eq=False)
class Selection:
    """The candidate that was chosen, and the comparison that says why."""

    candidate: Candidate | None
    """None when no candidate is eligible."""
    settings: dict[str, Any]
    """Parameters a search chose for it."""
    comparison: CandidateComparison
    """The corrected test between candidates."""
    runs: tuple[CandidateScores, ...]
    """Fold scores of every candidate, in the order of the configuration."""

    @property
    def chosen_run(self) -> CandidateScores | None:
        """Cross-validation of the chosen candidate."""
        name = self.candidate.name if self.candidate else None
        return next((run for run in self.runs if run.name == name), None)


def prepare_training(
    parts: Parts, config: ModelConfig, *, custom: Mapping[str, Metric] | None = None
) -> TrainingTask:
    """Check everything before the first fit.

    Raises
    ------
    NotLearnable
        When the rows cannot be trained on (too few, one class, no usable feature, …).
    InputError
        When a metric, the criteria, an estimator or one of its parameters is wrong.
    """
    metrics, frame = metrics_of(config, custom=custom), parts.training.frame
    frames = [rows.frame for rows in (parts.training, parts.holdout, parts.evaluation)]
    check_unmixed(frames, unnamed_columns(frame, config), max_categories=config.training.max_categories)
    schema = infer_schema(frame, config)
    for candidate in config.training.candidates:
        build_pipeline(candidate, schema, config)
    criteria = None
    if config.training.criteria is not None:
        names = [name for metric in metrics for name in (metric.name, f"{metric.name}_std")]
        criteria = parse_criteria(config.training.criteria, choices=names, where="training.criteria")
    check_learnable(frame, schema, config)
    y = outcomes(frame, schema, config)
    return TrainingTask(
        parts=parts,
        schema=schema,
        classes=class_labels(y, config),
        folds=make_folds(parts.training, y, schema=schema, config=config),
        metrics=metrics,
        criteria=criteria,
        excluded=frozenset(config.data.exclude),
    )


def choose_candidate(task: TrainingTask, runs: tuple[CandidateScores, ...], config: ModelConfig) -> Selection:
    """Compare the candidates and choose one.

    ``training.prefer: simplest`` takes the first listed among the best and its equals; ``best`` takes the best
    mean. A candidate is an equal when the corrected test cannot distinguish it from the best and it lies no further
    behind than ``evaluation.min_improvement``: few folds alone do not make it one.
    """
    comparison = compare_candidates(
        {run.name: run.scores for run in runs},
        metric=task.metric,
        train_size=int(runs[0].train_sizes.mean()),
        test_size=int(runs[0].test_sizes.mean()),
        criteria=task.criteria,
    )
    name = comparison.winner
    if config.training.prefer == "simplest" and name is not None:
        equal = {row.name for row in comparison.candidates if _is_equal(row, task, config)} | {name}
        name = next(candidate.name for candidate in config.training.candidates if candidate.name in equal)
    candidate = next((one for one in config.training.candidates if one.name == name), None)
    settings = next((run.settings for run in runs if run.name == name), {})
    return Selection(candidate=candidate, settings=settings, comparison=comparison, runs=runs)


def _is_equal(row: CandidateResult, task: TrainingTask, config: ModelConfig) -> bool:
    """Tell whether a candidate is as good as the best for all that matters."""
    best = row.mean + task.metric.sign * row.behind
    margin = config.evaluation.min_improvement * (1.0 if task.metric.bounded else abs(best))
    return row.tied and row.behind <= margin


@dataclass(frozen=True, kw_only=True, eq=False)
class Winner:
    """A fitted model and its answers on the holdout: all that later decisions need."""

    estimator: Any
    """Ready to serve; ``predict`` decides by the threshold."""
    recipe: Recipe
    """How it was trained, classes and threshold."""
    holdout: Scored
    """Answers on the holdout."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Fitted(Winner):
    """A winner, measured and explained on the holdout."""

    metrics: dict[str, float]
    """By metric; undefined ones are left out."""
    baselines: dict[str, dict[str, float]]
    """The same for each naive baseline."""
    importances: tuple[Importance, ...]
    """By permutation; empty without a holdout."""


def fit_winner(task: TrainingTask, selection: Selection, config: ModelConfig) -> Fitted:
    """Fit the chosen candidate on all training rows, choose its threshold, measure and explain it.

    Raises
    ------
    ConfigError
        When the estimator refuses its parameters or the data.
    ValueError
        When no candidate was chosen.
    """
    model, winner = _fit(task, selection, config)
    spec, threshold = ModelSpec(task.schema, config, task.classes), winner.recipe.threshold.value
    rng = np.random.default_rng(seed_for(config.model, task.parts.fingerprint, "importance"))
    drawn: dict[str, Any] = {"metric": task.metric, "threshold": threshold, "rng": rng}
    return Fitted(
        **vars(winner),
        metrics=measure(winner.holdout, task.metrics),
        baselines=measure_baselines(task, config),
        importances=measure_importance(model, task.parts.holdout, spec, **drawn),
    )


def fit_chosen(task: TrainingTask, selection: Selection, config: ModelConfig) -> Winner:
    """Fit the same winner as ``fit_winner`` without measuring and explaining it, which decides nothing."""
    return _fit(task, selection, config)[1]


def _fit(task: TrainingTask, selection: Selection, config: ModelConfig) -> tuple[Any, Winner]:
    """Return the fitted pipeline, and the winner it serves as."""
    if selection.candidate is None:
        raise ValueError("No candidate was chosen, so there is nothing to fit.")
    options: dict[str, Any] = {"schema": task.schema, "config": config, "settings": selection.settings}
    model = fit_candidate(selection.candidate, task.parts.training, **options)
    scored = score_rows(model, task.parts.holdout, ModelSpec(task.schema, config, task.classes))
    threshold = pick_threshold(scored, config)
    recipe = Recipe(
        problem=config.problem.value,
        candidate=selection.candidate,
        settings=selection.settings,
        classes=task.classes,
        threshold=threshold,
        config_digest=config_digest(config),
    )
    estimator = with_threshold(model, threshold, classes=task.classes)
    return model, Winner(estimator=estimator, recipe=recipe, holdout=decided_by(scored, threshold.value))


def refit(recipe: Recipe, rows: Rows, *, schema: Schema, config: ModelConfig) -> Any:
    """Fit a version's recipe again, on other rows, with the threshold it was evaluated with.

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
    return choose_threshold(scored, config.evaluation.threshold if config.problem == "binary" else 0.5)


def with_threshold(model: Any, threshold: Threshold, *, classes: Classes) -> Any:
    """Wrap a fitted binary classifier so that ``predict`` decides by the threshold, also without Evergreen."""
    if len(classes) != 2:
        return model
    return FixedThresholdClassifier(
        model, threshold=threshold.value, pos_label=classes[1], response_method="predict_proba"
    )


def measure_baselines(task: TrainingTask, config: ModelConfig) -> dict[str, dict[str, float]]:
    """Measure the naive baselines on the holdout, by their name."""
    parts = task.parts
    if not len(parts.holdout):
        return {}
    rng = np.random.default_rng(seed_for(config.model, parts.fingerprint, "baseline"))
    spec = ModelSpec(task.schema, config, task.classes)
    scores = all_baselines(spec, training=parts.training, rows=parts.holdout, rng=rng)
    return {kind: measure(scored, task.metrics) for kind, scored in scores.items()}


# Permutation importance: how much worse the metric gets when one column is shuffled.


MOST_ROWS = 2000
"""Most rows of the holdout that importances are measured on."""


@dataclass(frozen=True, kw_only=True)
class Importance:
    """Drop of the metric when one feature is shuffled."""

    feature: str
    """The column."""
    mean: float
    std: float
    """Over the shuffles, in the metric's unit; positive: the model relies on the column."""


def measure_importance(
    estimator: Any,
    rows: Rows,
    spec: ModelSpec,
    *,
    metric: Metric,
    rng: np.random.Generator,
    threshold: float = 0.5,
) -> tuple[Importance, ...]:
    """Measure the importance of every feature on a bounded sample of rows, the greatest first.

    Columns that say the same thing share their importance, so that each seems dispensable (Breiman 2001, section 10).

    Parameters
    ----------
    rows : Rows
        Rows the model was not trained on; at most 2,000 of them are used (whole groups for ranking).
    rng : numpy.random.Generator
        Draws the sample and the shuffles.

    Returns
    -------
    tuple of Importance
        Empty where the metric is undefined on the sample.
    """
    sample = rows.take(_sample(rows, spec, rng))
    features = feature_frame(sample.frame, spec.schema)

    def value(frame: pd.DataFrame) -> FloatArray:
        score = answer(estimator, frame, problem=spec.config.problem.value, classes=spec.classes)
        parts = np.split(score, len(frame) // len(sample))
        scored = [frame_scores(sample, part, spec, threshold=threshold) for part in parts]
        return np.array([metric.sign * metric(one) for one in scored])

    if not len(sample) or not np.isfinite(base := value(features)[0]):
        return ()
    importances = []
    for name in spec.schema.features:
        drops = base - value(_shuffled(features, name, spec.config.training.importance_repeats, rng))
        importances.append(Importance(feature=name, mean=float(drops.mean()), std=float(drops.std())))
    return tuple(sorted(importances, key=lambda one: -one.mean))


def _shuffled(features: pd.DataFrame, name: str, repeats: int, rng: np.random.Generator) -> pd.DataFrame:
    """Stack copies of the frame with one column shuffled in each, so that the model predicts once."""
    stacked = pd.concat([features] * repeats, ignore_index=True)
    column = features[name].to_numpy()
    stacked[name] = np.concatenate([column[rng.permutation(len(column))] for _ in range(repeats)])
    return stacked


def _sample(rows: Rows, spec: ModelSpec, rng: np.random.Generator) -> IntArray:
    """Choose rows, or whole groups, in their own order."""
    n = len(rows)
    if n <= MOST_ROWS:
        return np.arange(n)
    codes = group_codes(rows.frame, spec.schema) if spec.config.problem == "ranking" else None
    if codes is None:
        return np.sort(rng.choice(n, MOST_ROWS, replace=False))
    order = rng.permutation(int(codes.max()) + 1)
    sizes = np.bincount(codes)[order].cumsum()
    return np.flatnonzero(np.isin(codes, order[sizes <= MOST_ROWS]))

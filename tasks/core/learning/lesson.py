"""What there is to learn from: the parts, their columns and classes, the folds, and what is measured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tasks.core.config import ModelConfig
from tasks.core.config.training import Candidate
from tasks.core.data.kinds import check_unmixed
from tasks.core.data.rows import Parts
from tasks.core.data.schema import Schema, check_learnable, infer_schema, unnamed_columns
from tasks.core.learning.compare import CandidateResult, Comparison, compare_candidates
from tasks.core.learning.criteria import Criteria, parse_criteria
from tasks.core.learning.crossval import CandidateScores
from tasks.core.learning.estimators import build_pipeline
from tasks.core.learning.features import class_labels, outcomes
from tasks.core.learning.folds import Fold, make_folds
from tasks.core.metrics.measure import metrics_of
from tasks.core.metrics.registry import Metric


@dataclass(frozen=True, kw_only=True, eq=False)
class Lesson:
    """A training that may begin: everything a person can have got wrong was looked at.

    Attributes
    ----------
    parts : Parts
        Training, holdout and evaluation rows.
    schema : Schema
        Roles of the columns, read from the training rows.
    classes : tuple
        (negative, positive) for binary, all classes for multiclass, else empty.
    folds : tuple of Fold
        Of the training rows.
    metrics : tuple of Metric
        All that is measured; the first one decides.
    criteria : Criteria | None
        What a candidate must meet.
    excluded : frozenset of str
        Columns that the configuration excludes; others are left out for what they hold.
    """

    parts: Parts
    schema: Schema
    classes: tuple[Any, ...]
    folds: tuple[Fold, ...]
    metrics: tuple[Metric, ...]
    criteria: Criteria | None
    excluded: frozenset[str] = frozenset()

    @property
    def metric(self) -> Metric:
        """The deciding metric."""
        return self.metrics[0]


@dataclass(frozen=True, kw_only=True, eq=False)
class Choice:
    """The candidate that was chosen, and the comparison that says why.

    Attributes
    ----------
    candidate : Candidate | None
        None when no candidate is eligible.
    settings : dict
        Parameters a search chose for it.
    comparison : Comparison
        The corrected test between candidates.
    runs : tuple of CandidateScores
        Fold scores of every candidate, in the order of the configuration.
    """

    candidate: Candidate | None
    settings: dict[str, Any]
    comparison: Comparison
    runs: tuple[CandidateScores, ...]

    @property
    def chosen_run(self) -> CandidateScores | None:
        """Cross-validation of the chosen candidate."""
        name = self.candidate.name if self.candidate else None
        return next((run for run in self.runs if run.name == name), None)


def prepare_lesson(
    parts: Parts, config: ModelConfig, *, custom: Mapping[str, Metric] | None = None
) -> Lesson:
    """Look at everything before the first fit.

    Raises
    ------
    NotLearnable
        When the rows cannot be learned from (too few, one class, no usable feature, …).
    InputError
        When a metric, the criteria, an estimator or one of its parameters is wrong.
    """
    metrics = metrics_of(config, custom=custom)
    _check_unmixed(parts, config)
    schema = infer_schema(parts.training.frame, config)
    for candidate in config.training.candidates:
        build_pipeline(candidate, schema, config, frame=parts.training.frame)
    criteria = _criteria(config, metrics)
    check_learnable(parts.training.frame, schema, config)
    y = outcomes(parts.training.frame, schema, config)
    return Lesson(
        parts=parts,
        schema=schema,
        classes=class_labels(y, config),
        folds=make_folds(parts.training, y, schema=schema, config=config),
        metrics=metrics,
        criteria=criteria,
        excluded=frozenset(config.data.exclude),
    )


def choose_candidate(lesson: Lesson, runs: tuple[CandidateScores, ...], config: ModelConfig) -> Choice:
    """Compare the candidates and choose one.

    ``training.prefer: simplest`` takes the first listed among the best and its equals; ``best`` takes the best
    mean. An equal can neither be told from the best by the corrected test nor lies further behind than
    ``evaluation.min_improvement``: few folds alone make nobody an equal.
    """
    comparison = compare_candidates(
        {run.name: run.scores for run in runs},
        metric=lesson.metric,
        train_size=int(runs[0].train_sizes.mean()),
        test_size=int(runs[0].test_sizes.mean()),
        criteria=lesson.criteria,
    )
    name = comparison.winner
    if config.training.prefer == "simplest" and name is not None:
        equal = {
            row.name for row in comparison.candidates if row.name == name or _is_equal(row, lesson, config)
        }
        name = next(candidate.name for candidate in config.training.candidates if candidate.name in equal)
    candidate = next((one for one in config.training.candidates if one.name == name), None)
    settings = next((run.settings for run in runs if run.name == name), {})
    return Choice(candidate=candidate, settings=settings, comparison=comparison, runs=runs)


def _is_equal(row: CandidateResult, lesson: Lesson, config: ModelConfig) -> bool:
    """Tell whether a candidate is as good as the best for all that matters."""
    best = row.mean + lesson.metric.sign * row.behind
    margin = config.evaluation.min_improvement * (1.0 if lesson.metric.bounded else abs(best))
    return row.tied and row.behind <= margin


def _check_unmixed(parts: Parts, config: ModelConfig) -> None:
    frames = [rows.frame for rows in (parts.training, parts.holdout, parts.evaluation)]
    check_unmixed(frames, unnamed_columns(frames[0], config), max_categories=config.training.max_categories)


def _criteria(config: ModelConfig, metrics: tuple[Metric, ...]) -> Criteria | None:
    if config.training.criteria is None:
        return None
    known = [name for metric in metrics for name in (metric.name, f"{metric.name}_std")]
    return parse_criteria(config.training.criteria, known=known, where="training.criteria")

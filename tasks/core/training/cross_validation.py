"""Cross-validate one candidate inside the training rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.model_selection import ParameterGrid, ParameterSampler

from evergreen.tasks.core.arrays import FloatArray, IntArray
from evergreen.tasks.core.config import ModelConfig
from evergreen.tasks.core.config.training import Candidate
from evergreen.tasks.core.data.rows import Rows
from evergreen.tasks.core.data.schema import Schema
from evergreen.tasks.core.metrics.base import Metric
from evergreen.tasks.core.metrics.scored import Scored
from evergreen.tasks.core.training.features import answer, feature_frame, outcomes
from evergreen.tasks.core.training.fitting import fit_candidate
from evergreen.tasks.core.training.folds import Fold, make_folds
from evergreen.tasks.core.training.scoring import frame_scores, score_rows

# Search over a candidate's parameters, inside the rows it is given.


INNER_FOLDS = 2


def settings_to_try(candidate: Candidate, *, random_state: int) -> list[dict[str, Any]]:
    """Return the whole grid when it is small enough, else a random sample of it without repeats.

    >>> tree = Candidate(name="t", estimator="sklearn.tree.DecisionTreeClassifier", search={"max_depth": [1, 2]})
    >>> settings_to_try(tree, random_state=0)
    [{'max_depth': 1}, {'max_depth': 2}]
    """
    if not candidate.search:
        return [{}]
    grid = ParameterGrid(candidate.search)
    if len(grid) <= candidate.search_iterations:
        return list(grid)
    sampled = ParameterSampler(candidate.search, candidate.search_iterations, random_state=random_state)
    return list(sampled)


def search_settings(
    candidate: Candidate,
    rows: Rows,
    *,
    schema: Schema,
    config: ModelConfig,
    metric: Metric,
    classes: tuple[Any, ...],
) -> dict[str, Any]:
    """Return the settings with the best mean metric over a small inner cross-validation.

    Parameters
    ----------
    candidate : Candidate
        The recipe; without ``search`` the answer is an empty dict at once.
    rows : Rows
        The only rows looked at.

    Raises
    ------
    NotLearnable
        ``too_few_folds`` when the rows are too few to search on.
    """
    tried = settings_to_try(candidate, random_state=config.training.random_state)
    if len(tried) == 1:
        return tried[0]
    y = outcomes(rows.frame, schema, config)
    folds = make_folds(rows, y, schema=schema, config=config, count=INNER_FOLDS, repeats=1)

    def mean_score(settings: dict[str, Any]) -> float:
        return float(np.mean([one_fold(settings, fold) for fold in folds]))

    def one_fold(settings: dict[str, Any], fold: Fold) -> float:
        model = fit_candidate(
            candidate, rows.take(fold.train), schema=schema, config=config, settings=settings
        )
        test = rows.take(fold.test)
        scored = score_rows(model, test, schema=schema, config=config, classes=classes)
        return metric.sign * metric(scored)

    values = np.array([mean_score(settings) for settings in tried])
    return tried[int(np.argmax(np.where(np.isnan(values), -np.inf, values)))]


@dataclass(frozen=True, kw_only=True, eq=False)
class CandidateScores:
    """What the cross-validation of one candidate gave.

    Attributes
    ----------
    name, estimator : str
        The candidate and its import path.
    settings : dict
        Parameters a search on all training rows chose; empty without a search.
    params : dict
        The recipe's parameters and those settings.
    scores : dict of str to array, shape (folds,)
        Metric values by fold; NaN where undefined.
    train_sizes, test_sizes : array of int, shape (folds,)
        Rows learned from and judged on.
    out_of_fold : Scored
        Answers of the fold models on the rows they did not see, in fold order.
    seconds : float
        Wall time, where the caller measured it; else NaN.
    """

    name: str
    estimator: str
    settings: dict[str, Any]
    params: dict[str, Any]
    scores: dict[str, FloatArray]
    train_sizes: IntArray
    test_sizes: IntArray
    out_of_fold: Scored
    seconds: float = float("nan")

    def summary(self) -> dict[str, float]:
        """Return each metric's mean, and its standard deviation over folds as ``<metric>_std``."""
        means = {name: float(np.mean(values)) for name, values in self.scores.items()}
        stds = {f"{name}_std": float(np.std(values, ddof=1)) for name, values in self.scores.items()}
        return {name: value for name, value in {**means, **stds}.items() if np.isfinite(value)}


def cross_validate(
    candidate: Candidate,
    rows: Rows,
    folds: Sequence[Fold],
    *,
    schema: Schema,
    config: ModelConfig,
    metrics: Sequence[Metric],
    classes: tuple[Any, ...],
) -> CandidateScores:
    """Fit and judge a candidate on each fold.

    A search is nested: each fold chooses its settings from its own training rows, so that the score stays
    honest; the settings of the result are those chosen on all rows.

    Parameters
    ----------
    metrics : sequence of Metric
        The first one decides a search.

    Raises
    ------
    ConfigError
        When the estimator refuses its parameters or the data.
    """
    options: dict[str, Any] = {"schema": schema, "config": config}
    searched: dict[str, Any] = {**options, "metric": metrics[0], "classes": classes}
    answers: list[FloatArray] = []
    for fold in folds:
        train = rows.take(fold.train)
        found = search_settings(candidate, train, **searched)
        model = fit_candidate(candidate, train, settings=found, **options)
        test = feature_frame(rows.frame.iloc[fold.test], schema)
        answers.append(answer(model, test, problem=config.problem.value, classes=classes))
    judged = [
        frame_scores(rows.take(fold.test), score, classes=classes, **options)
        for fold, score in zip(folds, answers, strict=True)
    ]
    settings = search_settings(candidate, rows, **searched)
    return CandidateScores(
        name=candidate.name,
        estimator=candidate.estimator,
        settings=settings,
        params={**candidate.params, **settings},
        scores={metric.name: np.array([_value(metric, part) for part in judged]) for metric in metrics},
        train_sizes=np.array([len(fold.train) for fold in folds]),
        test_sizes=np.array([len(fold.test) for fold in folds]),
        out_of_fold=frame_scores(
            rows.take(np.concatenate([fold.test for fold in folds])),
            np.concatenate(answers),
            classes=classes,
            **options,
        ),
    )


def _value(metric: Metric, scored: Scored) -> float:
    """Return the metric; NaN where the rows lack the column it needs."""
    if metric.needs == "value" and scored.value is None:
        return float("nan")
    return metric(scored)

"""Cross-validate one candidate inside the training rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tasks.core.config import ModelConfig
from tasks.core.config.training import Candidate
from tasks.core.data.rows import Rows
from tasks.core.data.schema import Schema
from tasks.core.learning.answers import answer
from tasks.core.learning.features import feature_frame
from tasks.core.learning.fitting import fit_candidate
from tasks.core.learning.folds import Fold
from tasks.core.learning.scoring import frame_scores
from tasks.core.learning.search import search_settings
from tasks.core.metrics.registry import Metric
from tasks.core.metrics.scored import FloatArray, IntArray, Scored


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

"""Search over a candidate's parameters, inside the rows it is given."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.model_selection import ParameterGrid, ParameterSampler

from tasks.core.config import ModelConfig
from tasks.core.config.training import Candidate
from tasks.core.data.rows import Rows
from tasks.core.data.schema import Schema
from tasks.core.learning.features import outcomes
from tasks.core.learning.fitting import fit_candidate
from tasks.core.learning.folds import Fold, make_folds
from tasks.core.learning.scoring import score_rows
from tasks.core.metrics.registry import Metric

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

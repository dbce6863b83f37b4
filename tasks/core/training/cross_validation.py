"""Cross-validate one candidate inside the training rows: folds, a nested search, scores by fold."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
from sklearn.model_selection import ParameterGrid, ParameterSampler

from evergreen.tasks.core.arrays import Array, FloatArray, IntArray
from evergreen.tasks.core.config import ModelConfig
from evergreen.tasks.core.config.training import Candidate
from evergreen.tasks.core.data.rows import Rows
from evergreen.tasks.core.data.schema import Schema
from evergreen.tasks.core.data.timeline import outcomes_known_at, purge_after
from evergreen.tasks.core.errors import NotLearnable
from evergreen.tasks.core.metrics.base import Metric
from evergreen.tasks.core.metrics.scored import Scored
from evergreen.tasks.core.training.features import ModelSpec, answer, feature_frame, outcomes
from evergreen.tasks.core.training.fitting import fit_candidate
from evergreen.tasks.core.training.scoring import frame_scores, score_rows
from evergreen.tasks.core.training.selection import summarise_folds

# Folds: forward in time where there is a clock, else random.


@dataclass(frozen=True, kw_only=True, eq=False)
class Fold:
    """Row numbers to train on and to judge on, ``train`` (a,) and ``test`` (b,); ascending, disjoint."""

    train: IntArray
    test: IntArray


def make_folds(
    rows: Rows, y: Array, *, schema: Schema, config: ModelConfig, count: int = 0, repeats: int = 0
) -> tuple[Fold, ...]:
    """Divide training rows into folds.

    With a clock the rows are cut into ``count + 1`` consecutive parts of about equal size; fold i learns from the
    parts before part i (without those whose outcome was not yet known, or whose target overlaps: ``split.purge``
    and ``data.label_delay``) and is judged on part i. Moments are never cut, groups never divided.
    Without a clock rows (or whole groups, or entities) are dealt at random, ``repeats`` times; classes are
    spread evenly.

    Parameters
    ----------
    rows : Rows
        Training rows, shape (n, …).
    y : array, shape (n,)
        Their outcome.
    count, repeats : int
        Above 0: instead of ``training.folds`` and ``training.repeats``.

    Raises
    ------
    NotLearnable
        ``too_few_folds`` when fewer than two folds hold two classes on both sides.
    """
    count = count or config.training.folds
    unit = schema.group or schema.entity
    units = None if unit is None else np.asarray(pd.factorize(rows.frame[unit])[0], dtype=np.int64)
    classes = config.problem in ("binary", "multiclass")
    if rows.positions is not None and config.timed:
        ready = outcomes_known_at(rows, config=config) + purge_after(rows, config=config)
        folds = forward_folds(rows.positions, count=count, units=units, known_at=ready)
    else:
        rng, folds = np.random.default_rng(config.split.seed), []
        for _ in range(repeats or config.training.repeats):
            strata = y if classes else None
            folds += random_folds(len(y), count=count, rng=rng, units=units, strata=strata)
    usable = tuple(fold for fold in folds if _is_usable(fold, y, classes=classes))
    if len(usable) < 2:
        raise _too_few_folds(len(usable), len(y), classes=classes, schema=schema, units=units)
    return usable


def forward_folds(
    positions: FloatArray, *, count: int, units: IntArray | None = None, known_at: FloatArray | None = None
) -> list[Fold]:
    """Return folds that train on the past and are judged on what follows.

    Parameters
    ----------
    positions : array, shape (n,)
        The clock of each row.
    units : array of int, shape (n,), optional
        Codes of groups that stay together (at the moment of their first row).
    known_at : array, shape (n,), optional
        When each outcome became known, and its purge was over; later than the first row judged on: not
        trained on.

    Examples
    --------
    >>> folds = forward_folds(np.arange(6.0), count=2)
    >>> [(fold.train.tolist(), fold.test.tolist()) for fold in folds]
    [([0, 1], [2, 3]), ([0, 1, 2, 3], [4, 5])]
    """
    moments = positions if units is None else _first_of_unit(positions, units)
    last = positions if units is None else -_first_of_unit(-positions, units)
    ordered = np.sort(moments)
    at = [ordered[len(ordered) * part // (count + 1)] for part in range(1, count + 1)]
    starts = [*np.unique(at), np.inf]
    available = last if known_at is None else np.maximum(last, known_at)
    return [
        Fold(
            train=np.flatnonzero((moments < start) & (last <= start) & (available <= start)),
            test=np.flatnonzero((moments >= start) & (moments < end)),
        )
        for start, end in pairwise(starts)
    ]


def random_folds(
    n: int,
    *,
    count: int,
    rng: np.random.Generator,
    units: IntArray | None = None,
    strata: Array | None = None,
) -> list[Fold]:
    """Return folds of rows dealt at random; units stay together, strata are spread evenly.

    Parameters
    ----------
    n : int
        Number of rows.
    units : array of int, shape (n,), optional
        Codes of groups or entities.
    strata : array, shape (n,), optional
        Classes; ignored when there are units.
    """
    owner = np.arange(n) if units is None else np.unique(units, return_inverse=True)[1]
    order = rng.permutation(int(owner.max()) + 1)
    if strata is not None and units is None:
        order = order[np.argsort(np.unique(strata, return_inverse=True)[1][order], kind="stable")]
    part_of = np.empty(len(order), dtype=np.int64)
    part_of[order] = np.arange(len(order)) % count
    part = part_of[owner]
    return [Fold(train=np.flatnonzero(part != k), test=np.flatnonzero(part == k)) for k in range(count)]


def _first_of_unit(positions: FloatArray, units: IntArray) -> FloatArray:
    first = np.full(int(units.max()) + 1, np.inf)
    np.minimum.at(first, units, positions)
    return first[units]


def _is_usable(fold: Fold, y: Array, *, classes: bool) -> bool:
    """Tell whether both sides can be trained and judged on."""
    sides = (y[fold.train], y[fold.test])
    return all(len(np.unique(side) if classes else side) >= 2 for side in sides)


def _too_few_folds(
    usable: int, rows: int, *, classes: bool, schema: Schema, units: IntArray | None
) -> NotLearnable:
    """Return the error, which names the column whose rows stay together: often it is why folds are missing."""
    tied, remedy = "", "Bring more rows, or fewer training.folds."
    if units is not None:
        key, name = ("data.group", schema.group) if schema.group else ("data.entity", schema.entity)
        values = "one value" if units.max() == 0 else f"{units.max() + 1} values"
        tied = f" of {values} of '{name}' ({key}), whose rows stay together,"
        remedy = f"Bring rows of more values, or fewer training.folds, or correct {key}."
    message = (
        f"Cross-validation needs two folds with two {'classes' if classes else 'rows'} on both sides; {rows} training "
        f"rows{tied} give {usable}. {remedy}"
    )
    return NotLearnable("too_few_folds", message, observed=float(usable), limit=2.0, n=rows)


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
    return list(ParameterSampler(candidate.search, candidate.search_iterations, random_state=random_state))


def search_settings(candidate: Candidate, rows: Rows, spec: ModelSpec, *, metric: Metric) -> dict[str, Any]:
    """Return the settings with the best mean metric over a small inner cross-validation.

    Parameters
    ----------
    candidate : Candidate
        The recipe; without ``search`` the answer is an empty dict at once.
    rows : Rows
        The only rows it may use.

    Raises
    ------
    NotLearnable
        ``too_few_folds`` when the rows are too few to search on.
    """
    tried = settings_to_try(candidate, random_state=spec.config.training.random_state)
    if len(tried) == 1:
        return tried[0]
    options: dict[str, Any] = {"schema": spec.schema, "config": spec.config}
    y = outcomes(rows.frame, spec.schema, spec.config)
    folds = make_folds(rows, y, count=INNER_FOLDS, repeats=1, **options)

    def one_fold(settings: dict[str, Any], fold: Fold) -> float:
        model = fit_candidate(candidate, rows.take(fold.train), settings=settings, **options)
        return metric.sign * metric(score_rows(model, rows.take(fold.test), spec))

    values = np.array([np.mean([one_fold(settings, fold) for fold in folds]) for settings in tried])
    return tried[int(np.argmax(np.where(np.isnan(values), -np.inf, values)))]


@dataclass(frozen=True, kw_only=True, eq=False)
class CandidateScores:
    """Result of the cross-validation of one candidate."""

    name: str
    estimator: str
    """The candidate and its import path."""
    settings: dict[str, Any]
    """Parameters a search on all training rows chose; empty without a search."""
    params: dict[str, Any]
    """The recipe's parameters and those settings."""
    scores: dict[str, FloatArray]
    """By metric, (folds,), values by fold; NaN where undefined."""
    train_sizes: IntArray
    test_sizes: IntArray
    """(folds,), rows trained on and judged on."""
    out_of_fold: Scored
    """Answers of the fold models on the rows they were not trained on, in fold order."""
    seconds: float = float("nan")
    """Wall time, where the caller measured it; else NaN."""

    def summary(self) -> dict[str, float]:
        """Return each metric's mean, and its standard deviation over folds as ``<metric>_std``."""
        return {name: value for name, value in summarise_folds(self.scores).items() if np.isfinite(value)}


def cross_validate(
    candidate: Candidate, rows: Rows, folds: Sequence[Fold], spec: ModelSpec, *, metrics: Sequence[Metric]
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
    schema, config = spec.schema, spec.config
    answers: list[FloatArray] = []
    judged: list[Scored] = []
    for fold in folds:
        train, test = rows.take(fold.train), rows.take(fold.test)
        settings = search_settings(candidate, train, spec, metric=metrics[0])
        model = fit_candidate(candidate, train, schema=schema, config=config, settings=settings)
        features = feature_frame(test.frame, schema)
        answers.append(answer(model, features, problem=config.problem.value, classes=spec.classes))
        judged.append(frame_scores(test, answers[-1], spec))
    tested = rows.take(np.concatenate([fold.test for fold in folds]))
    settings = search_settings(candidate, rows, spec, metric=metrics[0])
    return CandidateScores(
        name=candidate.name,
        estimator=candidate.estimator,
        settings=settings,
        params={**candidate.params, **settings},
        scores={metric.name: np.array([_measure(metric, part) for part in judged]) for metric in metrics},
        train_sizes=np.array([len(fold.train) for fold in folds]),
        test_sizes=np.array([len(fold.test) for fold in folds]),
        out_of_fold=frame_scores(tested, np.concatenate(answers), spec),
    )


def _measure(metric: Metric, scored: Scored) -> float:
    """Return the metric; NaN where the rows lack the column it needs."""
    return float("nan") if metric.needs == "value" and scored.value is None else metric(scored)

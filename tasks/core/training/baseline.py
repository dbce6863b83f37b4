"""Naive baselines: answers without a model."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd

from evergreen.tasks.core.arrays import Array, FloatArray, IntArray
from evergreen.tasks.core.config import ModelConfig
from evergreen.tasks.core.data.rows import Rows
from evergreen.tasks.core.data.schema import Schema
from evergreen.tasks.core.data.timeline import outcomes_known_at
from evergreen.tasks.core.errors import DataError
from evergreen.tasks.core.metrics.base import Metric
from evergreen.tasks.core.metrics.scored import Classes, Scored
from evergreen.tasks.core.training.features import ModelSpec, outcomes
from evergreen.tasks.core.training.scoring import frame_scores


def baseline_kinds(config: ModelConfig, *, timed: bool) -> tuple[str, ...]:
    """Return the baselines that make sense: ``constant``, and ``persistence`` where rows have a clock.

    >>> from types import SimpleNamespace as N
    >>> baseline_kinds(N(problem="ranking"), timed=True)
    ('constant',)
    """
    return ("constant", "persistence") if timed and config.problem != "ranking" else ("constant",)


def all_baselines(
    spec: ModelSpec, *, training: Rows, rows: Rows, rng: np.random.Generator
) -> dict[str, Scored]:
    """Score rows by every baseline that makes sense for them, by its name; see ``baseline_scores``."""
    kinds = baseline_kinds(spec.config, timed=spec.config.timed and rows.positions is not None)
    return {kind: baseline_scores(kind, spec, training=training, rows=rows, rng=rng) for kind in kinds}


def baseline_scores(
    kind: str,
    spec: ModelSpec,
    *,
    training: Rows,
    rows: Rows,
    rng: np.random.Generator,
    history: Rows | None = None,
) -> Scored:
    """Score rows without a model.

    Parameters
    ----------
    kind : {'constant', 'persistence'}
        ``constant``: the training rows' class shares or mean; a random order for ranking.
        ``persistence``: what followed in training on the last outcome *known* at the row's moment
        (``data.label_time``, else ``data.label_delay`` after the row); per entity where there is one. Binary and
        multiclass: P(class | last class); regression: the last value itself.
    training : Rows
        Rows the shares, mean and transitions are counted on.
    rows : Rows
        Rows to answer for, shape (n,).
    history : Rows, optional
        Further labelled rows (between training and ``rows``) whose outcomes may be known by then.

    Raises
    ------
    DataError
        For persistence without a clock.
    """
    if spec.config.problem == "ranking":
        score: FloatArray = rng.random(len(rows.frame))
    elif kind == "constant":
        score = _constant(training, len(rows.frame), spec)
    else:
        score = _persistence(training, rows, history, spec)
    return frame_scores(rows, score, spec)


def last_known(
    moments: FloatArray, known_at: FloatArray, values: Array, *, positions: FloatArray
) -> IntArray:
    """Return, for each moment, the index of the newest row whose outcome is known strictly before it; -1: none.

    Parameters
    ----------
    moments : array, shape (n,)
        Moments of the answers.
    known_at, values, positions : array, shape (m,)
        When each outcome became known, the outcome, the row's own moment.

    Examples
    --------
    >>> last_known(np.array([0., 2., 9.]), np.array([1., 5., 3.]), np.array([7, 8, 9]),
    ...            positions=np.array([1., 2., 3.])).tolist()
    [-1, 0, 2]
    """
    order = np.argsort(known_at, kind="stable")
    # among all outcomes known by then the one of the newest row counts, not the one that arrived last
    newest = np.maximum.accumulate(np.argsort(np.argsort(positions, kind="stable"), kind="stable")[order])
    by_rank = np.argsort(positions, kind="stable")
    arrived = np.searchsorted(known_at[order], moments, side="left")
    if not len(values):
        return np.full(len(moments), -1)
    return np.where(arrived > 0, by_rank[newest[np.maximum(arrived, 1) - 1]], -1)


def _constant(training: Rows, n: int, spec: ModelSpec) -> FloatArray:
    y = outcomes(training.frame, spec.schema, spec.config)
    if not spec.classes:
        return np.full(n, float(np.mean(y)))
    shares = np.array([(y == label).mean() for label in spec.classes])
    return np.full(n, shares[1]) if spec.config.problem == "binary" else np.tile(shares, (n, 1))


def _persistence(training: Rows, rows: Rows, history: Rows | None, spec: ModelSpec) -> FloatArray:
    schema, config, classes = spec.schema, spec.config, spec.classes
    if rows.positions is None or training.positions is None:
        raise DataError(
            "'Same as the last outcome' needs a clock; set data.time or use the constant baseline."
        )
    past = [part for part in (training, history, rows) if part is not None]
    moments = np.concatenate([part.positions for part in past if part.positions is not None])
    frame = pd.concat([part.frame for part in past], ignore_index=True)
    known_at = outcomes_known_at(Rows(frame, moments), config=config)
    values = np.concatenate([outcomes(part.frame, schema, config) for part in past])
    last = np.full(len(moments), -1)
    for own in _by_entity(past, schema):
        newest = last_known(moments[own], known_at[own], values[own], positions=moments[own])
        last[own] = np.where(newest >= 0, own[newest], -1)
    train, tail = slice(0, len(training.frame)), slice(len(moments) - len(rows.frame), None)
    fallback = _constant(training, len(rows.frame), spec)
    if not classes:
        return np.where(last[tail] >= 0, values[last[tail]], fallback)
    table = _transitions(values[train], values[last[train]], last[train] >= 0, classes)
    answer = table[_codes(values[last[tail]], classes)]
    answer = answer[:, 1] if config.problem == "binary" else answer
    has_last = last[tail] >= 0
    return np.where(has_last if answer.ndim == 1 else has_last[:, None], answer, fallback)


def _by_entity(parts: list[Rows], schema: Schema) -> list[IntArray]:
    """Return the places of the rows that 'the last outcome' is looked up within, entity by entity."""
    if schema.entity is None:
        return [np.arange(sum(len(part.frame) for part in parts))]
    names = np.concatenate([part.frame[schema.entity].astype(str).to_numpy() for part in parts])
    codes = np.unique(names, return_inverse=True)[1]
    return np.split(np.argsort(codes, kind="stable"), np.cumsum(np.bincount(codes))[:-1])


def _codes(values: Array, classes: Classes) -> IntArray:
    """Return the index of each value among the classes."""
    order = np.argsort(np.asarray(classes), kind="stable")
    places = np.searchsorted(np.asarray(classes)[order], values)
    return order[np.minimum(places, len(classes) - 1)]


def _transitions(y: Array, last: Array, known: Array, classes: Classes) -> FloatArray:
    """Return P(class | last class), shape (k, k); half a count is added to each cell."""
    counts = np.full((len(classes), len(classes)), 0.5)
    np.add.at(counts, (_codes(last[known], classes), _codes(y[known], classes)), 1.0)
    return counts / counts.sum(axis=1, keepdims=True)


_CONSTANT_IS_NO_SKILL = {"roc_auc", "roc_auc_ovr", "roc_auc_ovr_weighted", "log_loss", "brier_score"}


def no_skill_baseline(
    metric: Metric, *, baseline: Scored, answers: Scored, rng: np.random.Generator
) -> tuple[Metric, Scored]:
    """Return the best baseline without skill, and the metric in a form that can be compared with it.

    A constant answer is no baseline for every metric: a model that never predicts positive has an F1 of 0, and
    a model of pure noise that states the median beats the mean by mean absolute error. So the model's own
    answers in random order are measured too, which keep its distribution and lose all skill, and the better
    of the two is used. By ROC AUC, log loss and Brier score the constant alone is exactly the value of no
    skill. A ranking's baseline is a random order already.

    Where the baseline is exactly 0, so that a relative difference is undefined, the metric's differences
    are read as they stand.
    """
    if answers.group is None and metric.name not in _CONSTANT_IS_NO_SKILL:
        shuffled = _shuffled(answers, rng)
        constant, guessed = metric(baseline), metric(shuffled)
        if not np.isfinite(constant) or metric.sign * (guessed - constant) > 0:
            baseline = shuffled
    if metric(baseline) == 0.0:
        metric = replace(metric, bounded=True)
    return metric, baseline


def _shuffled(answers: Scored, rng: np.random.Generator) -> Scored:
    """Return the answers in random order, each with its decision."""
    order = rng.permutation(len(answers))
    return replace(
        answers,
        score=None if answers.score is None else answers.score[order],
        label=None if answers.label is None else answers.label[order],
    )

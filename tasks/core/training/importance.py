"""Permutation importance: how much worse the metric gets when one column is shuffled."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from evergreen.tasks.core.arrays import FloatArray, IntArray
from evergreen.tasks.core.config import ModelConfig
from evergreen.tasks.core.data.rows import Rows
from evergreen.tasks.core.data.schema import Schema
from evergreen.tasks.core.metrics.base import Metric
from evergreen.tasks.core.training.features import answer, feature_frame, group_codes
from evergreen.tasks.core.training.scoring import frame_scores

MOST_ROWS = 2000


@dataclass(frozen=True, kw_only=True)
class Importance:
    """Drop of the metric when one feature is shuffled.

    Attributes
    ----------
    feature : the column.
    mean, std : over the shuffles, in the metric's unit; positive: the model relies on the column.
    """

    feature: str
    mean: float
    std: float


def measure_importance(
    estimator: Any,
    rows: Rows,
    *,
    schema: Schema,
    config: ModelConfig,
    metric: Metric,
    classes: tuple[Any, ...],
    rng: np.random.Generator,
    threshold: float = 0.5,
) -> tuple[Importance, ...]:
    """Measure the importance of every feature on a bounded sample of rows, the greatest first.

    Columns that say the same thing share their importance, each looking dispensable (Breiman 2001, section 10).

    Parameters
    ----------
    rows : Rows
        Rows the model has not learned from; at most 2,000 of them are used (whole groups for ranking).
    rng : numpy.random.Generator
        Draws the sample and the shuffles.

    Returns
    -------
    tuple of Importance
        Empty where the metric is undefined on the sample.
    """
    sample = rows.take(_sample(rows, schema, config, rng))
    features = feature_frame(sample.frame, schema)
    repeats = config.training.importance_repeats

    options: dict[str, Any] = {"schema": schema, "config": config, "classes": classes}

    def value(frame: pd.DataFrame) -> FloatArray:
        score = answer(estimator, frame, problem=config.problem.value, classes=classes)
        parts = np.split(score, len(frame) // len(sample))
        scored = [frame_scores(sample, part, threshold=threshold, **options) for part in parts]
        return np.array([metric.sign * metric(one) for one in scored])

    if not len(sample) or not np.isfinite(base := value(features)[0]):
        return ()
    importances = []
    for name in schema.features:
        drops = base - value(_shuffled(features, name, repeats, rng))
        importances.append(Importance(feature=name, mean=float(drops.mean()), std=float(drops.std())))
    return tuple(sorted(importances, key=lambda one: -one.mean))


def _shuffled(features: pd.DataFrame, name: str, repeats: int, rng: np.random.Generator) -> pd.DataFrame:
    """Stack copies of the frame with one column shuffled in each, so that the model predicts once."""
    stacked = pd.concat([features] * repeats, ignore_index=True)
    column = features[name].to_numpy()
    stacked[name] = np.concatenate([column[rng.permutation(len(column))] for _ in range(repeats)])
    return stacked


def _sample(rows: Rows, schema: Schema, config: ModelConfig, rng: np.random.Generator) -> IntArray:
    """Choose rows, or whole groups, in their own order."""
    n = len(rows)
    if n <= MOST_ROWS:
        return np.arange(n)
    codes = group_codes(rows.frame, schema) if config.problem == "ranking" else None
    if codes is None:
        return np.sort(rng.choice(n, MOST_ROWS, replace=False))
    order = rng.permutation(int(codes.max()) + 1)
    sizes = np.bincount(codes)[order].cumsum()
    return np.flatnonzero(np.isin(codes, order[sizes <= MOST_ROWS]))

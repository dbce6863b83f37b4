"""Permutation importance: how much worse the metric gets when one column is shuffled."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from evergreen.tasks.core.arrays import FloatArray
from evergreen.tasks.core.config import ModelConfig
from evergreen.tasks.core.data.rows import Rows
from evergreen.tasks.core.data.schema import Schema
from evergreen.tasks.core.metrics.base import Metric
from evergreen.tasks.core.training.features import answer, feature_frame, group_codes
from evergreen.tasks.core.training.scoring import frame_scores

MOST_ROWS = 2000


@dataclass(frozen=True, kw_only=True)
class Importance:
    """Loss of the metric by shuffling one feature.

    Attributes
    ----------
    feature : str
        The column.
    mean, std : float
        Over the shuffles, in the metric's unit; positive: the model relies on the column.
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

    def value(frame: pd.DataFrame) -> FloatArray:
        score = answer(estimator, frame, problem=config.problem.value, classes=classes)
        parts = np.split(score, len(frame) // len(sample))
        options: dict[str, Any] = {"schema": schema, "config": config, "classes": classes}
        return np.array(
            [
                metric.sign * metric(frame_scores(sample, part, threshold=threshold, **options))
                for part in parts
            ]
        )

    if not len(sample) or not np.isfinite(base := value(features)[0]):
        return ()
    found = []
    for name in schema.features:
        drops = base - value(_shuffled(features, name, repeats, rng))
        found.append(Importance(feature=name, mean=float(drops.mean()), std=float(drops.std())))
    return tuple(sorted(found, key=lambda one: -one.mean))


def _shuffled(features: pd.DataFrame, name: str, repeats: int, rng: np.random.Generator) -> pd.DataFrame:
    """Stack copies of the frame, one column shuffled in each, so that the model is asked once."""
    stacked = pd.concat([features] * repeats, ignore_index=True)
    column = features[name].to_numpy()
    stacked[name] = np.concatenate([column[rng.permutation(len(column))] for _ in range(repeats)])
    return stacked


def _sample(
    rows: Rows, schema: Schema, config: ModelConfig, rng: np.random.Generator
) -> np.ndarray[Any, np.dtype[np.int64]]:
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

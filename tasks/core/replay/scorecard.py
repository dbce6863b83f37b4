"""What each window of a replay is measured by: the deciding metric, and accuracy where something is classified."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tasks.core.config import ModelConfig
from tasks.core.data.clock import Window
from tasks.core.drift.performance import Performance, measure_performance
from tasks.core.learning.scorer import Scorer
from tasks.core.metrics.base import Metric
from tasks.core.metrics.registry import get_metric
from tasks.core.metrics.scored import Scored
from tasks.core.replay.history import History


@dataclass(frozen=True, kw_only=True)
class Scorecard:
    """What each window is measured by: the deciding metric, and accuracy where something is classified."""

    metric: Metric
    accuracy: Metric | None

    @classmethod
    def of(cls, config: ModelConfig, metric: Metric) -> Scorecard:
        """Return the scorecard of a model."""
        classifies = config.problem.value in ("binary", "multiclass")
        return cls(
            metric=metric,
            accuracy=get_metric("accuracy", problem=config.problem.value) if classifies else None,
        )

    def score(
        self, history: History, model: Scorer, window: Window, *, config: ModelConfig
    ) -> tuple[Performance, float | None]:
        """Measure a version's answers on a window."""
        return self.measure(model.score(history.between(window), config=config))

    def measure(self, scored: Scored) -> tuple[Performance, float | None]:
        """Measure answers on the rows that have a label in the end."""
        found = measure_performance(scored, self.metric)
        if self.accuracy is None:
            return found, None
        share = measure_performance(scored, self.accuracy).value
        return found, float(share) if np.isfinite(share) else None

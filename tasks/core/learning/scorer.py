"""A version that can score: its estimator with all that says what the answers mean."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tasks.core.config import ModelConfig
from tasks.core.data.rows import Rows
from tasks.core.data.schema import Schema
from tasks.core.data.split_plan import SplitPlan
from tasks.core.learning.recipe import Recipe
from tasks.core.learning.scoring import score_rows
from tasks.core.metrics.scored import Scored


@dataclass(frozen=True, kw_only=True, eq=False)
class Scorer:
    """A fitted model and what it was trained by, wherever it is kept.

    Attributes
    ----------
    estimator : object
        A scikit-learn estimator, or a foreign model with ``predict``.
    schema, plan, recipe : Schema, SplitPlan, Recipe
        Its columns; what it has learned from; classes, threshold and how to fit it again.
    """

    estimator: Any
    schema: Schema
    plan: SplitPlan
    recipe: Recipe

    @property
    def classes(self) -> tuple[Any, ...]:
        """(negative, positive) for binary, all classes for multiclass, else empty."""
        return self.recipe.classes

    @property
    def threshold(self) -> float:
        """Decision threshold on P(positive)."""
        return self.recipe.threshold.value

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns it learned from, and those that tell rows of a random split apart."""
        return (*self.schema.features, *self.plan.identity)

    def score(self, rows: Rows, *, config: ModelConfig) -> Scored:
        """Score labelled rows with the version's own schema, classes and threshold."""
        return score_rows(
            self.estimator,
            rows,
            schema=self.schema,
            config=config,
            classes=self.classes,
            threshold=self.threshold,
        )

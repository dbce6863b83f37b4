"""What a model answers for rows: scores, and the decisions they lead to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tasks.core.config import ModelConfig
from tasks.core.learning.recipe import Recipe
from tasks.core.learning.scoring import is_turned
from tasks.core.metrics.scored import FloatArray


@dataclass(frozen=True, eq=False, slots=True)
class Answers:
    """Answers for n rows.

    Attributes
    ----------
    scores : array, shape (n,) or (n, k)
        P(positive) (binary), probabilities in the order of ``classes`` (multiclass), else predictions.
    decisions : list
        The class of each row; None where there is only a score (regression, ranking).
    classes : tuple
        (negative, positive) for binary, all classes for multiclass, else empty.
    """

    scores: FloatArray
    decisions: list[Any]
    classes: tuple[Any, ...] = ()

    def plain_scores(self) -> list[Any]:
        """Return each row's score as the log stores it: a number, or one a class (by its name) for multiclass."""
        if self.scores.ndim == 1:
            return self.scores.tolist()
        names = [str(label) for label in self.classes]
        return [dict(zip(names, row, strict=True)) for row in self.scores.tolist()]


@dataclass(frozen=True, kw_only=True)
class Decider:
    """Turns a version's scores into answers, as `tasks.core.learning.scoring` does for stored rows.

    Attributes
    ----------
    classes : tuple
        Of the version's recipe.
    threshold : float
        Decision threshold on P(classes[1]) (binary).
    flipped : bool
        True when the configuration's positive class is the version's other one: scores are turned, decisions are not.
    """

    classes: tuple[Any, ...] = ()
    threshold: float = 0.5
    flipped: bool = False

    def decide(self, scores: FloatArray) -> Answers:
        """Return answers for scores of shape (n,) or (n, k) in the order of the version's classes."""
        if not self.classes:
            return Answers(scores, [None] * len(scores))
        if scores.ndim == 1:
            no, yes = self.classes
            decisions = [yes if above else no for above in (scores >= self.threshold).tolist()]
            if self.flipped:
                return Answers(1.0 - scores, decisions, (yes, no))
            return Answers(scores, decisions, (no, yes))
        best = scores.argmax(axis=1).tolist()
        return Answers(scores, [self.classes[i] for i in best], self.classes)


def decider_of(recipe: Recipe, config: ModelConfig) -> Decider:
    """Return how a version decides under a configuration.

    Raises
    ------
    NotLearnable
        ``classes_changed``: the configuration's positive class is unknown to the version.
    """
    classes = tuple(recipe.classes)
    flipped = config.problem == "binary" and is_turned(classes, config)
    return Decider(classes=classes, threshold=recipe.threshold.value, flipped=flipped)

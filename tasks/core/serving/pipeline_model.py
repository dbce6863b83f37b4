"""A served version in its compiled form: a matrix made without data frames, and a model of it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tasks.core.metrics.scored import FloatArray, IntArray
from tasks.core.serving.answers import Answers, Decider
from tasks.core.serving.batch import Batch
from tasks.core.serving.columns import Matrix
from tasks.core.serving.heads import Head
from tasks.core.serving.refused import model_refuses
from tasks.core.serving.signature import Signature


@dataclass(frozen=True, kw_only=True, eq=False)
class PipelineModel:
    """Transformers and a model as array operations.

    Attributes
    ----------
    signature : Signature
        What it takes.
    matrix : Matrix
        The transformers.
    head : Head
        The model.
    decider : Decider
        How scores become answers.
    turned : bool
        True when the model's first class is the positive one (binary).
    order : array | None
        Where each of the model's classes stands among the version's (multiclass); None where they are the same.
    """

    signature: Signature
    matrix: Matrix
    head: Head
    decider: Decider
    turned: bool = False
    order: IntArray | None = None

    @property
    def form(self) -> str:
        """What was compiled, for people."""
        return self.head.form

    def score(self, batch: Batch) -> Answers:
        """Answer rows.

        Raises
        ------
        Refused
            ``model_refuses`` when the model takes no such values, or answers with what is no number.
        """
        scores = self.scores(batch)
        if not np.isfinite(scores).all():
            raise model_refuses("it answers with no finite number")
        return self.decider.decide(scores)

    def scores(self, batch: Batch) -> FloatArray:
        """Return the scores before anything is decided; errors as `score`."""
        outputs = self.head.outputs(self.matrix.of(batch))
        if self.turned:
            return 1.0 - outputs
        if self.order is None:
            return outputs
        wide = np.zeros((batch.n, len(self.decider.classes)))
        wide[:, self.order] = outputs
        return wide

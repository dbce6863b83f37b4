"""The form every model has: rows as a data frame, asked as `tasks.core.learning` asks it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from tasks.core.errors import InputError
from tasks.core.learning.answers import answer
from tasks.core.metrics.scored import FloatArray
from tasks.core.serving.answers import Answers, Decider
from tasks.core.serving.batch import Batch
from tasks.core.serving.refused import model_raised, model_refuses
from tasks.core.serving.signature import Signature


@dataclass(frozen=True, kw_only=True, eq=False)
class FrameModel:
    """Any fitted estimator, behind data frames.

    Attributes
    ----------
    signature : Signature
        What it takes.
    estimator : object
        Anything `tasks.core.learning.answers.answer` understands.
    problem : str
        Kind of problem.
    decider : Decider
        How scores become answers.
    form : str
        ``frame``.
    """

    signature: Signature
    estimator: Any
    problem: str
    decider: Decider
    form: str = "frame"

    def score(self, batch: Batch) -> Answers:
        """Answer rows.

        Raises
        ------
        Refused
            ``model_refuses`` when the model itself fails on these rows, or answers with what is no number.
        """
        scores = self.scores(batch)
        if not np.isfinite(scores).all():
            raise model_refuses("it answers with no finite number")
        return self.decider.decide(scores)

    def scores(self, batch: Batch) -> FloatArray:
        """Return the scores before anything is decided; errors as `score`."""
        frame = batch_frame(batch)
        try:
            with np.errstate(over="ignore", invalid="ignore"):
                return answer(self.estimator, frame, problem=self.problem, classes=self.decider.classes)
        except (InputError, ValueError, TypeError) as error:
            raise model_raised(error) from error


def batch_frame(batch: Batch) -> pd.DataFrame:
    """Return the features as `tasks.core.learning.features.feature_frame` does: floats, objects, missing as NaN."""
    signature = batch.signature
    frame = pd.DataFrame(batch.numbers, columns=[column.name for column in signature.numbers], copy=False)
    if not signature.texts:
        return frame
    for column, values in zip(signature.texts, batch.texts, strict=True):
        filled = [np.nan if value is None else value for value in values]
        frame[column.name] = pd.Series(filled, dtype=object)
    return frame[list(signature.names)]

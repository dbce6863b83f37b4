"""A version ready to serve: the fastest form whose answers equal the estimator's own."""

from __future__ import annotations

from typing import Protocol

from tasks.core.config import ModelConfig
from tasks.core.learning.scorer import Scorer
from tasks.core.serving.answers import Answers, decider_of
from tasks.core.serving.batch import Batch
from tasks.core.serving.frame_model import FrameModel
from tasks.core.serving.signature import Signature, schema_signature, typed_signature

__all__ = ["Answers", "CompiledModel", "compile_model"]


class CompiledModel(Protocol):
    """What every form of a served model does."""

    @property
    def signature(self) -> Signature:
        """What it takes."""

    @property
    def form(self) -> str:
        """How it scores, for people: ``frame``, or the parts that were compiled."""

    def score(self, batch: Batch) -> Answers:
        """Answer rows; `Refused` when the model itself fails on them."""


def compile_model(scorer: Scorer, *, config: ModelConfig) -> CompiledModel:
    """Return a version in the fastest form whose answers equal the estimator's own.

    Parameters
    ----------
    scorer : Scorer
        The version.
    config : ModelConfig
        The model's configuration now.

    Raises
    ------
    NotLearnable
        ``classes_changed``: the configuration's positive class is unknown to the version.
    """
    return FrameModel(
        signature=_signature(scorer, config),
        estimator=scorer.estimator,
        problem=config.problem.value,
        decider=decider_of(scorer.recipe, config),
    )


def _signature(scorer: Scorer, config: ModelConfig) -> Signature:
    types = getattr(scorer.estimator, "types", None)
    if isinstance(types, dict) and scorer.recipe.candidate is None:
        return typed_signature(types, config)
    return schema_signature(scorer.schema, config)

"""A version ready to serve: the fastest form whose answers equal the estimator's own."""

from __future__ import annotations

from contextlib import suppress
from typing import Any, Protocol

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator

from tasks.core.config import ModelConfig
from tasks.core.learning.scorer import Scorer
from tasks.core.seeds import seed_for
from tasks.core.serving.answers import Answers, Decider, decider_of
from tasks.core.serving.batch import Batch
from tasks.core.serving.columns import Matrix, compile_columns
from tasks.core.serving.foreign_signature import foreign_signature
from tasks.core.serving.frame_model import FrameModel
from tasks.core.serving.heads import ArrayHead, Head, compile_head
from tasks.core.serving.pipeline_model import PipelineModel
from tasks.core.serving.signature import Signature, schema_signature
from tasks.core.serving.trees import NotCompiled
from tasks.core.serving.unwrap import fitted_names, text_columns, unwrap
from tasks.core.serving.verify import differs, telling_rows

__all__ = ["Answers", "CompiledModel", "compile_model"]


class CompiledModel(Protocol):
    """What every form of a served model does."""

    @property
    def signature(self) -> Signature:
        """What it takes."""

    @property
    def form(self) -> str:
        """How it scores, for people: ``trees as bits``, ``linear``, ``trees``, ``estimator on arrays`` or ``frame``."""

    def score(self, batch: Batch) -> Answers:
        """Answer rows; `Refused` when the model itself fails on them."""


def compile_model(
    scorer: Scorer, *, config: ModelConfig, example: pd.DataFrame | None = None
) -> CompiledModel:
    """Return a version in the fastest form whose answers equal the estimator's own.

    Parameters
    ----------
    scorer : Scorer
        The version.
    config : ModelConfig
        The model's configuration now.
    example : DataFrame, optional
        Rows that a model trained elsewhere answers: it is asked with them where it takes missing values.

    Raises
    ------
    NotLearnable
        ``classes_changed``: the configuration's positive class is unknown to the version.

    Notes
    -----
    A form is taken only if it answers rows made to find a difference as the estimator does, to 1e-12.
    """
    decider = decider_of(scorer.recipe, config)
    own = FrameModel(
        signature=_signature(scorer, config, decider, example),
        estimator=scorer.estimator,
        problem=config.problem.value,
        decider=decider,
    )
    rng = np.random.default_rng(seed_for(config.model, scorer.recipe.config_digest, "compiled"))
    try:
        inner, names = _inner(scorer)
        transformers, model = unwrap(inner)
        matrix = compile_columns(transformers, own.signature, names or own.signature.names)
    except NotCompiled:
        return own
    for head in _heads(model, own):
        made = _assemble(own, matrix, head, model)
        if made is not None and not differs(made, own, telling_rows(own.signature, matrix, head, rng=rng)):
            return made
    return own


def _signature(
    scorer: Scorer, config: ModelConfig, decider: Decider, example: pd.DataFrame | None
) -> Signature:
    if scorer.recipe.candidate is None:
        types = getattr(scorer.estimator, "types", None)
        if isinstance(types, dict):
            return foreign_signature(scorer.estimator, types, config, decider=decider, example=example)
    return schema_signature(scorer.schema, config, text=text_columns(scorer.estimator))


def _inner(scorer: Scorer) -> tuple[Any, tuple[str, ...] | None]:
    """Return the estimator itself, taken out of what gives a foreign model its columns, and the columns' order."""
    types = getattr(scorer.estimator, "types", None)
    if scorer.recipe.candidate is None and isinstance(types, dict):
        if "float" in types.values():
            raise NotCompiled("a column of 32-bit floats is rounded before the model sees it")
        return scorer.estimator.model, tuple(types)
    return scorer.estimator, fitted_names(scorer.estimator)


def _heads(model: Any, own: FrameModel) -> list[Head]:
    """Return the forms a model may take, fastest first."""
    kind = {"binary": "binary", "multiclass": "classes"}.get(own.problem, "number")
    found: list[Head] = []
    with suppress(NotCompiled):
        found.append(compile_head(model, kind=kind))
    if isinstance(model, BaseEstimator) and not hasattr(model, "feature_names_in_"):
        found.append(ArrayHead(estimator=model, problem=own.problem, classes=own.decider.classes))
    return found


def _assemble(own: FrameModel, matrix: Matrix, head: Head, model: Any) -> PipelineModel | None:
    """Put the parts together; None where the model knows classes that the version does not."""
    parts: dict[str, Any] = {
        "signature": own.signature,
        "matrix": matrix,
        "head": head,
        "decider": own.decider,
    }
    wanted = own.decider.classes
    if isinstance(head, ArrayHead) or not wanted:
        return PipelineModel(**parts)
    known = tuple(np.asarray(model.classes_).tolist())
    if not set(known) <= set(wanted) or (own.problem == "binary" and len(known) != 2):
        return None
    if own.problem == "binary":
        return PipelineModel(**parts, turned=known[0] == wanted[1])
    order = np.array([wanted.index(label) for label in known])
    return PipelineModel(**parts, order=None if known == wanted else order)

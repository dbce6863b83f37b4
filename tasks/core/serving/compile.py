"""A version ready to serve: the fastest form whose answers equal the estimator's own."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator

from evergreen.tasks.core.arrays import FloatArray, IntArray
from evergreen.tasks.core.config import ModelConfig
from evergreen.tasks.core.errors import InputError
from evergreen.tasks.core.seeds import seed_for
from evergreen.tasks.core.serving.answers import (
    Answers,
    Decider,
    RequestRefused,
    decider_of,
    model_raised,
    model_refuses,
)
from evergreen.tasks.core.serving.batch import Batch
from evergreen.tasks.core.serving.columns import Categories, Matrix, compile_columns
from evergreen.tasks.core.serving.predictors import ArrayPredictor, Predictor, compile_predictor
from evergreen.tasks.core.serving.signature import Signature, schema_signature, typed_signature
from evergreen.tasks.core.serving.transformers import fitted_names, text_columns, unwrap
from evergreen.tasks.core.serving.trees import NotCompiled
from evergreen.tasks.core.training.features import answer
from evergreen.tasks.core.training.scoring import Scorer

# The forms a version may have; all rows as a data frame is the one that every model has.


class CompiledModel(ABC):
    """A version in a form that answers rows."""

    signature: Signature
    """What it takes."""
    decider: Decider
    """How scores become answers."""
    form: str
    """How it scores: ``trees as bits``, ``linear``, ``trees``, ``estimator on arrays`` or ``frame``."""

    @abstractmethod
    def scores(self, batch: Batch) -> FloatArray:
        """Return the scores before anything is decided, shape (n,) or (n, k); errors as `score`."""

    def score(self, batch: Batch) -> Answers:
        """Answer rows.

        Raises
        ------
        RequestRefused
            ``model_refuses`` when the model fails on these rows, or answers with what is no number.
        """
        scores = self.scores(batch)
        if not np.isfinite(scores).all():
            raise model_refuses("it answers with no finite number")
        return self.decider.decide(scores)


@dataclass(frozen=True, kw_only=True, eq=False)
class FrameModel(CompiledModel):
    """Any fitted estimator, behind data frames: the form every model has."""

    signature: Signature
    estimator: Any
    """Anything `evergreen.tasks.core.training.features.answer` understands."""
    problem: str
    """Kind of problem."""
    decider: Decider
    form: str = "frame"
    """``signature``, ``decider``, ``form``: as `CompiledModel`."""

    def scores(self, batch: Batch) -> FloatArray:
        """Return the scores before anything is decided."""
        frame = batch_frame(batch)
        try:
            with np.errstate(over="ignore", invalid="ignore"):
                return answer(self.estimator, frame, problem=self.problem, classes=self.decider.classes)
        except (InputError, ValueError, TypeError) as error:
            raise model_raised(error) from error


def batch_frame(batch: Batch) -> pd.DataFrame:
    """Return the features as ``training.features.feature_frame`` does: floats, objects, missing as NaN."""
    signature = batch.signature
    frame = pd.DataFrame(batch.numbers, columns=[column.name for column in signature.numbers], copy=False)
    if not signature.texts:
        return frame
    for column, values in zip(signature.texts, batch.texts, strict=True):
        filled = [np.nan if value is None else value for value in values]
        frame[column.name] = pd.Series(filled, dtype=object)
    return frame[list(signature.names)]


# The signature of a model that was trained elsewhere: its own types, and where it takes missing values.


def foreign_signature(
    estimator: Any,
    types: Mapping[str, str],
    config: ModelConfig,
    *,
    decider: Decider,
    example: pd.DataFrame | None = None,
) -> Signature:
    """Return the signature, after asking the model about missing values column by column.

    Parameters
    ----------
    estimator : object
        Answers data frames.
    types : mapping of str to str
        MLflow's type of each column, in order.
    config : ModelConfig
        For the columns that are logged beside.
    decider : Decider
        Its classes.
    example : DataFrame, optional
        Rows the model answers; the first one is asked with. By default zeros and one-letter texts.

    Notes
    -----
    A model that does not answer the row itself says nothing about missing values, so that none are allowed.
    """
    problem, signature = config.problem.value, typed_signature(types, config, nullable=types)
    model = FrameModel(signature=signature, estimator=estimator, problem=problem, decider=decider)
    row = _row(model.signature, example)
    names = [column.name for column in model.signature.columns if column.nullable]
    if not _answers(model, row):
        return typed_signature(types, config)
    if _answers(model, _without(row, names)):
        return model.signature
    nullable = [name for name in names if _answers(model, _without(row, [name]))]
    return typed_signature(types, config, nullable=nullable)


def _row(signature: Signature, example: pd.DataFrame | None) -> Batch:
    """Return one row to ask with."""
    given = {} if example is None or example.empty else example.iloc[0].to_dict()
    numbers = [given.get(column.name, 0.0) for column in signature.numbers]
    texts = [given.get(column.name, column.only == "boolean" or "x") for column in signature.texts]
    return Batch(
        signature=signature,
        n=1,
        numbers=np.array([numbers], dtype=np.float64).reshape(1, len(numbers)),
        texts=tuple([None if pd.isna(value) else value] for value in texts),
    )


def _without(row: Batch, names: list[str]) -> Batch:
    """Return the row with some values missing."""
    absent = set(names)
    gone = np.array([column.name in absent for column in row.signature.numbers], dtype=bool)
    return Batch(
        signature=row.signature,
        n=1,
        numbers=np.where(gone, np.nan, row.numbers),
        texts=tuple(
            [None] if column.name in absent else values
            for column, values in zip(row.signature.texts, row.texts, strict=True)
        ),
    )


def _answers(model: FrameModel, row: Batch) -> bool:
    try:
        model.score(row)
    except RequestRefused:
        return False
    return True


# A served version in its compiled form: a matrix made without data frames, and a model of it.


@dataclass(frozen=True, kw_only=True, eq=False)
class PipelineModel(CompiledModel):
    """Transformers and a model as array operations."""

    signature: Signature
    matrix: Matrix
    """The transformers."""
    predictor: Predictor
    """The model."""
    decider: Decider
    form: str
    """``signature``, ``decider``, ``form``: as `CompiledModel`."""
    turned: bool = False
    """True when the model's first class is the positive one (binary)."""
    order: IntArray | None = None
    """Where each of the model's classes stands among the version's (multiclass); None: the same."""

    def scores(self, batch: Batch) -> FloatArray:
        """Return the scores before anything is decided."""
        outputs = self.predictor.outputs(self.matrix.of(batch))
        if self.turned:
            return 1.0 - outputs
        if self.order is None:
            return outputs
        wide = np.zeros((batch.n, len(self.decider.classes)))
        wide[:, self.order] = outputs
        return wide


# Compare a compiled form with the estimator itself, on rows made to find a difference.


ROWS = 400
_EDGES = 200
_FEW = 3
_CLOSE = 1e-12
_ODD = (0.0, -0.0, 1.0, -1.0, 0.5, 1e6, -1e6, 1e15, 255.0, 256.0)


def differs(compiled: CompiledModel, own: CompiledModel, batch: Batch) -> str:
    """Return how a compiled form's scores differ from the estimator's own; empty when they are the same.

    All rows are scored at once, a few together and some alone. Scores are the same when they differ by 1e-12 of their
    size at most, and by 1e-12 where they are smaller than 1; rows that are refused prove nothing.
    """
    parts = [range(batch.n), range(min(batch.n, 20)), *([i] for i in range(min(batch.n, _FEW)))]
    for part in parts:
        rows = batch.take(part)
        scores, expected = _scores(compiled, rows), _scores(own, rows)
        if scores is None or expected is None:
            return f"{rows.n} rows are refused"
        elif scores.shape != expected.shape:
            return f"scores have the shape {scores.shape}, not {expected.shape}"
        elif not np.allclose(scores, expected, rtol=_CLOSE, atol=_CLOSE, equal_nan=True):
            return f"scores differ by up to {np.nanmax(np.abs(scores - expected)):.2g} on {rows.n} rows"
    return ""


def probe_rows(
    signature: Signature, matrix: Matrix, predictor: Predictor, *, rng: np.random.Generator, n: int = ROWS
) -> Batch:
    """Return rows made to find a difference: thresholds and their neighbours, all categories, unknown and missing ones.

    Parameters
    ----------
    signature : Signature
        What the model takes; a value is missing only where it may be.
    matrix, predictor : Matrix, Head
        The compiled form: its thresholds say which numbers matter, its dictionaries which categories.
    rng : Generator
        For the choice among them.
    n : int
        Number of rows.
    """
    numbers = np.empty((n, len(signature.numbers)))
    for at, column in enumerate(signature.numbers):
        options = [*_ODD, *rng.normal(size=20).tolist(), *_probe_numbers(matrix, predictor, at, rng)]
        if column.only:
            options = [float(round(value)) for value in options if abs(value) < 2**31]
        numbers[:, at] = rng.choice(np.array(options), size=n)
        if column.nullable:
            numbers[rng.random(n) < 0.1, at] = np.nan
    texts = []
    for at, column in enumerate(signature.texts):
        made_up = (True, False) if column.only == "boolean" else ("never seen",)
        options = [*_known_values(matrix, is_number=False, at=at), *made_up]
        if column.nullable:
            options.append(None)
        texts.append([options[i] for i in rng.integers(len(options), size=n).tolist()])
    return Batch(signature=signature, n=n, numbers=numbers, texts=tuple(texts))


def _probe_numbers(matrix: Matrix, predictor: Predictor, at: int, rng: np.random.Generator) -> list[float]:
    """Return values of a column of numbers at which the model changes its mind, and the floats just beside them."""
    known = _known_values(matrix, is_number=True, at=at)
    options = [value for category in known for value in (category, category + 0.25)]
    for column, back in matrix.sources(at):
        edges = predictor.edges(column)
        some = rng.choice(edges, size=min(len(edges), _EDGES), replace=False)
        exact = back(some[np.isfinite(some)])
        up, down = np.nextafter(exact, np.inf), np.nextafter(exact, -np.inf)
        neighbours = (exact, up, down, np.nextafter(up, np.inf), np.nextafter(down, -np.inf))
        options += [value for values in neighbours for value in values.tolist()]
    return [value for value in options if np.isfinite(value)]


def _known_values(matrix: Matrix, *, is_number: bool, at: int) -> list[Any]:
    """Return the categories of a column that the model knows."""
    return [
        value
        for part in matrix.parts
        if isinstance(part, Categories)
        for source, lookup in zip(part.sources, part.lookups.columns, strict=True)
        if source == (is_number, at)
        for value in lookup.places
        if value is not None
    ]


def _scores(model: CompiledModel, rows: Batch) -> FloatArray | None:
    try:
        return model.scores(rows)
    except RequestRefused:
        return None


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
    problem, signature = config.problem.value, _signature(scorer, config, decider, example)
    own = FrameModel(signature=signature, estimator=scorer.estimator, problem=problem, decider=decider)
    rng = np.random.default_rng(seed_for(config.model, scorer.recipe.config_digest, "compiled"))
    try:
        inner, names = _inner(scorer)
        transformers, model = unwrap(inner)
        matrix = compile_columns(transformers, own.signature, names or own.signature.names)
    except NotCompiled:
        return own
    for predictor in _predictors(model, own):
        made = _assemble(own, matrix, predictor, model)
        if made is not None and not differs(made, own, probe_rows(own.signature, matrix, predictor, rng=rng)):
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


def _predictors(model: Any, own: FrameModel) -> list[Predictor]:
    """Return the forms a model may take, fastest first."""
    kind = {"binary": "binary", "multiclass": "classes"}.get(own.problem, "number")
    found: list[Predictor] = []
    with suppress(NotCompiled):
        found.append(compile_predictor(model, kind=kind))
    if isinstance(model, BaseEstimator) and not hasattr(model, "feature_names_in_"):
        found.append(ArrayPredictor(estimator=model, problem=own.problem, classes=own.decider.classes))
    return found


def _assemble(own: FrameModel, matrix: Matrix, predictor: Predictor, model: Any) -> PipelineModel | None:
    """Put the parts together; None where the model knows classes that the version does not."""
    parts: dict[str, Any] = {"signature": own.signature, "decider": own.decider, "form": predictor.form}
    parts |= {"matrix": matrix, "predictor": predictor}
    wanted = own.decider.classes
    if isinstance(predictor, ArrayPredictor) or not wanted:
        return PipelineModel(**parts)
    known = tuple(np.asarray(model.classes_).tolist())
    if not set(known) <= set(wanted) or (own.problem == "binary" and len(known) != 2):
        return None
    if own.problem == "binary":
        return PipelineModel(**parts, turned=known[0] == wanted[1])
    order = np.array([wanted.index(label) for label in known])
    return PipelineModel(**parts, order=None if known == wanted else order)

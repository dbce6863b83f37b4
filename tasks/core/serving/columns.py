"""From a batch to the matrix an estimator takes, without data frames."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from sklearn.compose import ColumnTransformer

from evergreen.tasks.core.arrays import FloatArray, IntArray
from evergreen.tasks.core.serving.batch import Batch, plain_numbers
from evergreen.tasks.core.serving.signature import Signature
from evergreen.tasks.core.serving.transformers import Lookups, MatrixStep, make_lookups, number_steps
from evergreen.tasks.core.serving.trees import NotCompiled


@dataclass(frozen=True, kw_only=True, eq=False)
class Numbers:
    """Columns of numbers and what is done to them."""

    take: IntArray
    """Shape (p,): their places among `Batch.numbers`."""
    all: bool
    """True when these are all of them, in order."""
    steps: tuple[MatrixStep, ...]
    """What is done to them."""

    @property
    def width(self) -> int:
        """Number of columns it makes."""
        return int(_apply(self.steps, np.zeros((1, len(self.take)))).shape[1])

    def of(self, batch: Batch) -> FloatArray:
        """Return their part of the matrix."""
        return _apply(self.steps, batch.numbers if self.all else batch.numbers[:, self.take])


@dataclass(frozen=True, kw_only=True, eq=False)
class Categories:
    """Columns of categories and what they become; a source is (is it a number?, its place in the batch)."""

    sources: tuple[tuple[bool, int], ...]
    lookups: Lookups

    @property
    def width(self) -> int:
        """Number of columns it makes."""
        return len(self.lookups.base)

    def of(self, batch: Batch) -> FloatArray:
        """Return their part of the matrix."""
        part = np.tile(self.lookups.base, (batch.n, 1))
        for source, lookup in zip(self.sources, self.lookups.columns, strict=True):
            is_number, at = source
            values = plain_numbers(batch.numbers[:, at]) if is_number else batch.texts[at]
            part[:, lookup.into] = lookup.of(values)
        return part


@dataclass(frozen=True, kw_only=True, eq=False)
class Matrix:
    """Parts side by side, then steps on all of them."""

    parts: tuple[Numbers | Categories, ...]
    steps: tuple[MatrixStep, ...] = ()

    def of(self, batch: Batch) -> FloatArray:
        """Return the matrix, shape (n, columns)."""
        parts = [part.of(batch) for part in self.parts]
        return _apply(self.steps, parts[0] if len(parts) == 1 else np.hstack(parts))

    def sources(self, number: int) -> Iterator[tuple[int, Callable[[FloatArray], FloatArray]]]:
        """Yield the columns made of one column of numbers, each with a way back from its values to the source's."""
        start = 0
        for part in self.parts:
            if isinstance(part, Numbers):
                for at in np.flatnonzero(part.take == number).tolist():
                    yield start + at, partial(self._back, part, at, start + at)
            start += part.width

    def _back(self, part: Numbers, at: int, column: int, values: FloatArray) -> FloatArray:
        return _undo(part.steps, at, _undo(self.steps, column, values))


def compile_columns(transformers: Sequence[Any], signature: Signature, names: Sequence[str]) -> Matrix:
    """Return what fitted transformers, one after the other, make of a batch.

    Parameters
    ----------
    transformers : sequence
        Perhaps a ``ColumnTransformer``, then transformers of numbers.
    signature : Signature
        What batches hold.
    names : sequence of str
        The columns of the frame the first transformer (or the estimator) was fitted on, in order.

    Raises
    ------
    NotCompiled
        When one is of a kind not known here.
    """
    if set(names) != set(signature.names):
        raise NotCompiled("the estimator was fitted on other columns than the signature names")
    rest = [one for one in transformers if one is not None and one != "passthrough"]
    if rest and isinstance(rest[0], ColumnTransformer):
        parts = _parts(rest.pop(0), signature, names)
    else:
        parts = [_numbers(None, list(names), signature)]
    steps: list[MatrixStep] = []
    for one in rest:  # the whole matrix may hold infinities, so functions that look for them are not left out
        more = number_steps(one)
        if not more:
            raise NotCompiled(f"{type(one).__name__} after others has no faster form")
        steps += more
    return Matrix(parts=tuple(parts), steps=tuple(steps))


def _parts(transformer: ColumnTransformer, signature: Signature, names: Sequence[str]) -> list[Any]:
    if transformer.transformer_weights:
        raise NotCompiled("ColumnTransformer with weights has no faster form")
    parts: list[Numbers | Categories] = []
    for name, part, _ in transformer.transformers_:
        chosen = [names[at] for at in transformer._transformer_to_input_indices[name]]
        if not chosen or (isinstance(part, str) and part == "drop"):
            continue
        try:
            parts.append(_numbers(part, chosen, signature))
        except NotCompiled:
            parts.append(_categories(part, chosen, signature))
    if not parts:
        raise NotCompiled("ColumnTransformer without columns has no faster form")
    return parts


def _numbers(part: Any, chosen: list[str], signature: Signature) -> Numbers:
    places = {column.name: at for at, column in enumerate(signature.numbers)}
    strange = [name for name in chosen if name not in places]
    if strange:
        raise NotCompiled(f"column '{strange[0]}' holds no numbers")
    take = np.array([places[name] for name in chosen], dtype=np.int64)
    whole = len(take) == len(places) and bool((take == np.arange(len(take))).all())
    return Numbers(take=take, all=whole, steps=number_steps(part))


def _categories(part: Any, chosen: list[str], signature: Signature) -> Categories:
    numbers = {column.name: (True, at) for at, column in enumerate(signature.numbers)}
    texts = {column.name: (False, at) for at, column in enumerate(signature.texts)}
    sources = tuple({**numbers, **texts}[name] for name in chosen)
    lookups = make_lookups(part, chosen, numeric=[is_number for is_number, _ in sources])
    return Categories(sources=sources, lookups=lookups)


def _apply(steps: tuple[MatrixStep, ...], values: FloatArray) -> FloatArray:
    for step in steps:
        values = step.apply(values)
    return values


def _undo(steps: tuple[MatrixStep, ...], column: int, values: FloatArray) -> FloatArray:
    for step in reversed(steps):
        values = step.undo(column, values)
    return values

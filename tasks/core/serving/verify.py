"""Compare a compiled form with the estimator itself, on rows made to find a difference."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np

from tasks.core.metrics.scored import FloatArray
from tasks.core.serving.batch import Batch
from tasks.core.serving.columns import Categories, Matrix
from tasks.core.serving.heads import Head
from tasks.core.serving.refused import Refused
from tasks.core.serving.signature import Signature

ROWS = 400
_EDGES = 200
_FEW = 3
_CLOSE = 1e-12
_ODD = (0.0, -0.0, 1.0, -1.0, 0.5, 1e6, -1e6, 1e15, 255.0, 256.0)


class Scores(Protocol):
    """Anything that scores batches."""

    def scores(self, batch: Batch) -> FloatArray:
        """Return scores, shape (n,) or (n, k)."""


def differs(compiled: Scores, own: Scores, batch: Batch) -> str:
    """Return how a compiled form's scores differ from the estimator's own; empty when they are the same.

    All rows are scored at once, a few together and some alone. Scores are the same when they differ by 1e-12 of their
    size at most, and by 1e-12 where they are smaller than 1; rows that are refused prove nothing.
    """
    parts = [range(batch.n), range(min(batch.n, 20)), *([i] for i in range(min(batch.n, _FEW)))]
    for part in parts:
        rows = batch.take(part)
        found, wanted = _scores(compiled, rows), _scores(own, rows)
        if found is None or wanted is None:
            return f"{rows.n} rows are refused"
        elif found.shape != wanted.shape:
            return f"scores have the shape {found.shape}, not {wanted.shape}"
        elif not np.allclose(found, wanted, rtol=_CLOSE, atol=_CLOSE, equal_nan=True):
            return f"scores differ by up to {np.nanmax(np.abs(found - wanted)):.2g} on {rows.n} rows"
    return ""


def telling_rows(
    signature: Signature, matrix: Matrix, head: Head, *, rng: np.random.Generator, n: int = ROWS
) -> Batch:
    """Return rows made to find a difference: thresholds and their neighbours, all categories, unknown and missing ones.

    Parameters
    ----------
    signature : Signature
        What the model takes; a value is missing only where it may be.
    matrix, head : Matrix, Head
        The compiled form: its thresholds say which numbers matter, its dictionaries which categories.
    rng : Generator
        For the choice among them.
    n : int
        Number of rows.
    """
    numbers = np.empty((n, len(signature.numbers)))
    for at, column in enumerate(signature.numbers):
        options = [*_ODD, *rng.normal(size=20).tolist(), *_telling_numbers(matrix, head, at, rng)]
        if column.only:
            options = [float(round(value)) for value in options if abs(value) < 2**31]
        numbers[:, at] = rng.choice(np.array(options), size=n)
        if column.nullable:
            numbers[rng.random(n) < 0.1, at] = np.nan
    texts = []
    for at, column in enumerate(signature.texts):
        options = [
            *_known_values(matrix, is_number=False, at=at),
            *((True, False) if column.only == "boolean" else ("never seen",)),
        ]
        if column.nullable:
            options.append(None)
        texts.append([options[i] for i in rng.integers(len(options), size=n).tolist()])
    return Batch(signature=signature, n=n, numbers=numbers, texts=tuple(texts))


def _telling_numbers(matrix: Matrix, head: Head, at: int, rng: np.random.Generator) -> list[float]:
    """Return values of a column of numbers at which the model changes its mind, and the floats just beside them."""
    found = [
        value for known in _known_values(matrix, is_number=True, at=at) for value in (known, known + 0.25)
    ]
    for column, back in matrix.sources(at):
        edges = head.edges(column)
        some = rng.choice(edges, size=min(len(edges), _EDGES), replace=False)
        exact = back(some[np.isfinite(some)])
        up, down = np.nextafter(exact, np.inf), np.nextafter(exact, -np.inf)
        beside = (exact, up, down, np.nextafter(up, np.inf), np.nextafter(down, -np.inf))
        found += [value for values in beside for value in values.tolist()]
    return [value for value in found if np.isfinite(value)]


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


def _scores(model: Scores, rows: Batch) -> FloatArray | None:
    try:
        return model.scores(rows)
    except Refused:
        return None

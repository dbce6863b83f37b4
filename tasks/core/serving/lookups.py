"""Transformers of categories as dictionaries: what the fitted transformer makes of each value, written down once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from sklearn.impute import SimpleImputer
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, OrdinalEncoder

from tasks.core.metrics.scored import FloatArray, IntArray
from tasks.core.serving.trees import NotCompiled
from tasks.core.serving.unwrap import known_categories

_UNKNOWN = "evergreen-unknown-category"
_BY_COLUMN = (FunctionTransformer, SimpleImputer, OrdinalEncoder, OneHotEncoder)


@dataclass(frozen=True, kw_only=True, eq=False)
class Lookup:
    """What one column of categories becomes.

    Attributes
    ----------
    places : mapping of object to int
        Row of ``outputs`` for each known value, and for None (missing).
    unknown : int
        Row for any other value.
    outputs : array, shape (values, width)
        What they become.
    into : array, shape (width,)
        Columns of the transformer's output they go to.
    """

    places: Mapping[Any, int]
    unknown: int
    outputs: FloatArray
    into: IntArray

    def of(self, values: Sequence[Any]) -> FloatArray:
        """Return what values become, shape (n, width)."""
        get, unknown = self.places.get, self.unknown
        return self.outputs[[get(value, unknown) for value in values]]


@dataclass(frozen=True, kw_only=True, eq=False)
class Lookups:
    """What a transformer makes of columns of categories, each for itself.

    Attributes
    ----------
    columns : tuple of Lookup
        One for each column.
    base : array, shape (width,)
        The output of all columns; what no column changes stays as it is here.
    """

    columns: tuple[Lookup, ...]
    base: FloatArray


def make_lookups(transformer: Any, names: Sequence[str], *, numeric: Sequence[bool]) -> Lookups:
    """Ask a fitted transformer what it makes of every category it knows, of a missing and of an unknown one.

    Parameters
    ----------
    transformer : object
        Encoders of scikit-learn, or a pipeline of them, that treat each column for itself.
    names : sequence of str
        The columns, in order.
    numeric : sequence of bool
        Which of them hold numbers.

    Raises
    ------
    NotCompiled
        When it is of another kind, refuses unknown or missing categories, or mixes columns.
    """
    known = _require_by_column(transformer)
    if len(known) != len(names):
        raise NotCompiled("the encoder knows another number of columns")
    asked = [
        [*values, None, _stranger(values) if is_number else _UNKNOWN]
        for values, is_number in zip(known, numeric, strict=True)
    ]
    rows = [[values[0] for values in asked]]
    rows += [
        [value if at == column else values[0] for column, values in enumerate(asked)]
        for at, options in enumerate(asked)
        for value in options
    ]
    output = _ask(transformer, rows, names, numeric)
    return _separate(output, asked)


def _separate(output: FloatArray, asked: list[list[Any]]) -> Lookups:
    base = output[0]
    start, taken, found = 1, np.zeros(output.shape[1], dtype=bool), []
    for values in asked:
        block = output[start : start + len(values)]
        start += len(values)
        varies = np.flatnonzero(~((block == base) | (np.isnan(block) & np.isnan(base))).all(axis=0))
        if taken[varies].any():
            raise NotCompiled("the encoder mixes columns")
        taken[varies] = True
        places = {value: i for i, value in enumerate(values[:-1])}
        found.append(Lookup(places=places, unknown=len(values) - 1, outputs=block[:, varies], into=varies))
    return Lookups(columns=tuple(found), base=base)


def _require_by_column(transformer: Any) -> list[list[Any]]:
    """Return the known categories of each column, if every step treats each column for itself."""
    steps = [step for _, step in transformer.steps] if hasattr(transformer, "steps") else [transformer]
    for step in steps:
        if not isinstance(step, _BY_COLUMN) or getattr(step, "add_indicator", False):
            raise NotCompiled(f"{type(step).__name__} has no faster form for categories")
    known = known_categories(transformer)
    if known is None:
        raise NotCompiled("the encoder has no categories")
    return known


def _stranger(values: list[Any]) -> float:
    return float(max(values, default=0.0)) + 0.5


def _ask(
    transformer: Any, rows: list[list[Any]], names: Sequence[str], numeric: Sequence[bool]
) -> FloatArray:
    columns = {
        name: pd.Series(
            [np.nan if row[at] is None else row[at] for row in rows], dtype=float if is_number else object
        )
        for at, (name, is_number) in enumerate(zip(names, numeric, strict=True))
    }
    try:
        output = transformer.transform(pd.DataFrame(columns))
    except (ValueError, TypeError) as error:
        raise NotCompiled(
            f"the encoder refuses some categories ({' '.join(str(error).split())[:80]})"
        ) from error
    dense = output.toarray() if hasattr(output, "toarray") else output
    return np.asarray(dense, dtype=np.float64)

"""Transformers of categories as dictionaries: what the fitted transformer makes of each value, written down once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import pandas as pd
from sklearn.impute import SimpleImputer
from sklearn.model_selection import FixedThresholdClassifier, TunedThresholdClassifierCV
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    MaxAbsScaler,
    MinMaxScaler,
    OneHotEncoder,
    OrdinalEncoder,
    RobustScaler,
    StandardScaler,
)

from evergreen.tasks.core.arrays import FloatArray, IntArray
from evergreen.tasks.core.serving.trees import NotCompiled

# Transformers of numbers as array operations: the same ones, in the same order, without their checks.


class MatrixStep(Protocol):
    """One transformation of a matrix of numbers."""

    def apply(self, values: FloatArray) -> FloatArray:
        """Return new values for values of shape (n, p)."""

    def undo(self, column: int, values: FloatArray) -> FloatArray:
        """Return values of a column that are turned into about these."""


@dataclass(frozen=True, kw_only=True, eq=False)
class ScaleStep:
    """Subtract, then divide, as scikit-learn's scalers do; None leaves one of them out."""

    center: FloatArray | None
    scale: FloatArray | None

    def apply(self, values: FloatArray) -> FloatArray:
        """Return new values for values of shape (n, p); beyond all floats they are infinite."""
        with np.errstate(over="ignore"):
            moved = values if self.center is None else values - self.center
            return moved if self.scale is None else moved / self.scale

    def undo(self, column: int, values: FloatArray) -> FloatArray:
        """Return values of a column that are turned into about these."""
        wide = values if self.scale is None else values * self.scale[column]
        return wide if self.center is None else wide + self.center[column]


@dataclass(frozen=True, kw_only=True, eq=False)
class StretchStep:
    """Multiply, then add, as ``MinMaxScaler`` does."""

    factor: FloatArray
    offset: FloatArray

    def apply(self, values: FloatArray) -> FloatArray:
        """Return new values for values of shape (n, p); beyond all floats they are infinite."""
        with np.errstate(over="ignore"):
            return values * self.factor + self.offset

    def undo(self, column: int, values: FloatArray) -> FloatArray:
        """Return values of a column that are turned into about these."""
        return (values - self.offset[column]) / self.factor[column]


@dataclass(frozen=True, kw_only=True, eq=False)
class FillStep:
    """Put a value where one is missing, and columns at the end that say where it was."""

    by: FloatArray
    """Shape (p,): value of each column."""
    indicated: IntArray
    """Shape (q,): columns that get a column saying where a value was missing."""

    def apply(self, values: FloatArray) -> FloatArray:
        """Return new values for values of shape (n, p)."""
        missing = np.isnan(values)
        filled = np.where(missing, self.by, values) if missing.any() else values
        return np.hstack([filled, missing[:, self.indicated]]) if len(self.indicated) else filled

    def undo(self, column: int, values: FloatArray) -> FloatArray:
        """Return values of a column that are turned into about these."""
        return values if column < len(self.by) else np.array([np.nan, 0.0])


def number_steps(transformer: Any) -> tuple[MatrixStep, ...]:
    """Return the steps of a fitted transformer of numbers (or a pipeline of such).

    It is given finite numbers and NaN (`Batch.numbers`): turning infinities into NaN first does nothing.

    Raises
    ------
    NotCompiled
        When it is of a kind or has options not known here.
    """
    steps: list[MatrixStep] = []
    for one in _chain(transformer):
        if type(one) not in _MAKE:
            raise NotCompiled(f"{type(one).__name__} has no faster form")
        steps += _MAKE[type(one)](one, not steps)
    return tuple(steps)


def _chain(transformer: Any) -> list[Any]:
    if hasattr(transformer, "steps"):
        return [one for _, step in transformer.steps for one in _chain(step)]
    return [] if transformer is None or transformer == "passthrough" else [transformer]


def _function(one: FunctionTransformer, first: bool) -> list[MatrixStep]:
    options = one.kw_args or {}
    same = one.func is None or (one.func is np.asarray and options in ({}, {"dtype": "float64"}))
    infinities = {name: str(value) for name, value in options.items()}
    kept = {"nan": "nan", "posinf": "nan", "neginf": "nan"}
    if same or (first and one.func is np.nan_to_num and infinities == kept):
        return []
    raise NotCompiled(f"a function {getattr(one.func, '__name__', one.func)} has no faster form")


def _standard(one: StandardScaler, _: bool) -> list[MatrixStep]:
    center, scale = one.mean_ if one.with_mean else None, one.scale_ if one.with_std else None
    return [ScaleStep(center=center, scale=scale)]


def _robust(one: RobustScaler, _: bool) -> list[MatrixStep]:
    center, scale = one.center_ if one.with_centering else None, one.scale_ if one.with_scaling else None
    return [ScaleStep(center=center, scale=scale)]


def _greatest(one: MaxAbsScaler, _: bool) -> list[MatrixStep]:
    return [ScaleStep(center=None, scale=one.scale_)]


def _range(one: MinMaxScaler, _: bool) -> list[MatrixStep]:
    if one.clip:
        raise NotCompiled("MinMaxScaler with clip has no faster form")
    return [StretchStep(factor=one.scale_, offset=one.min_)]


def _fill(one: SimpleImputer, _: bool) -> list[MatrixStep]:
    values = np.asarray(one.statistics_)
    missing = one.missing_values
    if not (isinstance(missing, float) and np.isnan(missing)) or values.dtype.kind not in "fiu":
        raise NotCompiled("SimpleImputer of something else than missing numbers has no faster form")
    if np.isnan(values).any():
        raise NotCompiled("SimpleImputer that drops a column has no faster form")
    indicated = one.indicator_.features_ if one.add_indicator else np.empty(0)
    return [FillStep(by=values.astype(np.float64), indicated=np.asarray(indicated, dtype=np.int64))]


_MAKE: dict[type, Callable[[Any, bool], list[MatrixStep]]] = {
    FunctionTransformer: _function,
    StandardScaler: _standard,
    RobustScaler: _robust,
    MaxAbsScaler: _greatest,
    MinMaxScaler: _range,
    SimpleImputer: _fill,
}


# What is inside a served estimator: its transformers, and the model after them.


_THRESHOLDS = (FixedThresholdClassifier, TunedThresholdClassifierCV)


def unwrap(estimator: Any) -> tuple[list[Any], Any]:
    """Return the transformers of an estimator in order, and the model that answers.

    A decision threshold around it is taken off: scores do not depend on it.

    >>> from sklearn.preprocessing import StandardScaler
    >>> from sklearn.linear_model import Ridge
    >>> unwrap(Pipeline([("scale", StandardScaler()), ("model", Ridge())]))
    ([StandardScaler()], Ridge())
    """
    if isinstance(estimator, _THRESHOLDS):
        return unwrap(getattr(estimator, "estimator_", estimator.estimator))
    if not isinstance(estimator, Pipeline):
        return [], estimator
    before = [step for _, step in estimator.steps[:-1]]
    after, model = unwrap(estimator.steps[-1][1])
    return [*before, *after], model


def fitted_names(estimator: Any) -> tuple[str, ...] | None:
    """Return the names of the columns an estimator was fitted on, in order; None where it was fitted on an array."""
    transformers, model = unwrap(estimator)
    for one in (*transformers, model):
        names = getattr(one, "feature_names_in_", None)
        if names is not None:
            return tuple(str(name) for name in names)
        if hasattr(one, "n_features_in_"):
            return None
    return None


def text_columns(estimator: Any) -> frozenset[str]:
    """Return the columns whose categories, as a fitted encoder knows them, are all text."""
    all_text: set[str] = set()
    for transformer in unwrap(estimator)[0]:
        for _, part, columns in getattr(transformer, "transformers_", ()):
            categories = known_categories(part)
            if isinstance(columns, list) and categories is not None and len(categories) == len(columns):
                all_text |= {
                    name
                    for name, values in zip(columns, categories, strict=True)
                    if values and all(isinstance(value, str) for value in values)
                }
    return frozenset(all_text)


def known_categories(transformer: Any) -> list[list[Any]] | None:
    """Return the categories of each column that an encoder knows, without missing ones; None where there is none."""
    steps = [step for _, step in transformer.steps] if isinstance(transformer, Pipeline) else [transformer]
    for step in steps:
        if isinstance(step, OrdinalEncoder | OneHotEncoder):
            return [[v for v in values.tolist() if not pd.isna(v)] for values in step.categories_]
    return None


_UNKNOWN = "evergreen-unknown-category"
_BY_COLUMN = (FunctionTransformer, SimpleImputer, OrdinalEncoder, OneHotEncoder)


@dataclass(frozen=True, kw_only=True, eq=False)
class Lookup:
    """What one column of categories becomes."""

    places: Mapping[Any, int]
    """Row of ``outputs`` for each known value, and for None (missing)."""
    unknown: int
    """Row for any other value."""
    outputs: FloatArray
    """Shape (values, width): what they become."""
    into: IntArray
    """Shape (width,): columns of the transformer's output they go to."""

    def of(self, values: Sequence[Any]) -> FloatArray:
        """Return what values become, shape (n, width)."""
        get, unknown = self.places.get, self.unknown
        return self.outputs[[get(value, unknown) for value in values]]


@dataclass(frozen=True, kw_only=True, eq=False)
class Lookups:
    """What a transformer makes of columns of categories, each for itself."""

    columns: tuple[Lookup, ...]
    """One for each column."""
    base: FloatArray
    """Shape (width,): the output of all columns; what no column changes stays as it is here."""


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
    categories = _require_by_column(transformer)
    if len(categories) != len(names):
        raise NotCompiled("the encoder knows another number of columns")
    options_by_column = [
        [*values, None, float(max(values, default=0.0)) + 0.5 if is_number else _UNKNOWN]
        for values, is_number in zip(categories, numeric, strict=True)
    ]
    rows = [[values[0] for values in options_by_column]]
    rows += [
        [value if at == column else values[0] for column, values in enumerate(options_by_column)]
        for at, options in enumerate(options_by_column)
        for value in options
    ]
    output = _ask(transformer, rows, names, numeric)
    return _separate(output, options_by_column)


def _separate(output: FloatArray, options_by_column: list[list[Any]]) -> Lookups:
    base = output[0]
    start, used, lookups = 1, np.zeros(output.shape[1], dtype=bool), []
    for values in options_by_column:
        block = output[start : start + len(values)]
        start += len(values)
        varies = np.flatnonzero(~((block == base) | (np.isnan(block) & np.isnan(base))).all(axis=0))
        if used[varies].any():
            raise NotCompiled("the encoder mixes columns")
        used[varies] = True
        places = {value: i for i, value in enumerate(values[:-1])}
        lookups.append(Lookup(places=places, unknown=len(values) - 1, outputs=block[:, varies], into=varies))
    return Lookups(columns=tuple(lookups), base=base)


def _require_by_column(transformer: Any) -> list[list[Any]]:
    """Return the known categories of each column, if every step treats each column for itself."""
    steps = [step for _, step in transformer.steps] if hasattr(transformer, "steps") else [transformer]
    for step in steps:
        if not isinstance(step, _BY_COLUMN) or getattr(step, "add_indicator", False):
            raise NotCompiled(f"{type(step).__name__} has no faster form for categories")
    categories = known_categories(transformer)
    if categories is None:
        raise NotCompiled("the encoder has no categories")
    return categories


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

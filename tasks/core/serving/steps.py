"""Transformers of numbers as array operations: the same ones, in the same order, without their checks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from sklearn.impute import SimpleImputer
from sklearn.preprocessing import (
    FunctionTransformer,
    MaxAbsScaler,
    MinMaxScaler,
    RobustScaler,
    StandardScaler,
)

from tasks.core.metrics.scored import FloatArray, IntArray
from tasks.core.serving.trees import NotCompiled


class Step(Protocol):
    """One transformation of a matrix of numbers."""

    def apply(self, values: FloatArray) -> FloatArray:
        """Return new values for values of shape (n, p)."""

    def undo(self, column: int, values: FloatArray) -> FloatArray:
        """Return values of a column that are turned into about these."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Scale:
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
class Stretch:
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
class Fill:
    """Put a value where one is missing, and columns at the end that say where it was.

    Attributes
    ----------
    by : array, shape (p,)
        Value of each column.
    told : array, shape (q,)
        Columns that get a column saying where a value was missing.
    """

    by: FloatArray
    told: IntArray

    def apply(self, values: FloatArray) -> FloatArray:
        """Return new values for values of shape (n, p)."""
        missing = np.isnan(values)
        filled = np.where(missing, self.by, values) if missing.any() else values
        return np.hstack([filled, missing[:, self.told]]) if len(self.told) else filled

    def undo(self, column: int, values: FloatArray) -> FloatArray:
        """Return values of a column that are turned into about these."""
        return values if column < len(self.by) else np.array([np.nan, 0.0])


def number_steps(transformer: Any) -> tuple[Step, ...]:
    """Return the steps of a fitted transformer of numbers (or a pipeline of such).

    It is given finite numbers and NaN (`Batch.numbers`): turning infinities into NaN first does nothing.

    Raises
    ------
    NotCompiled
        When it is of a kind or has options not known here.
    """
    steps: list[Step] = []
    for one in _chain(transformer):
        steps += _MAKE[type(one)](one, not steps) if type(one) in _MAKE else _unknown(one)
    return tuple(steps)


def _chain(transformer: Any) -> list[Any]:
    if hasattr(transformer, "steps"):
        return [one for _, step in transformer.steps for one in _chain(step)]
    return [] if transformer is None or transformer == "passthrough" else [transformer]


def _unknown(one: Any) -> list[Step]:
    raise NotCompiled(f"{type(one).__name__} has no faster form")


def _function(one: FunctionTransformer, first: bool) -> list[Step]:
    options = one.kw_args or {}
    same = one.func is None or (one.func is np.asarray and options in ({}, {"dtype": "float64"}))
    infinities = {name: str(value) for name, value in options.items()}
    kept = {"nan": "nan", "posinf": "nan", "neginf": "nan"}
    if same or (first and one.func is np.nan_to_num and infinities == kept):
        return []
    raise NotCompiled(f"a function {getattr(one.func, '__name__', one.func)} has no faster form")


def _standard(one: StandardScaler, _: bool) -> list[Step]:
    return [Scale(center=one.mean_ if one.with_mean else None, scale=one.scale_ if one.with_std else None)]


def _robust(one: RobustScaler, _: bool) -> list[Step]:
    return [
        Scale(
            center=one.center_ if one.with_centering else None, scale=one.scale_ if one.with_scaling else None
        )
    ]


def _greatest(one: MaxAbsScaler, _: bool) -> list[Step]:
    return [Scale(center=None, scale=one.scale_)]


def _range(one: MinMaxScaler, _: bool) -> list[Step]:
    if one.clip:
        raise NotCompiled("MinMaxScaler with clip has no faster form")
    return [Stretch(factor=one.scale_, offset=one.min_)]


def _fill(one: SimpleImputer, _: bool) -> list[Step]:
    values = np.asarray(one.statistics_)
    missing = one.missing_values
    if not (isinstance(missing, float) and np.isnan(missing)) or values.dtype.kind not in "fiu":
        raise NotCompiled("SimpleImputer of something else than missing numbers has no faster form")
    if np.isnan(values).any():
        raise NotCompiled("SimpleImputer that drops a column has no faster form")
    told = one.indicator_.features_ if one.add_indicator else np.empty(0)
    return [Fill(by=values.astype(np.float64), told=np.asarray(told, dtype=np.int64))]


_MAKE: dict[type, Callable[[Any, bool], list[Step]]] = {
    FunctionTransformer: _function,
    StandardScaler: _standard,
    RobustScaler: _robust,
    MaxAbsScaler: _greatest,
    MinMaxScaler: _range,
    SimpleImputer: _fill,
}

"""Pairs of count or share vectors over the same bins: checked, and brought to shares."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from tasks.core.errors import DataError

FloatArray: TypeAlias = npt.NDArray[np.float64]
Number: TypeAlias = Any
"""A float for two vectors; an array over the leading axes for two stacks of vectors."""


def pair(reference: Any, current: Any) -> tuple[FloatArray, FloatArray]:
    """Return both as float arrays of one shape, the bins on the last axis.

    Raises
    ------
    DataError
        When the shapes differ, there is no bin, or a value is negative, NaN or infinite.

    Examples
    --------
    >>> pair([1, 2], [3, 4])[1].tolist()
    [3.0, 4.0]
    """
    first, second = vector(reference, "reference"), vector(current, "current")
    if first.shape != second.shape:
        raise DataError(
            f"The two vectors have shapes {first.shape} and {second.shape}. Allowed: the same bins on both sides. "
            "Count both over one grid."
        )
    return first, second


def vector(values: Any, name: str) -> FloatArray:
    """Return counts or shares as a float array with at least one bin; what is none is refused."""
    array = np.asarray(values, dtype=np.float64)
    if array.ndim == 0 or array.shape[-1] == 0:
        raise DataError(f"'{name}' has shape {array.shape}. Allowed: one count a bin, at least one bin.")
    if not ((array >= 0) & (array < np.inf)).all():
        wrong = array[~((array >= 0) & (array < np.inf))].flat[0]
        raise DataError(f"'{name}' holds {wrong:g}. Allowed: counts or shares, from 0 on and finite.")
    return array


def are_shares(first: FloatArray, second: FloatArray) -> tuple[bool, bool]:
    """Tell which of two are shares, not counts: they sum to one, and not all on such sides are whole numbers.

    >>> are_shares(np.array([0.75, 0.25]), np.array([3.0, 1.0]))
    (True, False)
    >>> are_shares(np.array([0.75, 0.25]), np.array([1.0, 0.0])), are_shares(np.eye(2), np.eye(2))
    ((True, True), (False, False))
    """
    unit = [bool((np.abs(side.sum(axis=-1) - 1) < 1e-6).all()) for side in (first, second)]
    broken = any(
        one and bool((side != np.rint(side)).any()) for one, side in zip(unit, (first, second), strict=True)
    )
    return unit[0] and broken, unit[1] and broken


def shares(array: FloatArray) -> FloatArray:
    """Divide by the sum over the bins; NaN where there are no rows.

    >>> shares(np.array([[3.0, 1.0], [0.0, 0.0]])).tolist()
    [[0.75, 0.25], [nan, nan]]
    """
    totals = array.sum(axis=-1, keepdims=True)
    return np.divide(array, totals, out=np.full(array.shape, np.nan), where=totals > 0)


def plain(value: FloatArray) -> Number:
    """Return a float for a number without axes."""
    return float(value) if np.ndim(value) == 0 else value

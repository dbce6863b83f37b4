"""Several tests at once: adjusted p-values for the family-wise error and for the false discovery rate."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from tasks.core.errors import DataError

FloatArray = npt.NDArray[np.float64]


def holm(p_values: Any) -> FloatArray:
    """Adjust p-values so that rejecting those <= α keeps any false rejection at α, under any dependence.

    Parameters
    ----------
    p_values : array, shape (m,)
        In 0..1; NaN stays NaN and still counts as a test.

    Returns
    -------
    array, shape (m,)
        Adjusted, in the order given. Uniformly better than Bonferroni.

    Notes
    -----
    Holm (1979).

    Examples
    --------
    >>> holm([0.01, 0.04, 0.03]).tolist()
    [0.03, 0.06, 0.06]
    """
    p, order = _sorted(p_values)
    stepped = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    return _unsorted(stepped, order)


def benjamini_hochberg(p_values: Any) -> FloatArray:
    """Adjust p-values for the false discovery rate; independent or positively dependent tests.

    Notes
    -----
    Benjamini & Hochberg (1995). Under any other dependence use `benjamini_yekutieli`.

    Examples
    --------
    >>> benjamini_hochberg([0.01, 0.04, 0.03, 0.5]).round(4).tolist()
    [0.04, 0.0533, 0.0533, 0.5]
    """
    return _step_up(p_values, factor=1.0)


def benjamini_yekutieli(p_values: Any) -> FloatArray:
    """Adjust p-values for the false discovery rate under any dependence.

    Notes
    -----
    Benjamini & Yekutieli (2001); wider by 1 + 1/2 + … + 1/m.

    Examples
    --------
    >>> benjamini_yekutieli([0.01, 0.5]).round(4).tolist()
    [0.03, 0.75]
    """
    m = np.size(p_values)
    return _step_up(p_values, factor=float((1 / np.arange(1, m + 1)).sum()))


def _step_up(p_values: Any, *, factor: float) -> FloatArray:
    """Return min over larger ranks of p m factor / rank."""
    p, order = _sorted(p_values)
    m = len(p)
    scaled = p[order] * factor * m / np.arange(1, m + 1)
    stepped = np.fmin.accumulate(scaled[::-1])[::-1]
    return _unsorted(np.where(np.isnan(scaled), np.nan, stepped), order)


def _sorted(p_values: Any) -> tuple[FloatArray, npt.NDArray[np.intp]]:
    """Return p-values and their rising order, NaN last."""
    p = np.asarray(p_values, dtype=np.float64)
    if p.ndim != 1 or (p < 0).any() or (p > 1).any():
        raise DataError(
            "P-values must be one row of numbers. Allowed: 0 to 1. Hand in p-values, not statistics."
        )
    return p, np.argsort(p, kind="stable")


def _unsorted(stepped: FloatArray, order: npt.NDArray[np.intp]) -> FloatArray:
    """Put adjusted values back in the order given, at most 1."""
    adjusted = np.empty(len(stepped))
    adjusted[order] = np.minimum(stepped, 1.0)
    return adjusted

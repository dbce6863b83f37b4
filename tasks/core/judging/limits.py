"""Limits of one form of look: how far a signal may be off before it is called a move."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy.stats import t

from tasks.core.judging.borrowing import borrow
from tasks.core.metrics.scored import FloatArray, IntArray

_LEAST_WINDOWS = 1.5
_FARTHEST, _ENOUGH_TO_CAP = 4.0, 16
_WORN, _FEWEST_TO_CAP = 1.5, 10


@dataclass(frozen=True, kw_only=True, eq=False)
class Limits:
    """The null of one form of look at k signals, for each of h ages of what they are compared with.

    The variance of a deviation is ``(between + error²) * factor + own``; its limit the quantile times the root.

    Attributes
    ----------
    between : array, shape (h, k)
        Variance between windows that rows do not explain, >= 0; NaN where this form cannot look.
    factor : array, shape (h, k)
        Raises it for what the past itself is not sure of.
    own : array, shape (h, k)
        Variance of what is compared with, where that is known from sampling alone.
    freedom, quantile : array, shape (h, k)
        Degrees of freedom, and the t quantile at each signal's level.
    """

    between: FloatArray
    factor: FloatArray
    own: FloatArray
    freedom: FloatArray
    quantile: FloatArray

    def spread(self, squared_errors: FloatArray, *, age: IntArray | int = 0) -> FloatArray:
        """Return the standard deviation of a deviation, shape (k,)."""
        place = self._place(age)
        variance = (self.between[place] + squared_errors) * self.factor[place] + self.own[place]
        return np.asarray(np.sqrt(variance))

    def quantiles(self, *, age: IntArray | int = 0) -> FloatArray:
        """Return the quantiles, shape (k,)."""
        return np.asarray(self.quantile[self._place(age)])

    def _place(self, age: IntArray | int) -> Any:
        return (age, np.arange(self.between.shape[1])) if isinstance(age, np.ndarray) else age

    def p_values(
        self, deviations: FloatArray, spread: FloatArray, *, age: IntArray | int, sides: IntArray
    ) -> FloatArray:
        """Return the p-value of each deviation, shape (k,): two-sided, or on the side that counts."""
        z = deviations / np.maximum(spread, 1e-15)
        freedom = self.freedom[age, np.arange(len(z))]
        both = 2 * t.sf(np.abs(z), freedom)
        return np.asarray(np.minimum(np.where(sides == 0, both, t.sf(sides * z, freedom)), 1.0))


def fit_limits(
    past: FloatArray,
    *,
    squared_errors: FloatArray,
    windows: FloatArray,
    lost: FloatArray | IntArray | float,
    levels: FloatArray,
    inflation: FloatArray,
    groups: Sequence[IntArray] = (),
    lend: bool = False,
) -> Limits:
    """Fit the limits of one form of look to its deviations in the model's own past.

    Parameters
    ----------
    past : array, shape (m, k)
        Deviations in time order, NaN where there is none.
    squared_errors : array, shape (k,)
        Their mean sampling variance.
    windows : array, shape (k,)
        Independent windows that each expectation was made of (the same windows, so the past looks quieter than the
        future by (1 - 1/w) / (1 + 1/w)); infinite where it was made of other windows.
    lost : float or array, shape (k,)
        Degrees of freedom that went into the expectations.
    levels : array, shape (k,)
        Level of a two-sided look.
    inflation : array, shape (k,)
        By what their dependence raises the variance of their mean square.
    groups : sequence of array
        Signals that may borrow from each other (`tasks.core.judging.borrowing`): none is then taken for calmer
        than they are together.
    lend : bool
        Whether they lend each other degrees of freedom too; only for deviations that hardly depend on their own past.
    """
    count = np.isfinite(past).sum(axis=0)
    filled = np.where(np.isfinite(past), past, 0.0)
    part = 1 / np.maximum(windows, _LEAST_WINDOWS)
    mean_square = np.square(filled).sum(axis=0) / np.maximum(count, 1) / (1 - part)
    freedom = np.maximum((count - lost) / inflation, 1.0)
    noise = np.maximum(np.nan_to_num(squared_errors), 1e-30)
    for places in groups:
        total = (np.maximum(mean_square - squared_errors, 0.0) + squared_errors)[places] / noise[places]
        shared, more = borrow(total, freedom[places], filled[:, places])
        mean_square[places] = np.where(np.isfinite(shared), shared * noise[places], mean_square[places])
        freedom[places] = more if lend else freedom[places]
    return Limits(
        between=np.where(count > 1, np.maximum(mean_square - squared_errors, 0.0), np.nan)[None],
        factor=(1 + part)[None],
        own=np.zeros((1, past.shape[1])),
        freedom=freedom[None],
        quantile=t.isf(levels / 2, freedom)[None],
    )


def cap_limits(
    limits: Limits, past: FloatArray, *, squared_errors: FloatArray, usual: FloatArray, sides: IntArray
) -> Limits:
    """Hold the limits of a loss and a metric: a past that wanders must not allow for everything.

    Few windows that hang together know little of their own range, and a t quantile of two degrees of freedom would
    leave an error quiet that is four times the usual. From sixteen windows on, four times as far as the past ever
    was is a move; from ten on, so is a model half as good as usual (twice the loss, half the score), if that is one
    and a half times as far as the past ever was.

    Parameters
    ----------
    past : array, shape (m, k)
        Deviations the limits were fitted to, NaN where there is none.
    squared_errors : array, shape (k,)
        Their mean sampling variance.
    usual : array, shape (k,)
        What the signals are worth on the whole.
    sides : array, shape (k,)
        +1 for a loss, -1 for a score; signals with 0 are left alone.

    Notes
    -----
    False alarms of the first rule in 2,160 windows, k of n being 2 of 3, one signal, AR(.9) with sd .1 σ of 500 rows
    each, 300 draws: .09 with 16 windows of the past, 0 with 40; AR(.95): .39 and .01; independent windows: 0. The
    second has no such bound: it is about effect, not about chance.
    """
    known = np.isfinite(past)
    many = known.sum(axis=0)
    farthest = np.abs(np.where(known, past, 0.0)).max(axis=0, initial=0.0)
    half = np.maximum(_WORN * farthest, np.abs(usual) * np.where(sides > 0, 1.0, 0.5))
    bound = np.where(many >= _FEWEST_TO_CAP, half, np.inf)
    bound = np.where(many >= _ENOUGH_TO_CAP, np.fmin(bound, _FARTHEST * farthest), bound)
    spread = np.maximum(limits.spread(np.nan_to_num(squared_errors)), 1e-15)
    quantile = np.fmin(limits.quantile, np.where(sides == 0, np.inf, bound) / spread)
    return replace(limits, quantile=quantile)


def stack_limits(several: Sequence[Limits]) -> Limits:
    """Put the limits of several ages below each other."""
    return Limits(**{name: np.concatenate([getattr(one, name) for one in several]) for name in _NAMES})


def choose_limits(where: np.ndarray, first: Limits, second: Limits) -> Limits:
    """Take the first limits where it says so, shape (k,), else the second."""
    return Limits(**{name: np.where(where, getattr(first, name), getattr(second, name)) for name in _NAMES})


def join_limits(several: Sequence[Limits]) -> Limits:
    """Put the limits of different signals beside each other."""
    return Limits(
        **{name: np.concatenate([getattr(one, name) for one in several], axis=1) for name in _NAMES}
    )


_NAMES = ("between", "factor", "own", "freedom", "quantile")

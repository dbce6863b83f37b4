"""Thresholds: variances shrunk towards those of similar columns, and the limits of each detector made from them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from scipy.special import digamma, polygamma
from scipy.stats import t

from evergreen.tasks.core.arrays import BoolArray, FloatArray, IntArray
from evergreen.tasks.core.drift.policy import MAIN_SIGNALS, column_places
from evergreen.tasks.core.drift.types import SignalKey

_FEWEST = 5
"""Fewest columns that share a variance."""
_SIMILAR = 1e6
"""Degrees of freedom that stand for: no more different than chance makes them."""


def similar_signals(keys: Sequence[SignalKey]) -> list[IntArray]:
    """Return the places of signals of one kind and name, where at least five columns have it."""
    groups: dict[tuple[str, str], list[int]] = {}
    for place, key in enumerate(keys):
        groups.setdefault((key.kind.value, key.name), []).append(place)
    return [np.array(places, dtype=np.int64) for places in groups.values() if len(places) >= _FEWEST]


def at_least_usual(values: FloatArray, keys: Sequence[SignalKey], *, by_main: bool = True) -> FloatArray:
    """Raise values, shape (k,), to what is usual: one column's few windows may look calmer than all do.

    Usual is the median of the signals alike, and with ``by_main`` also that of the kind's main signals.
    """
    raised = values.copy()
    for places in similar_signals(keys):
        raised[places] = np.maximum(raised[places], np.median(values[places]))
    for kind in {key.kind for key in keys} if by_main else ():
        mine = np.array([key.kind is kind for key in keys])
        main = np.array([key.kind is kind and key.name in MAIN_SIGNALS for key in keys])
        raised[mine] = np.maximum(raised[mine], np.median(values[main if main.any() else mine]))
    return raised


def shrink_variances(
    variances: FloatArray, freedom: FloatArray, series: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Shrink the variance of each column towards that of the others, as far as they resemble each other.

    The variances are treated as draws around a common one (scaled inverse χ², empirical Bayes: Smyth 2004): what they
    differ by beyond chance decides how strongly they are shrunk. Two cautions: what correlated columns hold
    together is counted once (their number is taken as (Σ λ)² / Σ λ² of the squared correlations), and a column that
    varies more than the others keeps its own variance.

    Parameters
    ----------
    variances, freedom : array, shape (c,)
        Each column's variance in units of its sampling variance, > 0, and its degrees of freedom.
    series : array, shape (m, c)
        What they were estimated from.

    Returns
    -------
    variances, freedom : array, shape (c,)
        Never smaller than those given.
    """
    used = np.isfinite(variances) & (variances > 0) & (np.ptp(series, axis=0) > 1e-12)
    if used.sum() < _FEWEST:
        return variances, freedom
    own, d = variances[used], freedom[used]
    logs = np.log(own) - digamma(d / 2) + np.log(d / 2)
    beyond = logs.var(ddof=1) - polygamma(1, d / 2).mean()
    pooled_freedom = 2 * _trigamma_inverse(beyond) if beyond > 0 else _SIMILAR
    common = np.exp(logs.mean() + digamma(pooled_freedom / 2) - np.log(pooled_freedom / 2))
    pooled_freedom = min(pooled_freedom, (_independent(series[:, used]) - 1) * float(np.median(d)))
    shared, more = variances.copy(), freedom.copy()
    shared[used] = np.maximum(own, (pooled_freedom * common + d * own) / (pooled_freedom + d))
    more[used] = d + pooled_freedom
    return shared, more


def _independent(series: FloatArray) -> float:
    """Return as how many independent columns these count, at least 1."""
    shared = np.square(np.nan_to_num(np.corrcoef(series, rowvar=False)))
    return float(max(np.trace(shared) ** 2 / np.square(shared).sum(), 1.0))


def _trigamma_inverse(value: float) -> float:
    """Return x > 0 with trigamma(x) = value (Newton's steps of Smyth 2004)."""
    x = 0.5 + 1 / value
    for _ in range(50):
        slope = float(polygamma(2, x))
        step = float(polygamma(1, x)) * (1 - float(polygamma(1, x)) / value) / slope
        x += step
        if -step / x < 1e-8:
            break
    return float(x)


# Limits of one detector: how far a signal may be off before it is called a move.


_LEAST_WINDOWS = 1.5
_CAP, _CAP_WINDOWS = 4.0, 16
"""From this many windows of the past on, no limit is above so many times the farthest of them."""
_HALF_CAP, _HALF_CAP_WINDOWS = 1.5, 10
"""The same for what moved by half of what is usual, from fewer windows on."""


@dataclass(frozen=True, kw_only=True, eq=False)
class DetectorLimits:
    """The null of one detector at k signals, for each of h ages of what they are compared with.

    The variance of a deviation is ``(between + error²) * factor + own``; its limit the quantile times the root.
    """

    between: FloatArray
    """Shape (h, k): variance between windows that rows do not explain, >= 0; NaN where this detector cannot judge."""
    factor: FloatArray
    """Shape (h, k): raises it for what the past itself is not sure of."""
    own: FloatArray
    """Shape (h, k): variance of what is compared with, where that is known from sampling alone."""
    freedom: FloatArray
    quantile: FloatArray
    """``freedom``, ``quantile`` (shape (h, k)): degrees of freedom, and the t quantile at each signal's level."""

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
    pool_freedom: bool = False,
) -> DetectorLimits:
    """Fit the limits of one detector to its deviations in the model's own past.

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
        Level of a two-sided check.
    inflation : array, shape (k,)
        By what their dependence raises the variance of their mean square.
    groups : sequence of array
        Signals that share a variance (`evergreen.tasks.core.drift.thresholds`): none is then taken for calmer
        than they are together.
    pool_freedom : bool
        Whether they share degrees of freedom too; only for deviations that hardly depend on their own past.
    """
    count = np.isfinite(past).sum(axis=0)
    filled = np.where(np.isfinite(past), past, 0.0)
    part = 1 / np.maximum(windows, _LEAST_WINDOWS)
    mean_square = np.square(filled).sum(axis=0) / np.maximum(count, 1) / (1 - part)
    freedom = np.maximum((count - lost) / inflation, 1.0)
    noise = np.maximum(np.nan_to_num(squared_errors), 1e-30)
    for places in groups:
        total = (np.maximum(mean_square - squared_errors, 0.0) + squared_errors)[places] / noise[places]
        shared, more = shrink_variances(total, freedom[places], filled[:, places])
        mean_square[places] = np.where(np.isfinite(shared), shared * noise[places], mean_square[places])
        freedom[places] = more if pool_freedom else freedom[places]
    return DetectorLimits(
        between=np.where(count > 1, np.maximum(mean_square - squared_errors, 0.0), np.nan)[None],
        factor=(1 + part)[None],
        own=np.zeros((1, past.shape[1])),
        freedom=freedom[None],
        quantile=t.isf(levels / 2, freedom)[None],
    )


def cap_limits(
    limits: DetectorLimits,
    past: FloatArray,
    *,
    squared_errors: FloatArray,
    usual: FloatArray,
    sides: IntArray,
) -> DetectorLimits:
    """Hold the limits of a loss and a metric: a past that wanders must not allow for everything.

    Few windows that depend on each other say little of their range, and a t quantile of two degrees of freedom would
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
    finite = np.isfinite(past)
    many = finite.sum(axis=0)
    farthest = np.abs(np.where(finite, past, 0.0)).max(axis=0, initial=0.0)
    half = np.maximum(_HALF_CAP * farthest, np.abs(usual) * np.where(sides > 0, 1.0, 0.5))
    bound = np.where(many >= _HALF_CAP_WINDOWS, half, np.inf)
    bound = np.where(many >= _CAP_WINDOWS, np.fmin(bound, _CAP * farthest), bound)
    spread = np.maximum(limits.spread(np.nan_to_num(squared_errors)), 1e-15)
    quantile = np.fmin(limits.quantile, np.where(sides == 0, np.inf, bound) / spread)
    return replace(limits, quantile=quantile)


def combine_limits(how: Callable[[list[FloatArray]], FloatArray], *several: DetectorLimits) -> DetectorLimits:
    """Combine the limits of several ages, signals or calibrations array by array."""
    names = [one.name for one in fields(DetectorLimits)]
    return DetectorLimits(**{name: how([getattr(one, name) for one in several]) for name in names})


# The scale signals are judged on: shares by their arcsine, whose spread does not depend on how large they are.


@dataclass(frozen=True, kw_only=True, eq=False)
class SignalScale:
    """How k signals are put on the scale they are judged on, and back.

    A share p of n rows becomes arcsin √p, with the standard error 1 / (2 √n) whatever p is (Bartlett 1947): rare
    categories do not alarm by their skewness, and a stream that wanders does so as far up as down. Other signals
    stay as they are.
    """

    shares: BoolArray
    """Shape (k,): which are shares of rows."""
    missing: IntArray
    """Shape (k,): place of the ``missing`` of a share's column, whose rows the share is not of; k: all rows."""

    @classmethod
    def of(cls, keys: Sequence[SignalKey]) -> SignalScale:
        """Return the scale of these signals."""
        codes = column_places(keys)[1].tolist()
        is_missing = np.array([key.name == "missing" for key in keys], dtype=bool)
        of_present = np.array(
            [key.name.startswith("share:") or key.name == "unseen" for key in keys], dtype=bool
        )
        missing = {code: at for at, code in enumerate(codes) if is_missing[at]}
        places = [
            missing.get(code, len(keys)) if of_present[at] else len(keys) for at, code in enumerate(codes)
        ]
        return cls(shares=of_present | is_missing, missing=np.array(places, dtype=np.int64))

    def put(self, values: FloatArray) -> FloatArray:
        """Return values on the scale, shape (…, k)."""
        return np.where(self.shares, np.arcsin(np.sqrt(np.clip(values, 0.0, 1.0))), values)

    def back(self, values: FloatArray) -> FloatArray:
        """Return values on the scale in their own unit, shape (…, k)."""
        return np.where(self.shares, np.square(np.sin(np.clip(values, 0.0, np.pi / 2))), values)

    def put_errors(self, values: FloatArray, errors: FloatArray, *, rows: FloatArray | int) -> FloatArray:
        """Return standard errors on the scale, shape (…, k).

        Parameters
        ----------
        values, errors : array, shape (…, k)
            In their own unit.
        rows : int or array, shape (…, 1)
            Rows of the window.
        """
        gone = np.concatenate([values, np.zeros((*values.shape[:-1], 1))], axis=-1)[..., self.missing]
        present = np.maximum(rows * (1 - gone), 1.0)
        finite = np.isfinite(errors)
        return np.where(self.shares & finite, 0.5 / np.sqrt(present), errors)

    def put_own_errors(self, values: FloatArray, errors: FloatArray) -> FloatArray:
        """Return the errors of a reference whose rows are not at hand, by its shares' own errors."""
        share = np.clip(np.maximum(values, 0.7 * errors), 1e-12, 1 - 1e-12)
        share = np.minimum(share, np.maximum(1 - 0.7 * errors, 0.5))
        return np.where(self.shares, errors / (2 * np.sqrt(share * (1 - share))), errors)

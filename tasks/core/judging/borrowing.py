"""Borrowing: what the columns of a model know together of how variable one of them is."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.special import digamma, polygamma

from tasks.core.drift.signals import SignalKey
from tasks.core.judging.budget import MAIN_SIGNALS
from tasks.core.metrics.scored import FloatArray, IntArray

_FEWEST = 5
"""Fewest columns to borrow from."""
_ALIKE = 1e6
"""Degrees of freedom that stand for: no more different than chance makes them."""


def alike(keys: Sequence[SignalKey]) -> list[IntArray]:
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
    for places in alike(keys):
        raised[places] = np.maximum(raised[places], np.median(values[places]))
    for kind in {key.kind for key in keys} if by_main else ():
        mine = np.array([key.kind is kind for key in keys])
        main = np.array([key.kind is kind and key.name in MAIN_SIGNALS for key in keys])
        raised[mine] = np.maximum(raised[mine], np.median(values[main if main.any() else mine]))
    return raised


def borrow(variances: FloatArray, freedom: FloatArray, series: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Sharpen each column's variance by that of the others, as far as they resemble each other.

    The variances are taken for draws around a common one (scaled inverse χ², empirical Bayes: Smyth 2004): what they
    differ by beyond chance says how much a column may trust the others. Two cautions: what correlated columns know
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
    lent = 2 * _trigamma_inverse(beyond) if beyond > 0 else _ALIKE
    common = np.exp(logs.mean() + digamma(lent / 2) - np.log(lent / 2))
    lent = min(lent, (_independent(series[:, used]) - 1) * float(np.median(d)))
    shared, more = variances.copy(), freedom.copy()
    shared[used] = np.maximum(own, (lent * common + d * own) / (lent + d))
    more[used] = d + lent
    return shared, more


def _independent(series: FloatArray) -> float:
    """Return as how many independent columns these count, at least 1."""
    correlation = np.corrcoef(series, rowvar=False)
    shared = np.square(np.nan_to_num(correlation))
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

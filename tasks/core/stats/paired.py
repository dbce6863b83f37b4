"""Tests of models on the same rows or folds; for rows of a time series prefer the blocked comparison."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy

from evergreen.tasks.core.errors import DataError
from evergreen.tasks.core.stats.resampling import FEW_DISCORDANT


@dataclass(frozen=True, kw_only=True)
class PairedTest:
    """A statistic, its p-value, and the degrees of freedom where the reference distribution has any."""

    statistic: float
    p_value: float
    df: float | None = None


def mcnemar(b: int, c: int, *, exact: bool | None = None, correction: bool = True) -> PairedTest:
    """Test whether two models are right equally often, by the rows on which exactly one of them is.

    Null: b and c have equal expectation; rows are independent (on time series use blocks instead).

    Parameters
    ----------
    b, c : int
        Rows that only the first, and only the second, model has right.
    exact : bool, optional
        Binomial test with ``statistic`` min(b, c); by default below 25 discordant rows.
    correction : bool
        Continuity correction of the asymptotic form.

    Returns
    -------
    PairedTest
        ``p_value`` 1 when no row is discordant.

    Notes
    -----
    McNemar (1947).

    Examples
    --------
    >>> round(mcnemar(3, 14).p_value, 5)
    0.01273
    >>> round(mcnemar(20, 40).statistic, 4)
    6.0167
    """
    if b < 0 or c < 0:
        allowed = "Allowed: integers from 0 on. Count rows, not shares."
        raise DataError(f"Discordant counts are {b} and {c}. {allowed}")
    total = b + c
    if exact if exact is not None else total < FEW_DISCORDANT:
        p = min(1.0, 2 * float(scipy.stats.binom.cdf(min(b, c), total, 0.5))) if total else 1.0
        return PairedTest(statistic=float(min(b, c)), p_value=p)
    if total == 0:
        return PairedTest(statistic=0.0, p_value=1.0, df=1.0)
    gap = max(abs(b - c) - (1 if correction else 0), 0)
    statistic = gap**2 / total
    return PairedTest(statistic=statistic, p_value=float(scipy.stats.chi2.sf(statistic, 1)), df=1.0)


def cochran_q(outcomes: Any) -> PairedTest:
    """Test whether more than two models are right equally often on the same independent rows.

    Parameters
    ----------
    outcomes : array of bool, shape (n, k)
        Whether model j is right on row i; k >= 2.

    Returns
    -------
    PairedTest
        Chi-square with k - 1 degrees of freedom; ``p_value`` 1 when every row has all right or all wrong.
        With two models it is McNemar's test without correction.

    Notes
    -----
    Cochran (1950).

    Examples
    --------
    >>> outcomes = [[1, 1, 0], [1, 0, 0], [1, 1, 0], [1, 1, 1], [0, 1, 0], [1, 1, 0]]
    >>> round(cochran_q(outcomes).statistic, 4)
    6.4
    """
    x = np.asarray(outcomes, dtype=np.float64)
    if x.ndim != 2 or x.shape[1] < 2:
        raise DataError(f"Outcomes have shape {x.shape}. Allowed: (rows, models) with at least two models.")
    k = x.shape[1]
    rows, columns, total = x.sum(axis=1), x.sum(axis=0), x.sum()
    bottom = k * total - (rows**2).sum()
    statistic = float((k - 1) * (k * (columns**2).sum() - total**2) / bottom) if bottom else 0.0
    p_value = float(scipy.stats.chi2.sf(statistic, k - 1))  # 1 for 0
    return PairedTest(statistic=statistic, p_value=p_value, df=float(k - 1))


def corrected_resampled_t(
    differences: Any, *, train_size: int, test_size: int, alternative: str = "two-sided"
) -> PairedTest:
    """Test the mean difference of two models over overlapping cross-validation folds.

    Null: no difference. The plain t-test takes folds that share training rows for independent and
    rejects far too often; the variance is raised from 1/k to 1/k + test/train.

    Parameters
    ----------
    differences : array, shape (k,)
        Metric of the one minus the other, per fold.
    train_size, test_size : int
        Rows of one fold's training and test part.
    alternative : str
        ``two-sided``, ``greater`` or ``less``.

    Returns
    -------
    PairedTest
        t with k - 1 degrees of freedom; ``nan`` with fewer than two folds or a NaN among them;
        ``p_value`` 1 (or 0.5 one-sided) when all differences are 0.

    Notes
    -----
    Nadeau & Bengio (2003).

    Examples
    --------
    >>> round(corrected_resampled_t([0.02, 0.03, 0.01, 0.02], train_size=75, test_size=25).p_value, 4)
    0.0491
    """
    d = np.asarray(differences, dtype=np.float64)
    if alternative not in _TAILS:
        raise DataError(f"Unknown alternative '{alternative}'. Allowed: {', '.join(_TAILS)}.")
    if train_size <= 0 or test_size <= 0:
        raise DataError(f"Fold sizes are {train_size} and {test_size}. Allowed: positive numbers of rows.")
    if d.size < 2 or np.isnan(d).any():
        return PairedTest(statistic=float("nan"), p_value=float("nan"), df=float(max(d.size - 1, 0)))
    error = float(np.sqrt(d.var(ddof=1) * (1 / d.size + test_size / train_size)))
    return _t_test(float(d.mean()), error, df=d.size - 1, alternative=alternative)


def diebold_mariano(loss_a: Any, loss_b: Any, *, horizon: int = 1) -> PairedTest:
    """Test whether two forecasts of a time series lose equally much.

    Null: the loss differential has mean 0; it may depend on its ``horizon - 1`` predecessors. For
    dependence of unknown length use the blocked comparison.

    Parameters
    ----------
    loss_a, loss_b : array, shape (n,)
        Losses in time order (squared error, absolute error, …).
    horizon : int
        Steps ahead of the forecast; autocovariances up to ``horizon - 1`` enter the variance.

    Returns
    -------
    PairedTest
        Positive when ``a`` loses more. t with n - 1 degrees of freedom and the small-sample factor of
        Harvey, Leybourne & Newbold (1997); ``nan`` when the variance is not positive or on NaN.

    Notes
    -----
    Diebold & Mariano (1995).

    Examples
    --------
    >>> round(diebold_mariano([1.0, 2.0, 3.0, 2.0], [0.5, 2.5, 1.0, 1.0]).statistic, 4)
    1.4412
    """
    d = np.asarray(loss_a, dtype=np.float64) - np.asarray(loss_b, dtype=np.float64)
    n = d.size
    if not 1 <= horizon:
        raise DataError(f"The horizon is {horizon}. Allowed: 1 step or more.")
    if n <= horizon or np.isnan(d).any():
        return PairedTest(statistic=float("nan"), p_value=float("nan"), df=float(max(n - 1, 0)))
    centred = d - d.mean()
    covariances = [float(centred[lag:] @ centred[: n - lag]) / n for lag in range(horizon)]
    variance = (covariances[0] + 2 * sum(covariances[1:])) / n
    if variance < 0 or (variance == 0 and d.mean() != 0):
        return PairedTest(statistic=float("nan"), p_value=float("nan"), df=float(n - 1))
    shrink = np.sqrt((n + 1 - 2 * horizon + horizon * (horizon - 1) / n) / n)
    return _t_test(float(d.mean() * shrink), float(np.sqrt(variance)), df=n - 1, alternative="two-sided")


_TAILS = ("two-sided", "greater", "less")


def _t_test(mean: float, error: float, *, df: int, alternative: str) -> PairedTest:
    """Return mean / error against t; no spread at all is certain, unless the mean is 0 too."""
    certain = 0.0 if mean == 0 else float(np.copysign(np.inf, mean))
    statistic = mean / error if error > 0 else certain
    p = {
        "two-sided": 2 * scipy.stats.t.sf(abs(statistic), df),
        "greater": scipy.stats.t.sf(statistic, df),
        "less": scipy.stats.t.cdf(statistic, df),
    }[alternative]
    return PairedTest(statistic=statistic, p_value=float(p), df=float(df))

"""Association of two grouped columns: mutual information, and the correlation of fixed scores."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from evergreen.tasks.core.arrays import FloatArray
from evergreen.tasks.core.errors import DataError
from evergreen.tasks.core.serial import Struct


class Association(NamedTuple):
    """A statistic of each table and its standard error, both of the tables' leading shape; NaN where undefined."""

    value: FloatArray
    error: FloatArray


def mutual_information(tables: FloatArray) -> Association:
    """Measure mutual information of tables of counts, corrected for bias (Miller 1955).

    The plug-in estimate less (cells - rows - columns + 1) / 2n, counted over cells, rows and columns that are not
    empty; with 81 cells and 500 rows about a tenth of the bias is left. The error is the delta method's, plus the
    chi-square part that remains where the sides are independent.

    Parameters
    ----------
    tables : array, shape (…, r, c)
        Counts of independent rows.

    Returns
    -------
    Association
        In nats; around 0, and at times below, for independent sides. NaN without rows, and where one side has a
        single group.

    References
    ----------
    Miller 1955, "Note on the bias of information estimates"; Roulston 1999 (its variance).

    See Also
    --------
    score_correlation : which has a direction.

    Examples
    --------
    >>> found = mutual_information(np.array([[50.0, 0.0], [0.0, 50.0]]))
    >>> round(float(found.value), 4), round(float(np.log(2)), 4)
    (0.6981, 0.6931)
    """
    n = tables.sum(axis=(-2, -1))
    with np.errstate(divide="ignore", invalid="ignore"):
        shares = tables / n[..., None, None]
        rows, columns = shares.sum(-1, keepdims=True), shares.sum(-2, keepdims=True)
        local = np.where(tables > 0, np.log(shares / (rows * columns)), 0.0)
        plain = (shares * local).sum(axis=(-2, -1))
        spread = (shares * local**2).sum(axis=(-2, -1)) - plain**2
        cells, up, across = ((side > 0).sum(axis=(-2, -1)).astype(float) for side in (tables, rows, columns))
        excess = cells - up - across + 1
        freedom = (up - 1) * (across - 1)
        value = plain - excess / (2 * n)
        error = np.sqrt(np.maximum(spread - freedom / n, 0.0) / n + freedom / (2 * n**2))
    defined = (n > 0) & (up > 1) & (across > 1)
    return Association(np.where(defined, value, np.nan), np.where(defined, error, np.nan))


def score_correlation(tables: FloatArray, rows: FloatArray, columns: FloatArray) -> Association:
    """Measure Fisher's z of the correlation of scores over tables of counts.

    Parameters
    ----------
    tables : array, shape (…, r, c)
        Counts of independent rows.
    rows, columns : array, shapes (…, r) and (…, c)
        Score of each group; NaN leaves a group out.

    Returns
    -------
    Association
        arctanh of the correlation, within ±3 (r = ±.995). NaN where a side does not vary.

    References
    ----------
    Fisher 1921; the variance by the influence function of the correlation (Devlin, Gnanadesikan & Kettenring 1975).

    Examples
    --------
    >>> found = score_correlation(np.array([[40.0, 10.0], [10.0, 40.0]]), np.array([0.0, 1.0]), np.array([0.0, 1.0]))
    >>> round(float(np.tanh(found.value)), 3), round(float(found.error), 3)
    (0.6, 0.125)
    """
    counted = tables * np.isfinite(rows)[..., :, None] * np.isfinite(columns)[..., None, :]
    n = counted.sum(axis=(-2, -1))
    with np.errstate(divide="ignore", invalid="ignore"):
        shares = counted / n[..., None, None]
        x = _standard(np.nan_to_num(rows), shares.sum(-1))[..., :, None]
        y = _standard(np.nan_to_num(columns), shares.sum(-2))[..., None, :]
        r = np.clip((shares * x * y).sum(axis=(-2, -1)), -np.tanh(3.0), np.tanh(3.0))
        influence = x * y - r[..., None, None] * (x**2 + y**2) / 2
        variance = (shares * influence**2).sum(axis=(-2, -1)) / n
        return Association(np.arctanh(r), np.sqrt(variance) / (1 - r**2))


def group_scores(table: FloatArray, *, up: bool, across: bool) -> tuple[FloatArray, FloatArray]:
    """Return scores of the groups of either side of a table, shapes (r,) and (c,).

    A side with an order (``up``: the rows, ``across``: the columns) has its mid-ranks, within 0..1. A side without has
    the other side's mean score in each group; where neither has one, both have the first axis of correspondence
    analysis (Greenacre 2007, ch. 4).
    """
    if not up and not across:
        return _first_axis(table)
    if up:
        rows = _mid_ranks(table.sum(axis=1))
        return rows, _mid_ranks(table.sum(axis=0)) if across else _mean_scores(table.T, rows)
    columns = _mid_ranks(table.sum(axis=0))
    return _mean_scores(table, columns), columns


def _mid_ranks(mass: FloatArray) -> FloatArray:
    return (np.cumsum(mass) - mass / 2) / max(float(mass.sum()), 1.0)


def _mean_scores(table: FloatArray, scores: FloatArray) -> FloatArray:
    """Return the mean score of the other side in each row; rows without counts have the overall mean."""
    mass = table.sum(axis=1)
    overall = float(table.sum(axis=0) @ scores) / max(float(mass.sum()), 1.0)
    return np.where(mass > 0, table @ scores / np.maximum(mass, 1.0), overall)


def _first_axis(table: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return the scores of either side that correlate most (correspondence analysis); the largest row score is > 0."""
    shares = table / max(float(table.sum()), 1.0)
    up, across = shares.sum(axis=1), shares.sum(axis=0)
    roots = np.sqrt(np.maximum(np.outer(up, across), 1e-300))
    u, _, v = np.linalg.svd(np.where(np.outer(up, across) > 0, (shares - np.outer(up, across)) / roots, 0.0))
    sign = float(np.sign(u[np.abs(u[:, 0]).argmax(), 0])) or 1.0
    rows = np.where(up > 0, sign * u[:, 0] / np.sqrt(np.maximum(up, 1e-300)), 0.0)
    return rows, np.where(across > 0, sign * v[0] / np.sqrt(np.maximum(across, 1e-300)), 0.0)


def _standard(scores: FloatArray, shares: FloatArray) -> FloatArray:
    """Return scores less their mean, in units of their standard deviation; NaN without any."""
    centred = scores - (shares * scores).sum(-1, keepdims=True)
    spread = np.sqrt((shares * centred**2).sum(-1, keepdims=True))
    return np.where(spread > 1e-9, centred / spread, np.nan)


# Counts, means and comoments of several numbers a unit: enough for every live test, and mergeable by batch.


@dataclass(frozen=True, kw_only=True, eq=False)
class JointMoments(Struct):
    """Moments of n units with c numbers each; leading axes (…) hold as many sets side by side."""

    n: FloatArray
    """(…), units."""
    mean: FloatArray
    """(…, c), mean of each number; 0 without units."""
    comoments: FloatArray
    """(…, c, c), sums of products of deviations from the means."""

    @classmethod
    def of(cls, values: Any) -> JointMoments:
        """Return the moments of units ``(…, n, c)``; NaN in a unit makes the set NaN, so that nothing is decided.

        Raises
        ------
        DataError
            When the array has fewer than two axes.

        >>> JointMoments.of([[1.0, 2.0], [3.0, 2.0]]).mean.tolist()
        [2.0, 2.0]
        """
        x = np.asarray(values, dtype=np.float64)
        if x.ndim < 2:
            raise DataError(f"Units have shape {x.shape}. Allowed: (units, numbers), one row a unit.")
        mean = x.mean(axis=-2) if x.shape[-2] else np.zeros((*x.shape[:-2], x.shape[-1]))
        centred = x - mean[..., None, :]
        counts = np.full(x.shape[:-2], float(x.shape[-2]))
        return cls(n=counts, mean=mean, comoments=np.swapaxes(centred, -1, -2) @ centred)

    @classmethod
    def empty(cls, columns: int) -> JointMoments:
        """Return the moments of no unit."""
        return cls(n=np.zeros(()), mean=np.zeros(columns), comoments=np.zeros((columns, columns)))

    def __add__(self, other: JointMoments) -> JointMoments:
        """Return the moments of both sets of units (Chan, Golub & LeVeque 1979)."""
        n = self.n + other.n
        share = np.divide(other.n, n, out=np.zeros(np.shape(n)), where=n > 0)[..., None]
        step = other.mean - self.mean
        between = (self.n[..., None] * share)[..., None] * step[..., :, None] * step[..., None, :]
        comoments = self.comoments + other.comoments + between
        return JointMoments(n=n, mean=self.mean + share * step, comoments=comoments)

    def covariance(self) -> FloatArray:
        """Return the sample covariance, shape (…, c, c); NaN below two units."""
        freedom = self.n[..., None, None] - 1
        undefined = np.full(np.shape(self.comoments), np.nan)
        return np.divide(self.comoments, freedom, out=undefined, where=freedom > 0)

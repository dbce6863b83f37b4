"""Counts, means and comoments of several numbers a unit: enough for every live test, and mergeable by batch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from tasks.core.errors import DataError

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, eq=False)
class JointMoments:
    """What is kept of n units with c numbers each; leading axes (…) hold as many sets side by side.

    Attributes
    ----------
    n : array, shape (…)
        Units.
    mean : array, shape (…, c)
        Mean of each number; 0 without units.
    comoments : array, shape (…, c, c)
        Sums of products of deviations from the means.
    """

    n: FloatArray
    mean: FloatArray
    comoments: FloatArray

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
        return JointMoments(
            n=n, mean=self.mean + share * step, comoments=self.comoments + other.comoments + between
        )

    def accumulate(self) -> JointMoments:
        """Return the moments of the first, the first two, … sets along the last leading axis: one a look."""
        n = np.cumsum(self.n, axis=-1)
        total = n[..., -1:]
        weighed = self.n[..., None] * self.mean
        centre = np.divide(weighed.sum(axis=-2, keepdims=True), total[..., None], where=total[..., None] > 0,
                           out=np.zeros((*total.shape, self.mean.shape[-1])))  # fmt: skip
        off = self.mean - centre  # sums about the overall mean stay small
        sums = np.cumsum(self.n[..., None] * off, axis=-2)
        outer = self.n[..., None, None] * off[..., :, None] * off[..., None, :]
        products = np.cumsum(self.comoments + outer, axis=-3)
        mean = np.divide(sums, n[..., None], out=np.zeros(sums.shape), where=n[..., None] > 0)
        return JointMoments(
            n=n, mean=np.where(n[..., None] > 0, centre + mean, 0.0),
            comoments=products - sums[..., :, None] * mean[..., None, :],
        )  # fmt: skip

    def covariance(self) -> FloatArray:
        """Return the sample covariance, shape (…, c, c); NaN below two units."""
        freedom = self.n[..., None, None] - 1
        undefined = np.full(np.shape(self.comoments), np.nan)
        return np.divide(self.comoments, freedom, out=undefined, where=freedom > 0)

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form of one set.

        >>> JointMoments.of([[1.0], [3.0]]).to_dict()
        {'n': 2.0, 'mean': [2.0], 'comoments': [[2.0]]}
        """
        return {"n": float(self.n), "mean": self.mean.tolist(), "comoments": self.comoments.tolist()}

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> JointMoments:
        """Return the moments written by ``to_dict``."""
        return cls(**{name: np.asarray(plain[name], dtype=np.float64) for name in ("n", "mean", "comoments")})

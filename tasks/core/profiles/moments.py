"""Moments of numbers: measured block by block, mergeable."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tasks.core.metrics.scored import FloatArray
from tasks.core.profiles.count import blocks
from tasks.core.profiles.count_cells import Scratch


@dataclass(frozen=True, kw_only=True)
class Moments:
    """Least and greatest value, mean, and sum of squared deviations from it, of n finite values.

    ``squares`` is infinite where it exceeds the largest float.
    """

    n: int = 0
    minimum: float | None = None
    maximum: float | None = None
    mean: float = 0.0
    squares: float = 0.0

    def __add__(self, other: Moments) -> Moments:
        """Return the moments of both sets of values (Chan, Golub & LeVeque 1979)."""
        if not self.n or not other.n:
            return self if self.n else other
        half = other.mean / 2 - self.mean / 2  # the whole may exceed the largest float
        step = half * (other.n / (self.n + other.n))
        return Moments(
            n=self.n + other.n,
            minimum=min(x for x in (self.minimum, other.minimum) if x is not None),
            maximum=max(x for x in (self.maximum, other.maximum) if x is not None),
            mean=self.mean + step + step,
            squares=self.squares + other.squares + 4 * half * half * (self.n * other.n / (self.n + other.n)),
        )


def measure_moments(values: FloatArray) -> Moments:
    """Return the moments of finite values, shape (n,), block by block.

    >>> measure_moments(np.array([1.0, 2.0, 6.0]))
    Moments(n=3, minimum=1.0, maximum=6.0, mean=3.0, squares=14.0)
    """
    total = Moments()
    for block in blocks(values):
        total += block_moments(block, low=float(block.min()), high=float(block.max()))
    return total


def block_moments(block: FloatArray, *, low: float, high: float, scratch: Scratch | None = None) -> Moments:
    """Return the moments of finite values, shape (n,), n > 0, whose least and greatest are known."""
    deviations = (scratch or Scratch(len(block))).floats[: len(block)]
    with np.errstate(over="ignore"):
        mean = float(block.sum()) / len(block)
        if not np.isfinite(mean):
            mean = float((block / len(block)).sum())
        np.subtract(block, mean, out=deviations)
        np.multiply(deviations, deviations, out=deviations)
        squares = float(deviations.sum())
    return Moments(n=len(block), minimum=low, maximum=high, mean=mean, squares=squares)

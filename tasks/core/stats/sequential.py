"""Confidence sequences: intervals that hold at every look at once, however often and whenever one looks."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from tasks.core.errors import ConfigError
from tasks.core.stats.joint_moments import JointMoments

FloatArray = npt.NDArray[np.float64]

SCALE = 0.9
"""Spread of the mixture in units of the effect planned for: asks for the fewest rows at a power of 80 %."""


class Bounds(NamedTuple):
    """Both ends of a confidence sequence at one or more looks; infinite where nothing is known."""

    low: FloatArray
    high: FloatArray


def critical_value(information: Any, *, alpha: float, scale: float) -> FloatArray:
    """Return how many standard errors the sequence reaches to either side.

    Parameters
    ----------
    information : array, shape (…)
        1 / standard error², > 0.
    alpha : float
        Probability that the truth is ever left outside.
    scale : float
        Standard deviation of the normal mixture, in the unit of the effect; fixed before the first look. The
        sequence is tightest, for its coverage, where the information is about 9 / scale² (at alpha .05).

    Examples
    --------
    >>> round(float(critical_value(100.0, alpha=0.05, scale=0.3)), 3)
    3.036
    """
    seen = np.asarray(information, dtype=np.float64) * scale * scale
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.sqrt((1 + 1 / seen) * (-2 * math.log(alpha) + np.log1p(seen))))


def confidence_sequence(
    estimate: Any, standard_error: Any, *, alpha: float, scale: float, weight: Any = 0.0
) -> Bounds:
    """Return the asymptotic confidence sequence of a mean, a difference of means, or any efficient estimate.

    With probability 1 - alpha the truth lies inside at *every* look, so that one may look after each row and stop
    when one likes. Assumed: units are independent (or martingale differences), have a finite variance, and are
    enough for the standard error to be known; heavy tails must be clipped first. At one look that was fixed
    beforehand an ordinary interval is narrower: 1.96 standard errors against about 3.

    Parameters
    ----------
    estimate, standard_error : array, shape (…)
        As of each look.
    alpha : float
        In (0, 1).
    scale : float
        Of the mixture (`critical_value`), > 0; `SCALE` times the effect planned for is best.
    weight : array, shape (…), optional
        Where units are few: the sum of squares of their weights in the estimate, 1 / n for n alike. The spread is then
        taken about each value that is tried, not about the estimate (self-normalised): under a symmetric
        null that holds for any number of units, for their signs alone are left to chance.

    Returns
    -------
    Bounds
        From -inf to inf where the standard error is 0, infinite or NaN or the estimate is not finite: nothing has
        varied yet, so nothing is known. Also where units are too few for any outcome to tell (``weight``).

    Raises
    ------
    ConfigError
        For an alpha outside (0, 1) or a scale that is not positive.

    Notes
    -----
    Waudby-Smith, Arbour, Sinha, Kennedy & Ramdas (2021), *Time-uniform central limit theory and asymptotic
    confidence sequences*, theorem 2.2 with rho² t = scale² / standard error²; the mixture is Robbins' (1970). For
    self-normalised sums de la Peña, Klass & Lai (2004).

    Examples
    --------
    >>> low, high = confidence_sequence(0.02, 0.005, alpha=0.05, scale=0.018)
    >>> round(float(low), 4), round(float(high), 4)
    (0.0048, 0.0352)
    """
    _check(alpha, scale)
    m, error = np.broadcast_arrays(*(np.asarray(x, dtype=np.float64) for x in (estimate, standard_error)))
    known = np.isfinite(m) & np.isfinite(error) & (error > 0)
    safe = np.where(known, error, 1.0)
    reach = critical_value(1 / safe**2, alpha=alpha, scale=scale)
    left = 1 - np.nan_to_num(np.asarray(weight, dtype=np.float64), nan=1.0) * reach**2
    half = np.divide(
        reach * safe, np.sqrt(np.maximum(left, 0.0)), out=np.full(m.shape, np.inf), where=left > 0
    )
    low = np.where(known, np.where(known, m, 0.0) - half, -np.inf)
    return Bounds(low, np.where(known, np.where(known, m, 0.0) + half, np.inf))


def log_e_value(estimate: Any, standard_error: Any, *, scale: float, weight: Any = 0.0) -> FloatArray:
    """Return the log of the (asymptotic) e-value against no effect; 0 where nothing is known.

    It exceeds log(1 / alpha) exactly where `confidence_sequence` excludes 0; ``min(1, exp(-largest so far))`` is a
    p-value that may be read at any time.

    >>> round(float(log_e_value(0.02, 0.005, scale=0.018)), 3)
    6.109
    """
    _check(0.5, scale)
    m, error = np.broadcast_arrays(*(np.asarray(x, dtype=np.float64) for x in (estimate, standard_error)))
    known = np.isfinite(m) & np.isfinite(error) & (error > 0)
    safe, z = np.where(known, error, 1.0), np.where(known, m, 0.0)
    seen = (scale / safe) ** 2
    far = (z / safe) ** 2
    far = far / (1 + np.nan_to_num(np.asarray(weight, dtype=np.float64), nan=1.0) * far)
    value = 0.5 * far * seen / (1 + seen) - 0.5 * np.log1p(seen)
    return np.asarray(np.where(known, value, 0.0))


def mean_sequence(moments: JointMoments, *, alpha: float, scale: float) -> Bounds:
    """Return the confidence sequence of the mean of the first number of units, as of each set of moments.

    >>> values = np.tile([[0.0], [1.0]], (200, 1))
    >>> low, high = mean_sequence(JointMoments.of(values), alpha=0.05, scale=0.1)
    >>> round(float(low), 3), round(float(high), 3)
    (0.423, 0.577)
    """
    variance = moments.covariance()[..., 0, 0]
    with np.errstate(divide="ignore", invalid="ignore"):
        error = np.sqrt(variance / moments.n)
    return confidence_sequence(moments.mean[..., 0], error, alpha=alpha, scale=scale)


def _check(alpha: float, scale: float) -> None:
    if not 0 < alpha < 1:
        raise ConfigError(f"Alpha is {alpha}. Allowed: between 0 and 1, both excluded.")
    if not 0 < scale < math.inf:
        raise ConfigError(
            f"The mixture's scale is {scale}. Allowed: a positive number, in the unit of the effect."
        )

"""Confidence sequences: intervals that hold at every analysis at once, however many and whenever they are made."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from evergreen.tasks.core.arrays import FloatArray
from evergreen.tasks.core.errors import ConfigError
from evergreen.tasks.core.stats.association import JointMoments

SCALE = 0.9
"""Spread of the mixture in units of the effect planned for: asks for the fewest rows at a power of 80 %."""


class Bounds(NamedTuple):
    """Both ends of a confidence sequence at one or more analyses; infinite where nothing is known."""

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
        Standard deviation of the normal mixture, in the unit of the effect; fixed before the first analysis. The
        sequence is tightest, for its coverage, where the information is about 9 / scale² (at alpha .05).

    Examples
    --------
    >>> round(float(critical_value(100.0, alpha=0.05, scale=0.3)), 3)
    3.036
    """
    scaled = np.asarray(information, dtype=np.float64) * scale * scale
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.sqrt((1 + 1 / scaled) * (-2 * math.log(alpha) + np.log1p(scaled))))


def confidence_sequence(
    estimate: Any, standard_error: Any, *, alpha: float, scale: float, weight: Any = 0.0
) -> Bounds:
    """Return the asymptotic confidence sequence of a mean, a difference of means, or any efficient estimate.

    With probability 1 - alpha the truth lies inside at *every* analysis, so that one may analyse after each row and
    stop at any time. Assumed: units are independent (or martingale differences), have a finite variance, and are
    enough for the standard error to be known; heavy tails must be clipped first. At one analysis that was fixed
    beforehand an ordinary interval is narrower: 1.96 standard errors against about 3.

    Parameters
    ----------
    estimate, standard_error : array, shape (…)
        As of each analysis.
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
    measured = np.isfinite(m) & np.isfinite(error) & (error > 0)
    safe = np.where(measured, error, 1.0)
    reach = critical_value(1 / safe**2, alpha=alpha, scale=scale)
    left = 1 - np.nan_to_num(np.asarray(weight, dtype=np.float64), nan=1.0) * reach**2
    infinite, root = np.full(m.shape, np.inf), np.sqrt(np.maximum(left, 0.0))
    half = np.where(measured, np.divide(reach * safe, root, out=infinite, where=left > 0), np.inf)
    centre = np.where(measured, m, 0.0)
    return Bounds(centre - half, centre + half)


def log_e_value(estimate: Any, standard_error: Any, *, scale: float, weight: Any = 0.0) -> FloatArray:
    """Return the log of the (asymptotic) e-value against no effect; 0 where nothing is known.

    It exceeds log(1 / alpha) exactly where `confidence_sequence` excludes 0; ``min(1, exp(-largest so far))`` is a
    p-value that may be read at any time.

    >>> round(float(log_e_value(0.02, 0.005, scale=0.018)), 3)
    6.109
    """
    _check(0.5, scale)
    m, error = np.broadcast_arrays(*(np.asarray(x, dtype=np.float64) for x in (estimate, standard_error)))
    measured = np.isfinite(m) & np.isfinite(error) & (error > 0)
    safe, z = np.where(measured, error, 1.0), np.where(measured, m, 0.0)
    scaled = (scale / safe) ** 2
    far = (z / safe) ** 2
    far = far / (1 + np.nan_to_num(np.asarray(weight, dtype=np.float64), nan=1.0) * far)
    value = 0.5 * far * scaled / (1 + scaled) - 0.5 * np.log1p(scaled)
    return np.asarray(np.where(measured, value, 0.0))


def _check(alpha: float, scale: float) -> None:
    if not 0 < alpha < 1:
        raise ConfigError(f"Alpha is {alpha}. Allowed: between 0 and 1, both excluded.")
    if not 0 < scale < math.inf:
        allowed = "Allowed: a positive number, in the unit of the effect."
        raise ConfigError(f"The mixture's scale is {scale}. {allowed}")


# The effect of a variant: between two independent arms, or on pairs of answers to the same rows.


@dataclass(frozen=True, kw_only=True, eq=False)
class Effect:
    """How much better a variant does than the control, as of each analysis, shape (…)."""

    estimate: FloatArray
    standard_error: FloatArray
    """Variant less control, a row; NaN where undefined."""
    control: FloatArray
    variant: FloatArray
    """The mean of each side, a row."""
    n_control: FloatArray
    n_variant: FloatArray
    """Units on each side."""
    weight: FloatArray
    """Sum of squares of the shares of all rows that single units have: 1 / n where each has as many."""


def compare_arms(control: JointMoments, variant: JointMoments, *, span: float = 0.0) -> Effect:
    """Compare two independent arms of any sizes.

    Parameters
    ----------
    control, variant : JointMoments, c = 2
        Per unit of randomisation: how many rows it brought, and the sum of the metric's values over them.
    span : float
        Greatest difference of two values of a row (1 for shares right, the distance of the bounds of clipping); 0
        where there is none. Each arm's variance is raised as if it had two values more, that far from its mean:
        rare large values that an arm has not met yet may exist.

    Returns
    -------
    Effect
        Difference of the means a row (ratios of sums, by the delta method, so that rows of one unit may depend on
        each other). The variance is the larger of that by arms and the pooled one: a small arm that has not met
        the rare large values yet underestimates both its mean and its spread, and would be called worse too often
        (docs/limits.md); ``span`` helps where the arms' spreads differ. NaN below two units in an arm.

    Notes
    -----
    Deng, Knoblich & Lu (2018), the delta method for ratio metrics.

    Examples
    --------
    >>> a = JointMoments.of([[1, 0.0], [1, 1.0], [1, 0.0], [1, 1.0]])
    >>> b = JointMoments.of([[1, 1.0], [1, 1.0], [1, 0.0], [1, 1.0]])
    >>> effect = compare_arms(a, b)
    >>> float(effect.estimate), round(float(effect.standard_error), 4)
    (0.25, 0.3819)
    """
    (mean_a, spread_a), (mean_b, spread_b) = _per_row(control), _per_row(variant)
    n_a, n_b = np.asarray(control.n), np.asarray(variant.n)
    difference = (mean_b - mean_a)[..., 0]
    with np.errstate(divide="ignore", invalid="ignore"):
        own_a, own_b = spread_a[..., 0, 0] + 2 * span**2 / n_a, spread_b[..., 0, 0] + 2 * span**2 / n_b
        unpooled = own_a / n_a + own_b / n_b
        pooled = ((n_a - 1) * own_a + (n_b - 1) * own_b) / (n_a + n_b - 2) * (1 / n_a + 1 / n_b)
        error = np.sqrt(np.where(np.isfinite(difference), np.maximum(unpooled, pooled), np.nan))
    return Effect(
        estimate=difference,
        standard_error=error,
        control=mean_a[..., 0],
        variant=mean_b[..., 0],
        n_control=n_a,
        n_variant=n_b,
        weight=np.maximum(_weight(control), _weight(variant)),
    )


def compare_pairs(pairs: JointMoments) -> Effect:
    """Compare two answers to the same rows.

    Parameters
    ----------
    pairs : JointMoments, c = 3
        Per unit: how many rows it brought, and the sums of the control's and of the variant's values over them.

    Returns
    -------
    Effect
        Mean difference a row with its standard error; NaN below two units. For right-or-wrong values of single
        rows the exact `mcnemar_e_value` is better.

    Examples
    --------
    >>> effect = compare_pairs(JointMoments.of([[1, 0, 1], [1, 1, 1], [1, 0, 0], [1, 0, 1]]))
    >>> float(effect.estimate), round(float(effect.standard_error), 4)
    (0.5, 0.2887)
    """
    means, spread = _per_row(pairs)
    with np.errstate(divide="ignore", invalid="ignore"):
        variance = spread[..., 0, 0] + spread[..., 1, 1] - 2 * spread[..., 0, 1]
        error = np.sqrt(np.maximum(variance, 0.0) / pairs.n)
    n = np.asarray(pairs.n)
    return Effect(
        estimate=means[..., 1] - means[..., 0],
        standard_error=error,
        control=means[..., 0],
        variant=means[..., 1],
        n_control=n,
        n_variant=n,
        weight=_weight(pairs),
    )


def _per_row(side: JointMoments) -> tuple[FloatArray, FloatArray]:
    """Return means a row (…, c - 1), and the covariance of the units' influences on them; NaN below two units."""
    rows, sums = side.mean[..., :1], side.mean[..., 1:]
    undefined = (np.asarray(side.n)[..., None] < 2) | ~(rows > 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = np.where(undefined, np.nan, sums / rows)
        s = side.covariance() / rows[..., None] ** 2
        cross = s[..., 1:, :1]
        spread = (
            s[..., 1:, 1:]
            - ratios[..., :, None] * np.swapaxes(cross, -1, -2)
            - cross * ratios[..., None, :]
            + ratios[..., :, None] * ratios[..., None, :] * s[..., :1, :1]
        )
    return ratios, spread


def _weight(side: JointMoments) -> FloatArray:
    """Return the sum of squares of the parts of all rows that units have; NaN without rows."""
    n, rows = np.asarray(side.n), side.mean[..., 0]
    with np.errstate(divide="ignore", invalid="ignore"):
        squares = side.comoments[..., 0, 0] / n + rows**2
        return np.asarray(squares / (n * rows**2))

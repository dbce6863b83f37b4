"""The effect of a variant: between two independent arms, or on pairs of answers to the same rows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tasks.core.stats.joint_moments import JointMoments

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, eq=False)
class Effect:
    """How much better a variant does than the control, as of each look, shape (…).

    Attributes
    ----------
    estimate, standard_error : array
        Variant less control, a row; NaN where undefined.
    control, variant : array
        The mean of each side, a row.
    n_control, n_variant : array
        Units on each side.
    weight : array
        Sum of squares of the parts of all rows that single units have: 1 / n where each brought as many.
    """

    estimate: FloatArray
    standard_error: FloatArray
    control: FloatArray
    variant: FloatArray
    n_control: FloatArray
    n_variant: FloatArray
    weight: FloatArray

    @property
    def least(self) -> FloatArray:
        """Units on the smaller side."""
        return np.minimum(self.n_control, self.n_variant)


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
        own_a, own_b = (
            spread[..., 0, 0] + 2 * span**2 / n for spread, n in ((spread_a, n_a), (spread_b, n_b))
        )
        apart = own_a / n_a + own_b / n_b
        pooled = ((n_a - 1) * own_a + (n_b - 1) * own_b) / (n_a + n_b - 2) * (1 / n_a + 1 / n_b)
        error = np.sqrt(np.where(np.isfinite(difference), np.maximum(apart, pooled), np.nan))
    return Effect(
        estimate=difference, standard_error=error, control=mean_a[..., 0], variant=mean_b[..., 0], n_control=n_a,
        n_variant=n_b, weight=np.maximum(_weight(control), _weight(variant)),
    )  # fmt: skip


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
        estimate=means[..., 1] - means[..., 0], standard_error=error, control=means[..., 0],
        variant=means[..., 1], n_control=n, n_variant=n, weight=_weight(pairs),
    )  # fmt: skip


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

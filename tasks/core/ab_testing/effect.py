"""How much better a challenger does, with the sequence it is known by, from the evidence."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from evergreen.tasks.core.ab_testing.definition import ARMS, BLOCK, ROW, Arm, LiveTest
from evergreen.tasks.core.ab_testing.evidence import ArmEvidence, Evidence
from evergreen.tasks.core.serial import Struct
from evergreen.tasks.core.stats.dependence import measure_dependence, variance_inflation
from evergreen.tasks.core.stats.sequential import (
    Effect,
    compare_arms,
    compare_pairs,
    confidence_sequence,
    log_e_value,
)
from evergreen.tasks.core.stats.sequential_counts import log_mcnemar_e_value, win_share_sequence

_TOLERANCE = 1e-12  # beyond 0, by an amount that is not known


@dataclass(frozen=True, kw_only=True)
class MeasuredEffect(Struct):
    """A challenger against the control, in the metric's own unit; greater is always better."""

    test: str
    """``confidence_sequence``, or ``mcnemar_e_value`` for right-or-wrong pairs of independent rows."""
    improvement: float
    low: float
    high: float
    """Challenger less control a row, and its confidence sequence; infinite where nothing is known yet."""
    standard_error: float
    """NaN where nothing has varied yet."""
    log_e_value: float
    """Log of the evidence against no difference."""
    control: float
    challenger: float
    """Mean of each; of a loss or error its negative."""
    n_control: int
    n_challenger: int
    """Units on each side (pairs: the same; blocks where these are the units)."""
    repeated: bool = False
    """Whether units brought more than one row."""
    lost: int | None = None
    won: int | None = None
    """Discordant pairs, where values are right or wrong."""
    paired: bool = False
    """Whether both answered the same rows."""

    @property
    def n(self) -> int:
        """Units that the test has: of both arms, or pairs."""
        return self.n_control if self.paired else self.n_control + self.n_challenger


def measure_effect(
    evidence: Evidence,
    test: LiveTest,
    challenger: Arm,
    *,
    alpha: float,
    scale: float,
    hits: bool,
    span: float = 0.0,
) -> MeasuredEffect:
    """Measure one challenger.

    Parameters
    ----------
    evidence : Evidence
        Of one metric.
    alpha, scale : float
        Of the confidence sequence.
    hits : bool
        Whether the metric's values are right or wrong.
    span : float
        Greatest difference of two of its values (`evergreen.tasks.core.ab_testing.metric.span_of`), for arms.
    """
    if test.mode == ARMS:
        crossed = evidence.crossed()
        arms = [evidence.arm(test.control.name), evidence.arm(challenger.name)]
        effect = compare_arms(*(arm.moments(without=crossed) for arm in arms), span=span)
        repeated = any(arm.table.without(crossed).repeats for arm in arms)
        return _by_sequence(effect, alpha=alpha, scale=scale, repeated=repeated, paired=False)
    pairs = evidence.arm(challenger.name)
    effect = compare_pairs(pairs.moments())
    if test.unit == BLOCK and effect.n_control >= 2:
        effect = _with_autocorrelation(effect, pairs)
    if hits and test.unit == ROW:
        return _measure_hits(pairs, effect, test, alpha=alpha, scale=scale)
    return _by_sequence(effect, alpha=alpha, scale=scale, repeated=pairs.table.repeats, paired=True)


def _with_autocorrelation(effect: Effect, pairs: ArmEvidence) -> Effect:
    """Return the effect with the error that it has where neighbouring blocks are correlated, as in the challenge."""
    sums = pairs.table.counted  # by name, which is the block's number: in time order
    residuals = sums[:, 2] - sums[:, 1] - effect.estimate * sums[:, 0]
    inflation = variance_inflation(measure_dependence(residuals).correlation, 1)
    return replace(effect, standard_error=effect.standard_error * math.sqrt(inflation))


def _by_sequence(
    effect: Effect, *, alpha: float, scale: float, repeated: bool, paired: bool
) -> MeasuredEffect:
    measured, weight = (effect.estimate, effect.standard_error), effect.weight if paired else 0.0
    low, high = confidence_sequence(*measured, alpha=alpha, scale=scale, weight=weight)
    return MeasuredEffect(
        test="confidence_sequence",
        low=float(low),
        high=float(high),
        log_e_value=float(log_e_value(*measured, scale=scale, weight=weight)),
        repeated=repeated,
        paired=paired,
        **_means(effect),
    )


def _means(effect: Effect) -> dict[str, Any]:
    return {
        "improvement": float(effect.estimate),
        "standard_error": float(effect.standard_error),
        "control": float(effect.control),
        "challenger": float(effect.variant),
        "n_control": int(effect.n_control),
        "n_challenger": int(effect.n_variant),
    }


def _measure_hits(
    pairs: ArmEvidence, effect: Effect, test: LiveTest, *, alpha: float, scale: float
) -> MeasuredEffect:
    lost, won, concentration = pairs.lost, pairs.won, test.concentration
    low, high = hits_bounds(
        lost, won, effect.n_control, alpha=alpha, scale=scale, concentration=concentration
    )
    return MeasuredEffect(
        test="mcnemar_e_value",
        low=float(low),
        high=float(high),
        log_e_value=float(log_mcnemar_e_value(lost, won, concentration=concentration)),
        paired=True,
        lost=lost,
        won=won,
        **_means(effect),
    )


def hits_bounds(lost: Any, won: Any, n: Any, *, alpha: float, scale: float, concentration: float) -> Any:
    """Return both bounds of the difference of two shares right on the same n rows, shape (…).

    0 is left out exactly where the e-value reaches 1 / alpha. Elsewhere no bound is nearer than that of the mean's
    confidence sequence with one row more in each discordant cell: the sign of the difference follows from the share p
    of discordant pairs won alone, but its size, (2 p - 1) (lost + won) / n, from their number too, which is known by
    chance. A sign that is sure while the size is not has a bound of ± 1e-12. From -inf to inf without rows.
    """
    b, c, rows = np.broadcast_arrays(*(np.asarray(each, dtype=np.float64) for each in (lost, won, n)))
    measured = rows > 0
    safe = np.where(measured, rows, 1.0)
    share_low, share_high = win_share_sequence(b, c, alpha=alpha, concentration=concentration)
    near, far = (2 * share_low - 1) * (b + c) / safe, (2 * share_high - 1) * (b + c) / safe
    mean = (c - b) / safe
    error = np.sqrt(np.maximum((b + c + 2) / (safe + 2) - mean**2, 0.0) / (safe + 2))
    wide_low, wide_high = confidence_sequence(mean, error, alpha=alpha, scale=scale)
    low = np.where(near > 0, np.maximum(_TOLERANCE, np.minimum(near, wide_low)), np.minimum(near, wide_low))
    high = np.where(far < 0, np.minimum(-_TOLERANCE, np.maximum(far, wide_high)), np.maximum(far, wide_high))
    return np.where(measured, low, -np.inf), np.where(measured, high, np.inf)

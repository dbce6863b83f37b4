"""Probabilities: sane at all, and calibrated well enough to be read as probabilities."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from evergreen.tasks.core.arrays import FloatArray
from evergreen.tasks.core.metrics.scored import Scored
from evergreen.tasks.core.validation.gate import CheckResult, GateContext, check, gate
from evergreen.tasks.core.verdict import Reason

_SLACK = 1e-6
_ROWS_A_BIN = 50
_MOST_BINS = 10


def check_probabilities(scored: Scored) -> CheckResult:
    """Require scores in 0..1 that sum to 1 over the classes and differ between rows."""
    n = len(scored.y)
    met = Reason(code="probabilities_sane", message="Scores lie in 0..1 and differ between rows.", n=n)
    return check("probabilities", failed=list(_insane(np.asarray(scored.score, dtype=float))), met=met)


def _insane(score: FloatArray) -> Iterator[Reason]:
    n = len(score)
    outside = int(((score < -_SLACK) | (score > 1 + _SLACK)).reshape(n, -1).any(axis=1).sum())
    if outside:
        message = f"{outside} of {n} rows have a probability outside 0..1."
        yield Reason(code="probability_outside", message=message, observed=outside, limit=0, n=n)
    if score.ndim == 2 and n and (worst := float(np.abs(score.sum(axis=1) - 1).max())) > 1e-3:
        message = f"The probabilities of a row do not sum to 1 (off by up to {worst:.3g})."
        yield Reason(code="probability_sum", message=message, observed=worst, limit=1e-3, n=n)
    if n > 1 and float(np.ptp(score, axis=0).max()) == 0.0:
        message = f"All {n} rows get the same answer: the model does not distinguish them."
        yield Reason(code="constant_score", message=message, observed=0.0, n=n)


def expected_calibration_error(truth: FloatArray, probability: FloatArray) -> float:
    """Return the expected calibration error: the mean gap between stated and observed frequency over bins.

    Parameters
    ----------
    truth : array, shape (n,)
        1 where the event happened, else 0.
    probability : array, shape (n,)
        Stated probability of the event.

    Returns
    -------
    float
        0 (calibrated) to 1; NaN without rows. Bins hold equal numbers of rows, at least 50 each and at most
        ten bins, since small bins find gaps in pure noise: with fewer than 100 rows it is the gap of the
        means alone. The Brier score is the better choice to *compare* two models.

    References
    ----------
    Naeini, Cooper, Hauskrecht: Obtaining well calibrated probabilities using Bayesian binning (AAAI 2015).

    Examples
    --------
    >>> expected_calibration_error(np.array([0.0, 1.0]), np.array([0.5, 0.9]))
    0.2
    """
    n = len(truth)
    if n == 0:
        return float("nan")
    order = np.argsort(probability, kind="stable")
    bins = np.array_split(order, min(_MOST_BINS, max(1, n // _ROWS_A_BIN)))
    gaps = [abs(float(probability[part].mean() - truth[part].mean())) * len(part) for part in bins]
    return round(sum(gaps) / n, 12)


def measure_calibration(scored: Scored) -> float:
    """Return the calibration error of the positive class, or the mean over classes (one against the rest)."""
    score = np.asarray(scored.score, dtype=float)
    if score.ndim == 1:
        return expected_calibration_error(scored.truth.astype(float), score)
    errors = [
        expected_calibration_error((scored.y == label).astype(float), score[:, column])
        for column, label in enumerate(scored.classes)
    ]
    return float(np.mean(errors))


def check_calibration(error: float, *, limit: float, n: int, weighted: bool) -> CheckResult:
    """Compare the calibration error with its limit.

    Class weights shift probabilities by design: a model trained with them (``weighted``) is warned about
    instead of rejected.
    """
    message = (
        f"Stated probabilities miss the observed frequencies by {error:.3f} on average, allowed {limit:g}"
        + ("; class weights shift them by design." if weighted else ".")
    )
    measured = {"expected_calibration_error": error}
    if error <= limit:
        message = f"Calibration error {error:.3f}."
        met = Reason(code="calibrated", message=message, observed=error, limit=limit, n=n)
        return check("calibration", met=met, measured=measured)
    reason = Reason(code="badly_calibrated", message=message, observed=error, limit=limit, n=n)
    failed, warnings = ([], [reason]) if weighted else ([reason], [])
    return check("calibration", failed=failed, warnings=warnings, measured=measured)


@gate("probabilities", needs=("answers", "probabilities"), always=True)
def probabilities_gate(context: GateContext) -> CheckResult:
    """Require scores that can be probabilities."""
    return check_probabilities(context.scored)


@gate(
    "calibration", section="validation.max_calibration_error", needs=("answers", "probabilities"), always=True
)
def calibration_gate(context: GateContext, limit: float) -> CheckResult:
    """Require stated probabilities that are close to the observed frequencies."""
    error, weighted = measure_calibration(context.scored), context.config.training.class_weight is not None
    return check_calibration(error, limit=limit, n=len(context.scored), weighted=weighted)

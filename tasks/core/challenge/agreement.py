"""Whether a refit says the same as the version that was judged."""

from __future__ import annotations

import numpy as np
from scipy.stats import spearmanr

from tasks.core.metrics.scored import Scored
from tasks.core.verdict import Outcome, Reason, Verdict


def measure_agreement(judged: Scored, refit: Scored) -> float:
    """Return how alike two models answer the same rows.

    Parameters
    ----------
    judged, refit : Scored
        Answers on the same n rows.

    Returns
    -------
    float
        Spearman's rank correlation of the scores, in [-1, 1]; for probabilities of several classes the share
        of rows with the same most likely class. 1 when both answer a constant, NaN when only one does or
        there are fewer than two rows.
    """
    if judged.score is None or refit.score is None or len(judged) < 2:
        return float("nan")
    if judged.score.ndim == 2:
        return float(np.mean(judged.predicted == refit.predicted))
    constant = [bool(np.ptp(side.score) == 0) for side in (judged, refit) if side.score is not None]
    if any(constant):
        return 1.0 if all(constant) else float("nan")
    return float(spearmanr(judged.score, refit.score).statistic)


def judge_agreement(agreement: float, *, bound: float, n: int) -> Verdict:
    """Pass when the refit agrees with the judged version at least as well as ``bound``; NaN fails."""
    passed = bool(agreement >= bound)
    word = "agrees" if passed else "does not agree"
    reason = Reason(
        code="refit_agrees" if passed else "refit_disagrees",
        message=f"The refit {word} with the judged version: {agreement:.3f}, at least {bound:g} is asked.",
        observed=agreement if np.isfinite(agreement) else None,
        limit=bound,
        n=n,
    )
    return Verdict(outcome=Outcome.PASS if passed else Outcome.FAIL, reasons=(reason,))

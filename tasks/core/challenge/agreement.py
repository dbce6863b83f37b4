"""Whether a refit says the same as the version that was judged."""

from __future__ import annotations

import numpy as np
from scipy.stats import spearmanr

from tasks.core.config import ModelConfig
from tasks.core.data.rows import Rows
from tasks.core.learning.scorer import Scorer
from tasks.core.metrics.scored import Scored
from tasks.core.verdict import Outcome, Reason, Verdict

MOST_COMPARED = 10_000
"""Rows on which a refit must agree with the judged version."""


def check_refit(judged: Scorer, refit: Scorer, training: Rows, *, config: ModelConfig) -> Verdict:
    """Judge whether a refit answers the newest training rows as the judged version does.

    Both have learned from these: where the refit alone has, a model that remembers its rows answers differently by
    nature.

    Parameters
    ----------
    training : Rows
        Training rows of the split as of the challenge; the newest 10,000 are compared.
    config : ModelConfig
        ``promotion.refit_agreement`` is the bound.
    """
    newest = np.arange(max(len(training) - MOST_COMPARED, 0), len(training))
    rows = training.take(newest)
    agreement = measure_agreement(judged.score(rows, config=config), refit.score(rows, config=config))
    return judge_agreement(agreement, bound=config.promotion.refit_agreement, n=len(rows))


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

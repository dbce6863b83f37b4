"""Compare candidates by cross-validation: who wins, who cannot be told from the winner, who is ruled out."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from tasks.core.learning.criteria import Criteria
from tasks.core.metrics.base import Metric
from tasks.core.metrics.scored import FloatArray
from tasks.core.stats.multiplicity import holm
from tasks.core.stats.paired import corrected_resampled_t
from tasks.core.verdict import Outcome, Reason, Verdict


@dataclass(frozen=True, kw_only=True)
class CandidateResult:
    """One candidate's row of the comparison.

    Attributes
    ----------
    name : str
        The candidate.
    mean, std : float
        Of the deciding metric over folds (``ddof=1``); ``nan`` where a fold is undefined.
    eligible : bool
        True when the metric is defined and the criteria are met.
    behind : float
        How much worse than the winner, in the metric's own unit, >= 0; ``nan`` without a winner.
    p_value : float
        Two-sided corrected resampled t against the winner, Holm-adjusted; ``nan`` for the winner itself.
    tied : bool
        True when it cannot be told from the winner at ``level``.
    reasons : tuple of Reason
        Why it is not eligible.
    """

    name: str
    mean: float
    std: float
    eligible: bool
    behind: float = math.nan
    p_value: float = math.nan
    tied: bool = False
    reasons: tuple[Reason, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form; numbers that are not finite become null."""
        plain = asdict(self) | {"reasons": [reason.to_dict() for reason in self.reasons]}
        return {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in plain.items()}


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """The table, best first, the winner, and the verdict (INSUFFICIENT without a winner)."""

    metric: str
    level: float
    winner: str | None
    candidates: tuple[CandidateResult, ...]
    verdict: Verdict


def compare_candidates(
    fold_scores: Mapping[str, Mapping[str, Sequence[float] | FloatArray]],
    *,
    metric: Metric,
    train_size: int,
    test_size: int,
    level: float = 0.05,
    criteria: Criteria | None = None,
) -> Comparison:
    """Compare candidates on the same folds.

    The winner is the eligible candidate with the best mean; the others are tested against it by the
    corrected resampled t-test with Holm's adjustment. The plain t-test would call folds that share their
    training rows independent.

    Parameters
    ----------
    fold_scores : mapping of str to mapping of str to array, shape (folds,)
        Candidate → metric → value by fold; every candidate on the same folds.
    metric : Metric
        The metric that decides; must be among the measured ones.
    train_size, test_size : int
        Typical rows of a fold's training and test part.
    level : float
        Level at which a candidate counts as different from the winner.
    criteria : Criteria, optional
        What a candidate must meet, on the mean of each metric and on its ``<metric>_std``.

    Returns
    -------
    Comparison
    """
    rows = [_candidate(name, scores, metric, criteria) for name, scores in fold_scores.items()]
    eligible = [row for row in rows if row.eligible]
    if not eligible:
        return Comparison(
            metric=metric.name,
            level=level,
            winner=None,
            candidates=_ranked(rows, metric),
            verdict=_nobody(rows),
        )
    winner = max(eligible, key=lambda row: metric.sign * row.mean)
    table = _against(
        winner, rows, fold_scores, metric=metric, train_size=train_size, test_size=test_size, level=level
    )
    return Comparison(
        metric=metric.name,
        level=level,
        winner=winner.name,
        candidates=_ranked(table, metric),
        verdict=Verdict(outcome=Outcome.PASS, reasons=(_chosen(winner, table, metric),)),
    )


def summarise_folds(scores: Mapping[str, Sequence[float] | FloatArray]) -> dict[str, float]:
    """Return each metric's mean over folds and its standard deviation as ``<metric>_std`` (``ddof=1``).

    >>> summarise_folds({"accuracy": [0.5, 0.7, 0.9]})["accuracy_std"].__round__(6)
    0.2
    """
    summary: dict[str, float] = {}
    for name, values in scores.items():
        folds = np.asarray(values, dtype=np.float64)
        summary[name] = float(folds.mean()) if folds.size else math.nan
        summary[f"{name}_std"] = float(folds.std(ddof=1)) if folds.size > 1 else math.nan
    return summary


def _candidate(
    name: str,
    scores: Mapping[str, Sequence[float] | FloatArray],
    metric: Metric,
    criteria: Criteria | None,
) -> CandidateResult:
    """Summarise one candidate and judge whether it may win."""
    summary = summarise_folds(scores)
    mean = summary.get(metric.name, math.nan)
    reasons: tuple[Reason, ...] = ()
    if not math.isfinite(mean):
        reasons = (_undefined(name, metric),)
    elif criteria is not None:
        reasons = criteria.judge(summary).reasons
    return CandidateResult(
        name=name,
        mean=mean,
        std=summary.get(f"{metric.name}_std", math.nan),
        eligible=not reasons,
        reasons=reasons,
    )


def _against(
    winner: CandidateResult,
    rows: list[CandidateResult],
    fold_scores: Mapping[str, Mapping[str, Sequence[float] | FloatArray]],
    *,
    metric: Metric,
    train_size: int,
    test_size: int,
    level: float,
) -> list[CandidateResult]:
    """Test every other candidate with a defined metric against the winner."""
    others = [row for row in rows if row.name != winner.name and math.isfinite(row.mean)]
    best = np.asarray(fold_scores[winner.name][metric.name], dtype=np.float64)
    raw = [
        corrected_resampled_t(
            best - np.asarray(fold_scores[row.name][metric.name], dtype=np.float64),
            train_size=train_size,
            test_size=test_size,
        ).p_value
        for row in others
    ]
    adjusted = dict(zip([row.name for row in others], holm(raw).tolist(), strict=True))
    return [
        CandidateResult(
            name=row.name,
            mean=row.mean,
            std=row.std,
            eligible=row.eligible,
            behind=metric.sign * (winner.mean - row.mean),
            p_value=adjusted.get(row.name, math.nan),
            tied=row.eligible and row.name in adjusted and not adjusted[row.name] <= level,
            reasons=row.reasons,
        )
        for row in rows
    ]


def _ranked(rows: list[CandidateResult], metric: Metric) -> tuple[CandidateResult, ...]:
    """Sort: eligible first, best first, undefined last."""

    def place(row: CandidateResult) -> tuple[bool, float]:
        return not row.eligible, -metric.sign * row.mean if math.isfinite(row.mean) else math.inf

    return tuple(sorted(rows, key=place))


def _chosen(winner: CandidateResult, table: list[CandidateResult], metric: Metric) -> Reason:
    """Say who won and who cannot be told from it."""
    ties = [row.name for row in table if row.tied and row.name != winner.name]
    rest = f" Not distinguishable from it: {', '.join(ties)}." if ties else ""
    message = f"'{winner.name}' has the best {metric.name}: {winner.mean:.4f} ± {winner.std:.4f}.{rest}"
    return Reason(code="best_candidate", message=message, observed=winner.mean)


def _undefined(name: str, metric: Metric) -> Reason:
    message = (
        f"{metric.name} of '{name}' is undefined in at least one fold (one class only, or a failed fit)."
    )
    return Reason(code="metric_undefined", message=message)


def _nobody(rows: list[CandidateResult]) -> Verdict:
    """Say why no candidate may win."""
    first = Reason(
        code="no_eligible_candidate",
        message="No candidate meets the selection criteria with a defined metric. Loosen the criteria, or add "
        "rows or candidates.",
        observed=0,
        limit=1,
    )
    return Verdict(
        outcome=Outcome.INSUFFICIENT, reasons=(first, *(reason for row in rows for reason in row.reasons))
    )

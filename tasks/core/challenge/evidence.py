"""Whether a refit says the same as the version that was judged."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import scipy

from evergreen.tasks.core.challenge.alpha import AlphaAllowance
from evergreen.tasks.core.challenge.comparison import Comparison, Contestants
from evergreen.tasks.core.challenge.decision import ChallengeDecision, Rule, judge_challenge
from evergreen.tasks.core.challenge.difference import measure_difference
from evergreen.tasks.core.config import ModelConfig
from evergreen.tasks.core.data.rows import Rows
from evergreen.tasks.core.metrics.scored import Scored
from evergreen.tasks.core.promotion.ledger import LedgerEntry, canonical_json
from evergreen.tasks.core.seeds import seed_for
from evergreen.tasks.core.training.scoring import Scorer
from evergreen.tasks.core.verdict import Outcome, Reason, StageResult, State, Verdict

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
    return float(scipy.stats.spearmanr(judged.score, refit.score).statistic)


def judge_agreement(agreement: float, *, bound: float, n: int) -> Verdict:
    """Pass when the refit agrees with the judged version at least as well as ``bound``; NaN fails."""
    passed = bool(agreement >= bound)
    word = "agrees" if passed else "does not agree"
    message = f"The refit {word} with the judged version: {agreement:.3f}, at least {bound:g} is asked."
    reason = Reason(
        code="refit_agrees" if passed else "refit_disagrees",
        message=message,
        observed=agreement if np.isfinite(agreement) else None,
        limit=bound,
        n=n,
    )
    return Verdict(outcome=Outcome.PASS if passed else Outcome.FAIL, reasons=(reason,))


# The judgement of a match as it is kept: its evidence, the question it answers, and its recall.


JUDGEMENT = "judgement"


def choose_rule(config: ModelConfig, *, defended: bool) -> Rule:
    """Return the rule of a match; on an empty throne the naive baseline must be beaten, whatever the policy."""
    chosen = config.evaluation
    return Rule(
        min_improvement=chosen.min_improvement,
        policy=chosen.policy if defended else "superiority",
        strict=chosen.strict,
        margin=chosen.margin,
        min_blocks=chosen.min_blocks,
        power=chosen.power,
    )


def promotes(config: ModelConfig, opponents: Contestants) -> bool:
    """Tell whether a won challenge promotes; else it admits to a live test, and costs no alpha.

    The first champion has nobody to be tested beside, and is promoted on every path. Who is admitted may still not
    reign but by the live test, whose alpha bounds the wrong promotion whoever was let in.
    """
    return config.promotion.evidence == "offline" or opponents.champion is None


def question_digest(config: ModelConfig, opponents: Contestants, match: Comparison, rule: Rule) -> str:
    """Return a short hash of all that a judgement answers: who met whom, on which rows, by which rule.

    Asked again it has the same answer, so that it is recalled and no alpha is spent on it.
    """
    evaluation = config.model_dump(mode="json")["evaluation"]
    asked = {
        "opponents": asdict(opponents),
        "defender": match.defender,
        "metric": match.metric.name,
        "rows": match.fingerprint,
        "rule": asdict(rule),
        "path": config.promotion.evidence,
        "evaluation": {name: evaluation[name] for name in _QUESTION_KEYS},
    }
    return hashlib.sha256(canonical_json(asked).encode()).hexdigest()[:16]


_QUESTION_KEYS = ("business", "custom_metrics", "dependence", "block")


def judge_comparison(
    config: ModelConfig,
    opponents: Contestants,
    match: Comparison,
    *,
    look: AlphaAllowance,
    rule: Rule,
    question: str,
) -> StageResult:
    """Measure how much better the challenger is, at the level that a look may spend, and judge it by the rule.

    Parameters
    ----------
    look : AlphaLook
        Its level, and what is left after it.
    rule, question : Rule, str
        From ``choose_rule`` and ``pose_question``.

    Raises
    ------
    NotLearnable
        When the two cannot be compared.
    """
    difference = measure_difference(
        match.metric,
        match.champion,
        match.challenger,
        level=look.alpha,
        blocks=match.blocks,
        rng=np.random.default_rng(seed_for(config.model, match.fingerprint, "challenge")),
        draws=config.evaluation.bootstrap,
    )
    return conclude_challenge(
        judge_challenge(difference, rule),
        config=config,
        opponents=opponents,
        match=match,
        look=look,
        question=question,
    )


def conclude_challenge(
    decision: ChallengeDecision,
    *,
    config: ModelConfig,
    opponents: Contestants,
    match: Comparison,
    look: AlphaAllowance,
    question: str,
) -> StageResult:
    """Return how a challenge stands after its match; a won one promotes, or admits where live evidence comes next."""
    won = State.WON if promotes(config, opponents) else State.READY_FOR_LIVE_TEST
    states = {
        Outcome.PASS: won,
        Outcome.FAIL: State.CHAMPION_KEPT,
        Outcome.INSUFFICIENT: State.INSUFFICIENT_DATA,
    }
    facts = decision.to_dict()
    facts.pop("reasons")
    evidence = {
        "alpha": look.alpha,
        "alpha_left": look.left_after,
        "versions": {
            "challenger": opponents.challenger,
            "champion": opponents.champion,
            "defender": match.defender,
        },
        "against": "naive baseline" if match.defender is None else f"version {match.defender}",
        "window": None if match.window is None else list(match.window),
        "data_fingerprint": match.fingerprint,
        "question": question,
    }
    return StageResult(
        state=states[decision.outcome],
        model=config.model,
        reasons=decision.reasons,
        version=opponents.challenger,
        details={**facts, **evidence},
    )


def find_judgement(entries: Iterable[LedgerEntry], question: str, *, left: float) -> StageResult | None:
    """Return the newest judgement that answered the same question, or None.

    Parameters
    ----------
    entries : iterable of Entry
        The model's decisions in order.
    question : str
        From ``pose_question``.
    left : float
        What is left of the alpha budget now.
    """
    found = [e for e in entries if e.kind == JUDGEMENT and e.payload.get("question") == question]
    if not found:
        return None
    known = StageResult.from_dict({**found[-1].payload, "decision_id": found[-1].id})
    reason = Reason(
        code="already_judged",
        message=f"These two have met on these rows before ({found[-1].id}): the same answer, and no alpha is spent. "
        "Newer labelled rows or a new challenger ask anew.",
    )
    details: dict[str, Any] = {**known.details, "alpha_left": left}
    return replace(known, reasons=(*known.reasons, reason), details=details)


def dry_run_result(result: StageResult) -> StageResult:
    """Return what a dry run says: a won match is Blocked, for nothing was moved; and what alpha a real run spends."""
    if result.state not in (State.WON, State.READY_FOR_LIVE_TEST):
        return result
    if result.state is State.WON:
        spent = f"A run that is not dry would spend {result.details['alpha']:.4g} of the alpha budget and promote it"
        message = f"A dry run: version {result.version} has won; nothing was moved or spent. {spent}."
    else:
        message = (
            f"A dry run: version {result.version} has won and would be ReadyForLiveTest; nothing was moved. A "
            "challenge spends no alpha where live evidence promotes; the live test will."
        )
    reason = Reason(code="dry_run", message=message)
    return replace(
        result,
        state=State.BLOCKED,
        reasons=(*result.reasons, reason),
        details={**result.details, "dry_run": True},
    )

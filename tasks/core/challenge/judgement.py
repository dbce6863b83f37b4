"""The judgement of a match as it is kept: its evidence, the question it answers, and its recall."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import asdict, replace
from typing import Any

import numpy as np

from tasks.core.challenge.alpha import AlphaLook
from tasks.core.challenge.judge import ChallengeDecision, judge_challenge, measure_difference
from tasks.core.challenge.match import Match
from tasks.core.challenge.opponents import Opponents
from tasks.core.challenge.rule import Rule
from tasks.core.config import ModelConfig
from tasks.core.reign.ledger import Entry, canonical_json
from tasks.core.seeds import seed_for
from tasks.core.verdict import Outcome, Reason, StageResult, State

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


def promotes(config: ModelConfig, opponents: Opponents) -> bool:
    """Tell whether a won challenge promotes; else it admits to a live test, and costs no alpha.

    The first champion has nobody to be tested beside, and is promoted on every path. Who is admitted may still not
    reign but by the live test, whose alpha bounds the wrong promotion whoever was let in.
    """
    return config.promotion.path == "offline" or opponents.champion is None


def pose_question(config: ModelConfig, opponents: Opponents, match: Match, rule: Rule) -> str:
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
        "path": config.promotion.path,
        "evaluation": {name: evaluation[name] for name in _ASKED},
    }
    return hashlib.sha256(canonical_json(asked).encode()).hexdigest()[:16]


_ASKED = ("business", "custom_metrics", "dependence", "block")


def judge_match(
    config: ModelConfig, opponents: Opponents, match: Match, *, look: AlphaLook, rule: Rule, question: str
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
        match.metric, match.champion, match.challenger, level=look.alpha, blocks=match.blocks,
        rng=np.random.default_rng(seed_for(config.model, match.fingerprint, "challenge")),
        draws=config.evaluation.bootstrap,
    )  # fmt: skip
    return conclude_match(
        judge_challenge(difference, rule), config=config, opponents=opponents, match=match, look=look,
        question=question,
    )  # fmt: skip


def conclude_match(
    decision: ChallengeDecision,
    *,
    config: ModelConfig,
    opponents: Opponents,
    match: Match,
    look: AlphaLook,
    question: str,
) -> StageResult:
    """Return how a challenge stands after its match; a won one promotes, or admits where live evidence comes next."""
    won = State.WON if promotes(config, opponents) else State.ADMITTED
    states = {Outcome.PASS: won, Outcome.FAIL: State.KEPT, Outcome.INSUFFICIENT: State.INSUFFICIENT}
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


def recall_judgement(entries: Iterable[Entry], question: str, *, left: float) -> StageResult | None:
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


def show_only(result: StageResult) -> StageResult:
    """Return what a dry run says: a won match is Held, for nothing was moved."""
    if result.state not in (State.WON, State.ADMITTED):
        return result
    met = "won" if result.state is State.WON else "been admitted"
    message = f"A dry run: version {result.version} has {met}; nothing was moved."
    reason = Reason(code="dry_run", message=message)
    return replace(
        result,
        state=State.HELD,
        reasons=(*result.reasons, reason),
        details={**result.details, "dry_run": True},
    )

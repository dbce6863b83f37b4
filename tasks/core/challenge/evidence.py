"""The judgement of a challenge: its evidence and rule; and whether a refit agrees with the judged version."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import asdict, fields, replace
from typing import Any

import numpy as np
import scipy

from evergreen.tasks.core.challenge.alpha import AlphaAllowance
from evergreen.tasks.core.challenge.comparison import Comparison, Contestants
from evergreen.tasks.core.challenge.decision import Rule, judge_challenge
from evergreen.tasks.core.challenge.difference import measure_difference
from evergreen.tasks.core.config import ModelConfig
from evergreen.tasks.core.data.rows import Rows
from evergreen.tasks.core.log_items import Json, LogItem, Metrics, Params, Tags, Text
from evergreen.tasks.core.metrics.scored import Scored
from evergreen.tasks.core.promotion.ledger import LedgerEntry, canonical_json
from evergreen.tasks.core.reports.html import markdown_table, number
from evergreen.tasks.core.seeds import seed_for
from evergreen.tasks.core.training.scoring import Scorer
from evergreen.tasks.core.verdict import Outcome, Reason, StageResult, State, Verdict

MOST_COMPARED = 10_000
"""Rows on which a refit must agree with the judged version."""


def check_refit(judged: Scorer, refit: Scorer, training: Rows, *, config: ModelConfig) -> Verdict:
    """Judge whether a refit answers the newest training rows as the judged version does.

    Both were trained on these: where the refit alone has, a model that remembers its rows answers differently by
    nature.

    Parameters
    ----------
    training : Rows
        Training rows of the split as of the challenge; the newest 10,000 are compared.
    config : ModelConfig
        ``promotion.refit_agreement`` is the bound.
    """
    rows = training.take(np.arange(max(len(training) - MOST_COMPARED, 0), len(training)))
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
    passed, observed = bool(agreement >= bound), agreement if np.isfinite(agreement) else None
    code, word = ("refit_agrees", "agrees") if passed else ("refit_disagrees", "does not agree")
    message = f"The refit {word} with the judged version: {agreement:.3f}, at least {bound:g} is asked."
    reason = Reason(code=code, message=message, observed=observed, limit=bound, n=n)
    return Verdict(outcome=Outcome.PASS if passed else Outcome.FAIL, reasons=(reason,))


# The judgement of a comparison as it is stored: its evidence, the question it answers, and its recall.


JUDGEMENT = "judgement"


def choose_rule(config: ModelConfig, *, defended: bool) -> Rule:
    """Return the rule of a comparison; without a champion the naive baseline must be beaten, whatever the policy."""
    configured = config.evaluation.model_dump(include={field.name for field in fields(Rule)})
    return Rule(**(configured if defended else {**configured, "policy": "superiority"}))


def promotes(config: ModelConfig, contestants: Contestants) -> bool:
    """Tell whether a won challenge promotes; else it admits to a live test, and costs no alpha.

    The first champion has none to be tested beside, and is promoted on every path. Who is admitted is promoted by the
    live test alone, whose alpha bounds the wrong promotion whichever version was admitted.
    """
    return config.promotion.evidence == "offline" or contestants.champion is None


def question_digest(config: ModelConfig, contestants: Contestants, comparison: Comparison, rule: Rule) -> str:
    """Return a short hash of all that a judgement answers: which versions, on which rows, by which rule.

    Asked again it has the same answer, so that it is recalled and no alpha is spent on it.
    """
    evaluation = config.model_dump(mode="json")["evaluation"]
    versions = {"challenger": contestants.challenger, "champion": contestants.champion}
    question = {
        "opponents": {**versions, "twin": contestants.evaluated_version},
        "defender": comparison.defender,
        "metric": comparison.metric.name,
        "rows": comparison.fingerprint,
        "rule": asdict(rule),
        "path": config.promotion.evidence,
        "evaluation": {name: evaluation[name] for name in _QUESTION_KEYS},
    }
    return hashlib.sha256(canonical_json(question).encode()).hexdigest()[:16]


_QUESTION_KEYS = ("business", "custom_metrics", "dependence", "block")


def judge_comparison(
    config: ModelConfig,
    contestants: Contestants,
    comparison: Comparison,
    *,
    allowance: AlphaAllowance,
    rule: Rule,
) -> StageResult:
    """Measure how much better the challenger is, at the level that may be spent, and judge it by the rule.

    A challenge that is won promotes, or admits where live evidence comes next.

    Parameters
    ----------
    allowance : AlphaAllowance
        Its level, and what is left after it.
    rule : Rule
        From ``choose_rule``.

    Raises
    ------
    NotLearnable
        When the two cannot be compared.
    """
    difference = measure_difference(
        comparison.metric,
        comparison.champion,
        comparison.challenger,
        level=allowance.alpha,
        blocks=comparison.blocks,
        rng=np.random.default_rng(seed_for(config.model, comparison.fingerprint, "challenge")),
        draws=config.evaluation.bootstrap,
    )
    decision, defender = judge_challenge(difference, rule), comparison.defender
    states = {
        Outcome.PASS: State.WON if promotes(config, contestants) else State.READY_FOR_LIVE_TEST,
        Outcome.FAIL: State.CHAMPION_KEPT,
        Outcome.INSUFFICIENT: State.INSUFFICIENT_DATA,
    }
    facts = decision.to_dict()
    facts.pop("reasons")
    versions = {"challenger": contestants.challenger, "champion": contestants.champion, "defender": defender}
    evidence = {
        "alpha": allowance.alpha,
        "alpha_left": allowance.left_after,
        "versions": versions,
        "against": "naive baseline" if defender is None else f"version {defender}",
        "window": None if comparison.window is None else list(comparison.window),
        "data_fingerprint": comparison.fingerprint,
        "question": question_digest(config, contestants, comparison, rule),
    }
    return StageResult(
        state=states[decision.outcome],
        model=config.model,
        reasons=decision.reasons,
        version=contestants.challenger,
        details={**facts, **evidence},
    )


def find_judgement(entries: Iterable[LedgerEntry], question: str, *, left: float) -> StageResult | None:
    """Return the newest judgement that answered the same question, or None.

    Parameters
    ----------
    entries : iterable of Entry
        The model's decisions in order.
    question : str
        From ``question_digest``.
    left : float
        What is left of the alpha budget now.
    """
    earlier = [e for e in entries if e.kind == JUDGEMENT and e.payload.get("question") == question]
    if not earlier:
        return None
    judged = StageResult.from_dict({**earlier[-1].payload, "decision_id": earlier[-1].id})
    message = (
        f"These two were compared on these rows before ({earlier[-1].id}): the same answer, and no alpha is spent. "
        "Newer labelled rows or a new challenger are compared anew."
    )
    reasons = (*judged.reasons, Reason(code="already_judged", message=message))
    return replace(judged, reasons=reasons, details={**judged.details, "alpha_left": left})


def dry_run_result(result: StageResult) -> StageResult:
    """Return how a dry run ends: a won challenge is Blocked, nothing is promoted; and what alpha a real run spends."""
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
    reasons = (*result.reasons, Reason(code="dry_run", message=message))
    return replace(result, state=State.BLOCKED, reasons=reasons, details={**result.details, "dry_run": True})


def challenge_markdown(result: StageResult) -> str:
    """Return the markdown of a decided challenge, for the Prefect UI and the approval form."""
    facts = result.details
    lines = [
        f"## {result.model} version {facts['versions']['challenger']}: {facts['verdict']}",
        "",
        *(f"- **{reason.code}**: {reason.message}" for reason in result.reasons),
        "",
        *markdown_table(("what", "value"), _rows(facts)),
    ]
    return "\n".join(lines)


def challenge_items(result: StageResult, page: str) -> Iterator[LogItem]:
    """Describe what is logged of a decided challenge."""
    facts = result.details
    names = (
        "difference",
        "p_value",
        "level",
        "n",
        "blocks",
        "champion",
        "challenger",
        "alpha_left",
        "needed_n",
    )
    yield Metrics({name: float(facts[name]) for name in names if facts[name] is not None})
    low, high = facts["interval"]
    if low is not None and high is not None:
        yield Metrics({"interval_low": low, "interval_high": high})
    yield Params({name: facts[name] for name in ("metric", "test", "data_fingerprint")})
    yield Tags({"evergreen.verdict": facts["verdict"], "evergreen.decision": str(result.decision_id)})
    yield Json("decision.json", result.to_dict())
    yield Text("decision.md", page)


def _rows(facts: dict[str, Any]) -> list[tuple[str, str]]:
    versions = facts["versions"]
    low, high = facts["interval"]
    rows = [
        ("challenger", f"version {versions['challenger']}: {_number(facts['challenger'])}"),
        ("against", f"{facts['against']}: {_number(facts['champion'])}"),
        ("metric", facts["metric"]),
        ("difference", f"{_number(facts['difference'])} [{_number(low)}, {_number(high)}]"),
        ("test", f"{facts['test']}, level {_number(facts['level'])}, p {_number(facts['p_value'])}"),
        ("rows", f"{facts['n']} in {facts['blocks'] or 'no'} blocks"),
        ("rows that would decide", _number(facts["needed_n"])),
        ("alpha left for 90 days", _number(facts["alpha_left"])),
        ("data", f"`{facts['data_fingerprint'][:12]}`"),
    ]
    if facts["window"]:
        first, last = facts["window"]
        rows[6:6] = [("first row", first), ("last row", last)]
    defender = versions["defender"]
    if defender is not None and defender != versions["champion"]:
        judged = f"judged version of champion {versions['champion']}, which was trained on these rows"
        rows.insert(2, ("stand-in", judged))
    return rows


def _number(value: Any) -> str:
    return number(value) or "-"

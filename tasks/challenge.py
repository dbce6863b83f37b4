"""Champion against challenger: on the same rows, within the alpha budget, with the evidence recorded."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from evergreen.tasks.core.challenge import alpha, evidence
from evergreen.tasks.core.challenge.alpha import AlphaAllowance
from evergreen.tasks.core.challenge.comparison import (
    Comparison,
    Contestants,
    choose_contestants,
    score_comparison,
)
from evergreen.tasks.core.challenge.evidence import challenge_items, challenge_markdown, check_refit
from evergreen.tasks.core.data.rows import Parts
from evergreen.tasks.core.errors import Blocked, NotLearnable
from evergreen.tasks.core.metrics.registry import deciding_metric
from evergreen.tasks.core.promotion.registry_state import APPROVED, VALIDATION_STATUS
from evergreen.tasks.core.verdict import Reason, StageResult, State, Verdict
from evergreen.tasks.data import load_parts
from evergreen.tasks.io.config import custom_metrics
from evergreen.tasks.io.mlflow_store.models import load_model, read_split
from evergreen.tasks.io.settings import utc_now
from evergreen.tasks.io.setup import Setup, record_decision
from evergreen.tasks.promotion import promote_task, serving_smoke
from evergreen.tasks.runtime.publish import Artifact, Report, publish
from evergreen.tasks.runtime.task import SIDE_EFFECT, TRANSIENT, stage_task
from evergreen.tasks.training import can_refit, refit_version


@stage_task(**TRANSIENT)
def find_contestants(setup: Setup) -> Contestants:
    """Return the challenger, and the champion or other version it is compared with."""
    registry = setup.stores.registry
    tags = {info.version: info.tags for info in registry.versions(setup.model)}
    return choose_contestants(model=setup.model, aliases=registry.aliases(setup.model), tags=tags)


@stage_task(**TRANSIENT)
def load_evaluation_rows(setup: Setup, contestants: Contestants, *, until: str | None = None) -> Parts:
    """Read the rows as of a moment, with every column that either side was trained on or split its rows by."""
    versions = (contestants.challenger, *contestants.defenders)
    splits = {version: read_split(setup, version) for version in versions}
    columns = {name for schema, plan in splits.values() for name in (*schema.features, *plan.identity)}
    _, plan = splits[contestants.challenger]
    if setup.config.timed or plan.method != "random":
        return load_parts(setup, until=until, also=columns, change_at=plan.change_at)
    return load_parts(setup, until=until, also=columns, plan=replace(plan, until=None))


@stage_task(**TRANSIENT)
def arrange_comparison(setup: Setup, contestants: Contestants, parts: Parts) -> Comparison:
    """Score both sides on the evaluation rows that neither was trained on."""
    versions = (contestants.challenger, *contestants.defenders)
    models = {version: load_model(setup, version) for version in versions}
    metric = deciding_metric(setup.config, custom=custom_metrics(setup.config))
    return score_comparison(setup.config, contestants, models, parts, metric=metric)


@stage_task(**SIDE_EFFECT)
def judge_comparison(
    setup: Setup, contestants: Contestants, comparison: Comparison, *, dry_run: bool = False
) -> StageResult:
    """Spend a part of the alpha budget on one comparison, judge it, and record the evidence in the ledger.

    One that can only admit to a live test has the same level and spends nothing: the live test spends. Versions that
    were compared on the same rows by the same rule are not judged again: the result stands, and costs nothing.
    """
    config, ledger, level = setup.config, setup.stores.ledger, setup.config.evaluation.significance_level
    decisions = ledger.read(model=setup.model, stream="decisions")
    rule = evidence.choose_rule(config, defended=comparison.defender is not None)
    question = evidence.question_digest(config, contestants, comparison, rule)
    spent = ledger.read(model=setup.model, stream=alpha.ALPHA)
    allowance = alpha.alpha_allowance(spent, now=utc_now(), level=level)
    earlier = evidence.find_judgement(decisions, question, left=allowance.left_before)
    if earlier is not None:
        return evidence.dry_run_result(earlier) if dry_run else earlier
    if not evidence.promotes(config, contestants):
        allowance = replace(allowance, left_after=allowance.left_before)  # costs no alpha
    elif not dry_run:
        allowance = _claim_alpha(setup, contestants)
    allowance = alpha.require_alpha(allowance, level=level)
    result = evidence.judge_comparison(config, contestants, comparison, allowance=allowance, rule=rule)
    return evidence.dry_run_result(result) if dry_run else record_decision(setup, evidence.JUDGEMENT, result)


@stage_task(**TRANSIENT)
def report_challenge(setup: Setup, result: StageResult) -> None:
    """Show the decision in the Prefect UI and log its record to MLflow (``<model>/evaluation``)."""
    page, facts = challenge_markdown(result), result.details
    name = f"challenge-v{facts['versions']['challenger']}-{facts['verdict']}"
    report = Report(setup, "challenge", name=name, facts={"result": result})
    shown = Artifact("challenge-{model}", "Champion against challenger", page)
    publish(report, [*challenge_items(result, page), shown])


def _claim_alpha(setup: Setup, contestants: Contestants) -> AlphaAllowance:
    """Claim the alpha before anything is measured: a crash afterwards has spent it."""
    now, level = utc_now(), setup.config.evaluation.significance_level
    claimed: list[AlphaAllowance] = []

    def decide(history: Any) -> tuple[str, dict[str, Any]]:
        claimed.append(alpha.require_alpha(alpha.alpha_allowance(history, now=now, level=level), level=level))
        challenger, champion = contestants.challenger, contestants.champion
        return alpha.SPENT, alpha.spent_payload(claimed[-1], challenger=challenger, champion=champion)

    setup.stores.ledger.claim(model=setup.model, stream=alpha.ALPHA, at=now, decide=decide)
    return claimed[-1]


# What is promoted after a won challenge: the refitted recipe where it agrees, else the judged version.


@dataclass(frozen=True, kw_only=True)
class Refit:
    """The version to promote, what was for or against a refit, and the promotion's reason for the ledger."""

    version: int
    reason: str
    reasons: tuple[Reason, ...] = ()


@stage_task(**SIDE_EFFECT)
def prepare_refit(setup: Setup, parts: Parts, judged: int, *, until: str | None = None) -> Refit:
    """Refit the winning recipe on all labelled rows and gate it again; fall back to the judged version.

    Withholding the newest window costs accuracy, so that a refit is the rule. The evidence is about the judged
    version, though: a refit that fails its smoke test or answers differently is left unpromoted.
    """
    story = f"Version {judged} was superior"
    if not setup.config.promotion.refit or not can_refit(setup, judged):
        return Refit(version=judged, reason=f"{story}.")
    try:
        schema, plan = read_split(setup, judged)
        # begins at the change that the judged version knew of: a later one was not part of what was judged
        rows = load_parts(setup, until=until, refit=True, also=schema.features, change_at=plan.change_at)
        refit = refit_version(setup, judged, rows.training, plan=rows.plan)
    except NotLearnable as error:
        check = Reason.from_error(error)
        return Refit(version=judged, reasons=(check,), reason=f"{story}; no refit was possible.")
    verdict = _gate_refit(setup, parts, judged, refit.version)
    status = APPROVED if verdict.passed else "rejected"
    setup.stores.registry.set_tags(setup.model, refit.version, {VALIDATION_STATUS: status})
    if not verdict.passed:
        return Refit(version=judged, reasons=verdict.reasons, reason=f"{story}; its refit was not used.")
    story = f"{story}; version {refit.version} is its recipe refitted on all labelled rows."
    return Refit(version=refit.version, reasons=verdict.reasons, reason=story)


def _gate_refit(setup: Setup, parts: Parts, judged: int, refit: int) -> Verdict:
    """Pass the operational checks, and the agreement of scores with the judged version."""
    smoke = serving_smoke(setup.stores)(setup.model, refit)
    if not smoke.passed:
        return smoke
    before, after = load_model(setup, judged), load_model(setup, refit)
    return check_refit(before, after, parts.training, config=setup.config)


def promote_winner(
    setup: Setup,
    result: StageResult,
    contestants: Contestants,
    refit: Refit,
    approval: Reason,
    *,
    precondition: Callable[[], None] | None = None,
) -> StageResult:
    """Return how the challenge ends: as the promotion does, Blocked or InsufficientData where it is refused.

    ``precondition`` is checked under the lock before anything is planned; it raises ``Blocked`` where the evidence is
    void. A refusal carries the evidence by which the challenge was won.
    """
    try:
        promoted = promote_task(
            setup,
            refit.version,
            reason=refit.reason,
            expected_champion=contestants.champion,
            evidence=result.decision_id,
            precondition=precondition,
        )
    except (Blocked, NotLearnable) as error:
        state = State.BLOCKED if isinstance(error, Blocked) else State.INSUFFICIENT_DATA
        refusal = Reason(code=error.reason_code, message=str(error))
        return result.ends(state, approval, *refit.reasons, refusal)
    return result.ends(promoted.state, approval, *refit.reasons, *promoted.reasons, version=promoted.version)

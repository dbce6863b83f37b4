"""Champion against challenger: on the same rows, within the alpha budget, with the evidence kept."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from evergreen.tasks.core.challenge import comparison, evidence
from evergreen.tasks.core.challenge.alpha import (
    ALPHA,
    SPENT,
    AlphaAllowance,
    alpha_allowance,
    free_allowance,
    require_alpha,
    spent_payload,
)
from evergreen.tasks.core.challenge.comparison import Comparison, Contestants, choose_contestants
from evergreen.tasks.core.challenge.evidence import check_refit
from evergreen.tasks.core.challenge.report import challenge_items, challenge_markdown
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
    """Name the challenger and who defends the throne."""
    registry = setup.stores.registry
    tags = {info.version: info.tags for info in registry.versions(setup.model)}
    return choose_contestants(model=setup.model, aliases=registry.aliases(setup.model), tags=tags)


@stage_task(**TRANSIENT)
def load_evaluation_rows(setup: Setup, opponents: Contestants, *, until: str | None = None) -> Parts:
    """Read the rows as of a moment, with every column that either side learned from or was told apart by."""
    versions = (opponents.challenger, *opponents.defenders)
    kept = {version: read_split(setup, version) for version in versions}
    columns = {name for schema, plan in kept.values() for name in (*schema.features, *plan.identity)}
    _, plan = kept[opponents.challenger]
    if setup.config.timed or plan.method != "random":
        return load_parts(setup, until=until, also=columns, change_at=plan.change_at)
    return load_parts(setup, until=until, also=columns, plan=replace(plan, until=None))


@stage_task(**TRANSIENT)
def arrange_comparison(setup: Setup, opponents: Contestants, parts: Parts) -> Comparison:
    """Score both sides on the evaluation rows that neither learned from."""
    models = {version: load_model(setup, version) for version in (opponents.challenger, *opponents.defenders)}
    metric = deciding_metric(setup.config, custom=custom_metrics(setup.config))
    return comparison.score_comparison(setup.config, opponents, models, parts, metric=metric)


@stage_task(**SIDE_EFFECT)
def judge_comparison(
    setup: Setup, opponents: Contestants, match: Comparison, *, dry_run: bool = False
) -> StageResult:
    """Spend a part of the alpha budget on one look, judge it, and keep the evidence in the ledger.

    A look that can only admit to a live test has the same level and spends nothing: the live test spends. Who has
    met on the same rows by the same rule is not judged again: the answer stands, and costs nothing.
    """
    ledger = setup.stores.ledger
    rule = evidence.choose_rule(setup.config, defended=match.defender is not None)
    question = evidence.question_digest(setup.config, opponents, match, rule)
    decisions = ledger.read(model=setup.model, stream="decisions")
    left = _claim_alpha(setup, opponents, dry_run=True).left_before
    admits = not evidence.promotes(setup.config, opponents)
    known = evidence.find_judgement(decisions, question, left=left)
    if known is not None:
        return evidence.dry_run_result(known) if dry_run else known
    look = _available_alpha(setup) if admits else _claim_alpha(setup, opponents, dry_run=dry_run)
    look = require_alpha(look, level=setup.config.evaluation.significance_level)
    result = evidence.judge_comparison(setup.config, opponents, match, allowance=look, rule=rule)
    return evidence.dry_run_result(result) if dry_run else record_decision(setup, evidence.JUDGEMENT, result)


@stage_task(**TRANSIENT)
def report_challenge(setup: Setup, result: StageResult) -> None:
    """Show the decision in the Prefect UI and log its record to MLflow (``<model>/evaluation``)."""
    page, facts = challenge_markdown(result), result.details
    report = Report(
        setup,
        "challenge",
        experiment="evaluation",
        name=f"challenge-v{facts['versions']['challenger']}-{facts['verdict']}",
        facts={"result": result},
    )
    shown = Artifact("challenge-{model}", "Champion against challenger", page)
    publish(report, [*challenge_items(result, page), shown])


def _available_alpha(setup: Setup) -> AlphaAllowance:
    """Return a look at the level that is to be had now; nothing is claimed."""
    entries = setup.stores.ledger.read(model=setup.model, stream=ALPHA)
    return free_allowance(
        alpha_allowance(entries, now=utc_now(), level=setup.config.evaluation.significance_level)
    )


def _claim_alpha(setup: Setup, opponents: Contestants, *, dry_run: bool) -> AlphaAllowance:
    """Claim this look's alpha before anything is measured: a crash afterwards has spent it."""
    now, level = utc_now(), setup.config.evaluation.significance_level
    ledger = setup.stores.ledger
    if dry_run:
        return alpha_allowance(ledger.read(model=setup.model, stream=ALPHA), now=now, level=level)
    planned: list[AlphaAllowance] = []

    def decide(history: Any) -> tuple[str, dict[str, Any]]:
        planned.append(require_alpha(alpha_allowance(history, now=now, level=level), level=level))
        challenger, champion = opponents.challenger, opponents.champion
        return SPENT, spent_payload(planned[-1], challenger=challenger, champion=champion)

    ledger.claim(model=setup.model, stream=ALPHA, at=now, decide=decide)
    return planned[-1]


# Who takes the throne after a won challenge: the refitted recipe where it agrees, else the judged version.


@dataclass(frozen=True, kw_only=True)
class Refit:
    """The version to be promoted, what stood for or against a refit, and the story for the ledger."""

    version: int
    reasons: tuple[Reason, ...]
    story: str


@stage_task(**SIDE_EFFECT)
def prepare_refit(setup: Setup, parts: Parts, judged: int, *, until: str | None = None) -> Refit:
    """Refit the winning recipe on all labelled rows and gate it again; fall back to the judged version.

    Withholding the newest window costs accuracy, so that a refit is the rule. The evidence is about the judged
    version, though: a refit that fails its smoke test or answers differently is left unpromoted.
    """
    story = f"Version {judged} was superior"
    if not setup.config.promotion.refit or not can_refit(setup, judged):
        return Refit(version=judged, reasons=(), story=f"{story}.")
    try:
        schema, plan = read_split(setup, judged)
        # begins at the change that the judged version knew of: a later one was not part of what was judged
        everything = load_parts(
            setup, until=until, refit=True, also=schema.features, change_at=plan.change_at
        )
        refit = refit_version(setup, judged, everything.training, plan=everything.plan)
    except NotLearnable as error:
        return Refit(
            version=judged, reasons=(Reason.from_error(error),), story=f"{story}; no refit was possible."
        )
    verdict = _gate_refit(setup, parts, judged, refit.version)
    status = APPROVED if verdict.passed else "rejected"
    setup.stores.registry.set_tags(setup.model, refit.version, {VALIDATION_STATUS: status})
    if not verdict.passed:
        return Refit(version=judged, reasons=verdict.reasons, story=f"{story}; its refit was not used.")
    story = f"{story}; version {refit.version} is its recipe refitted on all labelled rows."
    return Refit(version=refit.version, reasons=verdict.reasons, story=story)


def _gate_refit(setup: Setup, parts: Parts, judged: int, refit: int) -> Verdict:
    """Pass the operational checks, and the agreement of scores with the judged version."""
    smoke = serving_smoke(setup.stores)(setup.model, refit)
    if not smoke.passed:
        return smoke
    before, after = load_model(setup, judged), load_model(setup, refit)
    return check_refit(before, after, parts.training, config=setup.config)


# Promote the heir of a won challenge; a refusal keeps the evidence it was won by.


def promote_winner(
    setup: Setup,
    judged: StageResult,
    opponents: Contestants,
    heir: Refit,
    answer: Reason,
    *,
    still: Callable[[], None] | None = None,
) -> StageResult:
    """Return how the challenge ends: as the promotion does, Blocked or InsufficientData where it is refused.

    ``still`` is asked under the lock before anything is planned, and raises ``Blocked`` where the evidence is void.
    """
    try:
        promoted = promote_task(
            setup,
            heir.version,
            reason=heir.story,
            expected_champion=opponents.champion,
            evidence=judged.decision_id,
            still=still,
        )
    except (Blocked, NotLearnable) as error:
        state = State.BLOCKED if isinstance(error, Blocked) else State.INSUFFICIENT_DATA
        refusal = Reason(code=error.reason_code, message=str(error))
        return judged.ends(state, answer, *heir.reasons, refusal)
    return judged.ends(promoted.state, answer, *heir.reasons, *promoted.reasons, version=promoted.version)

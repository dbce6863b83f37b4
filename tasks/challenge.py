"""Champion against challenger: on the same rows, within the alpha budget, with the evidence kept."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from prefect.artifacts import create_markdown_artifact

from tasks.core.challenge import arrange, judgement
from tasks.core.challenge.alpha import AlphaLook, require_alpha
from tasks.core.challenge.match import Match
from tasks.core.challenge.opponents import Opponents, choose_opponents
from tasks.core.challenge.report import challenge_items, challenge_markdown
from tasks.core.challenge.spending import ALPHA, LOOK, alpha_look, free_look, spent_payload
from tasks.core.data.rows import Parts
from tasks.core.metrics.measure import deciding_metric
from tasks.core.verdict import StageResult
from tasks.data import load_parts
from tasks.io.clock import utc_now
from tasks.io.metric_paths import custom_metrics
from tasks.io.models import load_model, read_split
from tasks.io.setup import Setup
from tasks.io.tracking import open_tracker
from tasks.links import artifact_key
from tasks.outcomes import record_decision
from tasks.retries import SIDE_EFFECT, TRANSIENT
from tasks.stage_task import stage_task


@stage_task(**TRANSIENT)
def find_opponents(setup: Setup) -> Opponents:
    """Name the challenger and who defends the throne."""
    registry = setup.stores.registry
    tags = {info.version: info.tags for info in registry.versions(setup.model)}
    return choose_opponents(model=setup.model, aliases=registry.aliases(setup.model), tags=tags)


@stage_task(**TRANSIENT)
def load_ground(setup: Setup, opponents: Opponents, *, until: str | None = None) -> Parts:
    """Read the rows as of a moment, with every column that either side learned from or was told apart by."""
    versions = (opponents.challenger, *opponents.defenders)
    kept = {version: read_split(setup, version) for version in versions}
    columns = {name for schema, plan in kept.values() for name in (*schema.features, *plan.identity)}
    _, plan = kept[opponents.challenger]
    if setup.config.timed or plan.method != "random":
        return load_parts(setup, until=until, also=columns, change_at=plan.change_at)
    return load_parts(setup, until=until, also=columns, plan=replace(plan, until=None))


@stage_task(**TRANSIENT)
def arrange_match(setup: Setup, opponents: Opponents, parts: Parts) -> Match:
    """Score both sides on the evaluation rows that neither learned from."""
    models = {version: load_model(setup, version) for version in (opponents.challenger, *opponents.defenders)}
    metric = deciding_metric(setup.config, custom=custom_metrics(setup.config))
    return arrange.arrange_match(setup.config, opponents, models, parts, metric=metric)


@stage_task(**SIDE_EFFECT)
def judge_match(setup: Setup, opponents: Opponents, match: Match, *, dry_run: bool = False) -> StageResult:
    """Spend a part of the alpha budget on one look, judge it, and keep the evidence in the ledger.

    A look that can only admit to a live test has the same level and spends nothing: the live test spends. Who has
    met on the same rows by the same rule is not judged again: the answer stands, and costs nothing.
    """
    ledger = setup.stores.ledger
    rule = judgement.choose_rule(setup.config, defended=match.defender is not None)
    question = judgement.pose_question(setup.config, opponents, match, rule)
    decisions = ledger.read(model=setup.model, stream="decisions")
    left = _look(setup, opponents, dry_run=True).left_before
    admits = not judgement.promotes(setup.config, opponents)
    known = judgement.recall_judgement(decisions, question, left=left)
    if known is not None:
        return judgement.show_only(known) if dry_run else known
    look = _admitting_look(setup) if admits else _look(setup, opponents, dry_run=dry_run)
    look = require_alpha(look, level=setup.config.evaluation.significance_level)
    result = judgement.judge_match(setup.config, opponents, match, look=look, rule=rule, question=question)
    return judgement.show_only(result) if dry_run else record_decision(setup, judgement.JUDGEMENT, result)


@stage_task(**TRANSIENT)
def report_challenge(setup: Setup, result: StageResult) -> None:
    """Show the decision in the Prefect UI and log its record to MLflow (``<model>/evaluation``)."""
    page = challenge_markdown(result)
    create_markdown_artifact(
        page, key=artifact_key("challenge", setup.model), description="Champion against challenger"
    )
    tracker = open_tracker(setup.stores)
    facts = result.details
    name = f"challenge-v{facts['versions']['challenger']}-{facts['verdict']}"
    with tracker.run(setup.model, "evaluation", name=name, tags={"evergreen.stage": "challenge"}) as run_id:
        tracker.write_items(run_id, challenge_items(result, page))


def _admitting_look(setup: Setup) -> AlphaLook:
    """Return a look at the level that is to be had now; nothing is claimed."""
    entries = setup.stores.ledger.read(model=setup.model, stream=ALPHA)
    return free_look(alpha_look(entries, now=utc_now(), level=setup.config.evaluation.significance_level))


def _look(setup: Setup, opponents: Opponents, *, dry_run: bool) -> AlphaLook:
    """Claim this look's alpha before anything is measured: a crash afterwards has spent it."""
    now, level = utc_now(), setup.config.evaluation.significance_level
    ledger = setup.stores.ledger
    if dry_run:
        return alpha_look(ledger.read(model=setup.model, stream=ALPHA), now=now, level=level)
    planned: list[AlphaLook] = []

    def decide(history: Any) -> tuple[str, dict[str, Any]]:
        planned.append(require_alpha(alpha_look(history, now=now, level=level), level=level))
        return LOOK, spent_payload(planned[-1], opponents)

    ledger.claim(model=setup.model, stream=ALPHA, at=now, decide=decide)
    return planned[-1]

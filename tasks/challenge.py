"""Champion against challenger: on the same rows, within the alpha budget, with the evidence kept."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
from prefect.artifacts import create_markdown_artifact

from tasks.core.challenge.alpha import AlphaLook, plan_alpha, require_alpha
from tasks.core.challenge.blocking import block_rows
from tasks.core.challenge.judge import judge_challenge, measure_difference
from tasks.core.challenge.judgement import (
    JUDGEMENT,
    choose_rule,
    conclude_match,
    pose_question,
    recall_judgement,
    show_only,
)
from tasks.core.challenge.match import Match, check_same_clock, choose_ground
from tasks.core.challenge.opponents import Opponents, choose_opponents
from tasks.core.challenge.report import challenge_items, challenge_markdown
from tasks.core.data.clock import format_position
from tasks.core.data.rows import Parts, Rows
from tasks.core.data.split import unseen_rows
from tasks.core.gates.margin import naive_opponent
from tasks.core.learning.baseline import baseline_scores
from tasks.core.metrics.measure import deciding_metric
from tasks.core.metrics.scored import Scored
from tasks.core.reign.ledger import Entry
from tasks.core.seeds import seed_for
from tasks.core.verdict import StageResult
from tasks.data import load_parts
from tasks.io.metric_paths import custom_metrics
from tasks.io.models import LoadedModel, load_model, read_split
from tasks.io.setup import Setup
from tasks.io.tracking import open_tracker
from tasks.links import artifact_key
from tasks.outcomes import record_decision
from tasks.retries import SIDE_EFFECT, TRANSIENT
from tasks.stage_task import stage_task

ALPHA = "alpha"


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
        return load_parts(setup, until=until, also=columns)
    return load_parts(setup, until=until, also=columns, plan=replace(plan, until=None))


@stage_task(**TRANSIENT)
def arrange_match(setup: Setup, opponents: Opponents, parts: Parts) -> Match:
    """Score both sides on the evaluation rows that neither learned from."""
    models = {version: load_model(setup, version) for version in (opponents.challenger, *opponents.defenders)}
    challenger = models[opponents.challenger]
    for version, model in models.items():
        check_same_clock(model.plan, setup.config, version=version)
    unseen = {version: unseen_rows(model.plan, parts.evaluation) for version, model in models.items()}
    ground = choose_ground(
        unseen[opponents.challenger],
        {version: unseen[version] for version in opponents.defenders},
        model=setup.model,
        window=str(setup.config.evaluation.validation_window),
    )
    rows = parts.evaluation.take(ground.usable)
    metric = deciding_metric(setup.config, custom=custom_metrics(setup.config))
    answers = challenger.score(rows, config=setup.config)
    if ground.defender is None:
        rng = np.random.default_rng(seed_for(setup.model, rows.fingerprint, "baseline"))
        baseline = _naive(setup, challenger, parts, rows, rng)
        metric, defence = naive_opponent(metric, baseline=baseline, answers=answers, rng=rng)
    else:
        defence = models[ground.defender].score(rows, config=setup.config)
    return Match(
        metric=metric,
        champion=defence,
        challenger=answers,
        blocks=block_rows(rows, schema=challenger.schema, config=setup.config),
        defender=ground.defender,
        fingerprint=rows.fingerprint,
        window=_window(setup, rows),
    )


@stage_task(**SIDE_EFFECT)
def judge_match(setup: Setup, opponents: Opponents, match: Match, *, dry_run: bool = False) -> StageResult:
    """Spend a part of the alpha budget on one look, judge it, and keep the evidence in the ledger.

    Who has met on the same rows by the same rule is not judged again: the answer stands, and costs nothing.
    """
    ledger, rule = setup.stores.ledger, choose_rule(setup.config, defended=match.defender is not None)
    question = pose_question(setup.config, opponents, match, rule)
    decisions = ledger.read(model=setup.model, stream="decisions")
    known = recall_judgement(decisions, question, left=_look(setup, opponents, dry_run=True).left_before)
    if known is not None:
        return show_only(known) if dry_run else known
    look = require_alpha(
        _look(setup, opponents, dry_run=dry_run), level=setup.config.evaluation.significance_level
    )
    rng = np.random.default_rng(seed_for(setup.model, match.fingerprint, "challenge"))
    difference = measure_difference(
        match.metric, match.champion, match.challenger, level=look.alpha, blocks=match.blocks, rng=rng,
        draws=setup.config.evaluation.bootstrap,
    )  # fmt: skip
    result = conclude_match(
        judge_challenge(difference, rule), config=setup.config, opponents=opponents, match=match, look=look,
        question=question,
    )  # fmt: skip
    return show_only(result) if dry_run else record_decision(setup, JUDGEMENT, result)


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


def alpha_look(entries: list[Entry] | tuple[Entry, ...], *, now: datetime, level: float) -> AlphaLook:
    """Return what a look at ``now`` may spend, given the entries of the stream ``alpha``."""
    return plan_alpha([(entry.at, float(entry.payload["alpha"])) for entry in entries], now=now, level=level)


def _look(setup: Setup, opponents: Opponents, *, dry_run: bool) -> AlphaLook:
    """Claim this look's alpha before anything is measured: a crash afterwards has spent it."""
    now, level = datetime.now(UTC), setup.config.evaluation.significance_level
    ledger = setup.stores.ledger
    if dry_run:
        return alpha_look(ledger.read(model=setup.model, stream=ALPHA), now=now, level=level)
    planned: list[AlphaLook] = []

    def decide(history: Any) -> tuple[str, dict[str, Any]]:
        planned.append(require_alpha(alpha_look(history, now=now, level=level), level=level))
        spent = {"alpha": planned[-1].alpha, "left_after": planned[-1].left_after}
        return "look", {**spent, "challenger": opponents.challenger, "champion": opponents.champion}

    ledger.claim(model=setup.model, stream=ALPHA, at=now, decide=decide)
    return planned[-1]


def _naive(
    setup: Setup, challenger: LoadedModel, parts: Parts, rows: Rows, rng: np.random.Generator
) -> Scored:
    return baseline_scores(
        "constant", training=parts.training, rows=rows, schema=challenger.schema, config=setup.config,
        classes=challenger.classes, rng=rng,
    )  # fmt: skip


def _window(setup: Setup, rows: Rows) -> tuple[str, str] | None:
    if rows.positions is None or not len(rows):
        return None
    clock = setup.config.data.clock
    first, last = float(rows.positions.min()), float(rows.positions.max())
    return format_position(first, clock=clock), format_position(last, clock=clock)

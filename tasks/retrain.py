"""Retrain: gather what asks, decide and claim, walk the stages, close the claim."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime

from prefect.artifacts import create_markdown_artifact

from tasks.announce import announce_retraining
from tasks.core.data.clock import Window, parse_position
from tasks.core.data.columns import clock_columns
from tasks.core.drift.words import Phase
from tasks.core.errors import InputError
from tasks.core.reign.history import PLANS, reigns
from tasks.core.reign.plan import CHAMPION
from tasks.core.retraining.causes import could_judge, drift_causes
from tasks.core.retraining.decide import decide_retrain
from tasks.core.retraining.labels import known_labels
from tasks.core.retraining.policy import retrain_policy
from tasks.core.retraining.report import (
    conclude_busy,
    conclude_refusal,
    conclude_retraining,
    retraining_markdown,
)
from tasks.core.retraining.words import MANUAL, Asked, Cause, Labels, Moment
from tasks.core.verdict import Reason, StageResult, State
from tasks.data import open_source_of
from tasks.io.clock import utc_now
from tasks.io.setup import Setup
from tasks.io.window_entries import stream_of
from tasks.links import artifact_key
from tasks.retrain_desk import await_claim, read_history, take_desk
from tasks.retrain_walk import Walk
from tasks.retries import TRANSIENT
from tasks.stage_task import stage_task

_LOOKED = 20
"""Newest attempts whose rows may be asked for: a version that was rolled back from is among them."""


@dataclass(frozen=True, kw_only=True)
class Request:
    """What a run was asked for: by what, why it is forced (None: it is not), as of when, and whether to act."""

    trigger: str = MANUAL
    forced: str | None = None
    until: str | None = None
    dry_run: bool = False


def read_request(
    setup: Setup, *, trigger: str, force: bool, reason: str | None, until: str | None, dry_run: bool
) -> Request:
    """Check what was typed.

    Raises
    ------
    InputError
        When force comes without a reason, or the moment is not on the model's clock.
    """
    if force and not (reason or "").strip():
        raise InputError(
            "Forcing a retraining needs a reason, which is kept in the ledger: add --why 'TEXT'."
        )
    if until is not None and setup.config.data.ordered:
        parse_position(until, clock=setup.config.data.clock)
    dry = dry_run or setup.config.retraining.run_mode == "dry_run"
    return Request(trigger=trigger, forced=reason if force else None, until=until, dry_run=dry)


@stage_task(**TRANSIENT)
def gather_causes(setup: Setup, request: Request) -> Asked:
    """Gather what asks: open alarms of the champion, a person, and the labels there are to learn from."""
    ledger, registry, config = setup.stores.ledger, setup.stores.registry, setup.config
    champion = registry.aliases(setup.model).get(CHAMPION)
    newest = [ledger.last(setup.model, stream_of(phase)) for phase in Phase]
    entries = [entry.payload for entry in newest if entry is not None]
    policy = retrain_policy(config)
    alarms = drift_causes(entries, version=champion, policy=policy, clock=config.data.clock)
    person = Cause(trigger=MANUAL, said=request.forced or "Asked for by hand.")
    learned_to = _learned_to(setup, champion)
    return Asked(
        causes=(*alarms, *([person] if request.trigger == MANUAL or request.forced else [])),
        judged=could_judge(entries, version=champion),
        labels=_labels(setup, request, learned_to),
        champion_since=_since(setup, champion),
        champion_learned_to=learned_to,
        forced=request.forced,
    )


def _since(setup: Setup, champion: int | None) -> datetime | None:
    """Return since when the champion reigns; of one that was crowned outside, when it was registered."""
    if champion is None:
        return None
    reign = reigns(setup.stores.ledger.read(model=setup.model, stream=PLANS))[-1:]
    known = reign[0].since if reign and reign[0].version == champion else None
    return known or setup.stores.registry.version(setup.model, champion).created_at


def _learned_to(setup: Setup, champion: int | None) -> float | None:
    """Return how far the champion has learned, as its tag says."""
    if champion is None or not setup.config.data.ordered:
        return None
    told = setup.stores.registry.version(setup.model, champion).tags.get("evergreen.trained_to")
    return None if told is None else parse_position(told, clock=setup.config.data.clock)


def _labels(setup: Setup, request: Request, learned_to: float | None) -> Labels:
    """Read the rows labelled since the last retraining, with the few columns that say so."""
    config = setup.config
    until = None
    if request.until is not None and config.data.ordered:
        until = parse_position(request.until, clock=config.data.clock)
    window = None
    if config.data.ordered:
        known = [
            one.labelled_to for one in read_history(setup.stores.ledger, setup.model).attempts[-_LOOKED:]
        ]
        begin = min((place for place in (*known, learned_to) if place is not None), default=-math.inf)
        window = Window(begin, math.inf if until is None else max(until, begin))
    rows = open_source_of(setup).read_rows(window, columns=clock_columns(config))
    return known_labels(rows, config, until=until)


def under_claim(
    setup: Setup, request: Request, asked: Asked, stages: Callable[[Walk], StageResult]
) -> StageResult:
    """Decide, claim, walk the stages, close the claim; what a dead owner left is taken up first.

    Returns
    -------
    StageResult
        The last stage's state; Held or Insufficient where nothing was started, with ``next_allowed_at``.
    """
    moment = Moment(at=utc_now(), position=asked.labels.newest)
    policy = retrain_policy(setup.config)
    ledger, model = setup.stores.ledger, setup.model
    if request.dry_run:
        decision = decide_retrain(moment, read_history(ledger, model), asked, policy)
        return conclude_refusal(model, decision, dry_run=True)
    with ExitStack() as stack:
        desk = take_desk(stack, ledger, model)
        if desk is None:
            return conclude_busy(model, await_claim(ledger, model), now=moment.at, policy=policy)
        attempt = desk.take_up(policy)
        if attempt is None:
            attempt, decision = desk.claim(moment, asked, policy, until=request.until)
            if attempt is None:
                return conclude_refusal(model, decision, closed=desk.closed)
        return _walk(Walk(setup=setup, desk=desk, attempt=attempt), stages)


def _walk(walk: Walk, stages: Callable[[Walk], StageResult]) -> StageResult:
    """Walk the stages of a claim and close it: a failure closes it as failed, and counts for the cooldown."""
    announce_retraining(walk.setup.model, walk.attempt)
    try:
        walk.settle()
        result = stages(walk)
    except Exception as error:
        state = State.INPUT_ERROR if isinstance(error, InputError) else State.FAILED
        why = Reason(code="failed", message=" ".join(f"{type(error).__name__}: {error}".split())[:500])
        walk.desk.end(walk.attempt, state, version=walk.version, reasons=(why,))
        raise
    told = conclude_retraining(result, walk.attempt, closed=walk.desk.closed)
    walk.tag(told)  # before the end is written: what comes after it, no later run would make up for
    walk.desk.end(walk.attempt, told.state, version=told.version, reasons=told.reasons)
    announce_retraining(walk.setup.model, walk.attempt, told)
    return told


@stage_task(**TRANSIENT)
def report_retraining(setup: Setup, result: StageResult) -> StageResult:
    """Show in the Prefect UI how it ended and when the next may start; hand the result on."""
    page = retraining_markdown(result)
    create_markdown_artifact(page, key=artifact_key("retrain", setup.model), description="Retraining")
    return result

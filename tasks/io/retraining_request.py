"""What asks for a retraining of a model and what holds it: read and decided without a run, and without Prefect."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from evergreen.tasks.core.alerts.alert import TOPICS
from evergreen.tasks.core.data.clock import Window, parse_position
from evergreen.tasks.core.data.columns import clock_columns
from evergreen.tasks.core.drift.types import Phase
from evergreen.tasks.core.errors import InputError
from evergreen.tasks.core.promotion.history import PLANS, champion_periods
from evergreen.tasks.core.promotion.plan import CHAMPION
from evergreen.tasks.core.retraining.decide import could_judge, decide_retrain, drift_causes, known_labels
from evergreen.tasks.core.retraining.report import conclude_busy, conclude_refusal
from evergreen.tasks.core.retraining.triggers import due_triggers
from evergreen.tasks.core.retraining.types import (
    MANUAL,
    Cause,
    Labels,
    Moment,
    RetrainingRequest,
    retrain_policy,
)
from evergreen.tasks.core.verdict import StageResult
from evergreen.tasks.io.retraining_claims import await_claim, lock_name, read_history, retraining_status
from evergreen.tasks.io.settings import utc_now
from evergreen.tasks.io.setup import Setup, record_decision
from evergreen.tasks.io.sources.open import Source

_RECENT_ATTEMPTS = 20
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
            "Forcing a retraining needs a reason, which is kept in the ledger: add --reason 'TEXT'."
        )
    if until is not None and setup.config.data.ordered:
        parse_position(until, clock=setup.config.data.clock)
    dry = dry_run or setup.config.retraining.run_mode == "dry_run"
    return Request(trigger=trigger, forced=reason if force else None, until=until, dry_run=dry)


def read_causes(setup: Setup, request: Request, *, source: Source) -> RetrainingRequest:
    """Read what asks: open alarms of the champion, a person, and the labels there are to learn from.

    Parameters
    ----------
    source : Source
        The model's rows; the few columns that say which labels are known are read.
    """
    ledger, registry, config = setup.stores.ledger, setup.stores.registry, setup.config
    champion = registry.aliases(setup.model).get(CHAMPION)
    newest = [ledger.last(setup.model, stream) for stream in (TOPICS[phase] for phase in Phase)]
    entries = [entry.payload for entry in newest if entry is not None]
    policy = retrain_policy(config)
    alarms = drift_causes(entries, version=champion, policy=policy, clock=config.data.clock)
    person = Cause(trigger=MANUAL, message=request.forced or "Asked for by hand.")
    learned_to = _trained_to(setup, champion)
    return RetrainingRequest(
        causes=(*alarms, *([person] if request.trigger == MANUAL or request.forced else [])),
        judged=could_judge(entries, version=champion),
        labels=_read_labels(setup, request, source, learned_to=learned_to),
        champion_since=_champion_since(setup, champion),
        champion_trained_up_to=learned_to,
        forced=request.forced,
    )


def _champion_since(setup: Setup, champion: int | None) -> datetime | None:
    """Return since when the champion reigns; of one that was crowned outside, when it was registered."""
    if champion is None:
        return None
    reign = champion_periods(setup.stores.ledger.read(model=setup.model, stream=PLANS))[-1:]
    known = reign[0].since if reign and reign[0].version == champion else None
    return known or setup.stores.registry.version(setup.model, champion).created_at


def _trained_to(setup: Setup, champion: int | None) -> float | None:
    """Return how far the champion has learned, as its tag says."""
    if champion is None or not setup.config.data.ordered:
        return None
    told = setup.stores.registry.version(setup.model, champion).tags.get("evergreen.trained_to")
    return None if told is None else parse_position(told, clock=setup.config.data.clock)


def _read_labels(setup: Setup, request: Request, source: Source, *, learned_to: float | None) -> Labels:
    """Read the rows labelled since the last retraining, with the few columns that say so."""
    config = setup.config
    until = None
    if request.until is not None and config.data.ordered:
        until = parse_position(request.until, clock=config.data.clock)
    window = None
    if config.data.ordered:
        known = [
            one.labelled_to
            for one in read_history(setup.stores.ledger, setup.model).attempts[-_RECENT_ATTEMPTS:]
        ]
        begin = min((place for place in (*known, learned_to) if place is not None), default=-math.inf)
        window = Window(begin, math.inf if until is None else max(until, begin))
    rows = source.read_rows(window, columns=clock_columns(config))
    return known_labels(rows, config, until=until)


def answer_without_run(setup: Setup, request: Request, *, source: Source) -> StageResult | None:
    """Return how a run ends that starts nothing, recorded as it would record it; None where there is something to do.

    The run itself decides by the same functions. What a dead owner left is left to it, and so is whatever starts: it
    decides again, under the lock.
    """
    ledger, model, policy = setup.stores.ledger, setup.model, retrain_policy(setup.config)
    asked = read_causes(setup, request, source=source)
    moment = Moment(at=utc_now(), position=asked.labels.newest)
    history = read_history(ledger, model)
    if request.dry_run:
        return conclude_refusal(model, decide_retrain(moment, history, asked, policy), dry_run=True)
    if ledger.lock_is_held(lock_name(model)):
        busy = conclude_busy(model, await_claim(ledger, model), now=moment.at, policy=policy)
        return record_decision(setup, "retrain", busy)
    decision = decide_retrain(moment, history, asked, policy)
    resumable = history.open is not None and history.pause is None and policy.run_mode != "disabled"
    if resumable or decision.starts:
        return None
    return record_decision(setup, "retrain", conclude_refusal(model, decision))


def due_now(setup: Setup, *, source: Source) -> dict[str, Any]:
    """Return what asks for a retraining of a model, what holds it, and when the next is due; it only reads.

    Returns
    -------
    dict
        ``state`` (Due, Blocked or InsufficientData), ``model``, ``reasons``, ``causes``, ``triggers`` (those of
        calendar and labels, due or not), ``next_allowed_at``, ``retraining`` (as in ``status``).
    """
    asked = read_causes(setup, Request(trigger="schedule"), source=source)
    moment, policy = Moment(at=utc_now(), position=asked.labels.newest), retrain_policy(setup.config)
    history = read_history(setup.stores.ledger, setup.model)
    decision = decide_retrain(moment, history, asked, policy)
    states = {"start": "Due", "hold": "Blocked", "insufficient": "InsufficientData"}
    plain = decision.to_dict()
    return {
        "state": states[plain["outcome"]],
        "model": setup.model,
        **{name: plain[name] for name in ("reasons", "causes", "next_allowed_at")},
        "triggers": [one.to_dict() for one in due_triggers(moment, history, asked, policy)],
        "retraining": retraining_status(setup),
    }

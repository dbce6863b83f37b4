"""A model's retraining: its causes and what forbids it, the claim of the process that does it, its pause and status."""

from __future__ import annotations

import math
import time
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

from evergreen.tasks.core.alerts.alert import TOPICS
from evergreen.tasks.core.data.clock import Window, parse_position
from evergreen.tasks.core.data.columns import clock_columns
from evergreen.tasks.core.drift.types import Phase
from evergreen.tasks.core.errors import Blocked, InputError
from evergreen.tasks.core.promotion.history import PLANS, champion_periods
from evergreen.tasks.core.promotion.ledger import LedgerEntry
from evergreen.tasks.core.promotion.plan import CHAMPION
from evergreen.tasks.core.retraining.decide import could_judge, decide_retrain, drift_causes, known_labels
from evergreen.tasks.core.retraining.history import (
    ENDED,
    PAUSED,
    RESUMED,
    RETRAINING,
    STAGE,
    STARTED,
    UNPAUSED,
    Attempt,
    RetrainHistory,
    claim_payload,
    decide_takeover,
    fold_history,
)
from evergreen.tasks.core.retraining.report import conclude_busy, conclude_refusal
from evergreen.tasks.core.retraining.triggers import due_triggers
from evergreen.tasks.core.retraining.types import (
    MANUAL,
    Cause,
    Labels,
    Moment,
    RetrainDecision,
    RetrainingRequest,
    RetrainPolicy,
    retrain_policy,
)
from evergreen.tasks.core.verdict import Reason, StageResult, State
from evergreen.tasks.io.ledger import Ledger
from evergreen.tasks.io.locks import HeldLock
from evergreen.tasks.io.settings import utc_now
from evergreen.tasks.io.setup import Setup, command_result, record_decision

if TYPE_CHECKING:
    from evergreen.tasks.io.sources.open import Source

CLAIM_WAIT_S = 10.0
"""How long one that came too late waits for the claim of the one before, to say when the next may start."""


@dataclass(frozen=True, kw_only=True)
class RetrainingClaim:
    """The right to retrain a model, which one process has at a time; each step is written before the next."""

    ledger: Ledger
    """Where its steps are written."""
    model: str
    """The registered model."""
    lock: HeldLock
    """Held as long as the claim is open; it ends with its holder."""
    closed: list[Reason] = field(default_factory=list)
    """What a run that died left open and this one closed."""

    def claim(
        self, now: Moment, request: RetrainingRequest, policy: RetrainPolicy, *, until: str | None
    ) -> tuple[Attempt | None, RetrainDecision]:
        """Decide and, where it starts, claim it in one step; two that decide at once cannot both start."""
        plans = self.ledger.read(model=self.model, stream=PLANS)
        decisions: list[RetrainDecision] = []

        def decide(entries: Any) -> tuple[str, dict[str, Any]] | None:
            decision = decide_retrain(now, fold_history([*entries, *plans]), request, policy)
            decisions.append(decision)
            return (STARTED, claim_payload(now, request, decision, until=until)) if decision.starts else None

        entry = self.ledger.claim(model=self.model, stream=RETRAINING, at=now.at, decide=decide)
        return None if entry is None else fold_history([entry]).last, decisions[-1]

    def take_up(self, policy: RetrainPolicy) -> Attempt | None:
        """Return what a run that died left open, to continue it; close what cannot be continued.

        While the model is paused or switched off it stays as it is.
        """
        history = read_history(self.ledger, self.model)
        attempt = history.open
        if attempt is None or history.pause is not None or policy.run_mode == "disabled":
            return None
        why = decide_takeover(utc_now(), attempt)
        if why is not None:
            self.end(attempt, State.FAILED, reasons=(why,))
            self.closed.append(why)
            return None
        self._write(RESUMED, {"claim": attempt.claim})
        return replace(attempt, resumed=attempt.resumed + 1)

    def note(self, attempt: Attempt, stage: str, result: dict[str, Any]) -> Attempt:
        """Write that a stage is done; from then on it is not done again for this claim."""
        outcome = {name: result.get(name) for name in ("state", "version", "decision_id")}
        payload = {"claim": attempt.claim, "stage": stage, **outcome}
        self._write(STAGE, payload)
        return replace(attempt, stages={**attempt.stages, stage: payload})

    def end(
        self, attempt: Attempt, state: State, *, version: int | None = None, reasons: tuple[Reason, ...] = ()
    ) -> None:
        """Close a claim."""
        payload = {
            "claim": attempt.claim,
            "state": state.value,
            "version": version,
            "reasons": [reason.to_dict() for reason in reasons],
        }
        self._write(ENDED, payload)

    def _write(self, kind: str, payload: dict[str, Any]) -> LedgerEntry:
        self.lock.check()
        return self.ledger.append(
            model=self.model, stream=RETRAINING, kind=kind, payload=payload, at=utc_now()
        )


def read_history(ledger: Ledger, model: str) -> RetrainHistory:
    """Return a model's retrainings, as the ledger has them."""
    streams = (RETRAINING, PLANS)
    return fold_history([entry for stream in streams for entry in ledger.read(model=model, stream=stream)])


def take_claim(stack: ExitStack, ledger: Ledger, model: str) -> RetrainingClaim | None:
    """Return the claim of a model, held until the stack is closed; None at once when another holds it."""
    try:
        lock = stack.enter_context(ledger.lock(lock_name(model)))
    except Blocked:
        return None
    return RetrainingClaim(ledger=ledger, model=model, lock=lock)


def lock_name(model: str) -> str:
    """Return the name of the lock that a retraining holds; not the one of a model's aliases, which its stages take."""
    return f"{model}/retraining"


def await_claim(ledger: Ledger, model: str, *, patience_s: float = CLAIM_WAIT_S) -> RetrainHistory:
    """Return the history with the attempt that is open, waiting a little for a holder that has not claimed yet."""
    deadline = time.monotonic() + patience_s
    while True:
        held = ledger.lock_is_held(lock_name(model))
        history = read_history(ledger, model)
        if history.open is not None or not held or time.monotonic() >= deadline:
            return history
        time.sleep(0.1)


# Pause and resume a model's retraining, and show how it stands: commands that need no run and no Prefect.


def pause_retraining(setup: Setup, *, why: str) -> dict[str, Any]:
    """Forbid every retraining of a model until it is resumed; recorded in the ledger.

    Raises
    ------
    InputError
        Without a reason.
    """
    if not why.strip():
        raise InputError("Pausing needs a reason, which is recorded in the ledger: add --reason 'TEXT'.")
    return _write_pause(setup, PAUSED, why, paused=True)


def resume_retraining(setup: Setup, *, why: str = "") -> dict[str, Any]:
    """End a pause."""
    return _write_pause(setup, UNPAUSED, why, paused=False)


def _write_pause(setup: Setup, kind: str, why: str, *, paused: bool) -> dict[str, Any]:
    """Append the entry unless the model is in that state already."""

    def decide(entries: Any) -> tuple[str, dict[str, Any]] | None:
        is_paused = fold_history(entries).pause is not None
        return None if is_paused == paused else (kind, {"why": why})

    entry = setup.stores.ledger.claim(model=setup.model, stream=RETRAINING, at=utc_now(), decide=decide)
    state, code, text = {
        (True, True): ("Paused", "paused", "is paused"),
        (True, False): ("Resumed", "resumed", "is resumed"),
        (False, True): ("Paused", "paused", "was paused already; nothing was changed"),
        (False, False): ("Unchanged", "not_paused", "is not paused; there is nothing to resume"),
    }[entry is not None, paused]
    message = f"Retraining of '{setup.model}' {text}."
    return command_result(
        setup, state, [Reason(code=code, message=message, observed=why or None)], entry=entry
    )


def retraining_status(setup: Setup) -> dict[str, Any]:
    """Return a model's pause, its newest retraining, and how many in a row did not help; it only reads."""
    ledger, model = setup.stores.ledger, setup.model
    history = read_history(ledger, model)
    pause = history.pause
    return {
        "paused": None if pause is None else {"since": pause.at.isoformat(), "why": pause.why},
        "last": None
        if history.last is None
        else _describe_attempt(history.last, alive=ledger.lock_is_held(lock_name(model))),
        "retrainings": len(history.attempts),
        "unhelpful": history.unhelpful,
    }


def _describe_attempt(attempt: Attempt, *, alive: bool) -> dict[str, Any]:
    running = "in_progress" if alive else "crashed"
    return {
        "claim": attempt.claim,
        "at": attempt.at.isoformat(),
        "state": attempt.state.value if attempt.state else running,
        "causes": [cause.key.rstrip(":") for cause in attempt.causes],
        "version": attempt.version,
        "forced": attempt.forced,
        "stages": list(attempt.stages),
    }


# Causes of a retraining and what forbids it: read and decided without a run, and without Prefect.


_RECENT_ATTEMPTS = 20
"""Newest attempts whose ends of labelled rows are compared: a version that was rolled back from is among them."""


@dataclass(frozen=True, kw_only=True)
class Request:
    """What a run is to do: its trigger, why it is forced (None: it is not), as of when, and whether to act."""

    trigger: str = MANUAL
    forced: str | None = None
    until: str | None = None
    dry_run: bool = False


def read_request(
    setup: Setup, *, trigger: str, force: bool, reason: str | None, until: str | None, dry_run: bool
) -> Request:
    """Check the options of a command.

    Raises
    ------
    InputError
        When force comes without a reason, or the moment is not on the model's clock.
    """
    if force and not (reason or "").strip():
        raise InputError(
            "Forcing a retraining needs a reason, which is recorded in the ledger: add --reason 'TEXT'."
        )
    if until is not None and setup.config.data.ordered:
        parse_position(until, clock=setup.config.data.clock)
    dry = dry_run or setup.config.retraining.run_mode == "dry_run"
    return Request(trigger=trigger, forced=reason if force else None, until=until, dry_run=dry)


def read_causes(setup: Setup, request: Request, *, source: Source) -> RetrainingRequest:
    """Read the causes: open alarms of the champion, a person, and the labels there are to train on.

    Parameters
    ----------
    source : Source
        The model's rows; the few columns that say which labels are known are read.
    """
    ledger, registry, config = setup.stores.ledger, setup.stores.registry, setup.config
    champion = registry.aliases(setup.model).get(CHAMPION)
    newest = [ledger.last(setup.model, TOPICS[phase]) for phase in Phase]
    entries = [entry.payload for entry in newest if entry is not None]
    policy = retrain_policy(config)
    alarms = drift_causes(entries, version=champion, policy=policy, clock=config.data.clock)
    person = Cause(trigger=MANUAL, message=request.forced or "Asked for by hand.")
    trained_to = _trained_to(setup, champion)
    return RetrainingRequest(
        causes=(*alarms, *([person] if request.trigger == MANUAL or request.forced else [])),
        judged=could_judge(entries, version=champion),
        labels=_read_labels(setup, request, source, trained_to=trained_to),
        champion_since=_champion_since(setup, champion),
        champion_trained_up_to=trained_to,
        forced=request.forced,
    )


def _champion_since(setup: Setup, champion: int | None) -> datetime | None:
    """Return since when the champion is champion; of one that was promoted elsewhere, when it was registered."""
    if champion is None:
        return None
    last = champion_periods(setup.stores.ledger.read(model=setup.model, stream=PLANS))[-1:]
    since = last[0].since if last and last[0].version == champion else None
    return since or setup.stores.registry.version(setup.model, champion).created_at


def _trained_to(setup: Setup, champion: int | None) -> float | None:
    """Return the end of the champion's training rows, as its tag says."""
    if champion is None or not setup.config.data.ordered:
        return None
    tag = setup.stores.registry.version(setup.model, champion).tags.get("evergreen.trained_to")
    return None if tag is None else parse_position(tag, clock=setup.config.data.clock)


def _read_labels(setup: Setup, request: Request, source: Source, *, trained_to: float | None) -> Labels:
    """Read the rows labelled since the last retraining, with the few columns that say so."""
    config = setup.config
    until = window = None
    if config.data.ordered:
        if request.until is not None:
            until = parse_position(request.until, clock=config.data.clock)
        attempts = read_history(setup.stores.ledger, setup.model).attempts[-_RECENT_ATTEMPTS:]
        ends = [*(attempt.labelled_to for attempt in attempts), trained_to]
        begin = min((end for end in ends if end is not None), default=-math.inf)
        window = Window(begin, math.inf if until is None else max(until, begin))
    rows = source.read_rows(window, columns=clock_columns(config))
    return known_labels(rows, config, until=until)


def answer_without_run(setup: Setup, request: Request, *, source: Source) -> StageResult | None:
    """Return the result of a run that starts nothing, recorded as the run would; None where there is something to do.

    The run itself decides by the same functions. A run that died is left to it, and so is whatever starts: it
    decides again, under the lock.
    """
    ledger, model, policy = setup.stores.ledger, setup.model, retrain_policy(setup.config)
    causes = read_causes(setup, request, source=source)
    moment = Moment(at=utc_now(), position=causes.labels.newest)
    history = read_history(ledger, model)
    if request.dry_run:
        return conclude_refusal(model, decide_retrain(moment, history, causes, policy), dry_run=True)
    if ledger.lock_is_held(lock_name(model)):
        busy = conclude_busy(model, await_claim(ledger, model), now=moment.at, policy=policy)
        return record_decision(setup, "retrain", busy)
    decision = decide_retrain(moment, history, causes, policy)
    resumable = history.open is not None and history.pause is None and policy.run_mode != "disabled"
    if resumable or decision.starts:
        return None
    return record_decision(setup, "retrain", conclude_refusal(model, decision))


def due_now(setup: Setup, *, source: Source) -> dict[str, Any]:
    """Return the causes of a model's retraining, what forbids it, and when the next is due; it only reads.

    Returns
    -------
    dict
        ``state`` (Due, Blocked or InsufficientData), ``model``, ``reasons``, ``causes``, ``triggers`` (those of
        calendar and labels, due or not), ``next_allowed_at`` (None where nothing forbids it now),
        ``retraining`` (as in ``status``).
    """
    causes = read_causes(setup, Request(trigger="schedule"), source=source)
    moment, policy = Moment(at=utc_now(), position=causes.labels.newest), retrain_policy(setup.config)
    history = read_history(setup.stores.ledger, setup.model)
    decision = decide_retrain(moment, history, causes, policy)
    states = {"start": "Due", "hold": "Blocked", "insufficient": "InsufficientData"}
    plain = decision.to_dict()
    return {
        "state": states[plain["outcome"]],
        "model": setup.model,
        **{name: plain[name] for name in ("reasons", "causes")},
        "next_allowed_at": None if decision.starts else plain["next_allowed_at"],
        "triggers": [one.to_dict() for one in due_triggers(moment, history, causes, policy)],
        "retraining": retraining_status(setup),
    }

"""The desk of a model's retrainings: one holder at a time, each step of a claim written before the next."""

from __future__ import annotations

import time
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from typing import Any

from evergreen.tasks.core.errors import Blocked, InputError
from evergreen.tasks.core.promotion.history import PLANS
from evergreen.tasks.core.promotion.ledger import LedgerEntry
from evergreen.tasks.core.retraining.decide import decide_retrain
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
from evergreen.tasks.core.retraining.types import Moment, RetrainDecision, RetrainingRequest, RetrainPolicy
from evergreen.tasks.core.verdict import Reason, State
from evergreen.tasks.io.ledger import Ledger
from evergreen.tasks.io.locks import HeldLock
from evergreen.tasks.io.settings import utc_now
from evergreen.tasks.io.setup import Setup

CLAIM_WAIT_S = 10.0
"""How long one that came too late waits for the claim of the one before, to say when the next may start."""


@dataclass(frozen=True, kw_only=True)
class RetrainingClaim:
    """One holder's hands on a model's retrainings.

    Attributes
    ----------
    ledger, model : Ledger, str
        Where they are written.
    lock : HeldLock
        Blocked as long as the desk is open; it dies with its holder.
    closed : list of Reason
        What a dead owner left and was closed here.
    """

    ledger: Ledger
    model: str
    lock: HeldLock
    closed: list[Reason] = field(default_factory=list)

    def claim(
        self, now: Moment, asked: RetrainingRequest, policy: RetrainPolicy, *, until: str | None
    ) -> tuple[Attempt | None, RetrainDecision]:
        """Decide and, where it starts, claim it in one step; two that decide at once cannot both start."""
        plans = self.ledger.read(model=self.model, stream=PLANS)
        decisions: list[RetrainDecision] = []

        def decide(entries: Any) -> tuple[str, dict[str, Any]] | None:
            decision = decide_retrain(now, fold_history([*entries, *plans]), asked, policy)
            decisions.append(decision)
            return (STARTED, claim_payload(now, asked, decision, until=until)) if decision.starts else None

        entry = self.ledger.claim(model=self.model, stream=RETRAINING, at=now.at, decide=decide)
        attempt = None if entry is None else fold_history([entry]).last
        return attempt, decisions[-1]

    def take_up(self, policy: RetrainPolicy) -> Attempt | None:
        """Return what a dead owner left open, to go on with; close what is not to be taken up.

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
        known = {name: result.get(name) for name in ("state", "version", "decision_id")}
        payload = {"claim": attempt.claim, "stage": stage, **known}
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
    """Return what the ledger knows of a model's retrainings."""
    return fold_history(
        [*ledger.read(model=model, stream=RETRAINING), *ledger.read(model=model, stream=PLANS)]
    )


def take_claim(stack: ExitStack, ledger: Ledger, model: str) -> RetrainingClaim | None:
    """Return the one desk of a model, held until the stack is closed; None at once when another holds it."""
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


# Pause and resume a model's retraining, and tell how it stands: small acts that need no run and no Prefect.


def pause_retraining(setup: Setup, *, why: str) -> dict[str, Any]:
    """Hold every retraining of a model until it is resumed; kept in the ledger.

    Raises
    ------
    InputError
        Without a reason.
    """
    if not why.strip():
        raise InputError("Pausing needs a reason, which is kept in the ledger: add --reason 'TEXT'.")
    return _write_pause(setup, PAUSED, why, paused=True)


def resume_retraining(setup: Setup, *, why: str = "") -> dict[str, Any]:
    """End a pause."""
    return _write_pause(setup, UNPAUSED, why, paused=False)


def _write_pause(setup: Setup, kind: str, why: str, *, paused: bool) -> dict[str, Any]:
    """Append the entry unless the model is in that state already."""

    def decide(entries: Any) -> tuple[str, dict[str, Any]] | None:
        known = fold_history(entries).pause
        return None if (known is not None) == paused else (kind, {"why": why})

    entry = setup.stores.ledger.claim(model=setup.model, stream=RETRAINING, at=utc_now(), decide=decide)
    if entry is not None:
        state, code, said = (
            ("Paused", "paused", "is paused") if paused else ("Resumed", "resumed", "is resumed")
        )
    elif paused:
        state, code, said = "Paused", "paused", "was paused already; nothing was changed"
    else:
        state, code, said = "Unchanged", "not_paused", "is not paused; there is nothing to resume"
    message = f"Retraining of '{setup.model}' {said}."
    reason = {"code": code, "message": message, "observed": why or None, "limit": None}
    return {
        "state": state,
        "model": setup.model,
        "reasons": [reason],
        "decision_id": entry.id if entry else None,
    }


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

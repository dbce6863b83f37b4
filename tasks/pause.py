"""Pause and resume a model's retraining, and tell how it stands: small acts that need no run and no Prefect."""

from __future__ import annotations

from typing import Any

from tasks.core.errors import InputError
from tasks.core.retraining.attempts import Attempt
from tasks.core.retraining.history import PAUSED, RETRAINING, UNPAUSED, fold_history
from tasks.io.clock import utc_now
from tasks.io.setup import Setup
from tasks.retrain_desk import lock_name, read_history


def pause_retraining(setup: Setup, *, why: str) -> dict[str, Any]:
    """Hold every retraining of a model until it is resumed; kept in the ledger.

    Raises
    ------
    InputError
        Without a reason.
    """
    if not why.strip():
        raise InputError("Pausing needs a reason, which is kept in the ledger: add --why 'TEXT'.")
    return _write(setup, PAUSED, why, paused=True)


def resume_retraining(setup: Setup, *, why: str = "") -> dict[str, Any]:
    """End a pause."""
    return _write(setup, UNPAUSED, why, paused=False)


def _write(setup: Setup, kind: str, why: str, *, paused: bool) -> dict[str, Any]:
    """Append the entry unless the model is in that state already."""

    def decide(entries: Any) -> tuple[str, dict[str, Any]] | None:
        known = fold_history(entries).pause
        return None if (known is not None) == paused else (kind, {"why": why})

    entry = setup.stores.ledger.claim(model=setup.model, stream=RETRAINING, at=utc_now(), decide=decide)
    state = "Paused" if paused else "Resumed"
    word = "was already" if entry is None else "is"
    message = f"Retraining of '{setup.model}' {word} {'paused' if paused else 'not paused'}."
    reason = {"code": state.lower(), "message": message, "observed": why or None, "limit": None}
    return {
        "state": state, "model": setup.model, "reasons": [reason], "decision_id": entry.id if entry else None,
    }  # fmt: skip


def retraining_status(setup: Setup) -> dict[str, Any]:
    """Return a model's pause, its newest retraining, and how many in a row did not help; it only reads."""
    ledger, model = setup.stores.ledger, setup.model
    history = read_history(ledger, model)
    pause = history.pause
    return {
        "paused": None if pause is None else {"since": pause.at.isoformat(), "why": pause.why},
        "last": None
        if history.last is None
        else _told(history.last, alive=ledger.lock_is_held(lock_name(model))),
        "retrainings": len(history.attempts),
        "unhelpful": history.unhelpful,
    }


def _told(attempt: Attempt, *, alive: bool) -> dict[str, Any]:
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

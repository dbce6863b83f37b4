"""A model's retrainings folded from the ledger, and the entries they are written as."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from tasks.core.reign.history import rolled_back_versions
from tasks.core.reign.ledger import Entry
from tasks.core.retraining.attempts import Attempt, Pause, RetrainHistory
from tasks.core.retraining.words import Asked, Cause, Moment, RetrainDecision
from tasks.core.verdict import State

RETRAINING = "retraining"
"""Stream of the retrainings of a model."""

STARTED, STAGE, RESUMED, ENDED, PAUSED, UNPAUSED = (
    "started",
    "stage",
    "resumed",
    "ended",
    "paused",
    "unpaused",
)


def fold_history(entries: Iterable[Entry]) -> RetrainHistory:
    """Return what the ledger knows of a model's retrainings.

    Parameters
    ----------
    entries : iterable of Entry
        Entries of one model in order of stream and number; those of ``retraining`` and ``plans`` are read.
    """
    known = list(entries)
    attempts: dict[str, Attempt] = {}
    pause: Pause | None = None
    for entry in (one for one in known if one.stream == RETRAINING):
        if entry.kind == PAUSED:
            pause = Pause(at=entry.at, why=entry.payload["why"])
        elif entry.kind == UNPAUSED:
            pause = None
        elif entry.kind == STARTED:
            attempts[entry.id] = _started(entry)
        else:
            claim = entry.payload["claim"]
            attempts[claim] = _followed(attempts[claim], entry)
    return RetrainHistory(
        attempts=tuple(attempts.values()), pause=pause, rolled_back=rolled_back_versions(known)
    )


def claim_payload(
    now: Moment, asked: Asked, decision: RetrainDecision, *, until: str | None
) -> dict[str, Any]:
    """Return what the entry of a claim holds: all that a later decision, or a heir of the claim, needs."""
    return {
        "causes": [cause.to_dict() for cause in decision.causes],
        "alarms": [cause.to_dict() for cause in asked.causes],
        "reasons": [reason.to_dict() for reason in decision.reasons],
        "next_allowed_at": decision.next_allowed_at.isoformat() if decision.next_allowed_at else None,
        "position": now.position,
        "labelled_to": asked.labels.newest,
        "change_at": decision.change_at,
        "forced": asked.forced,
        "until": until,
    }


def _started(entry: Entry) -> Attempt:
    known = entry.payload
    return Attempt(
        claim=entry.id,
        at=entry.at,
        causes=tuple(map(Cause.from_dict, known["causes"])),
        alarms=tuple(map(Cause.from_dict, known["alarms"])),
        position=known["position"],
        labelled_to=known["labelled_to"],
        change_at=known["change_at"],
        forced=known["forced"],
        until=known["until"],
    )


def _followed(attempt: Attempt, entry: Entry) -> Attempt:
    known = entry.payload
    if entry.kind == RESUMED:
        return replace(attempt, resumed=attempt.resumed + 1)
    if entry.kind == STAGE:
        return replace(attempt, stages={**attempt.stages, known["stage"]: known})
    return replace(attempt, state=State(known["state"]), version=known["version"])

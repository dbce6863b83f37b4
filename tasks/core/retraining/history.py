"""A model's retrainings folded from the ledger, and the entries they are written as."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from evergreen.tasks.core.promotion.history import rolled_back_versions
from evergreen.tasks.core.promotion.ledger import LedgerEntry
from evergreen.tasks.core.retraining.types import Cause, Moment, RetrainDecision, RetrainingRequest
from evergreen.tasks.core.serial import to_plain
from evergreen.tasks.core.verdict import Reason, State

# Attempts: one retraining each, from its claim to its end, and what a model's attempts say together.


HELPED = frozenset({State.PROMOTED, State.READY_FOR_LIVE_TEST})
"""Ends of an attempt that brought a new champion, or one that live evidence decides on."""
REFUSED = frozenset({State.CHAMPION_KEPT, State.REJECTED})
"""Ends of an attempt whose challenger was judged and refused."""


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """One retraining, from its claim on."""

    claim: str
    """Id of the ledger's entry that claimed it."""
    at: datetime
    """When it started."""
    causes: tuple[Cause, ...] = ()
    alarms: tuple[Cause, ...] = ()
    """What asked for it; all alarms that were open then, answered ones too."""
    position: float | None = None
    labelled_to: float | None = None
    """How far the rows, and their labels, had come."""
    change_at: float | None = None
    """The newest change it knew."""
    forced: str | None = None
    """Why it was forced; None: it was not."""
    until: str | None = None
    """The moment that it takes for now; None: that of the computer's clock."""
    resumed: int = 0
    """How often it was taken up again after its owner had died."""
    stages: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """The result of each finished stage: ``state``, ``version``."""
    state: State | None = None
    """How it ended; None while it is open."""
    version: int | None = None
    """The version it made champion, or the last it made."""

    @property
    def open(self) -> bool:
        """True while it has not ended."""
        return self.state is None


@dataclass(frozen=True, kw_only=True)
class Pause:
    """Who paused a model's retraining, and when."""

    at: datetime
    why: str


@dataclass(frozen=True, kw_only=True)
class RetrainHistory:
    """What the ledger knows of a model's retrainings."""

    attempts: tuple[Attempt, ...] = ()
    """Oldest first."""
    pause: Pause | None = None
    """A pause that was not ended."""
    rolled_back: frozenset[int] = frozenset()
    """Versions that were rolled back from."""

    @property
    def last(self) -> Attempt | None:
        """The newest attempt."""
        return self.attempts[-1] if self.attempts else None

    @property
    def open(self) -> Attempt | None:
        """The attempt that has not ended, if any: there is one at most."""
        return self.last if self.last is not None and self.last.open else None

    @property
    def unhelpful(self) -> int:
        """How many ended attempts in a row, up to now, brought no champion that was not rolled back from."""
        ended = [one for one in reversed(self.attempts) if not one.open]
        helped = (one.state in HELPED and one.version not in self.rolled_back for one in ended)
        return next((count for count, good in enumerate(helped) if good), len(ended))


RETRAINING = "retraining"
"""Stream of the retrainings of a model."""

STARTED, STAGE, RESUMED, ENDED = "started", "stage", "resumed", "ended"
PAUSED, UNPAUSED = "paused", "unpaused"


def fold_history(entries: Iterable[LedgerEntry]) -> RetrainHistory:
    """Return what the ledger knows of a model's retrainings.

    Parameters
    ----------
    entries : iterable of Entry
        Entries of one model in order of stream and number; those of ``retraining`` and ``plans`` are read.
    """
    recorded = list(entries)
    attempts: dict[str, Attempt] = {}
    pause: Pause | None = None
    for entry in (one for one in recorded if one.stream == RETRAINING):
        if entry.kind == PAUSED:
            pause = Pause(at=entry.at, why=entry.payload["why"])
        elif entry.kind == UNPAUSED:
            pause = None
        elif entry.kind == STARTED:
            attempts[entry.id] = _started(entry)
        else:
            claim = entry.payload["claim"]
            attempts[claim] = _followed(attempts[claim], entry)
    rolled_back = rolled_back_versions(recorded)
    return RetrainHistory(attempts=tuple(attempts.values()), pause=pause, rolled_back=rolled_back)


def claim_payload(
    now: Moment, request: RetrainingRequest, decision: RetrainDecision, *, until: str | None
) -> dict[str, Any]:
    """Return what the entry of a claim holds: all that a later decision, or who takes the claim over, needs."""
    plain = to_plain(
        {
            "causes": decision.causes,
            "alarms": request.causes,
            "reasons": decision.reasons,
            "next_allowed_at": decision.next_allowed_at,
            "position": now.position,
            "labelled_to": request.labels.newest,
            "change_at": decision.change_at,
            "forced": request.forced,
            "until": until,
        }
    )
    return dict(plain)


def _started(entry: LedgerEntry) -> Attempt:
    payload = entry.payload
    causes, alarms = (tuple(map(Cause.from_dict, payload[name])) for name in ("causes", "alarms"))
    same = {name: payload[name] for name in ("position", "labelled_to", "change_at", "forced", "until")}
    return Attempt(claim=entry.id, at=entry.at, causes=causes, alarms=alarms, **same)


def _followed(attempt: Attempt, entry: LedgerEntry) -> Attempt:
    payload = entry.payload
    if entry.kind == RESUMED:
        return replace(attempt, resumed=attempt.resumed + 1)
    if entry.kind == STAGE:
        return replace(attempt, stages={**attempt.stages, payload["stage"]: payload})
    return replace(attempt, state=State(payload["state"]), version=payload["version"])


# What becomes of a retraining whose owner died: it is taken up where it stopped, or closed as failed.


MOST_RESUMED = 2
"""A retraining is taken up again so often; an owner that dies each time has a cause that stays."""
LONGEST = timedelta(days=1)
"""An older one is closed: the data have moved on."""


def decide_takeover(now: datetime, attempt: Attempt) -> Reason | None:
    """Return why an open attempt without an owner is closed as failed; None: it is taken up again.

    Parameters
    ----------
    now : datetime
        Aware.
    attempt : Attempt
        Open, and nobody holds its lock.
    """
    done = ", ".join(attempt.stages) or "nothing"
    if attempt.resumed >= MOST_RESUMED:
        message = (
            f"Retraining {attempt.claim} was resumed {attempt.resumed} times and its process died each time (done: "
            f"{done}); it is closed as failed and counts towards the cooldown."
        )
        return Reason(code="died_again", message=message, observed=attempt.resumed, limit=MOST_RESUMED)
    if now - attempt.at > LONGEST:
        message = (
            f"Retraining {attempt.claim} began on {attempt.at:%Y-%m-%d %H:%M} UTC and its process died (done: {done}); "
            f"it is older than {LONGEST.days} day and is closed as failed."
        )
        return Reason(code="died_long_ago", message=message, observed=attempt.at.isoformat())
    return None

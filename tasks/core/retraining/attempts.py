"""Attempts: one retraining each, from its claim to its end, and what a model's attempts say together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from tasks.core.retraining.words import Cause
from tasks.core.verdict import State

HELPED = frozenset({State.PROMOTED, State.ADMITTED})
"""Ends of an attempt that brought a new champion, or one that live evidence decides on."""
REFUSED = frozenset({State.KEPT, State.REJECTED})
"""Ends of an attempt whose challenger was looked at and refused."""


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """One retraining, from its claim on.

    Attributes
    ----------
    claim : str
        Id of the ledger's entry that claimed it.
    at : datetime
        When it started.
    causes, alarms : tuple of Cause
        What asked for it; all alarms that were open then, answered ones too.
    position, labelled_to : float | None
        How far the rows, and their labels, had come.
    change_at : float | None
        The newest change it knew.
    forced : str | None
        Why it was forced; None: it was not.
    until : str | None
        The moment it was told to take for now; None: the computer's.
    resumed : int
        How often it was taken up again after its owner had died.
    stages : mapping of str to dict
        What each finished stage said: ``state``, ``version``.
    state : State | None
        How it ended; None while it is open.
    version : int | None
        The version it made champion, or the last it made.
    """

    claim: str
    at: datetime
    causes: tuple[Cause, ...] = ()
    alarms: tuple[Cause, ...] = ()
    position: float | None = None
    labelled_to: float | None = None
    change_at: float | None = None
    forced: str | None = None
    until: str | None = None
    resumed: int = 0
    stages: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    state: State | None = None
    version: int | None = None

    @property
    def open(self) -> bool:
        """True while nobody has ended it."""
        return self.state is None


@dataclass(frozen=True, kw_only=True)
class Pause:
    """Who paused a model's retraining, and when."""

    at: datetime
    why: str


@dataclass(frozen=True, kw_only=True)
class RetrainHistory:
    """What the ledger knows of a model's retrainings.

    Attributes
    ----------
    attempts : tuple of Attempt
        Oldest first.
    pause : Pause | None
        A pause that nobody has ended.
    rolled_back : frozenset of int
        Versions that were rolled back from.
    """

    attempts: tuple[Attempt, ...] = ()
    pause: Pause | None = None
    rolled_back: frozenset[int] = frozenset()

    @property
    def last(self) -> Attempt | None:
        """The newest attempt."""
        return self.attempts[-1] if self.attempts else None

    @property
    def open(self) -> Attempt | None:
        """The attempt that nobody has ended, if any: there is one at most."""
        return self.last if self.last is not None and self.last.open else None

    def helped(self, attempt: Attempt) -> bool:
        """Return whether an attempt brought a champion that was not rolled back from since."""
        return attempt.state in HELPED and attempt.version not in self.rolled_back

    @property
    def unhelpful(self) -> int:
        """How many ended attempts in a row, up to now, did not help."""
        count = 0
        for attempt in reversed([one for one in self.attempts if not one.open]):
            if self.helped(attempt):
                break
            count += 1
        return count

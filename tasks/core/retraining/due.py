"""What is due by the calendar or by the count of labels, whatever monitoring says."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from tasks.core.retraining.attempts import RetrainHistory
from tasks.core.retraining.policy import RetrainPolicy
from tasks.core.retraining.words import Asked, Cause, Moment


@dataclass(frozen=True, kw_only=True)
class Due:
    """One trigger that time or labels pull.

    Attributes
    ----------
    trigger : str
        ``periodic`` or ``labels``.
    due : bool
        Whether it asks now.
    said : str
        Why, or what is missing.
    due_at : datetime | None
        When it will be due; None where rows decide.
    size, limit : float | None
        Rows (or days) passed, and asked for.
    """

    trigger: str
    due: bool
    said: str
    due_at: datetime | None = None
    size: float | None = None
    limit: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {**vars(self), "due_at": self.due_at.isoformat() if self.due_at else None}

    def cause(self) -> Cause:
        """Return it as a cause."""
        return Cause(trigger=self.trigger, said=self.said, size=self.size, limit=self.limit)


def due_triggers(
    now: Moment, history: RetrainHistory, asked: Asked, policy: RetrainPolicy
) -> tuple[Due, ...]:
    """Return the triggers ``periodic`` and ``labels`` of a policy, due or not."""
    found = []
    if "periodic" in policy.triggers:
        by_rows = policy.every.unit == "rows"
        found.append(_by_rows(history, asked, policy) if by_rows else _by_time(now, history, asked, policy))
    if "labels" in policy.triggers:
        found.append(_by_labels(history, asked, policy))
    return tuple(found)


def _by_time(now: Moment, history: RetrainHistory, asked: Asked, policy: RetrainPolicy) -> Due:
    last = history.last.at if history.last else asked.champion_since
    if last is None:
        return Due(trigger="periodic", due=True, said="There is no champion yet.", due_at=now.at)
    due_at = last + timedelta(seconds=policy.every.amount)
    word = "retraining" if history.last else "promotion"
    said = f"The last {word} was on {last:%Y-%m-%d %H:%M} UTC, and one is due every {policy.every}."
    return Due(
        trigger="periodic", due=now.at >= due_at, said=said, due_at=due_at,
        size=round((now.at - last).total_seconds() / 86400, 2), limit=round(policy.every.amount / 86400, 2),
    )  # fmt: skip


def _by_rows(history: RetrainHistory, asked: Asked, policy: RetrainPolicy) -> Due:
    rows, wanted = _new_rows(history, asked), int(policy.every.amount)
    said = f"{rows} rows were labelled since the last retraining, and one is due every {policy.every}."
    return Due(trigger="periodic", due=rows >= wanted, said=said, size=float(rows), limit=float(wanted))


def _by_labels(history: RetrainHistory, asked: Asked, policy: RetrainPolicy) -> Due:
    rows, wanted = _new_rows(history, asked), int(policy.min_new_rows or 0)
    said = f"{rows} rows were labelled since the last retraining; {wanted} make one due."
    return Due(trigger="labels", due=rows >= wanted, said=said, size=float(rows), limit=float(wanted))


def _new_rows(history: RetrainHistory, asked: Asked) -> int:
    return asked.labels.after(learned_to(history, asked))


def learned_to(history: RetrainHistory, asked: Asked) -> float | None:
    """Return how far labels had come at the last retraining; before the first, at the champion's training."""
    return history.last.labelled_to if history.last else asked.champion_learned_to

"""What becomes of a retraining whose owner died: it is taken up where it stopped, or closed as failed."""

from __future__ import annotations

from datetime import datetime, timedelta

from tasks.core.retraining.attempts import Attempt
from tasks.core.verdict import Reason

MOST_RESUMED = 2
"""A retraining is taken up again so often; what kills its owner each time is no accident."""
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
            f"Retraining {attempt.claim} was taken up {attempt.resumed} times and its owner died each time (done: "
            f"{done}); it is closed as failed and counts towards the cooldown."
        )
        return Reason(code="died_again", message=message, observed=attempt.resumed, limit=MOST_RESUMED)
    if now - attempt.at > LONGEST:
        message = (
            f"Retraining {attempt.claim} began on {attempt.at:%Y-%m-%d %H:%M} UTC and its owner died (done: {done}); "
            f"it is older than {LONGEST.days} day and is closed as failed."
        )
        return Reason(code="died_long_ago", message=message, observed=attempt.at.isoformat())
    return None

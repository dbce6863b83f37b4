"""What tells the time: the computer's clock, or a moment it is told to take for now."""

from __future__ import annotations

import os
from datetime import UTC, datetime

from tasks.core.errors import InputError

FROZEN = "EVERGREEN_NOW"
"""Environment variable that stops the clock of all decisions, for demonstrations, tests and rehearsals."""


def utc_now() -> datetime:
    """Return the present, aware and in UTC; the moment ``EVERGREEN_NOW`` names, where it is set.

    Raises
    ------
    InputError
        When ``EVERGREEN_NOW`` is no ISO 8601 time.
    """
    told = os.environ.get(FROZEN)
    if not told:
        return datetime.now(UTC)
    try:
        moment = datetime.fromisoformat(told)
    except ValueError:
        raise InputError(
            f"{FROZEN} is '{told}', allowed is an ISO 8601 time such as 2026-01-31T12:00:00Z. Correct or unset it."
        ) from None
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)

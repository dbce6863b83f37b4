"""What a live test may spend of the alpha budget, and its spending, once, under the id of the entry that created it."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from tasks.core.ab.history import TestState
from tasks.core.challenge.alpha import AlphaLook
from tasks.core.challenge.spending import alpha_look
from tasks.core.errors import InputError
from tasks.core.reign.ledger import Entry


def live_alpha(
    entries: Iterable[Entry], *, now: datetime, level: float, wanted: float | None = None
) -> AlphaLook:
    """Return what a live test may spend of the model's budget of wrong promotions.

    A whole test, with all its looks, spends like one look of a challenge: a quarter of what is left, or what is
    wanted, since its sequence allows for looking at any time.

    Parameters
    ----------
    entries : iterable of Entry
        Of the stream ``alpha``.
    level : float
        ``evaluation.significance_level``.
    wanted : float, optional
        Alpha that a person asks for.

    Raises
    ------
    InputError
        When more is wanted than is left.
    """
    usual = alpha_look(entries, now=now, level=level)
    if wanted is None:
        return usual
    if not 0 < wanted <= usual.left_before:
        raise InputError(
            f"Alpha {wanted:g} is not to be had: {usual.left_before:g} of {level:g} is left for 90 days "
            "(evaluation.significance_level). Ask for less, or wait."
        )
    return AlphaLook(alpha=wanted, left_before=usual.left_before, left_after=usual.left_before - wanted)


def has_spent(entries: Iterable[Entry], state: TestState) -> bool:
    """Tell whether the alpha of a test is spent; ``entries`` are of the stream ``alpha``."""
    return any(entry.payload.get("live_test_entry") == state.entry for entry in entries)


def alpha_payload(look: AlphaLook, state: TestState) -> dict[str, Any]:
    """Return what the entry of the stream ``alpha`` holds."""
    test = state.test
    return {
        "alpha": look.alpha, "left_after": look.left_after, "live_test": test.name, "live_test_entry": state.entry,
        "challenger": test.challengers[0].version, "champion": test.control.version,
    }  # fmt: skip

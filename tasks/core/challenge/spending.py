"""The alpha budget in the ledger: what a look may spend, given the entries, and what it leaves there."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime
from typing import Any

from tasks.core.challenge.alpha import AlphaLook, plan_alpha
from tasks.core.challenge.opponents import Opponents
from tasks.core.reign.ledger import Entry

ALPHA = "alpha"
"""Stream of the looks that have spent."""
LOOK = "look"
"""Kind of its entries."""


def alpha_look(entries: Iterable[Entry], *, now: datetime, level: float) -> AlphaLook:
    """Return what a look at ``now`` may spend, given the entries of the stream ``alpha``."""
    return plan_alpha([(entry.at, float(entry.payload["alpha"])) for entry in entries], now=now, level=level)


def free_look(look: AlphaLook) -> AlphaLook:
    """Return a look of the same level that leaves everything: it cannot promote anybody."""
    return replace(look, left_after=look.left_before)


def spent_payload(look: AlphaLook, opponents: Opponents) -> dict[str, Any]:
    """Return what the entry of a look holds."""
    spent = {"alpha": look.alpha, "left_after": look.left_after}
    return {**spent, "challenger": opponents.challenger, "champion": opponents.champion}

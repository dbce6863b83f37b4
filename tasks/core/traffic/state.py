"""What is wanted of a model's traffic now, folded from the ledger, and what of it is still in force."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from evergreen.tasks.core.config.serving import Ramp
from evergreen.tasks.core.promotion.history import ChampionPeriod
from evergreen.tasks.core.promotion.ledger import LedgerEntry
from evergreen.tasks.core.serial import Struct
from evergreen.tasks.core.traffic.counts import ArmFigures
from evergreen.tasks.core.traffic.plan import TrafficPlan, plain_plan
from evergreen.tasks.core.verdict import Reason

TRAFFIC = "traffic"
"""Stream of the traffic of a model."""
SET, STEPPED, DONE, STOPPED = "set", "step", "done", "stopped"
"""Kinds of entries: a person set it, the ramp went a step, ramp or variants are done, all went back to the champion."""


_OF_ENTRY = {"stored": False}
"""Of fields that are those of the entry itself, not of what it holds."""


@dataclass(frozen=True, kw_only=True)
class TrafficState(Struct):
    """What is wanted of a model's traffic."""

    plan: TrafficPlan
    """Which variants answer and which score as shadows."""
    seq: int = field(default=0, metadata=_OF_ENTRY)
    """Number of the newest entry of the stream; 0: there is none."""
    kind: str | None = field(default=None, metadata=_OF_ENTRY)
    """Kind of that entry; None without."""
    at: datetime | None = field(default=None, metadata=_OF_ENTRY)
    """When the plan became what it is now, and when it was set (or last stopped)."""
    set_at: datetime | None = None
    """When the plan was set."""
    ramp: Ramp | None = None
    """The ramp, while one is on its way."""
    step: int | None = None
    """Which of its steps the plan is at, from 0."""
    reasons: tuple[Reason, ...] = ()
    """Why the newest entry was written."""
    baseline: ArmFigures | None = field(
        default=None, metadata={"write": ArmFigures.to_payload, "read": ArmFigures.from_payload}
    )
    """The champion's arm in the round before the newest step."""
    judged: tuple[str, ...] = ()
    """Arms whose outcomes a live test judges: their scores may differ from the champion's."""

    @classmethod
    def of_entry(cls, entry: LedgerEntry) -> TrafficState:
        """Return the state an entry holds, with the entry's number, kind and time."""
        state = cls.from_dict(entry.payload)
        return replace(state, seq=entry.seq, kind=entry.kind, at=entry.at, set_at=state.set_at or entry.at)


def fold_traffic(entries: Iterable[LedgerEntry], *, model: str) -> TrafficState:
    """Return what is wanted of a model's traffic.

    Parameters
    ----------
    entries : iterable of Entry
        Of the model, in order; other streams are passed over. The newest of the stream is enough.
    """
    own = [entry for entry in entries if entry.stream == TRAFFIC]
    if not own:
        return TrafficState(plan=plain_plan(salt=f"{model}/{TRAFFIC}/0"))
    return TrafficState.of_entry(own[-1])


def promoted_since(periods: Iterable[ChampionPeriod], state: TrafficState) -> frozenset[int]:
    """Return the versions that became champion after the traffic was set, whether they still are or not."""
    if state.set_at is None:
        return frozenset()
    return frozenset(one.version for one in periods if one.since is not None and one.since >= state.set_at)


def in_force(state: TrafficState, *, champion: int | None, promoted: Collection[int] = ()) -> TrafficState:
    """Return the traffic without the variants that have nothing left to show.

    The plan names versions; the champion's share is always @champion's, whoever that is. A challenger or shadow that
    is nothing but the champion is done and gives its share back. It stays done when the champion is rolled back
    afterwards: what was champion since the traffic was set does not answer as a challenger again. Ensembles
    stay, also with the champion among their members. Without a champion nothing is changed.

    Parameters
    ----------
    state : TrafficState
        What is wanted.
    champion : int | None
        Version of @champion.
    promoted : collection of int
        Versions that became champion since (`promoted_since`).
    """
    over = {champion, *promoted} - {None}
    done = [one.name for one in state.plan.variants if one.version in over]
    return without_variants(state, done) if done else state


def without_variants(state: TrafficState, names: Collection[str]) -> TrafficState:
    """Return the traffic without some variants, and without the ramp of one of them; the champion takes their share."""
    after = replace(state, plan=state.plan.without(*names))
    return replace(after, ramp=None, step=None) if state.ramp and state.ramp.arm in names else after


def describe(state: TrafficState) -> Mapping[str, Any]:
    """Return the JSON form for people: variants, shares, ramp and why."""
    ramp = state.ramp
    return {
        "set_at": state.set_at.isoformat() if state.set_at else None,
        "since": state.at.isoformat() if state.at else None,
        "last": state.kind,
        "variants": [{**one.to_dict(), "label": one.label} for one in state.plan.variants],
        "ramp": None if ramp is None else {**ramp.to_dict(), "step": state.step},
        "salt": state.plan.salt,
    }

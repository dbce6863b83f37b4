"""What is wanted of a model's traffic now, folded from the ledger, and what of it is still in force."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from evergreen.tasks.core.config.canary import Ramp
from evergreen.tasks.core.promotion.history import ChampionPeriod
from evergreen.tasks.core.promotion.ledger import LedgerEntry
from evergreen.tasks.core.traffic.counts import ArmFigures
from evergreen.tasks.core.traffic.plan import TrafficPlan, plain_plan
from evergreen.tasks.core.verdict import Reason

TRAFFIC = "traffic"
"""Stream of the traffic of a model."""
SET, STEPPED, DONE, STOPPED = "set", "step", "done", "stopped"
"""Kinds of entries: a person set it, the ramp went a step, ramp or variants are done, all went back to the champion."""


@dataclass(frozen=True, kw_only=True)
class TrafficState:
    """What is wanted of a model's traffic.

    Attributes
    ----------
    plan : TrafficPlan
        Who answers and who scores along.
    seq : int
        Number of the newest entry of the stream; 0: there is none.
    kind : str | None
        Kind of that entry; None without.
    at : datetime | None
        When the plan became what it is now, and when it was set (or last stopped).
    set_at : datetime | None
        When the plan was set.
    ramp : Ramp | None
        The ramp, while one is on its way.
    step : int | None
        Which of its steps the plan is at, from 0.
    reasons : tuple of Reason
        Why the newest entry was written.
    baseline : ArmFigures | None
        The champion's arm in the round before the newest step.
    judged : tuple of str
        Arms whose outcomes a live test judges: their scores may differ from the champion's.
    """

    plan: TrafficPlan
    seq: int = 0
    kind: str | None = None
    at: datetime | None = None
    set_at: datetime | None = None
    ramp: Ramp | None = None
    step: int | None = None
    reasons: tuple[Reason, ...] = ()
    baseline: ArmFigures | None = None
    judged: tuple[str, ...] = ()

    def to_payload(self) -> dict[str, Any]:
        """Return what an entry of the stream holds: the whole state, so that the newest entry says everything."""
        return {
            "plan": self.plan.to_dict(),
            "set_at": self.set_at.isoformat() if self.set_at else None,
            "ramp": self.ramp.to_dict() if self.ramp else None,
            "step": self.step,
            "reasons": [reason.to_dict() for reason in self.reasons],
            "baseline": self.baseline.to_payload() if self.baseline else None,
            "judged": list(self.judged),
        }

    @classmethod
    def from_payload(
        cls, payload: Mapping[str, Any], *, seq: int = 0, kind: str | None = None, at: datetime | None = None
    ) -> TrafficState:
        """Return what `to_payload` wrote, with the number, kind and time of its entry where there is one."""
        set_at, ramp, baseline = payload["set_at"], payload["ramp"], payload["baseline"]
        return cls(
            plan=TrafficPlan.from_dict(payload["plan"]),
            seq=seq,
            kind=kind,
            at=at,
            set_at=datetime.fromisoformat(set_at) if set_at else at,
            ramp=Ramp.from_dict(ramp) if ramp else None,
            step=payload["step"],
            reasons=tuple(Reason(**reason) for reason in payload["reasons"]),
            baseline=ArmFigures.from_payload(baseline) if baseline else None,
            judged=tuple(payload["judged"]),
        )


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
    newest = own[-1]
    return TrafficState.from_payload(newest.payload, seq=newest.seq, kind=newest.kind, at=newest.at)


def promoted_since(reigns: Iterable[ChampionPeriod], state: TrafficState) -> frozenset[int]:
    """Return the versions that came to the throne after the traffic was set, whether they still hold it or not."""
    if state.set_at is None:
        return frozenset()
    return frozenset(one.version for one in reigns if one.since is not None and one.since >= state.set_at)


def in_force(state: TrafficState, *, champion: int | None, reigned: Collection[int] = ()) -> TrafficState:
    """Return the traffic without the variants that have nothing left to show.

    The plan names versions; the champion's share is always @champion's, whoever that is. A challenger or shadow that
    is nothing but the champion is done and gives its share back. It stays done when the champion is rolled back
    afterwards: who was on the throne since the traffic was set does not answer as a challenger again. Ensembles
    stay, also with the champion among their members. Without a champion nothing is changed.

    Parameters
    ----------
    state : TrafficState
        What is wanted.
    champion : int | None
        Version of @champion.
    reigned : collection of int
        Versions that came to the throne since (`reigned_since`).
    """
    over = {champion, *reigned} - {None}
    done = [one.name for one in state.plan.variants if one.version in over]
    if not done:
        return state
    through = state.ramp is not None and state.ramp.arm in done
    plan = state.plan.without(*done)
    return replace(
        state, plan=plan, ramp=None if through else state.ramp, step=None if through else state.step
    )


def without_challengers(plan: TrafficPlan) -> TrafficPlan:
    """Return the plan with everything answered by the champion; shadows go on."""
    return plan.without(*(one.name for one in plan.challengers))


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

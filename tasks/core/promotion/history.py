"""History folded from the ledger: open plans, champions, versions rolled back from, champions not yet tested."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import pairwise

from evergreen.tasks.core.promotion.ledger import LedgerEntry
from evergreen.tasks.core.promotion.plan import Plan
from evergreen.tasks.core.serial import Struct

PLANS = "plans"
"""Stream of the plans of a model."""

PLANNED = "planned"
CLOSED = "closed"
SMOKE_TESTED = "smoked"
DONE = frozenset({"applied", "finished"})
"""Outcomes of a closed plan whose moves were made: by its owner, or by the one who settled it."""


@dataclass(frozen=True, kw_only=True)
class RecordedPlan:
    """A plan, its entry's id, when it was written, and how it ended (None: it is open)."""

    plan_id: str
    plan: Plan
    at: datetime
    outcome: str | None = None


@dataclass(frozen=True, kw_only=True)
class ChampionPeriod(Struct):
    """A version's time as champion."""

    version: int
    """The champion."""
    since: datetime | None
    until: datetime | None = None
    """Aware, UTC. ``since`` None: before Evergreen's ledger began or set outside; ``until`` None: champion
    now."""
    how: str
    """``promotion``, ``rollback``, ``repair`` or ``outside``."""
    reason: str
    """The plan's sentence."""
    evidence: str | None = None
    plan_id: str | None = None
    """The decision it rests on, and the plan that did it."""


def recorded_plans(entries: Iterable[LedgerEntry]) -> list[RecordedPlan]:
    """Return every plan of one model in the order written, each with its outcome.

    Parameters
    ----------
    entries : iterable of Entry
        Entries of one model in order; streams other than ``plans`` are passed over.
    """
    plans: dict[str, RecordedPlan] = {}
    for entry in _plan_entries(entries):
        if entry.kind == PLANNED:
            plans[entry.id] = RecordedPlan(plan_id=entry.id, plan=Plan.from_dict(entry.payload), at=entry.at)
        elif entry.kind == CLOSED:
            plan_id = entry.payload["plan_id"]
            plans[plan_id] = replace(plans[plan_id], outcome=entry.payload["outcome"])
    return list(plans.values())


def open_plans(entries: Iterable[LedgerEntry]) -> list[RecordedPlan]:
    """Return the plans that were begun and not closed; the claim idiom keeps them to one a model."""
    return [recorded for recorded in recorded_plans(entries) if recorded.outcome is None]


def champion_periods(entries: Iterable[LedgerEntry]) -> list[ChampionPeriod]:
    """Return which version was champion when, why and on what evidence, oldest first.

    A period begins when its plan was written. A champion that a plan replaced although the ledger never
    recorded its promotion appears with ``how="outside"`` and no beginning.
    """
    periods: list[ChampionPeriod] = []
    for recorded in _done(entries):
        plan, at = recorded.plan, recorded.at
        if plan.expected_champion is not None and _last_champion(periods) != plan.expected_champion:
            version, reason = plan.expected_champion, "Made champion outside Evergreen."
            former = ChampionPeriod(version=version, since=None, how="outside", reason=reason)
            periods = [*_ended(periods, at), former]
        if _last_champion(periods) != plan.version:
            periods = [*_ended(periods, at), _champion_period(recorded)]
    return periods


def recorded_champion(entries: Iterable[LedgerEntry]) -> int | None:
    """Return the version that is @champion by the ledger."""
    return _last_champion(champion_periods(entries))


def rolled_back_versions(entries: Iterable[LedgerEntry]) -> frozenset[int]:
    """Return the versions that were rolled back from: never @fallback again."""
    return frozenset(
        recorded.plan.expected_champion
        for recorded in _done(entries)
        if recorded.plan.kind == "rollback" and recorded.plan.expected_champion is not None
    )


def untested_plan(entries: Iterable[LedgerEntry]) -> RecordedPlan | None:
    """Return the newest done plan when its smoke test was due and never recorded, else None."""
    history = list(_plan_entries(entries))
    done = list(_done(history))
    if not done or not done[-1].plan.proves:
        return None
    smoked = {entry.payload["plan_id"] for entry in history if entry.kind == SMOKE_TESTED}
    return None if done[-1].plan_id in smoked else done[-1]


def automatic_rollbacks(entries: Iterable[LedgerEntry]) -> int:
    """Return how many rollbacks in a row, up to now, each followed from the failure of the plan before."""
    done = _done(entries)
    count = 0
    for before, after in reversed(list(pairwise(done))):
        if after.plan.kind != "rollback" or after.plan.evidence != before.plan_id:
            break
        count += 1
    return count


def _plan_entries(entries: Iterable[LedgerEntry]) -> Iterator[LedgerEntry]:
    return (entry for entry in entries if entry.stream == PLANS)


def _done(entries: Iterable[LedgerEntry]) -> list[RecordedPlan]:
    return [recorded for recorded in recorded_plans(entries) if recorded.outcome in DONE]


def _last_champion(periods: list[ChampionPeriod]) -> int | None:
    return periods[-1].version if periods and periods[-1].until is None else None


def _ended(periods: list[ChampionPeriod], at: datetime) -> list[ChampionPeriod]:
    return [period if period.until else replace(period, until=at) for period in periods]


def _champion_period(recorded: RecordedPlan) -> ChampionPeriod:
    plan = recorded.plan
    return ChampionPeriod(
        version=plan.version,
        since=recorded.at,
        how=plan.kind,
        reason=plan.reason,
        evidence=plan.evidence,
        plan_id=recorded.plan_id,
    )

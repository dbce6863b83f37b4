"""Acting on one model: under its lock, settled first, by a plan written before its first move and closed after."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from tasks.core.errors import Held
from tasks.core.reign.history import CLOSED, PLANNED, PLANS, SMOKED, RecordedPlan, open_plans
from tasks.core.reign.ledger import Entry
from tasks.core.reign.plan import Plan, Step
from tasks.core.reign.promote import settle
from tasks.core.reign.realm import Realm
from tasks.core.verdict import Verdict
from tasks.io.ledger import Decide, Ledger
from tasks.io.locks import HeldLock, lock_lost
from tasks.io.registry import Registry

Clock = Callable[[], datetime]
Move = Callable[[Registry, str, Step], None]
"""Make one step on (registry, model); ``tasks/promote.py`` has the only one."""


@dataclass(frozen=True, kw_only=True)
class Act:
    """One holder's hands on one model: the stores, the lock that is held, and what was settled on the way."""

    registry: Registry
    ledger: Ledger
    model: str
    lock: HeldLock
    move: Move
    clock: Clock
    settled: list[dict[str, Any]] = field(default_factory=list)

    def realm(self) -> Realm:
        """Read the model's aliases, versions and plans as they are now."""
        return read_realm(self.registry, self.ledger, self.model)

    def carry_out(self, plan: Plan) -> RecordedPlan:
        """Write the plan, make its moves, close it."""
        entry = self._write(lambda history: None if open_plans(history) else (PLANNED, plan.to_dict()))
        self.walk(plan.steps)
        self._close(entry.id, "applied")
        return RecordedPlan(plan_id=entry.id, plan=plan, at=entry.at, outcome="applied")

    def settle_open_plans(self) -> None:
        """Finish or abandon what a dead owner left; who holds the lock is the only one alive."""
        for recorded in open_plans(self.ledger.read(model=self.model, stream=PLANS)):
            realm = self.realm()
            settlement = settle(recorded.plan, realm.aliases, existing=realm.versions)
            self.walk(settlement.steps)
            self._close(recorded.plan_id, settlement.outcome)
            self.settled.append(
                {
                    "plan_id": recorded.plan_id,
                    "kind": recorded.plan.kind,
                    "version": recorded.plan.version,
                    "outcome": settlement.outcome,
                }
            )

    def note_smoke(self, plan_id: str, version: int, verdict: Verdict) -> None:
        """Record what the smoke test of a new champion said."""
        payload = {"plan_id": plan_id, "version": version, **verdict.to_dict()}
        self._write(lambda _: (SMOKED, payload))

    def walk(self, steps: Iterable[Step]) -> None:
        """Make the moves, each after proof that the lock is still held."""
        for step in steps:
            self.lock.check()
            self.move(self.registry, self.model, step)

    def _close(self, plan_id: str, outcome: str) -> None:
        """Close a plan; refused when another has closed it, for then this holder is no longer the owner."""
        payload = {"plan_id": plan_id, "outcome": outcome}

        def decide(history: Iterable[Entry]) -> tuple[str, dict[str, Any]] | None:
            mine = any(recorded.plan_id == plan_id for recorded in open_plans(history))
            return (CLOSED, payload) if mine else None

        self._write(decide)

    def _write(self, decide: Decide) -> Entry:
        self.lock.check()
        entry = self.ledger.claim(model=self.model, stream=PLANS, at=self.clock(), decide=decide)
        if entry is None:
            raise lock_lost(self.model, "another process has changed its plans meanwhile")
        return entry


def read_realm(registry: Registry, ledger: Ledger, model: str) -> Realm:
    """Read what a plan is made from; changes nothing."""
    return Realm(
        model=model,
        aliases=registry.aliases(model),
        versions={info.version: info.tags for info in registry.versions(model)},
        history=ledger.read(model=model, stream=PLANS),
    )


@contextmanager
def acting(
    registry: Registry, ledger: Ledger, model: str, *, move: Move, clock: Clock, patience_s: float = 0.0
) -> Iterator[Act]:
    """Hold the model's lock and settle what is open; ``Held("lock_held")`` after ``patience_s`` seconds."""
    with ExitStack() as stack:
        lock = _take_lock(stack, ledger, model, patience_s)
        act = Act(registry=registry, ledger=ledger, model=model, lock=lock, move=move, clock=clock)
        act.settle_open_plans()
        yield act


def _take_lock(stack: ExitStack, ledger: Ledger, model: str, patience_s: float) -> HeldLock:
    deadline = time.monotonic() + patience_s
    while True:
        try:
            return stack.enter_context(ledger.lock(model))
        except Held:
            if time.monotonic() >= deadline:
                raise
            time.sleep(0.1)

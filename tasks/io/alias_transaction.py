"""Moves of a model's aliases: under its lock, by a plan written before the first move and closed after the last."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from evergreen.tasks.core.errors import Blocked
from evergreen.tasks.core.promotion.history import (
    CLOSED,
    PLANNED,
    PLANS,
    SMOKE_TESTED,
    RecordedPlan,
    open_plans,
)
from evergreen.tasks.core.promotion.ledger import LedgerEntry
from evergreen.tasks.core.promotion.plan import Plan, PlanStep
from evergreen.tasks.core.promotion.planning import settle
from evergreen.tasks.core.promotion.registry_state import RegistryState
from evergreen.tasks.core.verdict import Verdict
from evergreen.tasks.io.ledger import Decide, Ledger
from evergreen.tasks.io.locks import HeldLock, lock_lost
from evergreen.tasks.io.mlflow_store.registry import Registry
from evergreen.tasks.io.settings import utc_now
from evergreen.tasks.io.setup import Setup

Clock = Callable[[], datetime]


@dataclass(frozen=True, kw_only=True)
class AliasTransaction:
    """The right to move a model's aliases: the stores, the lock that is held, and the plans settled on the way."""

    registry: Registry
    ledger: Ledger
    model: str
    lock: HeldLock
    clock: Clock
    settled: list[dict[str, Any]] = field(default_factory=list)

    def registry_state(self) -> RegistryState:
        """Read the model's aliases, versions and plans as they are now."""
        return read_registry_state(self.registry, self.ledger, self.model)

    def carry_out(self, plan: Plan) -> RecordedPlan:
        """Write the plan, make its moves, close it."""
        entry = self._write(lambda history: None if open_plans(history) else (PLANNED, plan.to_dict()))
        self.apply(plan.steps)
        self._close(entry.id, "applied")
        return RecordedPlan(plan_id=entry.id, plan=plan, at=entry.at, outcome="applied")

    def settle_open_plans(self) -> None:
        """Finish or abandon the plans of a process that died; only the holder of the lock is alive."""
        for recorded in open_plans(self.ledger.read(model=self.model, stream=PLANS)):
            state = self.registry_state()
            settlement = settle(recorded.plan, state.aliases, existing=state.versions)
            self.apply(settlement.steps)
            self._close(recorded.plan_id, settlement.outcome)
            self.settled.append(
                {
                    "plan_id": recorded.plan_id,
                    "kind": recorded.plan.kind,
                    "version": recorded.plan.version,
                    "outcome": settlement.outcome,
                }
            )

    def record_smoke(self, plan_id: str, version: int, verdict: Verdict) -> None:
        """Record the verdict of a new champion's smoke test."""
        payload = {"plan_id": plan_id, "version": version, **verdict.to_dict()}
        self._write(lambda _: (SMOKE_TESTED, payload))

    def apply(self, steps: Iterable[PlanStep]) -> None:
        """Make the moves, each after a check that the lock is still held."""
        for step in steps:
            self.lock.check()
            apply_step(self.registry, self.model, step)

    def _close(self, plan_id: str, outcome: str) -> None:
        """Close a plan; refused when another process has closed it, because this one then no longer owns it."""
        payload = {"plan_id": plan_id, "outcome": outcome}

        def decide(history: Iterable[LedgerEntry]) -> tuple[str, dict[str, Any]] | None:
            mine = any(recorded.plan_id == plan_id for recorded in open_plans(history))
            return (CLOSED, payload) if mine else None

        self._write(decide)

    def _write(self, decide: Decide) -> LedgerEntry:
        self.lock.check()
        entry = self.ledger.claim(model=self.model, stream=PLANS, at=self.clock(), decide=decide)
        if entry is None:
            raise lock_lost(self.model, "another process has changed its plans meanwhile")
        return entry


def read_registry_state(registry: Registry, ledger: Ledger, model: str) -> RegistryState:
    """Read the state that a plan is made from; nothing is changed."""
    return RegistryState(
        model=model,
        aliases=registry.aliases(model),
        versions={info.version: info.tags for info in registry.versions(model)},
        history=ledger.read(model=model, stream=PLANS),
    )


@contextmanager
def alias_transaction(
    registry: Registry, ledger: Ledger, model: str, *, clock: Clock, patience_s: float = 0.0
) -> Iterator[AliasTransaction]:
    """Hold the model's lock and settle what is open; ``Blocked("lock_held")`` after ``patience_s`` seconds."""
    with ExitStack() as stack:
        lock = _wait_for_lock(stack, ledger, model, patience_s)
        transaction = AliasTransaction(registry=registry, ledger=ledger, model=model, lock=lock, clock=clock)
        transaction.settle_open_plans()
        yield transaction


def _wait_for_lock(stack: ExitStack, ledger: Ledger, model: str, patience_s: float) -> HeldLock:
    deadline = time.monotonic() + patience_s
    while True:
        try:
            return stack.enter_context(ledger.lock(model))
        except Blocked:
            if time.monotonic() >= deadline:
                raise
            time.sleep(0.1)


LOCK_WAIT_S = 60.0
"""How long @candidate and @challenger wait for a promotion in progress; promotions themselves never wait."""


def apply_step(registry: Registry, model: str, step: PlanStep) -> None:
    """Make one step of a plan on the registry: the only place that moves an alias."""
    if step.action == "set_tags":
        registry.set_tags(model, step.version, step.tags)
    elif step.action == "set_alias":
        registry.set_alias(model, str(step.alias), step.version)
    elif not step.is_done(registry.aliases(model)):
        registry.delete_alias(model, str(step.alias))


# The model's lock alone, with no plan left open: nothing promotes while it is held.


@contextmanager
def model_lock(setup: Setup, *, patience_s: float = LOCK_WAIT_S) -> Iterator[None]:
    """Hold the model's lock and settle the open plans of a process that died.

    Raises
    ------
    Blocked
        ``lock_held`` when another has it for longer than ``patience_s`` seconds.
    """
    stores, model = setup.stores, setup.model
    with alias_transaction(stores.registry, stores.ledger, model, clock=utc_now, patience_s=patience_s):
        yield

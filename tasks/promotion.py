"""Promote, roll back, reconcile, and set @candidate and @challenger.

Every change runs under the model's lock and settles what a crash left. A promotion, rollback or repair records its
plan before the first move of an alias and closes it after the last. The functions are plain; the ``*_task`` beside
them are their Prefect tasks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from typing import Any

from evergreen.tasks.core.errors import NotLearnable
from evergreen.tasks.core.promotion.history import RecordedPlan, automatic_rollbacks, untested_plan
from evergreen.tasks.core.promotion.plan import CANDIDATE, CHALLENGER, CHAMPION, FALLBACK, Plan, PlanStep
from evergreen.tasks.core.promotion.planning import plan_promotion, plan_repair, plan_rollback
from evergreen.tasks.core.promotion.registry_state import ExpectedChampion, check_approved
from evergreen.tasks.core.verdict import Reason, StageResult, State, Verdict
from evergreen.tasks.io.alias_transaction import (
    LOCK_WAIT_S,
    AliasTransaction,
    Clock,
    alias_transaction,
    read_registry_state,
)
from evergreen.tasks.io.ledger import Ledger
from evergreen.tasks.io.mlflow_store.registry import Registry
from evergreen.tasks.io.settings import utc_now
from evergreen.tasks.io.setup import Setup, Stores
from evergreen.tasks.io.smoke import smoke_verdict
from evergreen.tasks.runtime.events import announce
from evergreen.tasks.runtime.task import SIDE_EFFECT, stage_task

Smoke = Callable[[str, int], Verdict]
"""A smoke test of (model, version) as it serves; anything but PASS rolls back."""


def serving_smoke(stores: Stores) -> Smoke:
    """Return the real smoke test: the version loads and answers in a fresh process, as it serves."""

    def smoke(model: str, version: int) -> Verdict:
        return smoke_verdict(
            model=model, version=version, registry=stores.registry, tracking_uri=stores.settings.tracking_uri
        )

    return smoke


@dataclass(frozen=True, kw_only=True)
class SmokeResult:
    """How a smoke test ended: whether the champion of now passed, after how many rollbacks, and what failed."""

    passed: bool
    rollbacks: int
    reasons: tuple[Reason, ...] = ()

    def state(self, if_passed: State) -> State:
        """Return the run's state: ``if_passed`` where the first test passed; InsufficientData where none did."""
        if not self.passed:
            return State.INSUFFICIENT_DATA
        return State.CHAMPION_RESTORED if self.rollbacks else if_passed


def smoke_test(
    transaction: AliasTransaction, recorded: RecordedPlan, *, smoke: Smoke, attempts: int
) -> SmokeResult:
    """Smoke-test the champion that a plan has set; while it fails, return to the champion before it.

    Parameters
    ----------
    transaction : AliasTransaction
        Holds the model's lock.
    recorded : RecordedPlan
        The plan that was applied last.
    smoke : callable
        ``(model, version) -> Verdict``.
    attempts : int
        Rollbacks in a row at most; those made before a crash count.
    """
    reasons: tuple[Reason, ...] = ()
    rollbacks = 0
    while True:
        tested = recorded.plan.version
        verdict = smoke(transaction.model, tested)
        before, obstacle = (None, None) if verdict.passed else _go_back(transaction, recorded, attempts)
        transaction.record_smoke(recorded.plan_id, tested, verdict)
        if verdict.passed:
            return SmokeResult(passed=True, rollbacks=rollbacks, reasons=reasons)
        reasons = (*reasons, *verdict.reasons, *([obstacle] if obstacle else []))
        if before is None:
            return SmokeResult(passed=False, rollbacks=rollbacks, reasons=reasons)
        plan = before.plan
        reasons = (*reasons, Reason(code="rolled_back", message=plan.reason, observed=plan.version))
        recorded, rollbacks = before, rollbacks + 1


def _go_back(
    transaction: AliasTransaction, recorded: RecordedPlan, attempts: int
) -> tuple[RecordedPlan | None, Reason | None]:
    """Roll back from a champion that failed; else the reason why there is no going back.

    The failure is recorded only afterwards: a crash in between leaves a champion that still has to be tested.
    """
    state, version = transaction.registry_state(), recorded.plan.version
    made, failed = automatic_rollbacks(state.history), f"Version {version} failed its smoke test"
    if made >= attempts:
        message = f"{failed} and stays: {made} of {attempts} rollbacks are made."
        spent = Reason(code="rollback_attempts_exhausted", message=message, observed=made, limit=attempts)
        return None, spent
    try:
        plan = plan_rollback(
            state,
            now=transaction.clock(),
            reason=f"{failed}.",
            expected_champion=version,
            evidence=recorded.plan_id,
            proves=True,
        )
    except NotLearnable as error:
        return None, Reason.from_error(error)
    return transaction.carry_out(plan), None


@dataclass(frozen=True)
class Promoter:
    """Moves the aliases of one model."""

    registry: Registry
    ledger: Ledger
    """Where plans are recorded, and whose lock is held."""
    model: str
    smoke: Smoke | None = None
    """Smoke test of a new champion; None: nothing is tested."""
    max_rollback_attempts: int = 3
    """How many former champions are tried while smoke tests fail."""
    clock: Clock = utc_now

    @classmethod
    def of(cls, setup: Setup) -> Promoter:
        """Return the promoter of a configured model, with the real smoke test."""
        return cls(
            registry=setup.stores.registry,
            ledger=setup.stores.ledger,
            model=setup.model,
            smoke=serving_smoke(setup.stores),
            max_rollback_attempts=setup.config.evaluation.max_rollback_attempts,
        )

    def set_candidate(self, version: int, *, patience_s: float = LOCK_WAIT_S) -> None:
        """Point @candidate at a newly trained version."""
        with self._transaction(patience_s) as transaction:
            transaction.apply([PlanStep(action="set_alias", alias=CANDIDATE, version=version)])

    def admit_challenger(self, version: int) -> None:
        """Point @challenger at a version that is tagged as having passed the gate."""
        with self._transaction(LOCK_WAIT_S) as transaction:
            check_approved(transaction.registry_state(), version)
            transaction.apply([PlanStep(action="set_alias", alias=CHALLENGER, version=version)])

    def dismiss_challenger(self, version: int) -> None:
        """Remove @challenger from a version that no longer passes the gate; on another version it stays."""
        with self._transaction(LOCK_WAIT_S) as transaction:
            transaction.apply([PlanStep(action="delete_alias", alias=CHALLENGER, version=version)])

    def promote(
        self,
        version: int,
        *,
        reason: str,
        expected_champion: ExpectedChampion = "any",
        evidence: str | None = None,
        dry_run: bool = False,
        precondition: Callable[[], None] | None = None,
    ) -> StageResult:
        """Make an approved version the champion, smoke-test it, and roll back by itself if it fails.

        ``precondition`` is checked under the lock before anything is planned; it raises ``Blocked`` where the promotion
        is no longer to be made.

        Raises
        ------
        Blocked
            ``lock_held``, ``lock_lost``, ``champion_moved`` or ``already_champion``.
        NotLearnable
            ``not_approved``. ``InputError`` when the version is not registered.
        """
        why: dict[str, Any] = {"reason": reason, "evidence": evidence}
        plan = partial(plan_promotion, version=version, expected_champion=expected_champion, **why)
        return self._perform(plan, dry_run=dry_run, precondition=precondition)

    def rollback(
        self,
        *,
        reason: str,
        to: int | None = None,
        expected_champion: ExpectedChampion = "any",
        evidence: str | None = None,
        dry_run: bool = False,
    ) -> StageResult:
        """Return to @fallback, or to the former champion ``to``; go on to the one before if it fails its smoke test.

        Raises
        ------
        Blocked
            ``lock_held``, ``lock_lost``, ``champion_moved`` or ``already_champion``.
        NotLearnable
            ``nothing_to_return_to``. ``InputError`` when ``to`` was never the champion.
        """
        why: dict[str, Any] = {"reason": reason, "evidence": evidence}
        plan = partial(plan_rollback, to=to, expected_champion=expected_champion, **why)
        return self._perform(plan, dry_run=dry_run)

    def reconcile(self) -> StageResult:
        """Settle what a crash left, record what was changed outside, and test an untested champion.

        Raises
        ------
        Blocked
            ``lock_held`` while another process moves aliases: a slow owner is not taken over.
        """
        with self._transaction() as transaction:
            reasons = _repair(transaction)
            untested = untested_plan(transaction.registry_state().history)
            if self.smoke is None or untested is None:
                return _result(transaction, State.RECONCILED, reasons)
            tested = smoke_test(transaction, untested, smoke=self.smoke, attempts=self.max_rollback_attempts)
            return _result(transaction, tested.state(State.RECONCILED), [*reasons, *tested.reasons])

    def _perform(
        self, plan: Callable[..., Plan], *, dry_run: bool, precondition: Callable[[], None] | None = None
    ) -> StageResult:
        """Plan on what is there, under the lock, and apply it; a dry run plans without the lock and shows it."""
        proves = self.smoke is not None
        if dry_run:
            present = read_registry_state(self.registry, self.ledger, self.model)
            return _dry_run_result(plan(present, now=self.clock(), proves=proves))
        with self._transaction() as transaction:
            if precondition is not None:
                precondition()
            made = plan(transaction.registry_state(), now=self.clock(), proves=proves)
            state = State.PROMOTED if made.kind == "promotion" else State.CHAMPION_RESTORED
            recorded, reasons = transaction.carry_out(made), [Reason(code=made.kind, message=made.reason)]
            if self.smoke is not None:
                tested = smoke_test(
                    transaction, recorded, smoke=self.smoke, attempts=self.max_rollback_attempts
                )
                state, reasons = tested.state(state), [*reasons, *tested.reasons]
            return _result(transaction, state, reasons, plan_id=recorded.plan_id, evidence=made.evidence)

    def _transaction(self, patience_s: float = 0.0) -> AbstractContextManager[AliasTransaction]:
        return alias_transaction(
            self.registry, self.ledger, self.model, clock=self.clock, patience_s=patience_s
        )


def _repair(transaction: AliasTransaction) -> list[Reason]:
    """Record what was changed outside; give the reason where the model has no champion left."""
    state = transaction.registry_state()
    if state.champion is None and state.former_champions():
        model = transaction.model
        message = f"Model '{model}' has no @champion; 'evergreen rollback {model}' returns to a former one."
        return [Reason(code="no_champion", message=message)]
    plan = plan_repair(state, now=transaction.clock())
    if plan is None:
        return []
    transaction.carry_out(plan)
    return [Reason(code=plan.kind, message=plan.reason, observed=plan.version, limit=plan.expected_champion)]


def _result(
    transaction: AliasTransaction, state: State, reasons: Iterable[Reason], **details: Any
) -> StageResult:
    aliases = transaction.registry.aliases(transaction.model)
    champion, fallback = aliases.get(CHAMPION), aliases.get(FALLBACK)
    details |= {"champion": champion, "fallback": fallback, "settled": transaction.settled}
    return StageResult(
        state=state, model=transaction.model, version=champion, reasons=tuple(reasons), details=details
    )


def _dry_run_result(plan: Plan) -> StageResult:
    """Return how a dry run ends: with the plan that would be applied."""
    message = f"A dry run: {plan.kind} to version {plan.version} would be " + "; ".join(map(str, plan.steps))
    reason = Reason(code="dry_run", message=message)
    details = {"dry_run": True, "plan": plan.to_dict()}
    return StageResult(
        state=State.BLOCKED, model=plan.model, version=plan.version, reasons=(reason,), details=details
    )


@stage_task(**SIDE_EFFECT, name="promote")
def promote_task(setup: Setup, version: int, **options: Any) -> StageResult:
    """Promote (see ``Promoter.promote``) and announce it."""
    return announce(Promoter.of(setup).promote(version, **options), setup.stores.ledger)


@stage_task(**SIDE_EFFECT, name="rollback")
def rollback_task(setup: Setup, **options: Any) -> StageResult:
    """Roll back (see ``Promoter.rollback``) and announce it."""
    return announce(Promoter.of(setup).rollback(**options), setup.stores.ledger)


@stage_task(**SIDE_EFFECT, name="reconcile")
def reconcile_task(setup: Setup) -> StageResult:
    """Reconcile (see ``Promoter.reconcile``) and announce it."""
    return announce(Promoter.of(setup).reconcile(), setup.stores.ledger)

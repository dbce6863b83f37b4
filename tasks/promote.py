"""The one writer of aliases: promote, roll back, reconcile, and move @candidate and @challenger.

Every act runs under the model's lock, settles what a dead owner left, writes its plan before the first move
and closes it after the last. The functions are plain; the ``*_task`` beside them are their Prefect tasks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, TypedDict, Unpack

from tasks.act import Act, Clock, acting, read_realm
from tasks.announce import announce
from tasks.core.reign.history import unproved_plan
from tasks.core.reign.plan import CANDIDATE, CHALLENGER, CHAMPION, FALLBACK, Plan, Step
from tasks.core.reign.promote import plan_promotion, plan_repair, plan_rollback
from tasks.core.reign.realm import ExpectedChampion, check_approved
from tasks.core.verdict import Reason, StageResult, State
from tasks.io.clock import utc_now
from tasks.io.ledger import Ledger
from tasks.io.registry import Registry
from tasks.prove import Smoke, prove
from tasks.retries import SIDE_EFFECT
from tasks.stage_task import stage_task

PATIENCE_S = 60.0
"""How long @candidate and @challenger wait for a promotion in progress; promotions themselves never wait."""


class Manner(TypedDict, total=False):
    """How a promotion or rollback is carried out, beside what it does."""

    smoke: Smoke | None
    """Proof of the new champion; without it nothing is proved."""
    max_rollback_attempts: int
    """How many former champions are tried when proofs fail (default 3)."""
    dry_run: bool
    """Plan and show, do not act."""
    clock: Clock
    """What tells the time."""
    still: Callable[[], None]
    """Asked under the lock, before anything is planned; raises ``Held`` where it is no longer to be done."""


def move(registry: Registry, model: str, step: Step) -> None:
    """Make one step of a plan on the registry: the only place that moves an alias."""
    if step.action == "set_tags":
        registry.set_tags(model, step.version, step.tags)
    elif step.action == "set_alias":
        registry.set_alias(model, str(step.alias), step.version)
    elif not step.is_done(registry.aliases(model)):
        registry.delete_alias(model, str(step.alias))


def set_candidate(
    registry: Registry, ledger: Ledger, *, model: str, version: int, patience_s: float = PATIENCE_S
) -> None:
    """Point @candidate at a version fresh from training."""
    with acting(registry, ledger, model, move=move, clock=utc_now, patience_s=patience_s) as act:
        act.walk([Step(action="set_alias", alias=CANDIDATE, version=version)])


def admit_challenger(
    registry: Registry, ledger: Ledger, *, model: str, version: int, patience_s: float = PATIENCE_S
) -> None:
    """Point @challenger at a version whose tag says that it passed the gate."""
    with acting(registry, ledger, model, move=move, clock=utc_now, patience_s=patience_s) as act:
        check_approved(act.realm(), version)
        act.walk([Step(action="set_alias", alias=CHALLENGER, version=version)])


def dismiss_challenger(
    registry: Registry, ledger: Ledger, *, model: str, version: int, patience_s: float = PATIENCE_S
) -> None:
    """Take @challenger from a version that no longer passes the gate; from another version it is left."""
    with acting(registry, ledger, model, move=move, clock=utc_now, patience_s=patience_s) as act:
        act.walk([Step(action="delete_alias", alias=CHALLENGER, version=version)])


def apply_promotion(
    registry: Registry,
    ledger: Ledger,
    *,
    model: str,
    version: int,
    reason: str,
    expected_champion: ExpectedChampion = "any",
    evidence: str | None = None,
    **manner: Unpack[Manner],
) -> StageResult:
    """Put an approved version on the throne, prove it by its smoke test, and roll back by itself if it fails.

    Raises
    ------
    Held
        ``lock_held``, ``lock_lost``, ``champion_moved`` or ``already_champion``.
    NotLearnable
        ``not_approved``. ``InputError`` when the version is not registered.
    """
    plan = partial(
        plan_promotion, version=version, reason=reason, expected_champion=expected_champion, evidence=evidence,
        proves=manner.get("smoke") is not None,
    )  # fmt: skip
    return _perform(registry, ledger, model, plan, **manner)


def apply_rollback(
    registry: Registry,
    ledger: Ledger,
    *,
    model: str,
    reason: str,
    to: int | None = None,
    expected_champion: ExpectedChampion = "any",
    evidence: str | None = None,
    **manner: Unpack[Manner],
) -> StageResult:
    """Return to @fallback, or to the former champion ``to``; go on to the one before if it fails its smoke test.

    Raises
    ------
    Held
        ``lock_held``, ``lock_lost``, ``champion_moved`` or ``already_champion``.
    NotLearnable
        ``nothing_to_return_to``. ``InputError`` when ``to`` never reigned.
    """
    plan = partial(
        plan_rollback, to=to, reason=reason, expected_champion=expected_champion, evidence=evidence,
        proves=manner.get("smoke") is not None,
    )  # fmt: skip
    return _perform(registry, ledger, model, plan, **manner)


def reconcile(
    registry: Registry,
    ledger: Ledger,
    *,
    model: str,
    smoke: Smoke | None = None,
    max_rollback_attempts: int = 3,
    clock: Clock = utc_now,
) -> StageResult:
    """Settle what a dead owner left, take note of what was changed outside, and prove an unproved champion.

    Raises
    ------
    Held
        ``lock_held`` while somebody is acting: a slow owner is not taken over.
    """
    with acting(registry, ledger, model, move=move, clock=clock) as act:
        reasons = _repair(act)
        unproved = unproved_plan(act.realm().history)
        if smoke is None or unproved is None:
            return _result(act, State.RECONCILED, reasons)
        proof = prove(act, unproved, smoke=smoke, attempts=max_rollback_attempts)
        return _result(act, proof.state(State.RECONCILED), [*reasons, *proof.reasons])


def _perform(
    registry: Registry,
    ledger: Ledger,
    model: str,
    plan: Callable[..., Plan],
    *,
    smoke: Smoke | None = None,
    max_rollback_attempts: int = 3,
    dry_run: bool = False,
    clock: Clock = utc_now,
    still: Callable[[], None] | None = None,
) -> StageResult:
    """Plan on what is there, under the lock, and apply it; a dry run plans without the lock and shows it."""
    if dry_run:
        return _printed(plan(read_realm(registry, ledger, model), now=clock()))
    with acting(registry, ledger, model, move=move, clock=clock) as act:
        if still is not None:
            still()
        return _apply(act, plan(act.realm(), now=clock()), smoke, max_rollback_attempts)


def _apply(act: Act, plan: Plan, smoke: Smoke | None, attempts: int) -> StageResult:
    state = State.PROMOTED if plan.kind == "promotion" else State.ROLLED_BACK
    recorded = act.carry_out(plan)
    reasons = [Reason(code=plan.kind, message=plan.reason)]
    if smoke is not None:
        proof = prove(act, recorded, smoke=smoke, attempts=attempts)
        state, reasons = proof.state(state), [*reasons, *proof.reasons]
    return _result(act, state, reasons, plan_id=recorded.plan_id, evidence=plan.evidence)


def _repair(act: Act) -> list[Reason]:
    """Take note of what was changed outside; say so when nobody is left on the throne."""
    realm = act.realm()
    if realm.champion is None and realm.former_champions():
        message = (
            f"Model '{act.model}' has no @champion; 'evergreen rollback {act.model}' returns to a former one."
        )
        return [Reason(code="no_champion", message=message)]
    plan = plan_repair(realm, now=act.clock())
    if plan is None:
        return []
    act.carry_out(plan)
    return [Reason(code=plan.kind, message=plan.reason, observed=plan.version, limit=plan.expected_champion)]


def _result(act: Act, state: State, reasons: Iterable[Reason], **details: Any) -> StageResult:
    aliases = act.registry.aliases(act.model)
    champion, fallback = aliases.get(CHAMPION), aliases.get(FALLBACK)
    details |= {"champion": champion, "fallback": fallback, "settled": act.settled}
    return StageResult(
        state=state, model=act.model, version=champion, reasons=tuple(reasons), details=details
    )


def _printed(plan: Plan) -> StageResult:
    """Return a plan that is only shown."""
    message = f"A dry run: {plan.kind} to version {plan.version} would be " + "; ".join(map(str, plan.steps))
    reason = Reason(code="dry_run", message=message)
    details = {"dry_run": True, "plan": plan.to_dict()}
    return StageResult(
        state=State.HELD, model=plan.model, version=plan.version, reasons=(reason,), details=details
    )


@stage_task(**SIDE_EFFECT, name="promote")
def promote_task(registry: Registry, ledger: Ledger, **options: Any) -> StageResult:
    """Promote (see ``apply_promotion``) and announce it."""
    return announce(apply_promotion(registry, ledger, **options), ledger)


@stage_task(**SIDE_EFFECT, name="rollback")
def rollback_task(registry: Registry, ledger: Ledger, **options: Any) -> StageResult:
    """Roll back (see ``apply_rollback``) and announce it."""
    return announce(apply_rollback(registry, ledger, **options), ledger)


@stage_task(**SIDE_EFFECT, name="reconcile")
def reconcile_task(registry: Registry, ledger: Ledger, **options: Any) -> StageResult:
    """Reconcile (see ``reconcile``) and announce it."""
    return announce(reconcile(registry, ledger, **options), ledger)

"""Prove a new champion by its smoke test, and roll back, reign by reign, when it fails."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tasks.act import Act
from tasks.core.errors import NotLearnable
from tasks.core.reign.history import RecordedPlan, automatic_rollbacks
from tasks.core.reign.promote import plan_rollback
from tasks.core.verdict import Reason, State, Verdict
from tasks.io.setup import Stores
from tasks.io.smoke import smoke_verdict

Smoke = Callable[[str, int], Verdict]
"""A smoke test of (model, version) as it serves; anything but PASS rolls back."""


def serving_smoke(stores: Stores) -> Smoke:
    """Return the real smoke test: the version loads and answers in a fresh process, as it serves."""

    def smoke(model: str, version: int) -> Verdict:
        return smoke_verdict(
            model=model, version=version, registry=stores.registry, tracking_uri=stores.tracking_uri
        )

    return smoke


@dataclass(frozen=True, kw_only=True)
class Proof:
    """How the proof ended: whether the champion of now passed, after how many rollbacks, and what failed."""

    passed: bool
    rollbacks: int
    reasons: tuple[Reason, ...] = ()

    def state(self, unharmed: State) -> State:
        """Return the run's state: ``unharmed`` when the first test passed; Insufficient without a proved champion."""
        if not self.passed:
            return State.INSUFFICIENT
        return State.ROLLED_BACK if self.rollbacks else unharmed


def prove(act: Act, recorded: RecordedPlan, *, smoke: Smoke, attempts: int) -> Proof:
    """Smoke-test the champion a plan has set; while it fails, go one reign further back.

    Parameters
    ----------
    act : Act
        Holds the model's lock.
    recorded : RecordedPlan
        The plan that was carried out last.
    smoke : callable
        ``(model, version) -> Verdict``.
    attempts : int
        Rollbacks in a row at most; those made before a crash count.
    """
    failed: list[Reason] = []
    rollbacks = 0
    while True:
        verdict = smoke(act.model, recorded.plan.version)
        following, hindrance = (None, None) if verdict.passed else _go_back(act, recorded, attempts)
        act.note_smoke(recorded.plan_id, recorded.plan.version, verdict)
        if verdict.passed:
            return Proof(passed=True, rollbacks=rollbacks, reasons=tuple(failed))
        failed.extend([*verdict.reasons, *([hindrance] if hindrance else [])])
        if following is None:
            return Proof(passed=False, rollbacks=rollbacks, reasons=tuple(failed))
        failed.append(
            Reason(code="rolled_back", message=following.plan.reason, observed=following.plan.version)
        )
        recorded, rollbacks = following, rollbacks + 1


def _go_back(act: Act, recorded: RecordedPlan, attempts: int) -> tuple[RecordedPlan | None, Reason | None]:
    """Roll back from a champion that failed; else the reason why there is no going back.

    The failure is noted only afterwards: a crash in between leaves a champion that still has to be proved.
    """
    realm = act.realm()
    made = automatic_rollbacks(realm.history)
    version = recorded.plan.version
    if made >= attempts:
        message = (
            f"Version {version} failed its smoke test and stays: {made} of {attempts} rollbacks are made."
        )
        return None, Reason(
            code="rollback_attempts_exhausted", message=message, observed=made, limit=attempts
        )
    try:
        plan = plan_rollback(
            realm,
            now=act.clock(),
            reason=f"Version {version} failed its smoke test.",
            expected_champion=version,
            evidence=recorded.plan_id,
            proves=True,
        )
    except NotLearnable as error:
        return None, Reason.from_error(error)
    return act.carry_out(plan), None

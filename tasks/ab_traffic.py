"""The traffic of a live test: given when it begins, taken back when it ends, and what changed it meanwhile."""

from __future__ import annotations

from tasks.core.ab.definition import PAIRED, LiveTest
from tasks.core.ab.history import TestState
from tasks.core.errors import InputError
from tasks.core.traffic.plan import TrafficPlan
from tasks.core.traffic.state import STOPPED
from tasks.core.traffic.variant import Role, Variant
from tasks.core.verdict import Reason
from tasks.io.setup import Setup
from tasks.traffic import end_variants, read_traffic, set_variants


def share_traffic(setup: Setup, test: LiveTest, *, dry_run: bool = False) -> None:
    """Let the challengers answer, or score along, as the test declares it; other shadows are left.

    Raises
    ------
    InputError
        When other challengers answer already, or a share is none that traffic can have.
    """
    plan = read_traffic(setup.stores.ledger, setup.model).plan
    if has_arms(plan, test):
        return
    ours = {arm.name for arm in test.challengers}
    others = [one.name for one in plan.challengers if one.name not in ours]
    if others:
        raise InputError(
            f"{', '.join(others)} of '{setup.model}' answers a part of the traffic already. Stop it by 'evergreen "
            f"traffic stop {setup.model}' before a live test begins."
        )
    texts = [f"{arm.name}={arm.version}@{arm.share!r}" for arm in test.challengers]
    kept = [_spelled(one) for one in plan.shadows if one.name not in ours]
    shadows = [*kept, *texts] if test.mode == PAIRED else kept
    challengers = [] if test.mode == PAIRED else texts
    why = f"Live test '{test.name}'."
    set_variants(
        setup, challengers=challengers, shadows=shadows, judged=sorted(ours), why=why, dry_run=dry_run
    )


def has_arms(plan: TrafficPlan, test: LiveTest) -> bool:
    """Tell whether the traffic is as the test declares it."""
    side = plan.shadows if test.mode == PAIRED else plan.challengers
    there = {one.name: (one.version, one.share) for one in side}
    return all(there.get(arm.name) == (arm.version, arm.share) for arm in test.challengers)


def traffic_changed(setup: Setup, state: TestState) -> tuple[Reason, ...]:
    """Return why the traffic is no longer the test's since it began; empty while it is."""
    traffic = read_traffic(setup.stores.ledger, setup.model)
    if traffic.at is None or traffic.at < state.created_at or has_arms(traffic.plan, state.test):
        return ()
    if traffic.kind == STOPPED and traffic.reasons:
        return tuple(traffic.reasons)
    message = "The traffic was set anew, so that the arms are no longer those of the test."
    return (Reason(code="traffic_changed", message=message),)


def take_back_traffic(setup: Setup, test: LiveTest, *, why: str) -> None:
    """End the test's arms, answering or scoring along; what somebody has set instead of them goes on."""
    role = Role.SHADOW if test.mode == PAIRED else Role.CHALLENGER
    arms = {(arm.name, arm.version, arm.share) for arm in test.challengers}
    end_variants(
        setup,
        lambda one: one.role is role and (one.name, one.version, one.share) in arms,
        why=Reason(code="test_over", message=why),
    )


def _spelled(variant: Variant) -> str:
    members = "+".join(f"{version}*{weight!r}" for version, weight in variant.members)
    return f"{variant.name}={members}@{variant.share!r}"

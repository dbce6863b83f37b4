"""The traffic of a live test: given when it begins, taken back when it ends, and what changed it meanwhile."""

from __future__ import annotations

from tasks.core.ab.definition import PAIRED, LiveTest
from tasks.core.ab.history import AB, TestState, fold_tests
from tasks.core.ab.meanwhile import has_arms, ownerless, reigns_meanwhile, traffic_meanwhile
from tasks.core.errors import InputError
from tasks.core.reign.history import PLANS
from tasks.core.traffic.state import TRAFFIC, TrafficState
from tasks.core.traffic.variant import Variant
from tasks.core.verdict import Reason
from tasks.io.setup import Setup
from tasks.traffic import end_variants, read_traffic, set_variants


def read_tests(setup: Setup) -> tuple[TestState, ...]:
    """Return the model's live tests, oldest first."""
    return fold_tests(setup.stores.ledger.read(model=setup.model, stream=AB))


def share_traffic(setup: Setup, test: LiveTest, *, dry_run: bool = False) -> None:
    """Let the challengers answer, or score along, as the test declares it; other shadows are left.

    Raises
    ------
    InputError
        When other challengers answer already, or a share is none that traffic can have.
    """
    traffic = read_traffic(setup.stores.ledger, setup.model)
    plan, ours = traffic.plan, {arm.name for arm in test.challengers}
    if has_arms(plan, test) and ours <= set(traffic.judged):
        return
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


def what_changed(setup: Setup, state: TestState) -> tuple[Reason, ...]:
    """Return what happened to throne and traffic since a test was created that voids it; empty: nothing."""
    ledger, model = setup.stores.ledger, setup.model
    return (
        *reigns_meanwhile(ledger.read(model=model, stream=PLANS), state),
        *traffic_meanwhile(ledger.read(model=model, stream=TRAFFIC), state),
    )


def settle_arms(setup: Setup) -> bool:
    """End the arms of tests that are over, answering or scoring along; tell whether there were any.

    What somebody has set instead of them goes on. It may be done at any time and again: whoever ended a test may have
    died before this.
    """

    def choose(traffic: TrafficState) -> list[str]:
        return ownerless(traffic, read_tests(setup))

    why = Reason(code="test_over", message="The live test that set them is over.")
    return bool(end_variants(setup, choose, why=why)["state"] == "Ended")


def _spelled(variant: Variant) -> str:
    members = "+".join(f"{version}*{weight!r}" for version, weight in variant.members)
    return f"{variant.name}={members}@{variant.share!r}"

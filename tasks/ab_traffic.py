"""The traffic of a live test: given when it begins, taken back when it ends, and what stopped it meanwhile."""

from __future__ import annotations

from tasks.core.ab.definition import PAIRED, LiveTest
from tasks.core.ab.history import TestState
from tasks.core.traffic.state import STOPPED
from tasks.core.verdict import Reason
from tasks.io.setup import Setup
from tasks.traffic import read_traffic, set_variants, stop_variants


def share_traffic(setup: Setup, test: LiveTest) -> None:
    """Let the challengers answer, or score along, as the test declares it; who does already is left."""
    plan = read_traffic(setup.stores.ledger, setup.model).plan
    there = {one.name: (one.version, one.share) for one in plan.variants}
    if all(there.get(arm.name) == (arm.version, arm.share) for arm in test.challengers):
        return
    texts = [f"{arm.name}={arm.version}@{arm.share!r}" for arm in test.challengers]
    shadows = texts if test.mode == PAIRED else []
    challengers = [] if test.mode == PAIRED else texts
    set_variants(setup, challengers=challengers, shadows=shadows, why=f"Live test '{test.name}'.")


def traffic_stopped(setup: Setup, state: TestState) -> tuple[Reason, ...]:
    """Return why the traffic was sent back to the champion since the test began; empty while it was not."""
    traffic = read_traffic(setup.stores.ledger, setup.model)
    since = traffic.at is not None and traffic.at >= state.created_at
    stopped = traffic.kind == STOPPED and since and state.test.mode != PAIRED
    return tuple(traffic.reasons) if stopped else ()


def take_back_traffic(setup: Setup, test: LiveTest, *, why: str) -> None:
    """Send everything back to the champion; a shadow goes on scoring until the traffic is set anew."""
    if test.mode != PAIRED:
        stop_variants(setup, why=why)

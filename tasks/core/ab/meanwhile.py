"""What happened to a live test's traffic and throne since it was created, between looks too."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from tasks.core.ab.conclusion import MOVED
from tasks.core.ab.definition import ARMS, PAIRED, LiveTest
from tasks.core.ab.history import TestState, running_test
from tasks.core.reign.history import DONE, PLANS, recorded_plans
from tasks.core.reign.ledger import Entry, parse_entry_id
from tasks.core.traffic.plan import TrafficPlan
from tasks.core.traffic.state import STOPPED, TRAFFIC, TrafficState, fold_traffic
from tasks.core.verdict import Reason


def has_arms(plan: TrafficPlan, test: LiveTest) -> bool:
    """Tell whether the traffic is as the test declares it; other shadows may score along, nobody else answers."""
    side = plan.shadows if test.mode == PAIRED else plan.challengers
    there = {one.name: (one.version, one.share) for one in side}
    ours = {arm.name: (arm.version, arm.share) for arm in test.challengers}
    return there == ours if test.mode == ARMS else ours.items() <= there.items()


def traffic_meanwhile(entries: Iterable[Entry], state: TestState) -> tuple[Reason, ...]:
    """Return why the traffic was not always the test's since it was shared, whatever it is by now; empty if it was.

    Parameters
    ----------
    entries : iterable of Entry
        The model's stream ``traffic``, in order.
    state : TestState
        The test. What was there before its creation is passed over, and so is what came before its arms.
    """
    given = False
    for entry in entries:
        if entry.stream != TRAFFIC or entry.seq < state.marks.traffic:
            continue
        traffic = fold_traffic([entry], model=entry.model)
        there = has_arms(traffic.plan, state.test)
        if given and not there:
            return _why(traffic)
        given = there
    return () if given or state.begun_at is None else (_set_anew(),)


def reigns_meanwhile(entries: Iterable[Entry], state: TestState) -> tuple[Reason, ...]:
    """Return who reigned beside the control since the test was created, for however short; empty: nobody.

    Parameters
    ----------
    entries : iterable of Entry
        The model's stream ``plans``, in order.
    state : TestState
        The test.
    """
    control, found = state.test.control.version, []
    for recorded in recorded_plans(entry for entry in entries if entry.stream == PLANS):
        if recorded.outcome in DONE and parse_entry_id(recorded.plan_id)[2] > state.marks.plans:
            found += [recorded.plan.expected_champion, recorded.plan.version]
    others = list(dict.fromkeys(version for version in found if version not in (None, control)))
    return tuple(
        Reason(
            code=MOVED,
            message=f"Version {version} reigned for a while since the test was created; it compares with version "
            f"{control}. Begin a new test.",
            observed=version, limit=control,
        )
        for version in others
    )  # fmt: skip


def ownerless(traffic: TrafficState, tests: Sequence[TestState]) -> list[str]:
    """Return the variants that a live test set and that no running test has: their test is over."""
    running = running_test(tests)
    ours = {arm.name for arm in running.test.challengers} if running else set()
    return [one.name for one in traffic.plan.variants if one.name in traffic.judged and one.name not in ours]


def _why(traffic: TrafficState) -> tuple[Reason, ...]:
    return tuple(traffic.reasons) if traffic.kind == STOPPED and traffic.reasons else (_set_anew(),)


def _set_anew() -> Reason:
    message = (
        "The traffic was set anew, so that the arms are no longer those of the test, or were not for a while."
    )
    return Reason(code="traffic_changed", message=message)

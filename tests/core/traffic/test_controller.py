"""One process's view: it counts by the plan in force, steps and stops, and follows changes of plan and champion."""

from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest

from evergreen.tasks.core.config.serving import GuardrailLimits, Ramp
from evergreen.tasks.core.traffic.counts import WARM_UP
from evergreen.tasks.core.traffic.decide import TrafficAction, TrafficController
from evergreen.tasks.core.traffic.plan import plan_traffic
from evergreen.tasks.core.traffic.state import TrafficState
from tests.support.canaries import CANARY, MINUTE, START

LIMITS = GuardrailLimits(min_rows=100, min_time=MINUTE)
RAMP = Ramp(arm="v8", steps=(0.2, 0.5), min_rows=100, min_time=MINUTE)


def ramping(**changes):
    plan = plan_traffic([CANARY], salt="s").with_share("v8", 0.2)
    return replace(TrafficState(plan=plan, seq=1, set_at=START, ramp=RAMP, step=0), **changes)


def watching(state=None):
    return TrafficController(state or ramping(), champion=7, limits=LIMITS, now=START)


def serve(watch, rng, rows, *, errors=0.01, slower=1.0):
    """Serve rows of an entity each; the canary fails and is slow as told, the champion fails one in a hundred."""
    for number in rng.integers(2**60, size=rows):
        hashed = watch.assigner.hash(str(number))
        index = watch.assigner.route_of(hashed).index
        if rng.random() < (errors if index else 0.01):
            watch.counts.add_error(index, hashed)
        else:
            watch.counts.add(index, hashed, rng.random())
            if index:
                seconds, usual = rng.lognormal(0, 0.5, 2)
                watch.counts.add_probe(index, seconds=slower * seconds, usual=usual)


def test_a_good_canary_is_stepped_up_and_what_was_known_of_the_champion_is_kept():
    watch, rng = watching(), np.random.default_rng(1)
    serve(watch, rng, 1000)
    assert TrafficAction.HOLD is watch.decide(now=START + MINUTE / 2).action
    decision = watch.decide(now=START + MINUTE)
    assert (TrafficAction.STEP, 0.5) == (decision.action, decision.state.plan.variant("v8").share)
    assert 1000 == sum(watch.counts.rows)  # the round goes on until the ledger has the step
    assert watch.follow(replace(decision.state, seq=2), champion=7, now=START + MINUTE)
    assert ((0, 0), True) == (watch.counts.rows, watch.counts.reference is not None)
    serve(watch, rng, 400)
    assert TrafficAction.DONE is watch.decide(now=START + 2 * MINUTE).action


@pytest.mark.parametrize("fault", [{"errors": 0.3}, {"slower": 3.0}])
def test_a_bad_canary_is_sent_back_within_the_round(fault):
    watch, rng = watching(), np.random.default_rng(2)
    serve(watch, rng, 1500, **fault)
    decision = watch.decide(now=START + timedelta(seconds=5))
    assert TrafficAction.STOP is decision.action
    watch.follow(decision.state, champion=7, now=START + timedelta(seconds=5))
    assert {0} == {watch.assigner.route(f"c{n}").index for n in range(200)}


def test_following_the_same_changes_nothing():
    watch = watching()
    serve(watch, np.random.default_rng(3), 50)
    assert not watch.follow(ramping(), champion=7, now=START + MINUTE)
    assert 50 == sum(watch.counts.rows)


def test_another_champion_is_measured_anew():
    watch = watching()
    serve(watch, np.random.default_rng(4), 2 * WARM_UP)
    assert watch.counts.reference is not None
    assert watch.follow(ramping(), champion=9, now=START + MINUTE)
    assert (None, (0, 0)) == (watch.counts.reference, watch.counts.rows)


def test_rounds_of_a_plan_without_a_ramp_follow_each_other_and_need_more_each_time():
    watch, rng = watching(ramping(ramp=None, step=None)), np.random.default_rng(5)
    needed = []
    for minute in range(1, 4):
        serve(watch, rng, 1000)
        decision = watch.decide(now=START + minute * MINUTE)
        assert (TrafficAction.HOLD, True) == (decision.action, decision.next_round)
        needed.append(decision.guardrails[0].needed)
        assert (0, 0) == watch.counts.rows
    assert needed == sorted(set(needed))


def test_a_traffic_set_anew_begins_with_the_first_round():
    watch = watching(ramping(ramp=None, step=None))
    later = START + 30 * MINUTE
    watch.follow(ramping(set_at=later, seq=2), champion=7, now=later)
    fresh = TrafficController(ramping(set_at=later, seq=2), champion=7, limits=LIMITS, now=later)
    assert watch.decide(now=later).guardrails[0].needed == fresh.decide(now=later).guardrails[0].needed

"""A stop by guardrails is written however late: over steps of other services, and never over a person."""

from dataclasses import replace
from datetime import timedelta

import pytest

from evergreen.tasks.core.traffic.counts import ArmFigures
from evergreen.tasks.core.traffic.decide import Round, TrafficAction, decide_traffic
from evergreen.tasks.io.ledger import Ledger
from evergreen.tasks.io.settings import utc_now
from evergreen.tasks.io.traffic import (
    ramp_variant,
    read_traffic,
    stop_variants,
    traffic_in_force,
    write_decision,
    write_stop,
)
from tests.io.test_traffic import setup_on
from tests.support.bad_canary import bad_round
from tests.support.memory_stores import MemoryLedger


@pytest.fixture(params=["memory", "sqlite", "postgres"])
def setup(request, tmp_path):
    if request.param == "memory":
        ledger = MemoryLedger()
    elif request.param == "sqlite":
        ledger = Ledger(f"sqlite:///{tmp_path / 'ledger.db'}")
    else:
        ledger = Ledger(request.getfixturevalue("postgres_url"))
    return setup_on(ledger, min_rows=1, min_time="1s")


def ramped(setup):
    """Begin a ramp, and return the stop that a service decides for."""
    ramp_variant(setup, canary="8", steps=(0.1, 0.2, 0.3))
    state = traffic_in_force(setup.stores.ledger, "fraud", champion=7)
    stop = decide_traffic(state, bad_round(), now=utc_now(), limits=setup.config.traffic.limits)
    assert TrafficAction.STOP is stop.action
    return stop


def step(setup):
    """Let another service, which saw nothing, write the next step."""
    state = traffic_in_force(setup.stores.ledger, "fraud", champion=7)
    quiet = Round(number=1, since=utc_now() - timedelta(minutes=1), figures=(ArmFigures(name="v8", rows=9),))
    decision = decide_traffic(state, quiet, now=utc_now(), limits=setup.config.traffic.limits)
    assert "step" == write_decision(setup.stores.ledger, "fraud", decision, at=utc_now()).kind


def write(setup, stop):
    return write_stop(setup.stores.ledger, "fraud", stop, at=utc_now())


def test_a_stop_is_written_on_top_of_the_step_of_another_service(setup):
    stop = ramped(setup)
    step(setup)
    entry = write(setup, stop)
    after = read_traffic(setup.stores.ledger, "fraud")
    assert ("stopped", 3, True, None) == (entry.kind, after.seq, after.plan.is_plain, after.ramp)
    assert ["guardrail_errors"] == [reason.code for reason in after.reasons]
    assert write(setup, stop) is None


def test_a_stop_does_not_overrule_a_person_who_set_the_arm_anew_even_when_a_service_stepped_it_since(setup):
    stop = ramped(setup)
    ramp_variant(setup, canary="8", steps=(0.1, 0.2))
    step(setup)
    assert write(setup, stop) is None
    assert 0.2 == read_traffic(setup.stores.ledger, "fraud").plan.variant("v8").share


def test_a_stop_is_over_where_a_person_has_stopped_already(setup):
    stop = ramped(setup)
    stop_variants(setup, why="clients complain")
    assert write(setup, stop) is None
    assert "stopped_by_hand" == read_traffic(setup.stores.ledger, "fraud").reasons[0].code


def test_a_stop_decided_from_a_copy_without_times_holds_for_the_same_plan_alone(setup):
    stop = ramped(setup)
    stop = replace(stop, state=replace(stop.state, set_at=None, seq=0))
    assert "stopped" == write(setup, stop).kind
    ramp_variant(setup, canary="9=6", steps=(0.1, 0.2))
    assert write(setup, stop) is None

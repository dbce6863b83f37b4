"""Traffic in the ledger: people set, ramp and stop it; services follow, decide and write, whoever is first."""

import json
from datetime import timedelta
from types import SimpleNamespace

import pytest

from evergreen.tasks.core.config.model import parse_model
from evergreen.tasks.core.errors import ConfigError, InputError
from evergreen.tasks.core.promotion.ledger import check_chain
from evergreen.tasks.core.promotion.plan import CHALLENGER
from evergreen.tasks.core.traffic.counts import ArmFigures
from evergreen.tasks.core.traffic.decide import Round, TrafficAction, decide_traffic
from evergreen.tasks.io.ledger import Ledger
from evergreen.tasks.io.settings import utc_now
from evergreen.tasks.io.traffic import (
    ramp_variant,
    read_traffic,
    set_variants,
    settle,
    show_traffic,
    stop_variants,
    traffic_in_force,
    traffic_status,
    write_decision,
)
from evergreen.tasks.promotion import Promoter
from tests.support.bad_canary import bad_round, stop_once
from tests.support.memory_stores import MemoryLedger, MemoryRegistry
from tests.support.processes import race


@pytest.fixture(params=["memory", "sqlite", "postgres"])
def ledger(request, tmp_path):
    if request.param == "memory":
        return MemoryLedger()
    if request.param == "sqlite":
        return Ledger(f"sqlite:///{tmp_path / 'ledger.db'}")
    return Ledger(request.getfixturevalue("postgres_url"))


@pytest.fixture
def setup(ledger):
    return setup_on(ledger)


def setup_on(ledger, **traffic):
    registry = MemoryRegistry()
    for number in range(1, 10):
        registry.register(
            "fraud", source=f"file:{number}", run_id=None, tags={"validation_status": "approved"}
        )
    Promoter(registry, ledger, "fraud").promote(version=7, reason="first")
    registry.set_alias("fraud", CHALLENGER, 8)
    config = parse_model(
        {
            "model": "fraud",
            "problem": "binary",
            "data": {"source": "rows.csv", "target": "y"},
            "training": {
                "candidates": [{"name": "a", "estimator": "sklearn.linear_model.LogisticRegression"}]
            },
            "traffic": traffic,
        },
        origin="a test",
    )
    return SimpleNamespace(
        model="fraud", config=config, stores=SimpleNamespace(ledger=ledger, registry=registry)
    )


def champion_of(setup):
    return setup.stores.registry.aliases("fraud")["champion"]


def test_what_is_set_is_shown_and_kept_in_the_ledger(setup):
    assert ("Plain", None) == (show_traffic(setup)["state"], traffic_status(setup))
    told = set_variants(setup, challengers=["challenger@10%"], shadows=["9", "half=6@50%"], why="try")
    shown = show_traffic(setup)
    assert ("Set", "Shared", "fraud/traffic/1", 7) == (
        told["state"],
        shown["state"],
        told["decision_id"],
        shown["champion"],
    )
    assert [("champion", 0.9), ("v8", 0.1), ("v9", 1.0), ("half", 0.5)] == [
        (one["name"], one["share"]) for one in shown["traffic"]["variants"]
    ]
    assert "try" == shown["reasons"][0]["message"]
    assert traffic_status(setup) == shown["traffic"]
    json.dumps(told, allow_nan=False)


def test_a_dry_run_says_the_same_and_writes_nothing(setup):
    dry = set_variants(setup, challengers=["8@10%"], shadows=[], dry_run=True)
    ramped = ramp_variant(setup, canary="8", dry_run=True)
    assert (True, None, 0) == (
        dry["dry_run"],
        dry["decision_id"],
        read_traffic(setup.stores.ledger, "fraud").seq,
    )
    assert 0.01 == ramped["traffic"]["variants"][1]["share"]
    set_variants(setup, challengers=["8@10%"], shadows=[])
    stopped = stop_variants(setup, why="enough", dry_run=True)
    assert ("Stopped", 1) == (stopped["state"], read_traffic(setup.stores.ledger, "fraud").seq)


def test_a_ramp_takes_its_pace_from_the_configuration_or_the_command(ledger):
    setup = setup_on(ledger, steps=[0.02, 0.2], min_rows=50, min_time="1m")
    told = ramp_variant(setup, canary="challenger")["traffic"]["ramp"]
    assert ("v8", [0.02, 0.2], 50, 60.0, 0) == tuple(
        told[key] for key in ("arm", "steps", "min_rows", "min_seconds", "step")
    )
    own = ramp_variant(setup, canary="8", steps=(0.5,), min_rows=7, min_time=timedelta(0))["traffic"]["ramp"]
    assert ([0.5], 7, 0.0) == (own["steps"], own["min_rows"], own["min_seconds"])
    assert "Ramping" == show_traffic(setup)["state"]


def test_stopping_sends_all_back_and_says_when_there_was_nothing(setup):
    assert "Unchanged" == stop_variants(setup, why="x")["state"]
    ramp_variant(setup, canary="8")
    stopped = stop_variants(setup, why="looks odd")
    assert ("Stopped", "stopped_by_hand", "looks odd") == (
        stopped["state"],
        stopped["reasons"][0]["code"],
        stopped["reasons"][0]["message"],
    )
    assert traffic_in_force(setup.stores.ledger, "fraud", champion=7).plan.is_plain
    with pytest.raises(InputError, match="Stopping needs a reason"):
        stop_variants(setup, why=" ")
    with pytest.raises(InputError, match="Nothing to set for 'fraud'"):
        set_variants(setup, challengers=[], shadows=[])


def test_of_services_that_decide_at_once_one_writes_and_all_follow(setup):
    ledger = setup.stores.ledger
    ramp_variant(setup, canary="8")
    states = [traffic_in_force(ledger, "fraud", champion=7) for _ in range(3)]
    now = utc_now()
    decisions = [
        decide_traffic(state, bad_round(), now=now, limits=setup.config.traffic.limits) for state in states
    ]
    written = [write_decision(ledger, "fraud", decision, at=now) for decision in decisions]
    assert [True, False, False] == [entry is not None for entry in written]
    after = traffic_in_force(ledger, "fraud", champion=7)
    assert ("stopped", True, "guardrail_errors") == (after.kind, after.plan.is_plain, after.reasons[0].code)
    assert () == check_chain(ledger.read(model="fraud"))


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_of_twelve_processes_that_see_a_bad_canary_one_writes_and_all_send_it_back(kind, request, tmp_path):
    url = f"sqlite:///{tmp_path}/race.db" if kind == "sqlite" else request.getfixturevalue("postgres_url")
    setup = setup_on(Ledger(url))
    ramp_variant(setup, canary="8")
    answers = race(stop_once, [(url,)] * 12)
    assert 1 == sum(mine for mine, _ in answers)
    assert [["champion"]] * 12 == [names for _, names in answers]
    assert ["set", "stopped"] == [one.kind for one in Ledger(url).read(model="fraud", stream="traffic")]


def test_a_service_steps_the_ramp_and_a_person_who_was_faster_is_not_overruled(ledger):
    setup = setup_on(ledger, min_rows=1, min_time="1s")
    ramp_variant(setup, canary="8", steps=(0.1, 0.2))
    state = traffic_in_force(ledger, "fraud", champion=7)
    quiet = Round(number=1, since=utc_now() - timedelta(minutes=1), figures=(ArmFigures(name="v8", rows=9),))
    step = decide_traffic(state, quiet, now=utc_now(), limits=setup.config.traffic.limits)
    assert TrafficAction.STEP is step.action
    stop_variants(setup, why="wait")
    assert write_decision(ledger, "fraud", step, at=utc_now()) is None
    ramp_variant(setup, canary="8", steps=(0.1, 0.2))
    state = traffic_in_force(ledger, "fraud", champion=7)
    step = decide_traffic(state, quiet, now=utc_now(), limits=setup.config.traffic.limits)
    assert write_decision(ledger, "fraud", step, at=utc_now()).kind == "step"
    assert 0.2 == traffic_in_force(ledger, "fraud", champion=7).plan.variant("v8").share


def test_holding_writes_nothing(setup):
    ramp_variant(setup, canary="8")
    state = traffic_in_force(setup.stores.ledger, "fraud", champion=7)
    hold = decide_traffic(
        state, Round(number=1, since=utc_now(), figures=()), now=utc_now(), limits=setup.config.traffic.limits
    )
    assert write_decision(setup.stores.ledger, "fraud", hold, at=utc_now()) is None
    assert 1 == read_traffic(setup.stores.ledger, "fraud").seq


def test_a_promoted_challenger_is_done_and_stays_so_through_a_rollback(setup):
    ledger, registry = setup.stores.ledger, setup.stores.registry
    ramp_variant(setup, canary="8")
    Promoter(registry, ledger, "fraud").promote(version=8, reason="won")
    assert traffic_in_force(ledger, "fraud", champion=champion_of(setup)).plan.is_plain
    Promoter(registry, ledger, "fraud").rollback(reason="worse after all")
    assert 7 == champion_of(setup)
    assert traffic_in_force(ledger, "fraud", champion=7).plan.is_plain  # also where nobody wrote it down
    entry = settle(ledger, "fraud", champion=7, at=utc_now())
    assert ("done", "became_champion") == (entry.kind, entry.payload["reasons"][0]["code"])
    assert settle(ledger, "fraud", champion=7, at=utc_now()) is None


def test_a_promotion_of_another_version_leaves_the_challenger_its_share(setup):
    ledger = setup.stores.ledger
    set_variants(setup, challengers=["8@10%"], shadows=[])
    Promoter(setup.stores.registry, ledger, "fraud").promote(version=9, reason="won")
    assert 0.1 == traffic_in_force(ledger, "fraud", champion=9).plan.variant("v8").share
    assert settle(ledger, "fraud", champion=9, at=utc_now()) is None


def test_steps_that_do_not_rise_are_refused_in_the_configuration():
    with pytest.raises(ConfigError, match=r"traffic\.steps"):
        setup_on(MemoryLedger(), steps=[0.5, 0.1])

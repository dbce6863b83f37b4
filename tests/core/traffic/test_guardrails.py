"""Guardrails: exact arithmetic, the martingale by enumeration, and simulated ramps."""

import itertools
import math
from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest
from scipy.stats import binom

from evergreen.tasks.core.config.canary import GuardrailLimits
from evergreen.tasks.core.traffic.assign import Assigner
from evergreen.tasks.core.traffic.counts import ArmFigures, RoundCounts
from evergreen.tasks.core.traffic.decide import TrafficAction
from evergreen.tasks.core.traffic.guardrails import (
    above_rate,
    judge_arm,
    log_evidence,
    more_events,
    other_mean,
    round_level,
    round_number,
)
from evergreen.tasks.core.traffic.plan import plan_traffic
from tests.support.canaries import CANARY, MINUTE, START, World, literal_rate, play_ramp, rate_of


def test_wealth_is_the_mean_over_stakes_of_products():
    # stake 0.5: 1.5^2 x 0.5 = 1.125; stake 0.1: 1.1^2 x 0.9 = 1.089; mean 1.107
    found = log_evidence(np.array([1.0, -1.0]), np.array([2.0, 1.0]), [0.5, 0.1])
    assert 1.107 == pytest.approx(math.exp(found))


@pytest.mark.parametrize("share", [0.01, 0.3, 0.9])
def test_events_of_equal_arms_leave_the_expected_wealth_at_one(share):
    """Whatever the number of events: sum over how many fall into the arm of P x wealth = 1."""
    for events in (1, 5, 40):
        chances = binom.pmf(np.arange(events + 1), events, share)
        wealth = [math.exp(more_events(k, events - k, share=share)) for k in range(events + 1)]
        assert 1.0 == pytest.approx(float(chances @ wealth))


def test_values_of_equal_arms_leave_the_expected_wealth_at_one_and_a_tolerance_below():
    values, share = (0.1, 0.5, 0.9, 0.9, 1.0), 0.3
    for tolerance in (0.0, 0.1):
        mean = 0.0
        for labels in itertools.product([True, False], repeat=len(values)):
            chance = math.prod(share if label else 1 - share for label in labels)
            arm = [(v, 1) for v, label in zip(values, labels, strict=True) if label]
            other = [(v, 1) for v, label in zip(values, labels, strict=True) if not label]
            mean += chance * math.exp(other_mean(arm, other, share=share, tolerance=tolerance))
        assert mean == pytest.approx(1.0) if not tolerance else mean < 1.0


def test_events_at_the_rate_fixed_leave_the_expected_wealth_at_one():
    chances = binom.pmf(np.arange(51), 50, 0.1)
    wealth = [math.exp(above_rate(k, 50, rate=0.1)) for k in range(51)]
    assert 1.0 == pytest.approx(float(chances @ wealth))


def test_levels_of_all_rounds_add_up_to_what_is_allowed():
    limits = GuardrailLimits(false_aborts=0.05)
    spent = sum(6 * round_level(limits, number=n, arms=2) for n in range(1, 100_000))
    assert 0.05 == pytest.approx(spent, rel=1e-4)
    assert round_level(limits, number=3, arms=1) == 4 * round_level(
        replace(limits, processes=2), number=3, arms=2
    )


def test_a_restarted_process_goes_on_with_the_number_that_time_tells():
    hour = START + timedelta(hours=1)
    assert 1 == round_number(set_at=START, now=START, min_time=MINUTE)
    assert 61 == round_number(set_at=START, now=hour, min_time=MINUTE, before=7)
    assert 90 == round_number(set_at=START, now=hour, min_time=MINUTE, before=89)
    assert 5 == round_number(set_at=START, now=hour, min_time=timedelta(0), before=4)


def figures(name, **counts):
    return ArmFigures(name=name, **counts)


def judged(arm, champion, share=0.5, limits=None, **options):
    found = judge_arm(
        figures("v8", **arm),
        figures("champion", **champion),
        share=share,
        limits=limits or GuardrailLimits(),
        level=0.01,
        **options,
    )
    return {one.name: one for one in found}


def test_errors_trip_when_they_are_sure_and_large():
    found = judged({"rows": 1000, "errors": 60, "erred": 60}, {"rows": 1000, "errors": 10, "erred": 10})[
        "errors"
    ]
    assert (True, pytest.approx(0.05), 0.005) == (found.tripped, found.observed, found.limit)
    assert "'v8' failed 60 of 1000 rows (6.00%), the champion 1.00%" in found.message


def test_a_sure_but_small_rise_of_errors_neither_trips_nor_holds():
    many = {"rows": 1_000_000, "errors": 3000, "erred": 3000}
    found = judged(many, {**many, "errors": 1000, "erred": 1000})["errors"]
    assert found.evidence > found.needed
    assert not found.tripped
    assert not found.doubtful


def test_one_entity_that_errs_a_thousand_times_is_one_piece_of_evidence():
    found = judged({"rows": 2000, "errors": 1000, "erred": 1}, {"rows": 2000})["errors"]
    assert not found.doubtful


def test_few_errors_are_a_doubt_before_they_are_sure():
    found = judged({"rows": 500, "errors": 8, "erred": 8}, {"rows": 500})["errors"]
    assert (True, False) == (found.doubtful, found.tripped)


def test_an_arm_that_is_slower_in_most_duels_trips_the_guardrail_of_latency():
    found = judged({"rows": 500, "duels": 100, "slower": 75}, {"rows": 500})["latency"]
    assert (True, 0.75, 0.5, 100) == (found.tripped, found.observed, found.limit, found.n)
    assert (
        "'v8' took more than 1.5 times as long as the champion for the same rows in 75.00% of 100"
        in found.message
    )
    assert not judged({"duels": 100, "slower": 50}, {})["latency"].doubtful


@pytest.mark.parametrize("rank", [0.2, 0.8])
def test_scores_that_moved_either_way_trip_the_guardrail_of_scores(rank):
    usual = ((0.25, 250), (0.75, 250))
    assert judged({"ranks": ((rank, 500),)}, {"ranks": usual})["score"].tripped
    assert not judged({"ranks": ((0.55, 500),)}, {"ranks": usual})["score"].doubtful


def test_what_is_switched_off_or_cannot_be_compared_is_not_judged():
    off = GuardrailLimits(error_rise=None, latency_ratio=None, score_shift=None)
    full = {"rows": 9, "answered": 9, "duels": 9, "ranks": ((0.5, 9),)}
    assert {} == judged(full, full, limits=off)
    assert {} == judged(full, full, share=0.0)
    assert ["latency"] == list(judged(full, {}, share=1.0))  # duels need no arm of the champion's
    assert ["errors"] == list(judged({"rows": 9}, {}))


def test_an_arm_that_has_all_is_held_to_what_the_champion_did_before():
    usual = figures("champion", rows=1000, errors=10, erred=10, answered=990)
    good = {"rows": 1000, "errors": 10, "erred": 10, "answered": 990, "duels": 99, "slower": 33}
    quiet = judged(good, {}, share=1.0, baseline=usual)
    assert {"errors": False, "latency": False} == {name: one.doubtful for name, one in quiet.items()}
    bad = judged({**good, "errors": 80, "erred": 80, "slower": 80}, {}, share=1.0, baseline=usual)
    assert {"errors": True, "latency": True} == {name: one.tripped for name, one in bad.items()}


# simulations: seeded, so that the figures in docs/decisions are these


@pytest.mark.slow
def test_ramps_of_an_equal_canary_are_sent_back_in_at_most_five_of_a_hundred():
    rate, _ = rate_of(World(), trials=300, seed=1)
    assert rate <= 0.05


def test_fixed_sample_tests_looked_at_as_often_send_most_equal_canaries_back():
    assert literal_rate(World(), trials=60, seed=1) > 0.5


@pytest.mark.slow
def test_ramps_within_the_tolerance_are_sent_back_in_at_most_five_of_a_hundred():
    rate, _ = rate_of(World(slower=1.45, shift=0.09), trials=150, seed=2)
    assert rate <= 0.05


@pytest.mark.parametrize(
    "fault",
    [
        World(canary_errors=0.05),
        World(slower=2.0),
        World(shift=0.2),
        World(shift=-0.2),
        World(errors=0.0, canary_errors=0.02),
        World(slower=2.0, spread=1.0),
    ],
)
def test_real_faults_are_sent_back_within_the_first_steps(fault):
    rate, rows = rate_of(fault, trials=60, seed=3, limits=GuardrailLimits(min_time=MINUTE))
    assert rate >= 0.95
    assert rows <= 500  # of the canary: within the step at 1 %


def test_a_good_canary_reaches_the_end_of_its_ramp():
    ends = [play_ramp(World(), np.random.default_rng([4, n]))[0] for n in range(20)]
    assert ends.count(TrafficAction.DONE) >= 19


def test_entities_with_many_like_rows_do_not_send_a_good_canary_back():
    """Few large clients, each with a level of errors and scores of its own; the literal test beside it."""
    sent_back = literal = 0
    for trial in range(150):
        rng = np.random.default_rng([5, trial])
        plan = plan_traffic([CANARY], salt=f"trial/{trial}").with_share("v8", 0.25)
        found, naive = _clients(plan, rng)
        sent_back += any(one.tripped for one in found)
        literal += naive
    assert sent_back <= 0.05 * 150
    assert literal > 0.3 * 150  # a two-proportions z-test on rows, looked at once


def _clients(plan, rng, clients=120, rows=6000):
    assigner = Assigner(plan)
    hashes = [assigner.hash(f"client-{n}") for n in range(clients)]
    weight = rng.pareto(1.2, clients) + 0.1
    errs, level = rng.beta(0.3, 6.0, clients), rng.random(clients)
    counts = RoundCounts(plan, latency_ratio=1.5)
    for client in rng.choice(clients, rows, p=weight / weight.sum()):
        index = assigner.route_of(hashes[client]).index
        if rng.random() < errs[client]:
            counts.add_error(index, hashes[client])
        else:
            counts.add(index, hashes[client], level[client])
    champion, arm = counts.figures()
    found = judge_arm(arm, champion, share=0.25, limits=GuardrailLimits(), level=0.05 / 6)
    pooled = (arm.errors + champion.errors) / rows
    error = math.sqrt(pooled * (1 - pooled) * (1 / max(arm.rows, 1) + 1 / champion.rows))
    return found, abs(arm.error_rate - champion.error_rate) > 1.96 * error

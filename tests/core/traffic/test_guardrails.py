"""Guardrails: exact arithmetic, the martingale by enumeration, and simulated ramps."""

import itertools
import math
from dataclasses import dataclass, replace
from datetime import timedelta

import numpy as np
import pytest
from scipy.stats import binom

from evergreen.tasks.core.config.serving import GuardrailLimits, Ramp
from evergreen.tasks.core.traffic.assign import Assigner
from evergreen.tasks.core.traffic.counts import ArmFigures, RoundCounts, measure_reference
from evergreen.tasks.core.traffic.decide import Round, TrafficAction, decide_traffic
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
from evergreen.tasks.core.traffic.state import TrafficState
from tests.support.canaries import CANARY, MINUTE, START


@dataclass(frozen=True)
class World:
    """How requests of both arms come out; what differs in the canary is its own."""

    errors: float = 0.01
    canary_errors: float = 0.01
    slower: float = 1.0
    shift: float = 0.0
    """By how much the canary's scores are moved, in ranks of the champion's."""
    spread: float = 0.5
    """Standard deviation of the logarithm of the time that one of the same rows takes, from call to call."""

    def slower_in(self, rng, n, ratio):
        """Return in how many of n duels the canary takes more than ``ratio`` times as long."""
        seconds, usual = rng.lognormal(0.0, self.spread, (2, n))
        return int((self.slower * seconds > ratio * usual).sum())

    def scores(self, rng, n, canary):
        """Return scores whose rank in the canary is higher by ``shift`` on average: u -> 1 - (1 - u)^b."""
        return 1.0 - (1.0 - rng.random(n)) ** np.where(canary, 1.0 / (0.5 - self.shift) - 1.0, 1.0)


def play_ramp(world, rng, *, ramp=None, limits=None, looks=10):
    """Play a ramp to its end, with ``looks`` judgements in the least rows of a round; every row is an entity.

    Returns
    -------
    tuple of (Act, int)
        How it ended, and how many rows the canary answered until then.
    """
    limits = limits or GuardrailLimits(min_rows=200, min_time=MINUTE)
    ramp = ramp or Ramp(arm="v8", min_rows=limits.min_rows, min_time=limits.min_time)
    state = TrafficState(
        plan=plan_traffic([CANARY], salt="s").with_share("v8", ramp.steps[0]), set_at=START, ramp=ramp, step=0
    )
    now, number, served = START, 0, 0
    reference = _reference(world, rng)
    while True:
        number = round_number(set_at=START, now=now, min_time=limits.min_time, before=number)
        tally, since = _Tally(reference), now
        for look in range(1, 100 * looks):
            n = int(np.ceil(ramp.min_rows / looks / state.plan.variant("v8").share))
            served += tally.serve(world, rng, n, share=state.plan.variant("v8").share)
            now = since + look * MINUTE / looks
            decision = decide_traffic(
                state, Round(number=number, since=since, figures=tally.figures()), now=now, limits=limits
            )
            if decision.action in (TrafficAction.STOP, TrafficAction.DONE):
                return decision.action, served
            state = decision.state
            if decision.next_round:
                break
        reference = tally.next_reference()


def rate_of(world, *, trials, seed, wanted=TrafficAction.STOP, **options):
    """Return the share of ramps that end so, and the median of rows the canary answered in these."""
    ends = [play_ramp(world, np.random.default_rng([seed, n]), **options) for n in range(trials)]
    rows = [served for act, served in ends if act is wanted]
    return len(rows) / trials, float(np.median(rows)) if rows else float("nan")


def _reference(world, rng):
    nobody = np.zeros(200, dtype=bool)
    return measure_reference(world.scores(rng, 200, nobody))


class _Tally:
    """Counts like `RoundCounts`, many rows at once."""

    def __init__(self, reference, ratio=1.5):
        self.reference, self.ratio = reference, ratio
        self.sums = np.zeros((2, 5), dtype=int)
        self.ranks = np.zeros((2, len(reference.ranks)), dtype=int)
        self.recent = []

    def serve(self, world, rng, n, *, share):
        canary = rng.random(n) < share
        failed = rng.random(n) < np.where(canary, world.canary_errors, world.errors)
        score = world.scores(rng, n, canary)
        for arm in (0, 1):
            own = canary == bool(arm)
            good = own & ~failed
            self.sums[arm] += [own.sum(), (own & failed).sum(), good.sum(), 0, 0]
            self.ranks[arm] += np.bincount(
                np.searchsorted(self.reference.edges, score[good]), minlength=len(self.reference.ranks)
            )
        self.recent = score[~canary & ~failed][-500:]
        duels = int((canary & ~failed).sum())
        self.sums[1, 3:] += [duels, world.slower_in(rng, duels, self.ratio)]
        return int(canary.sum())

    def figures(self):
        return tuple(
            ArmFigures(
                name=name,
                rows=int(rows),
                errors=int(errors),
                erred=int(errors),
                answered=int(answered),
                probes=int(duels),
                slower=int(slower),
                ranks=tuple(
                    (rank, int(count))
                    for rank, count in zip(self.reference.ranks, ranks, strict=True)
                    if count
                ),
            )
            for name, (rows, errors, answered, duels, slower), ranks in zip(
                ("champion", "v8"), self.sums, self.ranks, strict=True
            )
        )

    def next_reference(self):
        return measure_reference(self.recent) if len(self.recent) >= 200 else self.reference


def literal_rate(world, *, trials, seed, limits=None, looks=10):
    """Return the share of ramps that three fixed-sample tests at 5 % send back, looked at as often."""
    return float(
        np.mean([_literal(world, np.random.default_rng([seed, n]), limits, looks) for n in range(trials)])
    )


def _literal(world, rng, limits, looks):
    limits = limits or GuardrailLimits(min_rows=200, min_time=MINUTE)
    reference = _reference(world, rng)
    for share in (0.01, 0.05, 0.25, 0.5):
        tally = _Tally(reference)
        for _ in range(looks):
            tally.serve(world, rng, int(np.ceil(limits.min_rows / looks / share)), share=share)
            champion, arm = tally.figures()
            tests = (
                _z(arm.errors, arm.rows, champion.errors, champion.rows),
                (2 * arm.slower - arm.probes) / np.sqrt(max(arm.probes, 1)),
                abs(arm.mean_rank - champion.mean_rank) / np.sqrt((1 / arm.scored + 1 / champion.scored) / 12)
                if arm.scored and champion.scored
                else 0.0,
            )
            if max(tests[0] / 1.645, tests[1] / 1.645, tests[2] / 1.96) > 1:
                return True
    return False


def _z(events, n, events_before, n_before):
    """Return the statistic of two proportions, positive where the first is larger."""
    if not n or not n_before:
        return 0.0
    pooled = (events + events_before) / (n + n_before)
    error = np.sqrt(pooled * (1 - pooled) * (1 / n + 1 / n_before))
    return (events / n - events_before / n_before) / error if error else 0.0


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
    found = judged({"rows": 500, "probes": 100, "slower": 75}, {"rows": 500})["latency"]
    assert (True, 0.75, 0.5, 100) == (found.tripped, found.observed, found.limit, found.n)
    assert (
        "'v8' took more than 1.5 times as long as the champion for the same rows in 75.00% of 100"
        in found.message
    )
    assert not judged({"probes": 100, "slower": 50}, {})["latency"].doubtful


@pytest.mark.parametrize("rank", [0.2, 0.8])
def test_scores_that_moved_either_way_trip_the_guardrail_of_scores(rank):
    usual = ((0.25, 250), (0.75, 250))
    assert judged({"ranks": ((rank, 500),)}, {"ranks": usual})["score"].tripped
    assert not judged({"ranks": ((0.55, 500),)}, {"ranks": usual})["score"].doubtful


def test_what_is_switched_off_or_cannot_be_compared_is_not_judged():
    off = GuardrailLimits(error_rise=None, latency_ratio=None, score_shift=None)
    full = {"rows": 9, "answered": 9, "probes": 9, "ranks": ((0.5, 9),)}
    assert {} == judged(full, full, limits=off)
    assert {} == judged(full, full, share=0.0)
    assert ["latency"] == list(judged(full, {}, share=1.0))  # duels need no arm of the champion's
    assert ["errors"] == list(judged({"rows": 9}, {}))


def test_an_arm_that_has_all_is_held_to_what_the_champion_did_before():
    usual = figures("champion", rows=1000, errors=10, erred=10, answered=990)
    good = {"rows": 1000, "errors": 10, "erred": 10, "answered": 990, "probes": 99, "slower": 33}
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

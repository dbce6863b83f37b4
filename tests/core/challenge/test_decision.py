import json
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from statsmodels.stats.power import TTestPower

from evergreen.tasks.core.challenge.decision import Rule, judge_challenge, needed_blocks, needed_rows
from evergreen.tasks.core.challenge.difference import Difference, measure_difference
from evergreen.tasks.core.errors import ConfigError, NotLearnable
from evergreen.tasks.core.metrics.base import custom_metric
from evergreen.tasks.core.metrics.classification import business_metric
from evergreen.tasks.core.metrics.registry import get_metric
from evergreen.tasks.core.metrics.scored import Scored
from evergreen.tasks.core.stats.auc import delong
from evergreen.tasks.core.stats.paired import mcnemar
from evergreen.tasks.core.verdict import Outcome
from tests.support.simulated_models import METRICS, PAIRS

RULE = Rule(min_improvement=0.02)


def generator():
    return np.random.default_rng(0)


def measure(metric, champion, challenger, *, blocks=None, level=0.05):
    return measure_difference(
        metric, champion, challenger, level=level, blocks=blocks, rng=generator(), draws=1_000
    )


def found(difference, low, high, **more):
    """A difference as measured, for judging."""
    fields = {
        "metric": "accuracy",
        "test": "blocked_t",
        "difference": difference,
        "interval": (low, high),
        "level": 0.05,
        "p_value": 0.5,
        "standard_error": (high - low) / 4,
        "df": 29.0,
        "n": 1_000,
        "blocks": 30,
        "champion": 0.8,
        "challenger": 0.8 + difference,
    }
    return Difference(**(fields | more))


def pair(name, n=600, *, better_by=0.0, seed=1):
    return PAIRS[name](np.random.default_rng(seed), n, better_by=better_by, phi=0.0)


# --- measuring


@pytest.mark.parametrize("name", PAIRS)
@pytest.mark.parametrize("blocked", [False, True])
def test_swapping_the_models_turns_the_sign(name, blocked):
    first, second = pair(name)
    blocks = np.arange(len(first)) * 20 // len(first) if blocked else None
    metric = METRICS[name]
    there, back = measure(metric, first, second, blocks=blocks), measure(metric, second, first, blocks=blocks)
    assert np.sign(there.difference) == -np.sign(back.difference)
    if metric.bounded:
        assert there.difference == pytest.approx(-back.difference)
        assert there.standard_error == pytest.approx(back.standard_error, rel=0.1)


@pytest.mark.parametrize("name", PAIRS)
def test_the_difference_is_that_of_the_metrics(name):
    first, second = pair(name, better_by=0.03)
    d = measure(METRICS[name], first, second)
    gain = METRICS[name].sign * (METRICS[name](second) - METRICS[name](first))
    expected = gain if METRICS[name].bounded else gain / METRICS[name](first)
    assert d.difference == pytest.approx(expected)
    assert (d.champion, d.challenger) == pytest.approx((METRICS[name](first), METRICS[name](second)))
    assert d.interval[0] < d.difference < d.interval[1]


@pytest.mark.parametrize("name", PAIRS)
@pytest.mark.parametrize("blocked", [False, True])
def test_a_model_against_itself_is_equivalent(name, blocked):
    model, _ = pair(name)
    blocks = np.arange(len(model)) * 20 // len(model) if blocked else None
    decision = judge_challenge(measure(METRICS[name], model, model, blocks=blocks), RULE)
    assert ("equivalent", Outcome.FAIL) == (decision.verdict, decision.outcome)
    assert decision.difference.p_value == 1.0


@pytest.mark.parametrize("name", PAIRS)
def test_a_much_better_challenger_is_promoted_and_a_much_worse_one_is_inferior(name):
    worse, better = pair(name, 3_000, better_by=0.1)
    assert judge_challenge(measure(METRICS[name], worse, better), RULE).outcome is Outcome.PASS
    turned = judge_challenge(measure(METRICS[name], better, worse), RULE)
    assert ("inferior", Outcome.FAIL) == (turned.verdict, turned.outcome)


def test_accuracy_of_independent_rows_is_judged_by_mcnemar():
    champion, challenger = pair("accuracy")
    right = [s.label == s.y for s in (champion, challenger)]
    b, c = int((right[0] & ~right[1]).sum()), int((right[1] & ~right[0]).sum())
    d = measure(METRICS["accuracy"], champion, challenger)
    assert ("mcnemar", mcnemar(b, c, correction=False).p_value) == (d.test, d.p_value)
    few = measure(METRICS["accuracy"], champion.take(np.arange(40)), challenger.take(np.arange(40)))
    assert few.test == "mcnemar_exact"


def test_auc_of_independent_rows_is_judged_by_delong():
    champion, challenger = pair("roc_auc")
    d = measure(METRICS["roc_auc"], champion, challenger)
    oracle = delong(champion.truth, champion.score, challenger.score)
    assert d.test == "delong"
    assert (oracle.difference, oracle.standard_error, oracle.p_value) == pytest.approx(
        (d.difference, d.standard_error, d.p_value)
    )


def test_threshold_metrics_are_resampled_by_cells_and_agree_with_resampled_rows():
    champion, challenger = pair("accuracy", 2_000)
    f1 = get_metric("f1", problem="binary")
    by_cell = measure(f1, champion, challenger)
    weighted = [replace(s, weight=np.ones(len(s))) for s in (champion, challenger)]  # no cells with weights
    by_row = measure(f1, *weighted)
    assert ("exact_multinomial", "paired_bootstrap") == (by_cell.test, by_row.test)
    assert by_cell.interval == pytest.approx(by_row.interval, abs=0.004)


@pytest.mark.parametrize(
    ("name", "problem", "source"),
    [
        ("average_precision", "binary", "roc_auc"),
        ("median_absolute_error", "regression", "rmse"),
        ("log_loss", "binary", None),
        ("r2", "regression", "rmse"),
    ],
)
@pytest.mark.parametrize("blocked", [False, True])
def test_other_metrics_are_compared_too(name, problem, source, blocked):
    champion, challenger = pair(source or "roc_auc", 400)
    if source is None:
        squash = [1 / (1 + np.exp(-s.score)) for s in (champion, challenger)]
        champion, challenger = (
            replace(s, score=p) for s, p in zip((champion, challenger), squash, strict=True)
        )
    blocks = np.arange(400) // 20 if blocked else None
    d = measure(get_metric(name, problem=problem), champion, challenger, blocks=blocks)
    assert d.defined
    assert 0 < d.p_value <= 1


def test_the_block_test_of_a_mean_is_the_paired_t_test_of_block_means():
    rng = np.random.default_rng(2)
    y = np.zeros(200)
    gain = rng.normal(0.1, 1, 200)
    metric = custom_metric("mean", lambda s: float(s.score.mean()), greater_is_better=True, bounded=True)
    blocks = np.repeat(np.arange(20), 10)
    d = measure(metric, Scored(y=y, score=y), Scored(y=y, score=gain), blocks=blocks)
    means = gain.reshape(20, 10).mean(axis=1)
    assert d.standard_error == pytest.approx(means.std(ddof=1) / math.sqrt(20))
    assert (20, 19.0) == (d.blocks, d.df)


@pytest.mark.parametrize("name", ["accuracy", "roc_auc", "rmse"])
def test_row_by_row_blocks_agree_with_the_test_for_independent_rows(name):
    champion, challenger = pair(name, 1_500)
    by_row = measure(METRICS[name], champion, challenger)
    by_block = measure(METRICS[name], champion, challenger, blocks=np.arange(1_500) // 5)
    assert by_row.standard_error == pytest.approx(by_block.standard_error, rel=0.15)


def test_races_are_the_unit_of_a_ranking():
    champion, challenger = pair("ndcg_at_3", 70)
    d = measure(METRICS["ndcg_at_3"], champion, challenger, blocks=champion.group // 10)
    assert (70, 7) == (d.n, d.blocks)


def test_business_value_is_relative_to_the_champion():
    y, value = np.tile([0, 1], 100), np.tile([3.0, 10.0], 100)
    champion = Scored(y=y, label=np.ones(200, dtype=int), value=value, positive_class=1)
    challenger = replace(champion, label=y)
    d = measure(business_metric("binary", false_positive=-1), champion, challenger)
    assert (3.5, 5.0) == (d.champion, d.challenger)  # (10 - 3) / 2 and 10 / 2
    assert d.difference == pytest.approx(1.5 / 3.5)


def test_other_rows_are_refused():
    champion, challenger = pair("accuracy")
    with pytest.raises(NotLearnable, match="not scored on the same rows") as error:
        measure(METRICS["accuracy"], champion, replace(challenger, y=1 - challenger.y))
    assert error.value.reason_code == "different_rows"
    with pytest.raises(NotLearnable, match="not scored on the same rows"):
        measure(METRICS["accuracy"], champion, challenger.take(np.arange(5)))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("who", [0, 1])
def test_an_answer_that_is_no_number_fails_closed_and_says_whose(bad, who):
    models = list(pair("rmse", 50))
    score = models[who].score.copy()
    score[3] = bad
    models[who] = replace(models[who], score=score)
    with pytest.raises(NotLearnable, match=["champion", "challenger"][who]) as error:
        measure(METRICS["rmse"], *models)
    assert ("not_finite", 1) == (error.value.reason_code, error.value.observed)


def test_one_class_is_undefined_and_insufficient():
    s = Scored(y=np.zeros(100, dtype=int), score=np.linspace(0, 1, 100))
    for blocks in (None, np.arange(100) // 10):
        decision = judge_challenge(measure(METRICS["roc_auc"], s, s, blocks=blocks), RULE)
        assert ("undecided", Outcome.INSUFFICIENT) == (decision.verdict, decision.outcome)
        assert decision.reasons[0].code == "undefined_difference"


def test_a_block_that_holds_all_positives_leaves_the_recall_undefined():
    y = np.r_[np.ones(10, dtype=int), np.zeros(90, dtype=int)]
    s = Scored(y=y, label=y, score=None, positive_class=1)
    decision = judge_challenge(
        measure(get_metric("recall", problem="binary"), s, s, blocks=np.arange(100) // 10), RULE
    )
    assert decision.outcome is Outcome.INSUFFICIENT


def test_a_level_outside_zero_and_one_is_refused():
    champion, challenger = pair("accuracy")
    with pytest.raises(ConfigError, match="level of a comparison is 0"):
        measure(METRICS["accuracy"], champion, challenger, level=0)


def test_inputs_are_left_as_they_were():
    champion, challenger = pair("roc_auc")
    before = champion.score.copy(), challenger.score.copy()
    measure(METRICS["roc_auc"], champion, challenger, blocks=np.arange(600) // 30)
    assert (before[0] == champion.score).all()
    assert (before[1] == challenger.score).all()


# --- judging


@pytest.mark.parametrize(
    ("difference", "low", "high", "verdict", "outcome"),
    [
        (0.03, 0.01, 0.05, "superior", Outcome.PASS),
        (0.02, 0.001, 0.039, "superior", Outcome.PASS),  # exactly at min_improvement
        (0.0199, 0.001, 0.04, "undecided", Outcome.FAIL),  # better, but perhaps not enough
        (0.03, 0.0, 0.06, "undecided", Outcome.FAIL),  # a bound at 0 does not exclude it
        (0.0, -0.01, 0.01, "equivalent", Outcome.FAIL),
        (0.01, 0.005, 0.015, "equivalent", Outcome.FAIL),  # surely better, surely by too little
        (-0.01, -0.015, -0.005, "equivalent", Outcome.FAIL),
        (-0.03, -0.05, -0.01, "inferior", Outcome.FAIL),
        (0.0, -0.02, 0.01, "undecided", Outcome.FAIL),  # the open bound is not within
    ],
)
def test_the_verdict_follows_the_interval(difference, low, high, verdict, outcome):
    decision = judge_challenge(found(difference, low, high, standard_error=1e-4), RULE)
    assert (verdict, outcome) == (decision.verdict, decision.outcome)
    assert decision.reasons


def test_undecided_with_too_few_rows_waits_and_with_enough_keeps_the_champion():
    few = judge_challenge(found(0.0, -0.2, 0.2), RULE)
    assert ("undecided", Outcome.INSUFFICIENT, "too_few_rows") == (
        few.verdict,
        few.outcome,
        few.reasons[0].code,
    )
    assert few.needed_n > 1_000
    enough = judge_challenge(found(0.0, -0.2, 0.2, n=few.needed_n * 40, blocks=few.needed_blocks * 40), RULE)
    assert enough.outcome is Outcome.INSUFFICIENT  # the same spread on more rows asks for still more
    narrow = judge_challenge(found(0.01, -0.01, 0.03), RULE)
    assert ("undecided", Outcome.FAIL) == (narrow.verdict, narrow.outcome)
    assert narrow.needed_n <= 1_000


def test_strict_asks_for_the_whole_interval():
    strict = Rule(min_improvement=0.02, strict=True)
    assert judge_challenge(found(0.05, 0.02, 0.08), strict).outcome is Outcome.PASS
    assert judge_challenge(found(0.05, 0.019, 0.08), strict).outcome is not Outcome.PASS


def test_non_inferiority_promotes_equals_and_says_so():
    rule = Rule(min_improvement=0.02, policy="non_inferiority", margin=0.01)
    equal = judge_challenge(found(0.0, -0.009, 0.03), rule)
    assert ("equivalent", Outcome.PASS, "non_inferior") == (
        equal.verdict,
        equal.outcome,
        equal.reasons[0].code,
    )
    assert judge_challenge(found(0.0, -0.011, 0.03), rule).outcome is not Outcome.PASS
    assert judge_challenge(found(0.0, -0.009, 0.03), RULE).outcome is not Outcome.PASS


def test_fewer_than_seven_blocks_are_insufficient_and_say_how_many_are_needed():
    decision = judge_challenge(found(0.1, 0.05, 0.15, blocks=6), RULE)
    assert ("undecided", Outcome.INSUFFICIENT) == (decision.verdict, decision.outcome)
    assert ("too_few_blocks", 6, 7) == tuple(
        getattr(decision.reasons[0], name) for name in ("code", "observed", "limit")
    )
    assert decision.needed_blocks >= 7


def test_fewer_than_thirty_independent_rows_are_insufficient():
    decision = judge_challenge(found(0.5, 0.4, 0.6, blocks=None, n=29), RULE)
    assert (Outcome.INSUFFICIENT, "too_few_rows", 30) == (
        decision.outcome,
        decision.reasons[0].code,
        decision.reasons[0].limit,
    )
    assert judge_challenge(found(0.5, 0.4, 0.6, blocks=None, n=30), RULE).outcome is Outcome.PASS


def test_dependent_blocks_are_insufficient_and_say_how_many_are_needed():
    decision = judge_challenge(found(0.1, -0.05, 0.25, needed_blocks_for_test=90, correlation=0.8), RULE)
    assert (Outcome.INSUFFICIENT, "blocks_depend", 90) == (
        decision.outcome,
        decision.reasons[0].code,
        decision.reasons[0].limit,
    )
    assert decision.needed_blocks >= 90
    assert decision.needed_n >= 90 / 30 * 1_000
    joined = judge_challenge(found(0.1, -0.05, 0.25, blocks=10, joined=3, needed_blocks_for_test=90), RULE)
    assert joined.needed_n == pytest.approx(joined.needed_blocks / 30 * 1_000, abs=1)


def test_what_even_a_strong_dependence_would_not_overturn_is_decided():
    decision = judge_challenge(found(0.5, 0.2, 0.8, needed_blocks_for_test=90, correlation=0.8), RULE)
    assert ("superior", Outcome.PASS) == (decision.verdict, decision.outcome)


@pytest.mark.parametrize("field", ["difference", "standard_error"])
def test_nan_never_promotes(field):
    decision = judge_challenge(
        found(0.1, 0.05, 0.15, **{field: math.nan}) if field != "difference" else found(math.nan, 0.05, 0.15),
        RULE,
    )
    assert ("undecided", Outcome.INSUFFICIENT, "undefined_difference") == (
        decision.verdict,
        decision.outcome,
        decision.reasons[0].code,
    )


@given(
    st.floats(-0.2, 0.2),
    st.floats(0.0005, 0.2),
    st.sampled_from(["superiority", "non_inferiority"]),
    st.booleans(),
    st.floats(0, 0.1),
)
def test_only_a_satisfied_policy_promotes(centre, half, policy, strict, least):
    rule = Rule(min_improvement=least, policy=policy, strict=strict, margin=0.01)
    decision = judge_challenge(found(centre, centre - half, centre + half), rule)
    assert (decision.outcome is Outcome.PASS) == rule.promotes(decision.difference)
    if decision.verdict == "superior":
        assert centre - half > 0
        assert centre >= least
    json.dumps(decision.to_dict(), allow_nan=False)


def test_the_decision_is_json_even_when_undefined():
    text = json.dumps(judge_challenge(found(math.nan, math.nan, math.nan), RULE).to_dict(), allow_nan=False)
    assert json.loads(text)["interval"] == [None, None]


def test_rules_out_of_range_are_refused():
    for wrong in ({"policy": "hope"}, {"margin": -1}, {"power": 1.0}, {"min_improvement": math.nan}):
        with pytest.raises(ConfigError):
            Rule(**({"min_improvement": 0.02} | wrong))


# --- planning


def test_the_needed_rows_are_the_analytic_ones_for_the_planned_power():
    # a known spread: n ((z + z') s / d)², z' for 0.85: a quarter of the chance to fail is kept in reserve
    planned = needed_rows(standard_error=0.02, n=500, df=1e12, detectable=0.03, level=0.01, power=0.8)
    oracle = TTestPower().solve_power(effect_size=0.03 / (0.02 * math.sqrt(500)), alpha=0.01, power=0.85)
    assert planned == pytest.approx(oracle, rel=0.01)


@pytest.mark.parametrize("detectable", [0.5, 0.3])
def test_the_needed_blocks_are_those_of_the_t_test(detectable):
    planned = needed_blocks(
        standard_error=0.01, blocks=10_000, detectable=detectable, level=0.05, power=0.8, least=2
    )
    oracle = TTestPower().solve_power(effect_size=detectable, alpha=0.05, power=0.85)
    assert oracle == pytest.approx(planned, abs=2)


def test_a_spread_known_from_few_blocks_asks_for_more():
    few, many = (
        needed_blocks(
            standard_error=0.1 / math.sqrt(blocks),
            blocks=blocks,
            detectable=0.03,
            level=0.05,
            power=0.8,
            least=7,
        )
        for blocks in (8, 80)
    )
    assert few > 1.2 * many


def test_nothing_to_detect_needs_no_number():
    decision = judge_challenge(found(0.0, -0.1, 0.1), Rule(min_improvement=0.0))
    assert (None, Outcome.FAIL) == (decision.needed_n, decision.outcome)

from dataclasses import replace

import numpy as np
import pytest
from statsmodels.stats.contingency_tables import mcnemar as sm_mcnemar

from evergreen.tasks.core.ab_testing.analysis import (
    Action,
    analyse_live_test,
    conclude,
    name_verdict,
    promotes,
)
from evergreen.tasks.core.ab_testing.definition import Arm, Guardrail, live_test_payload, read_live_test
from evergreen.tasks.core.ab_testing.effect import measure_effect
from evergreen.tasks.core.ab_testing.evidence import (
    ArmEvidence,
    Evidence,
    LoggedAnswers,
    UnitTable,
    gather_evidence,
    observe,
)
from evergreen.tasks.core.ab_testing.metric import choose_clip, live_metric, live_metric_name, live_values
from evergreen.tasks.core.ab_testing.report import split_line
from evergreen.tasks.core.errors import DataError, InputError, UnknownName
from evergreen.tasks.core.metrics.registry import get_metric
from evergreen.tasks.core.metrics.scored import Scored
from evergreen.tasks.core.stats.sequential_counts import log_split_e_value, mcnemar_e_value
from tests.support.live_tests import DAY, answers, live_test, look, pairs, two_arms

NOW = 40 * DAY


def only(found):
    (judged,) = found.results
    return judged


def codes(found):
    return [reason.code for reason in only(found).reasons]


def evidence_of(test, answered, *, now=NOW, metric="accuracy", problem="binary", clip=None):
    return gather_evidence(observe(answered, live_metric(metric, problem=problem)), test, now=now, clip=clip)


# The definition


def test_a_definition_survives_its_payload():
    test = live_test(
        clip=(-1.0, 9.0),
        follow_up=DAY,
        baseline=2.0,
        guardrails=(Guardrail(metric="brier_score", most_worse=0.1),),
    )
    assert test == read_live_test(live_test_payload(test))


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"name": "a b"}, "name 'a b' is not allowed"),
        ({"hypothesis": " "}, "has no hypothesis"),
        ({"mode": "shadw"}, "Unknown mode 'shadw'"),
        ({"policy": "best"}, "Unknown policy 'best'"),
        ({"strict": True, "policy": "non_inferiority", "margin": 0.1}, "cannot be strict"),
        ({"challengers": ()}, "has no challenger"),
        ({"challengers": (Arm(name="champion", version=2, share=0.1),)}, "names a variant twice"),
        ({"challengers": (Arm(name="b", version=1, share=0.1),)}, "version 1 twice"),
        ({"challengers": (Arm(name="b", version=2, share=0.0),)}, "share of 'b' is 0.0"),
        ({"challengers": (Arm(name="b", version=2, share=0.7),)}, "add up to 1.2"),
        ({"min_improvement": 0.0}, "min_improvement is 0.0"),
        ({"longest": float("nan")}, "longest duration is nan"),
        ({"start": float("inf")}, "starts at inf"),
        ({"policy": "non_inferiority"}, "margin is 0.0"),
        ({"baseline": 0.0}, "baseline is 0.0"),
        ({"alpha": 1.0}, "alpha is 1.0"),
        ({"power": 0.0}, "power is 0.0"),
        ({"follow_up": -1.0}, "follow-up is -1.0"),
        ({"clip": (2.0, 1.0)}, "clipped to"),
        ({"guardrails": (Guardrail(metric="brier_score", most_worse=0.0),)}, "allows 0.0 worse"),
    ],
)
def test_what_makes_no_test_is_refused_by_name(changed, said):
    with pytest.raises(InputError, match=said):
        live_test(**changed)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"metrc": "accuracy"}, "Did you mean 'metric'"),
        ({"control": {"name": "champion"}}, "Arm .* cannot be read"),
        ({"control": {"name": "champion", "version": True}}, "Version True"),
        ({"challengers": "new"}, "challengers is 'new'"),
        ({"longest": "30d"}, "longest is '30d'. Allowed: a number"),
        ({"clip": [1.0]}, "two numbers"),
        ({"guardrails": [{"metric": "accuracy"}]}, "Guardrail .* cannot be read"),
    ],
)
def test_a_payload_that_cannot_be_read_says_where(changed, said):
    with pytest.raises(InputError, match=said):
        read_live_test({**live_test_payload(live_test()), **changed})


def test_a_payload_that_lacks_something_names_it():
    plain = live_test_payload(live_test())
    del plain["metric"], plain["mode"]
    with pytest.raises(InputError, match="lacks metric, mode"):
        read_live_test(plain)


def test_a_relative_improvement_is_fixed_by_the_baseline():
    test = live_test(min_improvement=0.05, baseline=-4.0)
    assert 0.2 == pytest.approx(test.effect)
    assert (
        0.025
        == live_test(
            challengers=(Arm(name="b", version=2, share=0.2), Arm(name="c", version=3, share=0.2))
        ).alpha_each
    )


# Metrics


@pytest.mark.parametrize("name", ["accuracy", "log_loss", "brier_score", "business_value"])
def test_values_of_rows_average_to_the_metric(name):
    rng = np.random.default_rng(0)
    p = rng.random(200)
    scored = Scored(y=rng.integers(0, 2, 200), score=p, classes=(0, 1), value=rng.normal(5, 2, 200))
    metric = live_metric(name, problem="binary")
    values, rows = live_values(metric, scored)
    assert metric.sign * metric(scored) == pytest.approx(values.mean())
    assert list(range(200)) == rows.tolist()


@pytest.mark.parametrize(
    ("name", "problem", "instead"),
    [("roc_auc", "binary", "brier_score"), ("rmse", "regression", "mse"), ("f1", "binary", "accuracy")],
)
def test_metrics_that_are_no_means_are_refused_with_a_relative(name, problem, instead):
    with pytest.raises(InputError, match=f"no mean over rows.*{instead}"):
        live_metric(name, problem=problem)


def test_the_nearest_live_metric_stands_in():
    assert "accuracy" == live_metric_name("accuracy", problem="multiclass")
    assert "ndcg_at_3" == live_metric_name("ndcg@3", problem="ranking")
    with pytest.raises(UnknownName):
        live_metric("acuracy", problem="binary")


def test_clipping_is_fixed_from_past_values():
    past = np.append(np.arange(1_000.0), np.nan)
    assert np.quantile(past[:-1], [0.05, 0.95]).tolist() == pytest.approx(
        list(choose_clip(past, quantile=0.95))
    )
    with pytest.raises(InputError, match="50 past values are too few"):
        choose_clip(past[:50])
    with pytest.raises(InputError, match="quantile of clipping is 1"):
        choose_clip(past, quantile=1)
    with pytest.raises(DataError, match="do not vary"):
        choose_clip(np.zeros(500))


# Arms


def test_a_better_arm_is_superior_and_a_worse_one_inferior():
    rng = np.random.default_rng(1)
    better, worse = (look(live_test(), two_arms(rng, challenger=right)) for right in (0.8, 0.6))
    assert ("superior", True) == (only(better).verdict, only(better).promotes)
    assert ("inferior", False) == (only(worse).verdict, only(worse).promotes)
    measured = only(better).measured
    assert 0 < measured.low < 0.1 < measured.high
    assert 0 == only(better).need.remaining


def test_equal_arms_become_equivalent_and_are_undecided_before():
    rng = np.random.default_rng(2)
    few = only(look(live_test(), two_arms(rng, n=600, challenger=0.7)))
    many = only(look(live_test(), two_arms(rng, n=40_000, challenger=0.7)))
    assert ("undecided", "equivalent") == (few.verdict, many.verdict)
    assert few.need.remaining == few.need.units - few.measured.n > 1_000
    assert few.need.time > 0


def test_what_is_needed_follows_from_the_rate_and_the_follow_up():
    rng = np.random.default_rng(3)
    test = live_test(follow_up=DAY)
    answered = two_arms(rng, n=600, challenger=0.7, positions=np.linspace(0, 4 * DAY, 600))
    need = only(look(test, answered, now=5 * DAY)).need
    assert need.remaining / 600 * 4 * DAY + DAY == pytest.approx(need.time)


def test_strict_and_non_inferior_rules_are_those_of_the_challenge():
    rng = np.random.default_rng(4)
    answered = two_arms(rng, n=8_000, challenger=0.76)
    assert "undecided" == only(look(live_test(strict=True, min_improvement=0.06), answered)).verdict
    equal = two_arms(rng, n=40_000, challenger=0.7)
    found = only(look(live_test(policy="non_inferiority", margin=0.03), equal))
    assert ("equivalent", True, ["non_inferior"]) == (
        found.verdict,
        found.promotes,
        [r.code for r in found.reasons],
    )


def test_batches_add_up_to_the_evidence_of_all_rows():
    rng = np.random.default_rng(5)
    answered = two_arms(rng, n=900, units=[f"e{i}" if i % 3 else None for i in rng.integers(0, 200, 900)])
    test = live_test()
    whole = evidence_of(test, answered)
    parts = Evidence()
    for first in range(0, 900, 300):
        mask = (answered.positions >= first) & (answered.positions < first + 300)
        parts = parts + evidence_of(test, answered.take(mask))
    for name in ("champion", "new"):
        one, other = whole.arm(name), parts.arm(name)
        assert one.counts == other.counts
        np.testing.assert_allclose(one.moments().comoments, other.moments().comoments)
    one, other = (analyse_live_test(test, each, now=NOW) for each in (whole, parts))
    assert one.split == other.split
    assert (only(one).measured.low, only(one).need) == (
        pytest.approx(only(other).measured.low),
        only(other).need,
    )


def test_rows_of_one_entity_are_one_unit():
    rng = np.random.default_rng(6)
    variant = np.where(np.arange(400) < 200, "new", "champion")
    good = rng.random(400) < 0.7
    rows = np.repeat(np.arange(400), 20)  # each entity is always right, or never
    answered = answers(variant[rows], good[rows], units=[f"e{i}" for i in rows])
    measured = only(look(live_test(), answered)).measured
    assert (200, 200, True) == (measured.n_control, measured.n_challenger, measured.repeated)
    assert measured.standard_error > 0.04  # row by row it would be .010


def test_units_answered_by_both_arms_count_in_neither_and_many_stop_the_test():
    rng = np.random.default_rng(7)
    units = [f"e{i}" for i in rng.integers(0, 1_500, 4_000)]
    found = look(live_test(), two_arms(rng, units=units))
    assert "unit_contamination" in codes(found)
    assert "undecided" == only(found).verdict
    assert found.split["crossed"] > 100


def test_no_winner_is_named_while_the_split_is_not_the_declared_one():
    rng = np.random.default_rng(8)
    found = look(live_test(share=0.4), two_arms(rng, share=0.5))
    assert ("undecided", False, ["sample_ratio_mismatch"]) == (
        only(found).verdict,
        only(found).promotes,
        codes(found),
    )
    assert found.split["p_value"] < 0.005
    assert {"champion": 2_400.0, "new": 1_600.0} == pytest.approx(found.split["expected"])


def test_no_winner_is_named_where_labels_come_in_one_arm_more_than_in_the_other():
    rng = np.random.default_rng(9)
    answered = two_arms(rng, challenger=0.7)
    dropped = (answered.variants == "new") & (rng.random(4_000) < 0.5) & (answered.scored.label == 0)
    known = np.where(dropped, np.nan, answered.positions)
    selective = LoggedAnswers(
        keys=answered.keys,
        variants=answered.variants,
        units=answered.units,
        positions=answered.positions,
        known_at=known,
        scored=answered.scored,
    )
    assert ["labels_differ"] == codes(look(live_test(follow_up=DAY), selective))


def test_answers_that_fail_do_not_flatter_a_model():
    rng = np.random.default_rng(10)
    n = 2_000
    score = rng.random(n)
    score[::10] = np.nan
    answered = LoggedAnswers(
        keys=np.arange(n).astype(str).astype(object),
        variants=np.where(rng.random(n) < 0.5, "new", "champion").astype(object),
        units=np.array([None] * n, dtype=object),
        positions=np.arange(n, dtype=float),
        known_at=np.arange(n, dtype=float),
        scored=Scored(y=rng.integers(0, 2, n), score=score, classes=(0, 1)),
    )
    found = look(live_test(metric="brier_score"), answered, metric="brier_score")
    assert ["undefined_metric_rate", "undefined_metric_rate"] == codes(found)
    assert 100 < found.counts["new"]["undefined"]


@pytest.mark.parametrize("n", [0, 1, 5, 150])
def test_few_rows_decide_nothing(n):
    found = look(live_test(), two_arms(np.random.default_rng(11), n=n, control=0.0, challenger=1.0))
    assert ("undecided", False) == (only(found).verdict, only(found).promotes)
    assert ["too_few_units"] == codes(found)
    found.to_dict()


def test_an_empty_arm_decides_nothing():
    answered = answers(["champion"] * 3_000, np.ones(3_000))
    assert "undecided" == only(look(live_test(share=0.01), answered)).verdict
    assert "undecided" == only(look(live_test("paired"), answered)).verdict


def test_arms_that_are_always_right_are_equivalent_when_they_are_many_enough_to_rule_out_what_was_not_seen():
    rng = np.random.default_rng(12)
    small, large = (live_test(min_improvement=least) for least in (0.001, 0.05))
    answered = two_arms(rng, control=1.0, challenger=1.0)
    assert ["undecided", "equivalent"] == [only(look(test, answered)).verdict for test in (small, large)]
    assert 400 == only(look(large, answered)).need.units


def test_unbounded_values_that_never_vary_decide_nothing():
    answered = two_arms(np.random.default_rng(12), control=1.0, challenger=1.0)
    test = live_test()
    found = only(analyse_live_test(test, evidence_of(test, answered), now=NOW))
    assert ("undecided", None) == (found.verdict, found.need.units)
    assert (-np.inf, np.inf) == (found.measured.low, found.measured.high)
    assert found.measured.to_dict()["low"] is None


def test_several_challengers_share_alpha():
    rng = np.random.default_rng(14)
    variants = rng.choice(["champion", "new", "newer"], 6_000)
    right = rng.random(6_000) < np.where(variants == "newer", 0.8, 0.7)
    arms = (Arm(name="new", version=2, share=1 / 3), Arm(name="newer", version=3, share=1 / 3))
    found = look(
        live_test(control=Arm(name="champion", version=1, share=1 / 3), challengers=arms),
        answers(variants, right),
    )
    assert {"new": False, "newer": True} == {one.arm.name: one.promotes for one in found.results}


def test_a_guardrail_stops_a_challenger_that_harms_another_metric():
    rng = np.random.default_rng(15)
    answered = two_arms(rng, challenger=0.6)
    test = live_test(guardrails=(Guardrail(metric="accuracy", most_worse=0.02),))
    harmed = evidence_of(test, answered)
    fine = evidence_of(test, two_arms(rng, challenger=0.7))
    assert ["guardrail"] == [r.code for r in only(look(test, answered, guards={"accuracy": harmed})).tripped]
    assert () == only(look(test, answered, guards={"accuracy": fine})).tripped
    assert () == only(look(test, answered)).tripped


# Pairs


def test_pairs_are_judged_by_the_exact_e_value():
    answered = pairs(np.random.default_rng(16))
    test = live_test("paired", unit="row")
    found = only(look(test, answered))
    side = evidence_of(test, answered).arm("new")
    assert ("superior", "mcnemar_e_value") == (found.verdict, found.measured.test)
    assert (side.lost, side.won) == (found.measured.lost, found.measured.won)
    assert np.log(mcnemar_e_value(side.lost, side.won, concentration=test.concentration)) == pytest.approx(
        found.measured.log_e_value
    )
    assert sm_mcnemar([[0, side.lost], [side.won, 0]]).pvalue < 0.05
    assert (side.won - side.lost) / 2_000 == pytest.approx(found.measured.improvement)
    assert 2_000 == found.measured.n


def test_pairs_do_not_depend_on_the_order_of_their_rows():
    answered = pairs(np.random.default_rng(17))
    order = np.random.default_rng(18).permutation(4_000)
    test = live_test("paired", unit="row")
    one, other = (only(look(test, each)) for each in (answered, answered.take(order)))
    assert one.reasons == other.reasons
    assert (one.measured.low, one.measured.won) == (pytest.approx(other.measured.low), other.measured.won)


def test_pairs_without_discordance_are_equivalent_only_when_they_are_many():
    test = live_test("paired", min_improvement=0.01, unit="row")
    few, many = (
        only(look(test, pairs(np.random.default_rng(19), n=n, gain=0.0, loss=0.0))) for n in (100, 5_000)
    )
    assert ("undecided", "equivalent") == (few.verdict, many.verdict)
    assert few.measured.low < -0.01 < 0.01 < few.measured.high


def test_pairs_of_repeated_entities_are_judged_by_entity():
    rng = np.random.default_rng(20)
    units = [f"e{i % 50}" for i in range(2_000)] * 2
    found = only(look(live_test("paired"), pairs(rng, units=units)))
    assert ("confidence_sequence", 50, True) == (
        found.measured.test,
        found.measured.n,
        found.measured.repeated,
    )
    assert "entities" == found.need.unit


def test_the_method_is_that_of_the_definition_whatever_units_come():
    for units in (None, [f"e{i}" for i in range(2_000)] * 2, [f"e{i % 50}" for i in range(2_000)] * 2):
        answered = pairs(np.random.default_rng(20), units=units)
        alone = only(look(live_test("paired", unit="row"), answered))
        assert ("mcnemar_e_value", 2_000) == (alone.measured.test, alone.measured.n)
        assert "confidence_sequence" == only(look(live_test("paired"), answered)).measured.test


def test_pairs_by_another_metric_are_judged_by_their_mean_difference():
    rng = np.random.default_rng(21)
    n = 1_000
    y = rng.integers(0, 2, n)
    scores = [np.clip(y + rng.normal(0, s, n), 0, 1) for s in (0.6, 0.4)]
    answered = LoggedAnswers(
        keys=np.array([f"p{i}" for i in range(n)] * 2, dtype=object),
        variants=np.repeat(["champion", "new"], n).astype(object),
        units=np.array([None] * 2 * n, dtype=object),
        positions=np.tile(np.arange(n, dtype=float), 2),
        known_at=np.tile(np.arange(n, dtype=float), 2),
        scored=Scored(y=np.tile(y, 2), score=np.concatenate(scores), classes=(0, 1)),
    )
    found = only(look(live_test("paired", metric="brier_score"), answered, metric="brier_score"))
    brier = [
        get_metric("brier_score", problem="binary")(Scored(y=y, score=s, classes=(0, 1))) for s in scores
    ]
    assert brier[0] - brier[1] == pytest.approx(found.measured.improvement)
    assert ("superior", "confidence_sequence") == (found.verdict, found.measured.test)


def test_a_shadow_that_misses_rows_names_no_winner():
    answered = pairs(np.random.default_rng(22))
    missing = answered.take((answered.variants == "champion") | (answered.positions % 20 > 0))
    assert ["shadow_coverage_low"] == codes(look(live_test("paired"), missing))
    half = live_test("paired", challengers=(Arm(name="new", version=2, share=0.95),))
    assert ["superior"] == codes(look(half, missing))  # where it was declared to score 95 %
    fewer = answered.take((answered.variants == "champion") | (answered.positions % 3 > 0))
    assert ["shadow_coverage_low"] == codes(look(half, fewer))


def test_the_same_row_answered_twice_is_refused():
    answered = answers(["new", "new"], [1, 0], keys=["p", "p"])
    with pytest.raises(DataError, match="answered 'p' 2 times"):
        observe(answered, live_metric("accuracy", problem="binary"))


def test_columns_of_different_lengths_and_rows_without_a_place_are_refused():
    with pytest.raises(DataError, match="'units' of logged answers has 1 entries for 2"):
        answers(["new", "new"], [1, 0], units=["a"])
    with pytest.raises(DataError, match="no position"):
        answers(["new"], [1], positions=[np.nan])


# Groups


def race_answers(rng, *, races=600, gain=1.0):
    """Return two variants' scores of the same races: the new one's are nearer to the truth."""
    runners = 6
    truth = rng.normal(0, 1, (races, runners))
    y = (truth == truth.max(axis=1, keepdims=True)).astype(float)
    noise = [truth + rng.normal(0, s, truth.shape) for s in (1.5, 1.5 - gain)]
    n = races * runners
    return LoggedAnswers(
        keys=np.tile(np.array([f"p{i}" for i in range(n)], dtype=object), 2),
        variants=np.repeat(["champion", "new"], n).astype(object),
        units=np.array([None] * 2 * n, dtype=object),
        positions=np.tile(np.repeat(np.arange(races, dtype=float), runners), 2),
        known_at=np.tile(np.repeat(np.arange(races, dtype=float), runners), 2),
        scored=Scored(
            y=np.tile(y.ravel(), 2),
            score=np.concatenate([s.ravel() for s in noise]),
            group=np.tile(np.repeat([f"race{i}" for i in range(races)], runners), 2),
        ),
    )


@pytest.mark.parametrize("metric", ["ndcg_at_3", "win_rate"])
def test_groups_are_the_units_of_a_ranking(metric):
    answered = race_answers(np.random.default_rng(23))
    found = only(look(live_test("paired", metric=metric), answered, metric=metric, problem="ranking"))
    measure_it = get_metric(metric, problem="ranking")
    alone = [measure_it(answered.scored.take(answered.variants == name)) for name in ("champion", "new")]
    assert alone[1] - alone[0] == pytest.approx(found.measured.improvement)
    assert (600, "superior") == (found.measured.n, found.verdict)


def test_a_group_with_one_unknown_outcome_waits():
    answered = race_answers(np.random.default_rng(24), races=40)
    known = answered.known_at.copy()
    known[[0, 240]] = np.nan
    waiting = LoggedAnswers(
        keys=answered.keys,
        variants=answered.variants,
        units=answered.units,
        positions=answered.positions,
        known_at=known,
        scored=answered.scored,
    )
    side = evidence_of(live_test("paired", metric="ndcg"), waiting, metric="ndcg", problem="ranking").arm(
        "new"
    )
    assert (40, 39) == (side.counts["due"], side.counts["counted"])


# Clipping, cohorts


def test_values_beyond_the_bounds_are_clipped_and_counted():
    n = 400
    value = np.where(np.arange(n) == 0, 1e9, 1.0 + np.arange(n) % 3)
    answered = answers(["champion", "new"] * 200, np.ones(n))
    scored = Scored(y=answered.scored.y, label=answered.scored.label, classes=(0, 1), value=value)
    worth = LoggedAnswers(
        keys=answered.keys,
        variants=answered.variants,
        units=answered.units,
        positions=answered.positions,
        known_at=answered.known_at,
        scored=scored,
    )
    test = live_test(metric="business_value", clip=(0.0, 3.0))
    evidence = evidence_of(test, worth, metric="business_value", clip=test.clip)
    assert (1, 0) == (evidence.arm("champion").counts["clipped"], evidence.arm("new").counts["clipped"])
    found = measure_effect(evidence, test, test.challengers[0], alpha=0.05, scale=1.0, hits=False)
    assert 0 < found.control <= 3.0


def test_both_arms_count_by_the_same_age_and_outcomes_that_come_later_do_not():
    place = np.arange(10.0) * DAY
    answered = answers(
        ["champion", "new"] * 5,
        np.ones(10),
        positions=place,
        known_at=place + np.where(np.arange(10) < 4, 3, 1) * DAY,
    )
    test = live_test(follow_up=2 * DAY, longest=100 * DAY)
    evidence = evidence_of(test, answered, now=9 * DAY)
    counts = [evidence.arm(name).counts for name in ("champion", "new")]
    assert [4, 4] == [one["due"] for one in counts]  # days 0 to 7 are two days old
    assert [2, 2] == [one["labelled"] for one in counts]  # days 0 to 3 were labelled after three


def test_rows_before_the_start_and_after_the_end_do_not_count():
    answered = answers(["champion", "new"] * 5, np.ones(10), positions=np.arange(10.0))
    evidence = evidence_of(live_test(start=2.0, longest=4.0), answered)
    assert 5 == sum(side.counts["due"] for side in evidence.arms.values())


def test_outcomes_as_they_come_wait_until_four_in_five_are_there():
    rng = np.random.default_rng(25)
    answered = two_arms(rng, known_at=np.where(rng.random(4_000) < 0.6, 0.0, np.nan))
    found = look(live_test(), answered)
    assert ["immature"] == codes(found)
    assert "60%" in only(found).reasons[0].message or "59%" in only(found).reasons[0].message
    assert "immature" not in codes(look(live_test(follow_up=DAY), answered))


# What is astray, and whether that is chance


def test_a_handful_of_rows_astray_forbids_a_winner_and_ends_nothing():
    paired, arms = live_test("paired", unit="row"), live_test(share=0.1)
    one_missing = answers(
        ["champion"] * 50 + ["new"] * 49,
        np.ones(99),
        keys=[f"p{i}" for i in (*range(50), *range(49))],
        positions=np.append(np.arange(50.0), np.arange(49.0)),
    )
    one_crossed = answers(
        ["champion"] * 30 + ["new"] * 3, np.ones(33), units=[*(f"u{i}" for i in range(30)), "u0", "x", "y"]
    )
    for test, answered in ((paired, one_missing), (arms, one_crossed)):
        found = look(test, answered)
        assert "data_quality_suspected" == codes(found)[0]
        assert ("undecided", False) == (only(found).verdict, only(found).promotes)
        assert Action.GO_ON is conclude(test, replace(found, now=DAY), champion=1).action


def test_what_is_surely_astray_ends_the_test():
    test = live_test("paired", unit="row")
    answered = pairs(np.random.default_rng(22))
    missing = answered.take((answered.variants == "champion") | (answered.positions % 20 > 0))
    assert Action.ABORT is conclude(test, look(test, missing), champion=1).action


@pytest.mark.parametrize("share", [0.01, 0.002])
def test_a_share_astray_that_is_put_up_with_ends_at_most_one_of_a_hundred_tests(share):
    rng = np.random.default_rng(26)
    odd = rng.binomial(20, share, (1_000, 500)).cumsum(axis=1)
    whole = 20 * np.arange(1, 501)
    sure = log_split_e_value(np.stack([whole - odd, odd], -1), [0.99, 0.01]) >= np.log(200)
    assert (sure & (odd > 0.01 * whole)).any(axis=1).mean() <= 0.01
    assert ((odd > 0.01 * whole)[:, 2:]).any(axis=1).mean() > 0.1  # by the bare figure


def test_the_newest_rows_wait_for_their_shadows():
    place = np.arange(100.0)
    late = place > 95  # of these no shadow's answer has come yet
    answered = answers(
        ["champion"] * 100 + ["new"] * 96,
        np.ones(196),
        keys=[f"p{i}" for i in (*range(100), *range(96))],
        positions=np.append(place, place[~late]),
    )
    counts = evidence_of(live_test("paired", unit="row", grace=10.0), answered, now=100.0).arm("new").counts
    assert (91, 0) == (counts["due"], counts["unpaired"])
    assert (
        4 == evidence_of(live_test("paired", unit="row"), answered, now=100.0).arm("new").counts["unpaired"]
    )


# Verdicts by the bounds alone


@pytest.mark.parametrize(
    ("bounds", "verdict", "promoted"),
    [
        ((-0.04, 0.06), "undecided", True),
        ((-0.04, -0.02), "inferior", True),
        ((-0.009, 0.008), "equivalent", True),
        ((0.001, 0.03), "superior", True),
        ((-0.06, -0.02), "inferior", False),
        ((-0.06, 0.06), "undecided", False),
    ],
)
def test_a_verdict_names_the_bounds_and_the_policy_promotes(bounds, verdict, promoted):
    test = live_test(policy="non_inferiority", margin=0.05, min_improvement=0.01)
    assert (verdict, promoted) == (name_verdict(*bounds, test), promotes(*bounds, test))


def test_what_is_not_worse_by_the_margin_is_not_called_equivalent():
    test = live_test(policy="non_inferiority", margin=0.08, min_improvement=0.01)
    found = only(look(test, two_arms(np.random.default_rng(2), n=8_000, challenger=0.7)))
    assert ("undecided", True, ["non_inferior"]) == (
        found.verdict,
        found.promotes,
        [r.code for r in found.reasons],
    )
    assert "not worse than the champion by 0.08" in found.reasons[0].message
    assert 0 == found.need.remaining


def test_equals_are_waited_for_where_equals_are_promoted_by_a_margin_below_what_matters():
    test = live_test(policy="non_inferiority", margin=0.02, min_improvement=0.05)
    found = look(test, two_arms(np.random.default_rng(2), n=12_000, challenger=0.7))
    assert ("equivalent", False) == (only(found).verdict, only(found).promotes)
    assert Action.GO_ON is conclude(test, replace(found, now=DAY), champion=1).action


# Blocks


def blocked(**more):
    return live_test("paired", unit="block", **{"block": 100.0, "longest": 5_000.0, **more})


def test_pairs_of_one_piece_of_the_clock_are_one_unit_and_count_when_it_is_over():
    answered = pairs(np.random.default_rng(27), n=2_000)
    for now, blocks in ((99.9, 0), (100.0, 1), (1_950.0, 19), (2_001.0, 20)):
        found = look(blocked(), answered, now=now)
        assert (blocks, "blocks") == (only(found).measured.n, only(found).need.unit)
        assert 100 * blocks == found.counts["new"].get("counted", 0)
    assert ("superior", "confidence_sequence") == (only(found).verdict, only(found).measured.test)
    table = evidence_of(blocked(), answered, now=2_001.0).arm("new").table
    assert np.arange(20).tolist() == [int(name) for name in table.names]
    first = answered.scored.label[:100], answered.scored.label[2_000:2_100]
    assert [100.0, first[0].sum(), first[1].sum()] == table.sums[0].tolist()


def test_few_blocks_name_no_winner_however_clear_they_are():
    answered = pairs(np.random.default_rng(27), n=2_000)
    few, some = (look(blocked(), answered, now=now) for now in (699.0, 901.0))
    assert ["too_few_units"] == codes(few)
    assert "6 blocks" in only(few).reasons[0].message
    assert ("undecided", None) == (
        only(some).verdict,
        only(some).measured.to_dict()["low"],
    )  # 9 of no spread at all


def test_blocks_that_lean_on_their_neighbours_say_less():
    rng, blocks = np.random.default_rng(28), 60
    wave = np.repeat(rng.normal(0, 5, blocks // 5), 5) + rng.normal(0, 1, blocks)
    sums = np.column_stack([np.full(blocks, 100.0), np.full(blocks, 80.0), 80 + wave])
    both = []
    for order in (np.arange(blocks), rng.permutation(blocks)):
        names = np.array([f"{i:012d}" for i in range(blocks)], dtype=object)
        evidence = Evidence(arms={"new": ArmEvidence(table=UnitTable(names=names, sums=sums[order]))})
        both.append(
            measure_effect(evidence, blocked(), blocked().challengers[0], alpha=0.05, scale=0.05, hits=True)
        )
    assert both[0].standard_error > 1.5 * both[1].standard_error


@pytest.mark.parametrize(
    ("mode", "changed", "said"),
    [
        ("paired", {"unit": "day"}, "Unknown unit 'day'"),
        ("paired", {"unit": "block"}, "its block None"),
        ("paired", {"block": 5.0}, "its block 5.0"),
        ("paired", {"unit": "block", "block": 0.0}, "block is 0.0"),
        ("paired", {"grace": -1.0}, "grace is -1.0"),
        ("arms", {"unit": "row"}, "The unit of arms is 'row'"),
    ],
)
def test_units_that_are_none_are_refused_by_name(mode, changed, said):
    with pytest.raises(InputError, match=said):
        live_test(mode, **changed)


# Groups in several arms


def test_a_group_of_which_two_arms_answered_a_part_counts_in_neither():
    rng = np.random.default_rng(29)
    races, runners = 300, 8
    n = races * runners
    y = (rng.random((races, runners)) < 0.3).astype(float)
    arm = np.where(np.arange(n).reshape(races, runners) < n // 2, "new", "champion")
    arm[0] = ["new"] + ["champion"] * 7  # a part of one runner, which says nothing about an order
    y[0] = [1, 1, 0, 0, 0, 0, 0, 0]
    answered = LoggedAnswers(
        keys=np.array([f"p{i}" for i in range(n)], dtype=object),
        variants=arm.ravel().astype(object),
        units=np.array([None] * n, dtype=object),
        positions=np.arange(n, dtype=float),
        known_at=np.arange(n, dtype=float),
        scored=Scored(
            y=y.ravel(),
            score=rng.normal(size=n),
            group=np.repeat([f"race{i}" for i in range(races)], runners),
        ),
    )
    test = live_test(metric="ndcg_at_3")
    evidence = evidence_of(test, answered, metric="ndcg_at_3", problem="ranking")
    assert ["race0"] == evidence.crossed().tolist()
    found = look(test, answered, metric="ndcg_at_3", problem="ranking")
    assert "1 units met several arms and count in none." in split_line(test, found.to_dict())


def test_a_group_that_a_shadow_scored_in_part_is_no_pair():
    answered = race_answers(np.random.default_rng(24), races=40)
    part = answered.take((answered.variants == "champion") | (np.arange(480) % 60 > 0))
    side = evidence_of(live_test("paired", metric="ndcg"), part, metric="ndcg", problem="ranking").arm("new")
    assert (40, 4, 36) == (side.counts["due"], side.counts["unpaired"], side.counts["counted"])

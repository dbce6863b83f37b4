import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import roc_auc_score

from evergreen.tasks.core.config.evaluation import LatencyLimits
from evergreen.tasks.core.metrics.registry import get_metric
from evergreen.tasks.core.metrics.scored import Scored
from evergreen.tasks.core.validation.leakage import LeakMeasure, check_leakage, measure_leakage, ranking_power
from evergreen.tasks.core.validation.operations import check_latency, check_size, check_smoke
from evergreen.tasks.core.validation.probabilities import (
    check_calibration,
    check_probabilities,
    expected_calibration_error,
    measure_calibration,
)
from evergreen.tasks.core.validation.quality import check_floors, check_inputs, check_outputs, check_shapes
from evergreen.tasks.core.validation.slices import check_slices, measure_slices, slice_labels
from evergreen.tasks.core.validation.smoke import Latency, SmokeProbe, SmokeReport
from evergreen.tasks.core.verdict import Outcome

ACCURACY = get_metric("accuracy", problem="binary")
RMSE = get_metric("rmse", problem="regression")


def codes(result):
    return [reason.code for reason in result.verdict.reasons]


# floors


@pytest.mark.parametrize(
    ("metric", "value", "floor", "expected"),
    [
        (ACCURACY, 0.80, 0.80, Outcome.PASS),
        (ACCURACY, 0.79, 0.80, Outcome.FAIL),
        (RMSE, 5.0, 5.0, Outcome.PASS),
        (RMSE, 5.1, 5.0, Outcome.FAIL),
        (RMSE, math.nan, 5.0, Outcome.FAIL),
    ],
)
def test_a_floor_holds_in_the_direction_of_its_metric(metric, value, floor, expected):
    result = check_floors({metric.name: value}, {metric.name: floor}, metrics={metric.name: metric}, n=9)
    assert result.verdict.outcome is expected


def test_an_undefined_metric_is_named_as_such():
    result = check_floors({"rmse": math.nan}, {"rmse": 1.0}, metrics={"rmse": RMSE}, n=9)
    assert codes(result) == ["metric_undefined"]


# quality and shapes


def test_infinite_inputs_are_named_by_column_and_window():
    frame = pd.DataFrame({"a": [1.0, np.inf, -np.inf, 2.0], "b": [1.0, np.nan, 2.0, 3.0]})
    result = check_inputs({"holdout": frame}, ["a", "b"], max_infinite=0.0)
    assert codes(result) == ["infinite_values"]
    assert "'a' holds 2 infinite values in the holdout window" in result.verdict.reasons[0].message


def test_as_many_infinities_as_are_allowed_pass():
    frame = pd.DataFrame({"a": [1.0, np.inf, 3.0, 2.0]})
    assert check_inputs({"holdout": frame}, ["a"], max_infinite=0.25).verdict.passed


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_an_answer_that_is_no_number_fails(bad):
    scored = Scored(y=np.array([0, 1]), score=np.array([0.5, bad]), classes=(0, 1))
    assert codes(check_outputs(scored)) == ["answers_not_finite"]


def test_probabilities_of_the_wrong_width_fail():
    scored = Scored(y=np.array([0, 1, 2]), score=np.full((3, 2), 0.5), classes=(0, 1, 2))
    assert codes(check_shapes(scored, problem="multiclass")) == ["wrong_shape"]


def test_a_class_the_model_never_met_is_named():
    scored = Scored(y=np.array(["a", "b", "z"]), score=np.full((3, 2), 0.5), classes=("a", "b"))
    result = check_shapes(scored, problem="multiclass")
    assert (codes(result), result.verdict.reasons[0].observed) == (["unknown_class"], "z")


# probabilities


@pytest.mark.parametrize(
    ("score", "expected"),
    [
        ([0.2, 0.9], []),
        ([0.2, 1.2], ["probability_outside"]),
        ([0.4, 0.4], ["constant_score"]),
        ([[0.2, 0.8], [0.9, 0.3]], ["probability_sum"]),
    ],
)
def test_probabilities_are_sane_or_said_why_not(score, expected):
    scored = Scored(y=np.array([0, 1]), score=np.array(score), classes=(0, 1))
    found = check_probabilities(scored)
    assert (codes(found) if not found.verdict.passed else []) == expected


def test_the_calibration_error_of_few_rows_is_the_gap_of_the_means():
    # stated 0.9 on average, seen 0.5: |0.9 - 0.5| = 0.4
    assert expected_calibration_error(np.array([1.0, 0.0]), np.array([0.9, 0.9])) == pytest.approx(0.4)


def test_the_calibration_error_averages_bins_of_equal_rows():
    # 100 rows, two bins of 50: gaps |0.1 - 0| and |0.9 - 0.8|, both 0.1
    truth = np.r_[np.zeros(50), np.ones(40), np.zeros(10)]
    stated = np.r_[np.full(50, 0.1), np.full(50, 0.9)]
    assert expected_calibration_error(truth, stated) == pytest.approx(0.1)


def test_the_calibration_error_agrees_with_scikit_learn_bins():
    from sklearn.calibration import calibration_curve

    rng = np.random.default_rng(0)
    stated = rng.random(1000)
    truth = (rng.random(1000) < stated**2).astype(float)
    seen, said = calibration_curve(truth, stated, n_bins=10, strategy="quantile")
    assert expected_calibration_error(truth, stated) == pytest.approx(np.mean(np.abs(seen - said)), abs=2e-3)


@given(st.integers(min_value=1, max_value=300), st.integers(min_value=0, max_value=999))
def test_the_calibration_error_lies_between_0_and_1(n, seed):
    rng = np.random.default_rng(seed)
    error = expected_calibration_error((rng.random(n) < 0.5).astype(float), rng.random(n))
    assert 0 <= error <= 1


def test_a_calibrated_model_is_rejected_in_no_set_of_the_smallest_size():
    rng = np.random.default_rng(5)
    errors = []
    for _ in range(500):
        stated = rng.random(50)
        errors.append(expected_calibration_error((rng.random(50) < stated).astype(float), stated))
    assert max(errors) < 0.25


def test_bad_calibration_fails_unless_class_weights_explain_it():
    assert codes(check_calibration(0.3, limit=0.25, n=99, weighted=False)) == ["badly_calibrated"]
    weighted = check_calibration(0.3, limit=0.25, n=99, weighted=True)
    assert weighted.verdict.passed
    assert [reason.code for reason in weighted.warnings] == ["badly_calibrated"]


def test_multiclass_calibration_is_the_mean_over_classes():
    score = np.array([[0.7, 0.2, 0.1], [0.1, 0.6, 0.3]])
    scored = Scored(y=np.array([0, 1]), score=score, classes=(0, 1, 2))
    # class means stated (.4, .4, .2), seen (.5, .5, 0): (.1 + .1 + .2) / 3
    assert measure_calibration(scored) == pytest.approx(0.4 / 3)


# slices


def sliced(good=400, bad=400, *, right_in_bad=0.2, seed=0):
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 2, good + bad)
    right = np.r_[rng.random(good) < 0.95, rng.random(bad) < right_in_bad]
    label = np.where(right, y, 1 - y)
    scored = Scored(y=y, score=label.astype(float), label=label, classes=(0, 1))
    return scored, {"city": pd.Series(["a"] * good + ["b"] * bad)}


def judged_slices(scored, labels, *, max_drop=0.25, min_rows=50):
    measures = measure_slices(scored, labels, metric=ACCURACY, min_rows=min_rows)
    return check_slices(measures, metric=ACCURACY, max_drop=max_drop)


def test_a_slice_that_is_left_behind_fails_by_name():
    result = judged_slices(*sliced())
    assert codes(result) == ["slice_behind"]
    assert "Where city = b, accuracy is" in result.verdict.reasons[0].message


def test_a_slice_smaller_than_the_minimum_is_not_judged():
    assert judged_slices(*sliced(bad=49)).verdict.passed


def test_a_drop_that_noise_explains_only_warns():
    scored, labels = sliced(good=400, bad=60, right_in_bad=0.6)
    result = judged_slices(scored, labels)
    assert (result.verdict.outcome, [one.code for one in result.warnings]) == (Outcome.PASS, ["slice_behind"])


def test_equal_slices_are_rejected_in_fewer_sets_than_the_level():
    rng = np.random.default_rng(11)
    rejected = 0
    for _ in range(200):
        y = rng.integers(0, 2, 600)
        label = np.where(rng.random(600) < 0.7, y, 1 - y)
        scored = Scored(y=y, score=label.astype(float), label=label, classes=(0, 1))
        cities = pd.Series(rng.integers(0, 8, 600).astype(str))
        rejected += not judged_slices(scored, {"city": cities}, max_drop=0.0).verdict.passed
    assert rejected <= stats.binom.isf(0.001, 200, 0.05)


def test_an_error_metric_drops_relative_to_the_whole():
    y = np.zeros(200)
    score = np.r_[np.full(100, 1.0), np.full(100, 3.0)]
    labels = {"c": pd.Series(["a"] * 100 + ["b"] * 100)}
    measures = measure_slices(Scored(y=y, score=score), labels, metric=RMSE, min_rows=50)
    # the whole's RMSE is sqrt(5); b's is 3: (3 - sqrt 5) / sqrt 5
    assert {m.value: m.drop for m in measures}["b"] == pytest.approx((3 - 5**0.5) / 5**0.5)


def test_a_ranking_is_not_sliced_within_its_groups():
    metric = get_metric("ndcg_at_3", problem="ranking")
    rng = np.random.default_rng(0)
    scored = Scored(y=rng.integers(0, 2, 200), score=rng.random(200), group=np.repeat(np.arange(20), 10))
    labels = {"within": pd.Series(["a", "b"] * 100), "across": pd.Series(["a"] * 100 + ["b"] * 100)}
    measures = measure_slices(scored, labels, metric=metric, min_rows=50)
    assert {m.column for m in measures} == {"across"}


def test_numbers_of_many_values_are_sliced_at_their_quartiles():
    labels = slice_labels(pd.DataFrame({"age": [*range(100), None]}), ["age"])["age"]
    assert (labels.nunique(), labels.iloc[-1]) == (5, "(null)")


# leakage


def outcome_and_features(n=2000, seed=0):
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 2, n)
    frame = pd.DataFrame(
        {
            "copy": y * 3.0 + 1,
            "noisy_copy": y + rng.normal(0, 0.1, n),
            "strong": y + rng.normal(0, 0.6, n),
            "weak": y + rng.normal(0, 3.0, n),
            "noise": rng.normal(size=n),
            "bent": np.where(y == 1, rng.choice([-1.0, 1.0], n), 0.0) + rng.normal(0, 0.1, n),
            "filled_when_yes": np.where(y == 1, 5.0, np.nan),
            "word": np.where(y == 1, "late", "fine"),
            "name": [f"id{k}" for k in range(n)],
        }
    )
    return y, frame


def test_leaks_of_every_shape_are_named_and_honest_features_are_not():
    y, frame = outcome_and_features()
    measure = measure_leakage(frame, y, features=list(frame), problem="binary")
    named = {reason.message.split("'")[1] for reason in check_leakage(measure, limit=0.98).verdict.reasons}
    assert named == {"copy", "noisy_copy", "bent", "filled_when_yes", "word"}


def test_the_power_of_a_number_is_its_area_under_the_curve():
    y, frame = outcome_and_features()
    expected = roc_auc_score(y, frame["strong"])
    assert ranking_power(frame["strong"], y, problem="binary") == pytest.approx(expected, abs=1e-12)


def test_one_class_that_is_easily_told_apart_is_no_leak():
    rng = np.random.default_rng(1)
    y = rng.integers(0, 3, 3000)
    tells_one = pd.Series((y == 0) * 9.0 + rng.normal(size=3000))
    # class 1 against the rest: half of the rest is told apart, half is not, (1 + 1/2) / 2
    assert ranking_power(tells_one, y, problem="multiclass") == pytest.approx(0.75, abs=0.03)


def test_a_column_that_orders_every_group_is_a_leak_of_a_ranking():
    rng = np.random.default_rng(2)
    group = np.repeat(np.arange(100), 8)
    y = np.tile(np.arange(8.0), 100)
    place = pd.Series(-y + 20 * group)
    assert ranking_power(place, y, problem="ranking", group=group) == 1.0
    assert ranking_power(pd.Series(rng.random(800)), y, problem="ranking", group=group) < 0.6


def test_the_lag_of_a_smooth_series_is_no_leak():
    rng = np.random.default_rng(3)
    y = np.cumsum(rng.normal(size=3000))
    frame = pd.DataFrame({"lag": np.r_[0.0, y[:-1]], "copy": y + rng.normal(0, 1e-3, 3000)})
    measure = measure_leakage(
        frame, y, features=["lag", "copy"], problem="regression", positions=np.arange(3000.0)
    )
    assert measure.power["lag"] > 0.98
    named = [reason.message.split("'")[1] for reason in check_leakage(measure, limit=0.98).verdict.reasons]
    assert named == ["copy"]


def test_a_strong_honest_feature_on_few_rows_is_warned_about_at_most():
    rejected = 0
    for seed in range(200):
        rng = np.random.default_rng(seed)
        y = rng.integers(0, 2, 85)
        frame = pd.DataFrame({"strong": y + rng.normal(0, 0.36, 85)})  # AUC about .975
        measure = measure_leakage(frame, y, features=["strong"], problem="binary")
        rejected += not check_leakage(measure, limit=0.98).verdict.passed
    assert rejected <= 10


def test_the_wilson_bound_agrees_with_statsmodels():
    from statsmodels.stats.proportion import proportion_confint

    certain = proportion_confint(95, 100, alpha=0.10, method="wilson")[0]
    measure = LeakMeasure(power={"strong": 0.95}, persistence=None, n=100)
    assert not check_leakage(measure, limit=certain - 1e-9).verdict.passed
    assert check_leakage(measure, limit=certain + 1e-9).verdict.passed


def test_a_limit_of_1_switches_the_check_off():
    y, frame = outcome_and_features()
    measure = measure_leakage(frame, y, features=["copy"], problem="binary")
    assert check_leakage(measure, limit=1.0).verdict.passed


# operations

FAST = SmokeReport(
    uri="models:/m/1",
    version=1,
    probes=(SmokeProbe(name="load", passed=True, message="ok"),),
    single=Latency(p50_ms=1.0, p95_ms=2.0, rows=1, repeats=100),
    batch=Latency(p50_ms=3.0, p95_ms=4.0, rows=1000, repeats=20),
    size_mb=1.0,
)
DEAD = SmokeReport(uri="models:/m/1", probes=(SmokeProbe(name="load", passed=False, message="gone"),))


def test_a_fast_small_model_that_answers_passes():
    results = [check_smoke(FAST), check_latency(FAST, limits=LatencyLimits()), check_size(FAST, max_mb=1.0)]
    assert [one.verdict.outcome for one in results] == [Outcome.PASS] * 3
    assert {one.family for one in results} == {"operational"}


def test_a_model_that_never_answered_fails_all_three():
    results = [check_smoke(DEAD), check_latency(DEAD, limits=LatencyLimits()), check_size(DEAD, max_mb=1.0)]
    assert [codes(one) for one in results] == [["smoke_load"], ["latency_unknown"], ["size_unknown"]]


def test_each_latency_limit_is_judged_by_itself():
    result = check_latency(FAST, limits=LatencyLimits(p50_ms=0.5, p95_ms=2.0, batch_p95_ms=3.0))
    assert [reason.observed for reason in result.verdict.reasons] == [1.0, 4.0]


def test_a_model_larger_than_allowed_fails():
    assert codes(check_size(FAST, max_mb=0.5)) == ["too_large"]


def test_a_smoke_report_survives_its_json_form():
    from dataclasses import asdict

    assert SmokeReport.from_dict(asdict(FAST)) == FAST

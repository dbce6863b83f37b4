"""Performance with an interval: values by hand, oracles, and what happens where nothing can be measured."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import t
from sklearn.metrics import average_precision_score
from statsmodels.stats.proportion import proportion_confint

from evergreen.tasks.core.drift.performance import Performance, measure_performance, relative_drop, worsening
from evergreen.tasks.core.metrics.base import custom_metric
from evergreen.tasks.core.metrics.registry import get_metric
from evergreen.tasks.core.metrics.scored import Scored
from evergreen.tasks.core.stats.resampling import wilson_interval


def metric(name, problem="binary"):
    return get_metric(name, problem=problem)


def binary(n=500, seed=0):
    rng = np.random.default_rng(seed)
    chance = 1 / (1 + np.exp(-1.5 * rng.normal(size=n)))
    y = (rng.random(n) < chance).astype(int)
    return Scored(y=y, score=chance, label=(chance >= 0.5).astype(int), classes=(0, 1))


@pytest.mark.parametrize(("successes", "n"), [(0, 10), (9, 10), (10, 10), (137, 500)])
def test_wilson_agrees_with_statsmodels(successes, n):
    expected = proportion_confint(successes, n, alpha=0.05, method="wilson")
    assert expected == pytest.approx(wilson_interval(successes, n, level=0.05), abs=1e-9)


def test_a_mean_has_the_usual_t_interval_around_it():
    rows = Scored(y=np.array([1.0, 2.0, 4.0, 7.0]), score=np.zeros(4))
    found = measure_performance(rows, metric("mae", "regression"))
    # mean 3.5; squares of (-2.5, -1.5, .5, 3.5) sum to 21, so the variance is 7 and the error sqrt(7 / 4)
    assert (3.5, math.sqrt(7 / 4), 4) == pytest.approx((found.value, found.se, found.n))
    # a loss is bounded on the log scale: t(.975; 3) · se / value on either side
    half = t.ppf(0.975, 3) * math.sqrt(7 / 4) / 3.5
    assert (3.5 * math.exp(-half), 3.5 * math.exp(half)) == pytest.approx((found.low, found.high))


def test_accuracy_has_wilson_limits():
    rows = binary()
    hits = int((rows.y == rows.label).sum())
    found = measure_performance(rows, metric("accuracy"))
    assert (hits / 500, "wilson") == (found.value, found.method)
    assert wilson_interval(hits, 500, level=0.05) == pytest.approx((found.low, found.high))


@pytest.mark.parametrize(("name", "kept"), [("recall", "y"), ("precision", "label")])
def test_recall_and_precision_are_shares_of_their_own_rows(name, kept):
    rows = binary()
    chosen = getattr(rows, kept) == 1
    both = int((rows.y[chosen] == rows.label[chosen]).sum())
    found = measure_performance(rows, metric(name))
    assert wilson_interval(both, int(chosen.sum()), level=0.05) == pytest.approx((found.low, found.high))


def test_rows_without_an_outcome_are_left_out():
    rows = binary()
    blank = rows.y.astype(float)
    blank[::2] = np.nan
    known = rows.take(np.arange(1, 500, 2))
    some = measure_performance(Scored(y=blank, score=rows.score, classes=(0, 1)), metric("roc_auc"))
    assert 250 == some.n
    assert measure_performance(known, metric("roc_auc")).value == some.value


def test_a_ranking_counts_groups():
    rng = np.random.default_rng(0)
    rows = Scored(y=rng.integers(0, 3, 80), score=rng.normal(size=80), group=np.arange(80) // 8)
    assert 10 == measure_performance(rows, metric("ndcg_at_3", "ranking")).n


def test_a_median_is_bounded_by_its_order_statistics():
    rows = Scored(y=np.arange(1.0, 101.0), score=np.zeros(100))
    found = measure_performance(rows, metric("median_absolute_error", "regression"))
    # Conover 1999: of 100 values the 40th and the 61st hold the median with 96.5 %
    assert (50.5, 40.0, 61.0) == pytest.approx((found.value, found.low, found.high), abs=1.0)
    assert found.low <= 41
    assert found.high >= 60


def test_a_metric_that_is_no_sum_gets_its_error_by_leaving_groups_out():
    rows = binary(n=2000)
    found = measure_performance(rows, metric("average_precision"))
    assert average_precision_score(rows.y, rows.score) == pytest.approx(found.value)
    drawn = [metric("average_precision")(binary(n=2000, seed=seed)) for seed in range(1, 101)]
    assert np.std(drawn) == pytest.approx(found.se, rel=0.3)


@pytest.mark.parametrize(
    ("rows", "name", "problem"),
    [
        (Scored(y=np.ones(50), score=np.full(50, 0.5)), "roc_auc", "binary"),
        (Scored(y=np.full(50, np.nan), score=np.full(50, 0.5)), "log_loss", "binary"),
        (Scored(y=np.zeros(0), score=np.zeros(0)), "rmse", "regression"),
        (Scored(y=np.zeros(8), score=np.arange(8), group=np.zeros(8)), "ndcg_at_3", "ranking"),
        (Scored(y=np.ones(8), score=np.arange(8), group=np.arange(8)), "ndcg_at_3", "ranking"),
        (Scored(y=np.arange(4) % 2, score=np.full(4, 0.5)), "business_value", "binary"),
    ],
)
def test_what_cannot_be_measured_is_undefined_and_no_crash(rows, name, problem):
    found = measure_performance(rows, metric(name, problem))
    assert ("undefined", False) == (found.method, found.defined)
    assert all(math.isnan(one) for one in (found.value, found.low, found.high, found.se))


def test_one_row_has_a_value_and_no_interval():
    found = measure_performance(Scored(y=np.ones(1), score=np.zeros(1)), metric("rmse", "regression"))
    assert 1.0 == found.value
    assert math.isnan(found.se)
    assert math.isnan(found.low)


def test_a_perfect_ranking_of_few_positives_is_not_called_certain():
    rows = Scored(y=np.repeat([0, 1], [95, 5]), score=np.arange(100) / 100)
    found = measure_performance(rows, metric("roc_auc"))
    assert 1.0 == found.value == found.high
    assert wilson_interval(5, 5, level=0.05)[0] == pytest.approx(found.low)


def test_blocks_that_hang_together_widen_the_interval():
    rng = np.random.default_rng(1)
    days = np.repeat(np.arange(40), 25)
    rows = Scored(y=rng.normal(size=1000) + rng.normal(size=40)[days], score=np.zeros(1000))
    alone = measure_performance(rows, metric("mae", "regression"))
    blocked = measure_performance(rows, metric("mae", "regression"), blocks=days)
    assert alone.value == blocked.value
    assert "blocked_t" == blocked.method
    assert blocked.se > 1.5 * alone.se


@settings(max_examples=40, deadline=None)
@given(
    st.integers(3, 80),
    st.integers(0, 10_000),
    st.sampled_from(["accuracy", "f1", "roc_auc", "log_loss", "recall"]),
)
def test_the_value_lies_in_its_interval_and_the_interval_where_values_can_be(n, seed, name):
    found = measure_performance(binary(n=n, seed=seed), metric(name))
    if not math.isfinite(found.low):
        return
    assert found.low - 1e-12 <= found.value <= found.high + 1e-12
    assert 0 <= found.low + 1e-12
    assert name == "log_loss" or found.high <= 1 + 1e-12


def test_a_teams_own_metric_is_measured_like_any_other():
    own = custom_metric("spread", lambda rows: float(np.std(rows.y - rows.score)), greater_is_better=False)
    found = measure_performance(Scored(y=np.arange(200.0), score=np.zeros(200)), own)
    assert (float(np.std(np.arange(200.0))), "grouped_t") == (found.value, found.method)
    assert found.low < found.value < found.high


@pytest.mark.parametrize(
    ("name", "problem", "value", "reference", "expected"),
    [
        ("roc_auc", "binary", 0.81, 0.9, 0.1),
        ("rmse", "regression", 11.0, 10.0, 0.1),
        ("r2", "regression", 0.6, 0.5, -0.2),
    ],
)
def test_a_drop_is_a_share_of_the_reference_and_positive_when_worse(
    name, problem, value, reference, expected
):
    one = metric(name, problem)
    assert expected == pytest.approx(relative_drop(value, reference, metric=one))
    assert worsening(value, reference, metric=one) == pytest.approx(expected * reference)


def test_a_reference_of_nothing_has_no_relative_drop():
    assert math.isnan(relative_drop(1.0, 0.0, metric=metric("rmse", "regression")))


def test_performance_survives_json_with_what_is_undefined():
    for rows in (binary(), binary().take(np.arange(0))):
        found = measure_performance(rows, metric("roc_auc"))
        again = Performance.from_dict(found.to_dict())
        assert found.to_dict() == again.to_dict()
        assert found.defined == again.defined

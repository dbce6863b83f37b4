"""Mean intervals, regret and the Pareto front of a replay, against numbers worked by hand."""

import math

import numpy as np
import pytest
import statsmodels.api as sm
from hypothesis import given
from hypothesis import strategies as st

from evergreen.tasks.core.replay.results import measure_regret, pareto_front
from evergreen.tasks.core.stats.dependence import mean_over_windows

POINTS = st.lists(st.tuples(st.floats(0, 1), st.integers(0, 20)), min_size=1, max_size=12)


def test_the_interval_of_four_windows_by_hand():
    # mean 2.5; lag floor(4 (4/100)^(2/9)) = 1; covariances 5/4 and 1.25/4; variance (1.25 + 2 * 1/2 * .3125) / 4 * 4/3
    # = 1.5625 / 3; t(.975, 3) = 3.1824; half = 3.1824 * .7217 = 2.2967
    found = mean_over_windows(np.array([1.0, 2.0, 3.0, 4.0]))
    assert (2.5, pytest.approx(0.2033, abs=1e-4), pytest.approx(4.7967, abs=1e-4), 4) == found


def test_undefined_windows_are_left_out():
    assert mean_over_windows(np.array([1.0, np.nan, 3.0]))[::3] == (2.0, 2)


def test_one_window_has_a_mean_and_no_interval():
    found = mean_over_windows(np.array([np.nan, 0.7]))
    assert (0.7, 1) == found[::3]
    assert math.isnan(found.low)


def test_no_window_has_nothing():
    assert math.isnan(mean_over_windows(np.array([np.nan])).mean)


@pytest.mark.parametrize("n", [5, 30, 200])
def test_the_interval_agrees_with_statsmodels(n):
    rng = np.random.default_rng(n)
    values = np.cumsum(rng.normal(size=n)) * 0.1 + rng.normal(size=n)
    lags = math.floor(4 * (n / 100) ** (2 / 9))
    fitted = sm.OLS(values, np.ones(n)).fit(
        cov_type="HAC", cov_kwds={"maxlags": lags, "use_correction": True}, use_t=True
    )
    low, high = fitted.conf_int(0.05)[0]
    found = mean_over_windows(values)
    assert (pytest.approx(low), pytest.approx(high)) == (found.low, found.high)


def test_the_interval_covers_the_mean_of_windows_that_lean_on_each_other():
    rng = np.random.default_rng(3)
    covered = 0
    for _ in range(400):
        values = np.zeros(60)
        for k, shock in enumerate(rng.normal(size=60)):
            values[k] = 0.4 * values[k - 1] + shock if k else shock
        found = mean_over_windows(values)
        covered += found.low <= 0 <= found.high
    assert 0.88 <= covered / 400 <= 0.97  # rows taken as independent would cover 79 %


def test_regret_of_a_score_by_hand():
    found = measure_regret({"a": 0.80, "b": 0.90, "c": float("nan")}, sign=1)
    assert (pytest.approx(0.10), pytest.approx(0.1 / 0.9)) == (found["a"].absolute, found["a"].relative)
    assert (0.0, 0.0) == (found["b"].absolute, found["b"].relative)
    assert math.isnan(found["c"].absolute)


def test_regret_of_an_error_by_hand():
    found = measure_regret({"a": 12.0, "b": 10.0}, sign=-1)
    assert (2.0, pytest.approx(0.2), 0.0) == (found["a"].absolute, found["a"].relative, found["b"].absolute)


def test_the_front_by_hand():
    # 0: cheapest; 1: better for more; 2: beaten by 1; 3: best; 4: as good as 3 for more
    assert (0, 1, 3) == pareto_front([(0.80, 0), (0.85, 10), (0.84, 12), (0.86, 30), (0.86, 31)], sign=1)


def test_the_front_of_an_error_turns_round():
    assert (1, 0) == pareto_front([(10.0, 9), (12.0, 0), (13.0, 3)], sign=-1)


def test_an_undefined_point_is_on_no_front():
    assert (1,) == pareto_front([(float("nan"), 0), (0.5, 3)], sign=1)


@given(POINTS)
def test_nothing_on_the_front_is_beaten_and_all_else_is(points):
    front = pareto_front(points, sign=1)

    def beats(a, b):
        return a[0] >= b[0] and a[1] <= b[1] and a != b

    kept = [points[place] for place in front]
    assert not [one for one in kept if any(beats(other, one) for other in points)]
    assert all(point in kept or any(beats(one, point) for one in kept) for point in points)


@given(st.dictionaries(st.text(min_size=1), st.floats(-1e6, 1e6), min_size=1), st.sampled_from([1, -1]))
def test_somebody_regrets_nothing_and_nobody_less(means, sign):
    found = [one.absolute for one in measure_regret(means, sign=sign).values()]
    assert 0.0 == min(found)

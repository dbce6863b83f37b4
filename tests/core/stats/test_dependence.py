import numpy as np
import pytest
from scipy.signal import lfilter

from evergreen.tasks.core.stats.dependence import (
    STRONG_CORRELATION,
    join_neighbours,
    measure_dependence,
    variance_inflation,
)


def series(rng, n, correlation):
    e = rng.normal(size=n)
    e[0] /= np.sqrt(1 - correlation**2)
    return lfilter([1.0], [1.0, -correlation], e)


def test_inflation_is_the_long_run_variance_over_that_of_joined_blocks():
    rng = np.random.default_rng(0)
    x = series(rng, 2_000_000, 0.8)
    joined = x.reshape(-1, 5).mean(axis=1)
    long_run = (
        x.reshape(-1, 5_000).mean(axis=1).var() * 1_000
    )  # variance of a mean of 1,000 joined blocks, times them
    assert long_run / joined.var() == pytest.approx(variance_inflation(0.8, 5), rel=0.15)


def test_independent_blocks_are_left_alone_nine_times_in_ten():
    rng = np.random.default_rng(1)
    left = sum(measure_dependence(rng.normal(size=40)).inflation == 1.0 for _ in range(500))
    assert 430 <= left <= 490


def test_dependent_blocks_are_joined_until_little_remains():
    found = measure_dependence(series(np.random.default_rng(2), 400, 0.9))
    assert found.correlation == pytest.approx(0.9, abs=0.1)
    assert found.join >= 8
    assert found.inflation <= 2.0
    assert found.sufficient


def test_too_few_dependent_blocks_say_how_many_would_do():
    found = measure_dependence(np.linspace(-1, 1, 15))
    assert not found.sufficient
    assert found.needed_blocks > 15
    assert found.join * 7 <= 15


def test_alternating_or_constant_blocks_are_not_dependent():
    assert measure_dependence(np.tile([1.0, -1.0], 10)).correlation == 0.0
    assert measure_dependence(np.zeros(10)).inflation == 1.0


def test_fewer_blocks_than_allowed_are_not_sufficient():
    assert not measure_dependence(np.array([0.1, -0.2, 0.3])).sufficient


def test_joining_averages_runs_of_nearly_equal_length():
    assert [1.0, 3.5, 5.5] == join_neighbours(np.arange(7.0), 2).tolist()
    assert [3.0] == join_neighbours(np.arange(7.0), 7).tolist()


def test_an_interval_on_few_dependent_blocks_is_as_wide_as_a_strong_correlation_asks():
    from scipy.stats import t

    from evergreen.tasks.core.challenge.difference import measure_difference
    from evergreen.tasks.core.metrics.registry import get_metric
    from evergreen.tasks.core.metrics.scored import Scored

    daily = np.repeat([0.50, 0.54, 0.58, 0.57, 0.51, 0.46, 0.44, 0.48], 50)  # a slow wave: neighbours alike
    y = np.zeros(400)
    worse, better = Scored(y=y, score=np.full(400, 1.0)), Scored(y=y, score=1.0 - daily)
    found = measure_difference(
        get_metric("mae", problem="regression"),
        worse,
        better,
        level=0.05,
        blocks=np.repeat(np.arange(8), 50),
        rng=np.random.default_rng(0),
    )
    assert found.needed_blocks_for_test is not None
    inflation = variance_inflation(max(found.correlation, STRONG_CORRELATION), 1)
    half = t.isf(0.025, 7) * daily[::50].std(ddof=1) / np.sqrt(8) * np.sqrt(inflation)
    assert found.interval == pytest.approx((daily.mean() - half, daily.mean() + half))

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from scipy.integrate import quad

from evergreen.tasks.core.errors import ConfigError, DataError
from evergreen.tasks.core.stats.association import JointMoments
from evergreen.tasks.core.stats.sequential import (
    compare_arms,
    compare_pairs,
    confidence_sequence,
    log_e_value,
)
from evergreen.tasks.core.stats.sequential_counts import (
    crossing_curve,
    log_mcnemar_e_value,
    log_split_e_value,
    mcnemar_e_value,
    mixture_concentration,
    needed_information,
    win_share_sequence,
)
from tests.support.live_tests import running_moments


def ones(values):
    """Return units of one row each with these values."""
    return JointMoments.of(np.column_stack([np.ones(len(values)), values]))


def test_the_sequence_is_the_one_of_waudby_smith_and_others():
    t, rho, sigma, alpha = 400, 0.15, 2.0, 0.05
    half = sigma * math.sqrt(
        2 * (t * rho**2 + 1) / (t**2 * rho**2) * math.log(math.sqrt(t * rho**2 + 1) / alpha)
    )
    low, high = confidence_sequence(1.0, sigma / math.sqrt(t), alpha=alpha, scale=rho * sigma)
    assert (1 - half, 1 + half) == pytest.approx((float(low), float(high)))


def test_the_e_value_is_the_mixed_likelihood_over_that_of_no_effect():
    estimate, error, scale = 0.02, 0.006, 0.015
    mixed, _ = quad(lambda d: stats.norm.pdf(estimate, d, error) * stats.norm.pdf(d, 0, scale), -0.2, 0.2)
    expected = math.log(mixed / stats.norm.pdf(estimate, 0, error))
    assert expected == pytest.approx(float(log_e_value(estimate, error, scale=scale)))


@given(st.floats(-1, 1), st.floats(1e-3, 1), st.floats(1e-3, 1), st.floats(1e-4, 0.5))
def test_the_sequence_leaves_zero_out_exactly_where_the_e_value_says_so(estimate, error, scale, alpha):
    low, high = confidence_sequence(estimate, error, alpha=alpha, scale=scale)
    gap = float(log_e_value(estimate, error, scale=scale)) + math.log(alpha)
    assert ((low > 0) or (high < 0)) == (gap > 0) or abs(gap) < 1e-9


@pytest.mark.parametrize(
    ("estimate", "error"), [(0.5, 0.0), (np.nan, 0.1), (0.5, np.nan), (0.5, np.inf), (np.inf, 1.0)]
)
def test_nothing_is_known_without_a_spread(estimate, error):
    low, high = confidence_sequence(estimate, error, alpha=0.05, scale=0.1)
    assert (-np.inf, np.inf) == (low, high)
    assert float(log_e_value(estimate, error, scale=0.1)) == 0.0


@pytest.mark.parametrize(("alpha", "scale"), [(0.0, 1.0), (1.0, 1.0), (0.05, 0.0), (0.05, math.nan)])
def test_levels_and_scales_that_are_none_are_refused(alpha, scale):
    with pytest.raises(ConfigError, match="Allowed"):
        confidence_sequence(0.0, 1.0, alpha=alpha, scale=scale)


def mean_sequence(moments, *, alpha, scale):
    error = np.sqrt(moments.covariance()[..., 0, 0] / moments.n)
    return confidence_sequence(moments.mean[..., 0], error, alpha=alpha, scale=scale)


def test_the_mean_has_its_sequence_at_every_look():
    values = np.random.default_rng(0).normal(3.0, 2.0, (50, 20))
    running = running_moments(JointMoments.of(values[..., None]))
    low, high = mean_sequence(running, alpha=0.05, scale=0.2)
    so_far = values[:30].ravel()
    expected = confidence_sequence(so_far.mean(), so_far.std(ddof=1) / np.sqrt(600), alpha=0.05, scale=0.2)
    assert (float(expected.low), float(expected.high)) == pytest.approx((low[29], high[29]))
    assert ((low < 3.0) & (high > 3.0)).all()


def test_the_sequence_of_a_mean_holds_throughout_in_nineteen_of_twenty():
    values = np.random.default_rng(1).gamma(4.0, 0.25, (2_000, 200, 20))
    low, high = mean_sequence(running_moments(JointMoments.of(values[..., None])), alpha=0.05, scale=0.1)
    missed = ((low > 1.0) | (high < 1.0))[:, 4:].any(axis=1)  # from 100 rows on
    assert stats.beta.ppf(0.99, missed.sum() + 1, 2_000 - missed.sum()) <= 0.05


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10_000), st.lists(st.integers(0, 9), min_size=1, max_size=6))
def test_moments_of_batches_add_up_to_those_of_all(seed, sizes):
    rng = np.random.default_rng(seed)
    batches = [rng.normal(1e4, 1.0, (size, 3)) for size in sizes]
    total = JointMoments.empty(3)
    for batch in batches:
        total = total + JointMoments.of(batch)
    everything = np.vstack(batches)
    if len(everything) > 1:
        np.testing.assert_allclose(everything.mean(0), total.mean)
        np.testing.assert_allclose(np.cov(everything.T), total.covariance(), atol=1e-6)
    kept = JointMoments.from_dict(total.to_dict())
    np.testing.assert_array_equal(total.comoments, kept.comoments)
    assert float(total.n) == kept.n == len(everything)


def test_running_moments_are_those_of_the_batches_so_far():
    rng = np.random.default_rng(2)
    values = rng.normal(50.0, 1.0, (4, 30, 5, 2))  # trials, looks, rows, numbers
    running = running_moments(JointMoments.of(values))
    np.testing.assert_allclose(np.cov(values[2, :7].reshape(-1, 2).T), running.covariance()[2, 6], atol=1e-9)
    np.testing.assert_allclose(values[2, :7].reshape(-1, 2).mean(0), running.mean[2, 6])


def test_a_difference_of_arms_is_judged_by_the_more_cautious_of_two_t_statistics():
    rng = np.random.default_rng(3)
    a, b = rng.normal(0, 1, 300), rng.normal(0.2, 2, 40)
    effect = compare_arms(ones(a), ones(b))
    pooled, welch = (stats.ttest_ind(b, a, equal_var=equal).statistic for equal in (True, False))
    assert min(abs(pooled), abs(welch)) == pytest.approx(abs(float(effect.estimate / effect.standard_error)))
    assert b.mean() - a.mean() == pytest.approx(float(effect.estimate))
    assert (300, 40) == (effect.n_control, effect.n_variant)


def test_a_small_arm_without_the_rare_values_borrows_the_spread_of_the_large_one():
    a = np.append(np.zeros(900), np.full(100, 10.0))
    b = np.append(np.zeros(99), 0.1)
    effect = compare_arms(ones(a), ones(b))
    assert float(effect.standard_error) > np.sqrt(a.var() / 100)


def test_rows_of_one_unit_count_once():
    rng = np.random.default_rng(4)
    rows = rng.integers(1, 9, (2, 500)).astype(float)
    sums = rows * rng.normal(1.0, 1.0, (2, 500)) + rng.normal(0, 1, (2, 500))  # all rows of a unit are alike
    effect = compare_arms(*(JointMoments.of(np.column_stack(side)) for side in zip(rows, sums, strict=True)))
    resampled = []
    for _ in range(2_000):
        picks = rng.integers(0, 500, (2, 500))
        ratios = [sums[i][picks[i]].sum() / rows[i][picks[i]].sum() for i in range(2)]
        resampled.append(ratios[1] - ratios[0])
    assert np.std(resampled) == pytest.approx(float(effect.standard_error), rel=0.06)
    assert sums[1].sum() / rows[1].sum() - sums[0].sum() / rows[0].sum() == pytest.approx(
        float(effect.estimate)
    )


def test_pairs_are_judged_by_their_differences():
    rng = np.random.default_rng(7)
    a = rng.normal(0, 1, 200)
    b = a + rng.normal(0.1, 0.3, 200)
    effect = compare_pairs(JointMoments.of(np.column_stack([np.ones(200), a, b])))
    assert stats.ttest_rel(b, a).statistic == pytest.approx(float(effect.estimate / effect.standard_error))


@pytest.mark.parametrize("sizes", [(0, 0), (0, 50), (50, 0), (1, 1), (1, 50)])
def test_an_arm_without_two_units_says_nothing(sizes):
    effect = compare_arms(*(ones(np.arange(float(size))) for size in sizes))
    assert math.isnan(effect.standard_error)
    low, high = confidence_sequence(effect.estimate, effect.standard_error, alpha=0.05, scale=1.0)
    assert (-np.inf, np.inf) == (low, high)


@pytest.mark.parametrize(
    "values", [(np.zeros(50), np.ones(50)), (np.zeros(50), np.append(np.ones(49), np.nan))]
)
def test_values_that_never_vary_or_are_undefined_name_no_winner(values):
    effect = compare_arms(*(ones(side) for side in values))
    low, high = confidence_sequence(effect.estimate, effect.standard_error, alpha=0.05, scale=1.0)
    assert (-np.inf, np.inf) == (low, high)


def test_units_need_two_axes():
    with pytest.raises(DataError, match="one row a unit"):
        JointMoments.of([1.0, 2.0])


@pytest.mark.parametrize(("b", "c", "a"), [(0, 0, 1.0), (3, 9, 1.0), (20, 45, 15.0), (7, 0, 4.0)])
def test_the_paired_e_value_is_the_mixture_over_shares_won(b, c, a):
    mixed, _ = quad(lambda p: p**c * (1 - p) ** b * stats.beta.pdf(p, a, a), 0, 1)
    assert mixed * 2.0 ** (b + c) == pytest.approx(mcnemar_e_value(b, c, concentration=a))


@pytest.mark.parametrize("m", [1, 5, 30])
@pytest.mark.parametrize("a", [1.0, 15.0])
def test_the_paired_e_value_has_mean_one_when_both_are_equal(m, a):
    c = np.arange(m + 1)
    assert 1.0 == pytest.approx(
        float(stats.binom.pmf(c, m, 0.5) @ mcnemar_e_value(m - c, c, concentration=a))
    )


def test_the_paired_e_value_of_no_discordance_is_one_and_negative_counts_are_refused():
    assert 1.0 == mcnemar_e_value(0, 0)
    assert math.isfinite(mcnemar_e_value(0, 10**7))
    with pytest.raises(DataError, match="Allowed: counts from 0 on"):
        mcnemar_e_value(-1, 2)


@given(st.integers(0, 300), st.integers(0, 300), st.sampled_from([0.05, 0.01]))
def test_the_share_won_leaves_a_half_out_exactly_where_the_e_value_says_so(b, c, alpha):
    low, high = win_share_sequence(b, c, alpha=alpha)
    assert 0 <= low <= high <= 1
    gap = float(log_mcnemar_e_value(b, c)) + math.log(alpha)
    assert bool(low > 0.5 or high < 0.5) == (gap >= 0) or abs(gap) < 1e-9


def test_the_concentration_looks_for_the_improvement_planned_for():
    a = mixture_concentration(0.02, discordance=0.1)
    assert 0.9 * 0.1 == pytest.approx(stats.beta.std(a, a))  # .02 of .1 discordant: a share of .6 is won
    assert 0.5 == mixture_concentration(0.9)


@pytest.mark.parametrize("shares", [[0.5, 0.5], [0.9, 0.1], [0.6, 0.3, 0.1]])
def test_the_e_value_of_a_split_has_mean_one_when_it_is_sound(shares):
    n = 12
    counts = np.array([c for c in np.ndindex(*(n + 1,) * len(shares)) if sum(c) == n])
    chance = stats.multinomial.pmf(counts, n, shares)
    assert 1.0 == pytest.approx(float(chance @ np.exp(log_split_e_value(counts, shares, focus=20.0))))


def test_a_split_without_units_says_nothing_and_impossible_ones_are_refused():
    assert 0.0 == pytest.approx(float(log_split_e_value([0, 0], [0.9, 0.1])))
    for counts, shares in (([1, 2, 3], [0.5, 0.5]), ([1, 2], [1.0, 0.0]), ([-1, 2], [0.5, 0.5])):
        with pytest.raises(DataError, match="are no split"):
            log_split_e_value(counts, shares)


def test_equal_shares_may_be_given_in_any_unit():
    assert float(log_split_e_value([40, 60], [1, 1])) == pytest.approx(
        float(log_split_e_value([40, 60], [0.5, 0.5]))
    )


@pytest.mark.parametrize("alpha", [0.05, 0.01])
def test_without_an_effect_a_bound_is_crossed_in_less_than_half_of_alpha(alpha):
    _, found = crossing_curve(alpha=alpha, effect=0.0)
    assert 0 < found[-1] < alpha / 2


def test_the_evidence_needed_is_what_simulated_tests_need():
    information = needed_information(alpha=0.05, power=0.8)
    steps = np.random.default_rng(8).normal(0, np.sqrt(information / 500), (5_000, 500))
    seen = np.linspace(0, information, 501)[1:]
    path = steps.cumsum(axis=1) + seen
    low, _ = confidence_sequence(path / seen, 1 / np.sqrt(seen), alpha=0.05, scale=0.9)
    assert 0.8 == pytest.approx((low > 0).any(axis=1).mean(), abs=0.015)


def test_freedom_to_look_costs_about_two_thirds_more_evidence():
    fixed = (stats.norm.isf(0.025) + stats.norm.isf(0.2)) ** 2
    assert 1.65 == pytest.approx(needed_information(alpha=0.05, power=0.8) / fixed, abs=0.01)
    assert needed_information(alpha=0.01, power=0.8) < needed_information(alpha=0.01, power=0.9)
    assert needed_information(alpha=1e-6, power=0.99) > 60

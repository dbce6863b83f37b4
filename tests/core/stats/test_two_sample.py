import math

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st
from statsmodels.stats.proportion import proportions_chisquare, proportions_ztest

from evergreen.tasks.core.errors import DataError
from evergreen.tasks.core.stats.two_sample import (
    binomial_p_value,
    chi_square,
    kolmogorov_p_values,
    ks_from_counts,
    proportions,
    psi_p_value,
)
from tests.core.stats.test_distances import COUNTS
from tests.support.simulated_models import lower_bound, upper_bound


def raw(counts):
    return np.repeat(np.arange(len(counts)), counts)


def test_ks_by_hand():
    # cumulated .5 .8 1 against .3 .6 1
    assert 0.2 == pytest.approx(ks_from_counts([50, 30, 20], [30, 30, 40]).statistic)


@settings(max_examples=60, deadline=None)
@given(COUNTS)
def test_ks_agrees_with_scipy_on_the_binned_values(sides):
    sides = tuple(np.minimum(side, 300) for side in sides)
    if min(side.sum() for side in sides) < 2:
        return
    expected = scipy.stats.ks_2samp(raw(sides[0]), raw(sides[1]), method="asymp")
    found = ks_from_counts(*sides)
    assert expected.statistic == pytest.approx(found.statistic, abs=1e-9)
    assert expected.pvalue == pytest.approx(found.p_value, abs=1e-9)


@pytest.mark.parametrize("n", [1, 7, 60, 140, 141, 400, 3_000])
def test_the_distribution_of_kolmogorov_agrees_with_scipy(n):
    d = np.unique(np.clip(np.r_[np.linspace(0.05, 4.5, 80) / math.sqrt(n), 1e-9], 0, 1))
    assert scipy.stats.kstwo.sf(d, n) == pytest.approx(kolmogorov_p_values(d, np.full(len(d), n)), abs=1e-9)


@pytest.mark.parametrize("n", [6_000, 150_000, 10_000_000])
def test_the_distribution_of_kolmogorov_nears_its_limit_at_many_rows(n):
    z = np.linspace(0.3, 6, 60)
    found = kolmogorov_p_values(z / math.sqrt(n), np.full(len(z), n))
    assert scipy.stats.kstwobign.sf(z) == pytest.approx(found, abs=1 / math.sqrt(n))
    # the first correction of the limit is to add 1/(6 sqrt n) to z
    assert scipy.stats.kstwobign.sf(z + 1 / (6 * math.sqrt(n))) == pytest.approx(found, abs=2 / n + 1e-9)


def test_the_distribution_of_kolmogorov_never_rises():
    for n in (100, 1_000, 6_000, 200_000):
        d = np.linspace(0.01, 8, 400) / math.sqrt(n)
        assert (np.diff(kolmogorov_p_values(d, np.full(400, n))) <= 1e-7).all()


def test_ks_of_raw_values_differs_by_at_most_the_largest_bin():
    rng = np.random.default_rng(1)
    r, c = rng.normal(size=3_000), rng.normal(0.1, 1.1, 800)
    edges = np.quantile(r, np.arange(1, 200) / 200)
    counts = [np.bincount(np.searchsorted(edges, side, side="right"), minlength=200) for side in (r, c)]
    exact = scipy.stats.ks_2samp(r, c).statistic
    assert exact - counts[0].max() / 3_000 <= ks_from_counts(*counts).statistic <= exact


def test_chi_square_by_hand():
    # expected 37.5 and 62.5 on both sides: 2 * 7.5^2 (1/37.5 + 1/62.5) = 4.8
    found = chi_square([30, 70], [45, 55])
    assert (4.8, 1.0) == pytest.approx((found.statistic, found.df))


@settings(max_examples=100, deadline=None)
@given(COUNTS)
def test_chi_square_agrees_with_scipy_where_no_cell_is_rare(sides):
    table = np.array(sides) + 20
    if len(table[0]) < 2 or scipy.stats.contingency.expected_freq(table).min() < 5:
        return
    expected = scipy.stats.chi2_contingency(table, correction=False)
    found = chi_square(*table)
    assert (expected.statistic, expected.pvalue, expected.dof) == pytest.approx(found, abs=1e-9)


def test_chi_square_agrees_with_scipy_on_identical_pooling():
    # expected in the lesser sample (100 of 300 rows): 50, 40 and 3, 4, 3, pooled to 10
    r, c = [110, 80, 4, 5, 1], [40, 40, 5, 7, 8]
    expected = scipy.stats.chi2_contingency([[110, 80, 10], [40, 40, 20]], correction=False)
    found = chi_square(r, c)
    assert (expected.statistic, expected.pvalue, expected.dof) == pytest.approx(found, abs=1e-9)


def test_what_is_rare_even_when_pooled_is_tested_by_itself():
    # three rows of 100 in a cell that 100,000 rows of reference never had
    found = chi_square([60_000, 40_000, 0], [58, 39, 3])
    p = scipy.stats.binomtest(3, 3, 100 / 100_100).pvalue
    assert min(1, 2 * 2 * p) == pytest.approx(found.p_value, rel=1e-6)
    assert chi_square([60_000, 40_000, 0], [60, 40, 0]).p_value == pytest.approx(1)


def test_one_cell_alone_cannot_differ():
    assert chi_square([1000], [3]).p_value == 1
    assert (0, 1, 0) == chi_square([1000, 0], [300, 0])


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 60), st.floats(0.01, 0.99), st.data())
def test_the_binomial_p_value_is_twice_the_lesser_tail(trials, probability, data):
    x = data.draw(st.integers(0, trials))
    law = scipy.stats.binom(trials, probability)
    expected = min(1, 2 * min(law.cdf(x), law.sf(x - 1)))
    assert expected == pytest.approx(binomial_p_value(x, trials, probability), abs=1e-9)


@given(COUNTS, st.randoms(use_true_random=False))
def test_permuting_the_cells_together_changes_no_chi_square(sides, random):
    order = random.sample(range(len(sides[0])), len(sides[0]))
    assert chi_square(*(side[order] for side in sides)) == pytest.approx(chi_square(*sides), abs=1e-9)


@given(COUNTS)
def test_two_samples_are_exchangeable(sides):
    for test in (chi_square, ks_from_counts):
        assert test(*sides) == pytest.approx(test(*sides[::-1]), abs=1e-9)


@given(COUNTS)
def test_identical_samples_do_not_differ(sides):
    for test in (chi_square, ks_from_counts):
        found = test(sides[0], sides[0])
        assert (0, 1) == pytest.approx((found.statistic, found.p_value), abs=1e-9)


@given(COUNTS)
def test_tests_stay_within_their_bounds(sides):
    ks, chi = ks_from_counts(*sides), chi_square(*sides)
    assert 0 <= ks.statistic <= 1
    assert 0 <= chi.statistic
    assert all(0 <= test.p_value <= 1 for test in (ks, chi))


def test_stacks_are_each_row_for_itself():
    rng = np.random.default_rng(2)
    r, c = rng.integers(0, 30, (2, 20, 7))
    for test in (chi_square, ks_from_counts):
        each = np.array([test(*sides) for sides in zip(r, c, strict=True)])
        assert each == pytest.approx(np.array(test(r, c)).T)


def test_no_rows_is_nan():
    for test in (chi_square, ks_from_counts):
        assert all(map(math.isnan, test([0, 0], [1, 2])))
        assert all(map(math.isnan, test([3, 1], [0, 0])))
    assert math.isnan(proportions([0, 1], [0, 2]).p_value)
    assert math.isnan(psi_p_value(float("nan"), reference_rows=0, current_rows=5, cells=10))


@pytest.mark.parametrize("test", [chi_square, ks_from_counts, proportions])
def test_what_is_no_count_is_refused(test):
    for sides, said in ((([1, 2], [1]), "shapes"), (([], []), "one bin"), (([1, -1], [1, 2]), "holds -1")):
        with pytest.raises(DataError, match=said):
            test(*sides)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 500), st.integers(1, 500)), min_size=2, max_size=6))
def test_proportions_agree_with_statsmodels(drawn):
    wins, rows = np.array([won for won, _ in drawn]), np.array([won + lost for won, lost in drawn])
    if not wins.sum():
        assert (0, 1) == proportions(wins, rows)[:2]
        return
    found = proportions(wins, rows)
    statistic, p_value, _ = proportions_chisquare(wins, rows)
    assert (statistic, p_value, len(wins) - 1) == pytest.approx(found[:3], abs=1e-9)
    if len(wins) == 2:
        assert proportions_ztest(wins, rows) == pytest.approx((found.z, found.p_value), abs=1e-9)


def test_more_successes_than_rows_are_refused():
    with pytest.raises(DataError, match="5 successes of 4 rows"):
        proportions([5, 1], [4, 4])


def test_chi_square_keeps_its_level_at_eight_levels_with_rare_cells():
    rng = np.random.default_rng(3)
    p = np.array([0.5, 0.3, 0.12, 0.05, 0.015, 0.01, 0.004, 0.001])
    for n, m in ((2_000, 200), (300, 300), (100_000, 500)):
        found = chi_square(rng.multinomial(n, p, 4_000), rng.multinomial(m, p, 4_000))
        hits = int((found.p_value < 0.05).sum())
        assert upper_bound(hits, 4_000) < 0.065, (n, m, hits)
        assert lower_bound(hits, 4_000) > 0.015, (n, m, hits)


def test_few_rows_in_many_cells_are_not_pooled_away():
    rng = np.random.default_rng(8)
    p = np.full(8, 1 / 8)
    r = rng.multinomial(1_000, p, 2_000)
    same = chi_square(r, rng.multinomial(30, p, 2_000)).p_value
    moved = chi_square(r, rng.multinomial(30, [0.4, *[0.6 / 7] * 7], 2_000)).p_value
    assert upper_bound(int((same < 0.05).sum()), 2_000) < 0.07
    assert (moved < 0.05).mean() > 0.7


def test_the_one_sample_chi_square_would_not():
    rng = np.random.default_rng(4)
    p = np.full(8, 1 / 8)
    r, c = rng.multinomial(400, p, 1_000), rng.multinomial(400, p, 1_000)
    as_exact = ((c - r) ** 2 / r).sum(axis=1)
    assert (scipy.stats.chi2.sf(as_exact, 7) < 0.05).mean() > 0.24
    assert upper_bound(int((chi_square(r, c).p_value < 0.05).sum()), 1_000) < 0.075


def test_ks_keeps_its_level():
    rng = np.random.default_rng(5)
    p = np.full(256, 1 / 256)
    for n, m in ((5_000, 200), (1_000, 1_000)):
        found = ks_from_counts(rng.multinomial(n, p, 3_000), rng.multinomial(m, p, 3_000))
        hits = int((found.p_value < 0.05).sum())
        assert upper_bound(hits, 3_000) < 0.062, hits
        assert lower_bound(hits, 3_000) > 0.02, hits


def test_proportions_keep_their_level():
    rng = np.random.default_rng(6)
    wins = rng.binomial([400, 250], 0.2, (5_000, 2))
    hits = int((proportions(wins, np.broadcast_to([400, 250], wins.shape)).p_value < 0.05).sum())
    assert lower_bound(hits, 5_000) < 0.05 < upper_bound(hits, 5_000) + 0.005

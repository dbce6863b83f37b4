import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import average_precision_score, roc_auc_score
from statsmodels.stats.contingency_tables import cochrans_q
from statsmodels.stats.contingency_tables import mcnemar as sm_mcnemar

from evergreen.tasks.core.errors import DataError
from evergreen.tasks.core.stats.auc import auc_influence, average_precision, delong, influence_error, roc_auc
from evergreen.tasks.core.stats.paired import cochran_q, corrected_resampled_t, diebold_mariano, mcnemar
from evergreen.tasks.core.stats.resampling import paired_proportions_interval
from tests.support.simulated_models import upper_bound


@pytest.mark.parametrize(("b", "c"), [(0, 0), (3, 14), (20, 40), (1, 0), (100, 100)])
@pytest.mark.parametrize("exact", [True, False])
@pytest.mark.parametrize("correction", [True, False])
def test_mcnemar_agrees_with_statsmodels(b, c, exact, correction):
    if b + c == 0 and not exact:
        assert mcnemar(b, c, exact=False).p_value == 1.0
        return
    expected = sm_mcnemar([[50, b], [c, 50]], exact=exact, correction=correction)
    if correction and b == c and not exact:
        assert mcnemar(b, c, exact=False).p_value == 1.0  # statsmodels corrects below 0; ours stops at 0
        return
    result = mcnemar(b, c, exact=exact, correction=correction)
    assert expected.pvalue == pytest.approx(result.p_value)
    assert expected.statistic == pytest.approx(result.statistic)


def test_mcnemar_by_hand():
    # 2 * P(Bin(6, 1/2) <= 1) = 2 * (1 + 6) / 64
    assert mcnemar(1, 5).p_value == pytest.approx(14 / 64)
    assert mcnemar(20, 40, correction=False).statistic == pytest.approx(20**2 / 60)


def test_mcnemar_refuses_negative_counts():
    with pytest.raises(DataError, match="Discordant counts are -1 and 3"):
        mcnemar(-1, 3)


def test_cochran_q_agrees_with_statsmodels():
    outcomes = (np.random.default_rng(0).random((80, 4)) < [0.5, 0.6, 0.7, 0.55]).astype(int)
    expected = cochrans_q(outcomes)
    assert expected.statistic == pytest.approx(cochran_q(outcomes).statistic)
    assert expected.pvalue == pytest.approx(cochran_q(outcomes).p_value)
    assert cochran_q(np.ones((5, 3))).p_value == 1.0


def pairs_auc(y, score):
    """AUC by its definition: every pair counted."""
    wins = [(p > n) + 0.5 * (p == n) for p in score[y == 1] for n in score[y == 0]]
    return float(np.mean(wins))


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000))
def test_auc_is_the_share_of_pairs_won(seed):
    rng = np.random.default_rng(seed)
    y = np.append(rng.integers(0, 2, 20), [0, 1])
    score = rng.integers(0, 6, 22).astype(float)
    assert pairs_auc(y, score) == pytest.approx(roc_auc(y, score))
    weight = rng.random(22)
    assert roc_auc_score(y, score, sample_weight=weight) == pytest.approx(roc_auc(y, score, weight=weight))


def test_delong_variance_agrees_with_its_definition():
    rng = np.random.default_rng(1)
    y = rng.integers(0, 2, 60)
    a, b = rng.normal(size=60).round(1) + y, rng.normal(size=60).round(1) + 0.7 * y
    result = delong(y, a, b)

    def structural(score):
        wins = (score[y == 1][:, None] > score[y == 0]) + 0.5 * (score[y == 1][:, None] == score[y == 0])
        return wins.mean(axis=1), wins.mean(axis=0)

    (p_a, n_a), (p_b, n_b) = structural(a), structural(b)
    s10, s01 = np.cov(p_a, p_b), np.cov(n_a, n_b)
    covariance = s10 / (y == 1).sum() + s01 / (y == 0).sum()
    variance = covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1]
    assert math.sqrt(variance) == pytest.approx(result.standard_error)
    assert result.difference == pytest.approx(roc_auc_score(y, b) - roc_auc_score(y, a))
    assert 2 * stats.norm.sf(abs(result.difference) / math.sqrt(variance)) == pytest.approx(result.p_value)


def test_delong_of_scores_that_rank_alike_finds_no_difference():
    y, score = np.array([0, 1, 0, 1]), np.array([0.1, 0.4, 0.3, 0.9])
    assert (0.0, 1.0) == (delong(y, score, score**3).statistic, delong(y, score, score**3).p_value)


def test_delong_of_one_class_or_nan_is_nan():
    assert math.isnan(delong([1, 1, 1], [1, 2, 3], [3, 2, 1]).p_value)
    assert math.isnan(delong([0, 1, 0, 1], [1, 2, np.nan, 4], [1, 2, 3, 4]).difference)


def test_influence_values_have_mean_zero_and_predict_a_reweighted_auc():
    rng = np.random.default_rng(2)
    y = rng.random(4_000) < 0.3
    score = rng.normal(size=4_000) + y
    influence = auc_influence(y, score)
    weight = 1 + 0.05 * rng.normal(size=4_000)
    assert influence.mean() == pytest.approx(0, abs=1e-12)
    moved = roc_auc(y, score, weight=weight) - roc_auc(y, score)
    assert moved == pytest.approx((weight * influence).mean(), abs=2e-5)
    assert math.isnan(influence_error([True, False, False], np.zeros(3)))


def test_delong_keeps_its_level_and_a_plain_t_test_on_folds_does_not():
    rng = np.random.default_rng(3)
    hits = 0
    for _ in range(600):
        y = rng.random(120) < 0.4
        hits += delong(y, rng.normal(size=120) + y, rng.normal(size=120) + y).p_value < 0.05
    assert upper_bound(hits, 600) < 0.09
    assert hits > 10


def test_corrected_resampled_t_by_hand():
    # mean .02, variance .0002/3, inflated by 1/4 + 25/75
    result = corrected_resampled_t([0.02, 0.03, 0.01, 0.02], train_size=75, test_size=25)
    assert 0.02 / math.sqrt(0.0002 / 3 * (1 / 4 + 1 / 3)) == pytest.approx(result.statistic)


def test_corrected_resampled_t_without_test_rows_would_be_the_plain_one():
    d = np.random.default_rng(4).normal(0.3, 1, 10)
    ours = corrected_resampled_t(d, train_size=10**12, test_size=1, alternative="greater")
    assert stats.ttest_1samp(d, 0, alternative="greater").pvalue == pytest.approx(ours.p_value)
    two = corrected_resampled_t(d, train_size=10**12, test_size=1)
    assert stats.ttest_1samp(d, 0).pvalue == pytest.approx(two.p_value)


def test_corrected_resampled_t_of_nothing_or_nan_is_nan_and_of_zeros_is_one():
    assert math.isnan(corrected_resampled_t([0.1], train_size=9, test_size=1).p_value)
    assert math.isnan(corrected_resampled_t([0.1, np.nan], train_size=9, test_size=1).p_value)
    assert corrected_resampled_t([0.0, 0.0], train_size=9, test_size=1).p_value == 1.0
    with pytest.raises(DataError, match="Unknown alternative"):
        corrected_resampled_t([0.1, 0.2], train_size=9, test_size=1, alternative="bigger")
    with pytest.raises(DataError, match="Fold sizes"):
        corrected_resampled_t([0.1, 0.2], train_size=0, test_size=1)


def test_diebold_mariano_at_one_step_is_a_t_test_with_the_same_spread():
    rng = np.random.default_rng(5)
    a, b = rng.gamma(2, 1, 40), rng.gamma(2, 1, 40)
    expected = stats.ttest_1samp(a - b, 0)
    result = diebold_mariano(a, b)
    assert expected.statistic == pytest.approx(result.statistic)
    assert expected.pvalue == pytest.approx(result.p_value)


def test_diebold_mariano_keeps_its_level_on_forecasts_that_overlap():
    rng = np.random.default_rng(6)
    shocks = rng.normal(size=(800, 203))
    d = shocks[:, 3:] + shocks[:, 2:-1] + shocks[:, 1:-2] + shocks[:, :-3]  # four steps ahead: MA(3)
    hits = sum(diebold_mariano(row, np.zeros(200), horizon=4).p_value < 0.05 for row in d)
    naive = sum(diebold_mariano(row, np.zeros(200)).p_value < 0.05 for row in d)
    assert upper_bound(hits, 800) < 0.11
    assert naive / 800 > 0.2


def test_diebold_mariano_of_too_few_rows_is_nan():
    assert math.isnan(diebold_mariano([1.0, 2.0], [1.0, 1.0], horizon=2).p_value)
    with pytest.raises(DataError, match="horizon is 0"):
        diebold_mariano([1.0, 2.0], [1.0, 1.0], horizon=0)


@pytest.mark.parametrize(
    ("n", "share", "gain"), [(60, 0.2, 0.0), (60, 0.2, 0.1), (400, 0.1, 0.02), (30, 0.1, 0.0)]
)
def test_the_interval_of_paired_proportions_covers(n, share, gain):
    rng = np.random.default_rng(7)
    cells = rng.multinomial(n, [(share - gain) / 2, (share + gain) / 2, 1 - share], size=2_000)
    covered = 0
    for b, c, _ in cells:
        low, high = paired_proportions_interval(int(b), int(c), n, level=0.05)
        covered += low <= gain <= high
    assert upper_bound(covered, 2_000) >= 0.95


@given(st.integers(0, 24), st.integers(0, 24), st.integers(0, 100))
@settings(deadline=None)
def test_below_25_discordant_rows_an_interval_without_zero_means_a_significant_exact_test(b, c, rest):
    low, high = paired_proportions_interval(b, c, b + c + rest, level=0.05)
    if b + c < 25 and b + c + rest > 0 and not low <= 0 <= high:
        assert mcnemar(b, c).p_value <= 0.05


def test_the_interval_of_no_rows_is_nan():
    assert all(map(math.isnan, paired_proportions_interval(0, 0, 0, level=0.05)))


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("weighted", [False, True])
def test_areas_are_those_of_scikit_learn_with_ties_and_weights(seed, weighted):
    rng = np.random.default_rng(seed)
    truth, score = rng.random(300) < 0.2, rng.integers(0, 40, 300) / 7.0
    weight = rng.gamma(2.0, size=300) if weighted else None
    expected = average_precision_score(truth, score, sample_weight=weight)
    assert expected == pytest.approx(average_precision(truth, score, weight=weight), abs=1e-12)
    expected = roc_auc_score(truth, score, sample_weight=weight)
    assert expected == pytest.approx(roc_auc(truth, score, weight=weight), abs=1e-12)


def test_areas_without_a_positive_row_are_not_numbers():
    assert np.isnan(average_precision(np.zeros(3), np.arange(3.0)))
    assert np.isnan(roc_auc(np.zeros(3), np.arange(3.0)))

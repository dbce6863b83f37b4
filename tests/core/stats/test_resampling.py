import math

import numpy as np
import pytest
from scipy import stats

from evergreen.tasks.core.stats.resampling import (
    block_sums,
    bootstrap_draws,
    bootstrap_p_value,
    bootstrap_sums,
    cell_sums,
    effective_df,
    percentile_interval,
    pseudo_values,
)


def mean(sums):
    return sums[..., 0] / sums[..., 1]


def with_ones(x):
    return np.column_stack([x, np.ones(len(x))])


def test_block_sums_by_hand():
    values = np.array([[1.0, 1.0], [2.0, 1.0], [4.0, 1.0]])
    assert [[5.0, 2.0], [2.0, 1.0]] == block_sums(values, np.array([0, 1, 0])).tolist()


def test_jackknife_agrees_with_leaving_blocks_out_by_hand():
    rng = np.random.default_rng(0)
    x, codes = rng.gamma(2, 1, 90), np.repeat(np.arange(9), 10)
    root = lambda sums: np.sqrt(mean(sums))  # noqa: E731
    ours = pseudo_values(root, block_sums(with_ones(x), codes))
    everything = math.sqrt(x.mean())
    expected = [9 * everything - 8 * math.sqrt(x[codes != g].mean()) for g in range(9)]
    assert expected == pytest.approx(ours.tolist())


def test_bootstrap_of_a_mean_agrees_with_scipy():
    x = np.random.default_rng(1).gamma(2, 1, 80)
    draws = mean(bootstrap_sums(with_ones(x), draws=20_000, rng=np.random.default_rng(2)))
    theirs = stats.bootstrap(
        (x,), np.mean, n_resamples=20_000, method="percentile", rng=np.random.default_rng(3)
    )
    low, high = percentile_interval(draws, level=0.05)
    assert theirs.confidence_interval.low == pytest.approx(low, abs=0.01)
    assert theirs.confidence_interval.high == pytest.approx(high, abs=0.01)


def test_binned_rows_keep_the_spread_of_the_bootstrap():
    x = np.random.default_rng(4).normal(size=20_000)
    draws = mean(bootstrap_sums(with_ones(x), draws=4_000, rng=np.random.default_rng(5)))
    assert x.std() / math.sqrt(20_000) == pytest.approx(draws.std(), rel=0.08)


def test_resampling_cells_has_the_distribution_of_resampling_rows():
    x = np.random.default_rng(6).integers(0, 2, 200).astype(float)
    counts, cells = np.array([(x == 0).sum(), (x == 1).sum()]), np.array([[0.0, 1.0], [1.0, 1.0]])
    by_cell = mean(cell_sums(counts, cells, draws=20_000, rng=np.random.default_rng(7)))
    by_row = mean(bootstrap_sums(with_ones(x), draws=20_000, rng=np.random.default_rng(8)))
    assert stats.ks_2samp(by_cell, by_row).statistic < 0.025
    assert by_cell.std() == pytest.approx(math.sqrt(x.var() / 200), rel=0.03)


def test_a_seed_gives_the_same_draws():
    values = with_ones(np.arange(50.0))
    first, second = (bootstrap_sums(values, draws=10, rng=np.random.default_rng(9)) for _ in range(2))
    assert first.tolist() == second.tolist()


def test_p_value_counts_the_smaller_tail_twice():
    assert 2 * 2 / 100 == bootstrap_p_value(np.append([-1.0], np.full(98, 1.0)))
    assert bootstrap_p_value(np.zeros(9)) == 1.0
    assert math.isnan(bootstrap_p_value(np.array([0.1, np.nan])))


def test_smaller_levels_take_more_draws():
    assert (4_000, 8_000, 40_000) == (bootstrap_draws(0.05), bootstrap_draws(0.005), bootstrap_draws(1e-6))


def test_degrees_of_freedom_follow_the_kurtosis():
    x = np.random.default_rng(10).normal(size=5_000)
    assert effective_df(x) == pytest.approx(4_999, rel=0.1)
    # 40 discordant of 1,000 rows: kurtosis 25, so 2 * 1000 / 24 degrees of freedom, about twice 40
    discordant = np.r_[np.ones(20), -np.ones(20), np.zeros(960)]
    assert 2 * 1_000 / 24 == pytest.approx(effective_df(discordant))
    assert effective_df(np.ones(10)) == 9.0

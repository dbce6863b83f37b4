"""Association of grouped columns: by hand, against scikit-learn and numpy, and their errors by simulation."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import norm, rankdata
from sklearn.metrics import mutual_info_score

from evergreen.tasks.core.stats.association import group_scores, mutual_information, score_correlation

TABLES = arrays(np.int64, (3, 4), elements=st.integers(0, 40))


def plain_information(table):
    excess = (table > 0).sum() - (table.sum(1) > 0).sum() - (table.sum(0) > 0).sum() + 1
    return float(mutual_information(table.astype(float)).value) + excess / (2 * table.sum())


def simulated(rho, *, n, classes, windows, seed=0):
    """Return 9 x classes tables of windows of n normal pairs, cut at quantiles."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(windows, n))
    y = rho * x + np.sqrt(1 - rho**2) * rng.normal(size=(windows, n))
    rows = np.minimum((norm.cdf(x) * 9).astype(int), 8)
    columns = np.minimum((norm.cdf(y) * classes).astype(int), classes - 1)
    cells = rows * classes + columns
    return (
        np.stack([np.bincount(one, minlength=9 * classes) for one in cells])
        .reshape(-1, 9, classes)
        .astype(float)
    )


def test_two_halves_that_are_one_have_a_bit_of_information():
    # ln 2 and nothing else: 2 cells - 2 rows - 2 columns + 1 = -1, so 1 / 200 is added
    assert np.log(2) + 0.005 == pytest.approx(mutual_information(np.diag([50.0, 50.0])).value)


@settings(max_examples=60, deadline=None)
@given(TABLES.filter(lambda table: table.sum() > 0))
def test_the_plain_estimate_agrees_with_scikit_learn(table):
    if min((table.sum(0) > 0).sum(), (table.sum(1) > 0).sum()) < 2:
        assert np.isnan(mutual_information(table.astype(float)).value)
        return
    rows, columns = np.repeat(np.indices(table.shape).reshape(2, -1), table.ravel(), axis=1)
    assert mutual_info_score(rows, columns) == pytest.approx(plain_information(table), abs=1e-9)


@settings(max_examples=60, deadline=None)
@given(
    TABLES.filter(lambda table: min((table.sum(0) > 0).sum(), (table.sum(1) > 0).sum()) > 1),
    st.permutations(range(4)),
)
def test_information_does_not_depend_on_the_order_of_groups_or_sides(table, order):
    found = mutual_information(table.astype(float))
    assert found.value == pytest.approx(
        mutual_information(table[:, list(order)].astype(float)).value, abs=1e-12
    )
    assert found.value == pytest.approx(mutual_information(table.T.astype(float)).value, abs=1e-12)


@pytest.mark.parametrize(("rho", "classes"), [(0.0, 2), (0.5, 2), (0.2, 2)])
def test_information_is_unbiased_and_knows_its_error(rho, classes):
    tables = simulated(rho, n=500, classes=classes, windows=1500)
    truth = mutual_information(simulated(rho, n=400_000, classes=classes, windows=1, seed=1)).value[0]
    found = mutual_information(tables)
    assert truth == pytest.approx(found.value.mean(), abs=0.001)
    assert found.value.std() == pytest.approx(np.sqrt(np.square(found.error).mean()), rel=0.2)


def test_information_in_many_sparse_cells_keeps_a_tenth_of_its_bias():
    found = mutual_information(simulated(0.0, n=500, classes=9, windows=400))
    # the plain estimate would show 64 / 1000 nats where there is nothing
    assert found.value.mean() < 0.1 * 0.064


def test_correlation_agrees_with_numpy():
    rng = np.random.default_rng(0)
    table = rng.integers(1, 30, size=(5, 3))
    rows, columns = rng.normal(size=5), rng.normal(size=3)
    places = np.repeat(np.indices(table.shape).reshape(2, -1), table.ravel(), axis=1)
    expected = np.corrcoef(rows[places[0]], columns[places[1]])[0, 1]
    assert expected == pytest.approx(
        np.tanh(score_correlation(table.astype(float), rows, columns).value), abs=1e-9
    )


@pytest.mark.parametrize("rho", [0.0, 0.5, 0.9])
def test_correlation_knows_its_error(rho):
    tables = simulated(rho, n=500, classes=9, windows=1500)
    scores = (np.arange(9) + 0.5) / 9
    found = score_correlation(tables, scores, scores)
    assert found.value.std() == pytest.approx(np.sqrt(np.square(found.error).mean()), rel=0.1)
    if rho == 0:
        assert 1 / np.sqrt(497) == pytest.approx(found.error.mean(), rel=0.02)


def test_a_link_that_turns_round_changes_sign():
    table = np.array([[40.0, 10.0], [10.0, 40.0]])
    scores = np.array([0.0, 1.0])
    before, after = score_correlation(table, scores, scores), score_correlation(table[::-1], scores, scores)
    assert before.value == pytest.approx(-after.value)
    assert before.error == pytest.approx(after.error)


def test_a_score_of_nan_leaves_its_group_out():
    table = np.array([[40.0, 10.0], [10.0, 40.0], [500.0, 3.0]])
    rows = np.array([0.0, 1.0, np.nan])
    assert (
        score_correlation(table[:2], rows[:2], rows[:2]).value
        == score_correlation(table, rows, rows[:2]).value
    )


@pytest.mark.parametrize(
    "table", [np.zeros((2, 2)), np.array([[5.0, 0.0], [0.0, 0.0]]), np.array([[5.0, 5.0], [0.0, 0.0]])]
)
def test_a_side_that_does_not_vary_has_no_association(table):
    assert np.isnan(mutual_information(table).value)
    assert np.isnan(mutual_information(table).error)
    assert np.isnan(score_correlation(table, np.arange(2.0), np.arange(2.0)).value)


def test_an_ordered_side_has_mid_ranks():
    table = np.array([[3.0, 1.0], [2.0, 4.0]])
    rows, columns = group_scores(table, up=True, across=True)
    values = np.repeat([0, 1], [4, 6])
    assert (rankdata(values) - 0.5)[[0, -1]] / 10 == pytest.approx(rows)
    assert [0.25, 0.75] == pytest.approx(columns)


def test_categories_have_the_mean_score_of_the_other_side():
    table = np.array([[8.0, 2.0], [2.0, 8.0], [0.0, 0.0]])
    rows, columns = group_scores(table, up=False, across=True)
    assert [0.25, 0.75] == pytest.approx(columns)
    # 8 of 10 at .25 and 2 at .75 are .35 on average; a category without rows has the overall mean
    assert [0.35, 0.65, 0.5] == pytest.approx(rows)


def test_two_sides_of_categories_have_the_scores_that_correlate_most():
    rng = np.random.default_rng(0)
    table = rng.integers(1, 40, size=(4, 5)).astype(float)
    best = np.tanh(score_correlation(table, *group_scores(table, up=False, across=False)).value)
    others = [
        np.tanh(score_correlation(table, rng.normal(size=4), rng.normal(size=5)).value) for _ in range(300)
    ]
    assert best > np.abs(others).max()

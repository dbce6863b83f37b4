"""Counting numbers over edges: the bins of binary search, always."""

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from evergreen.tasks.core.profiles.count import (
    BLOCK,
    TOP,
    BitCells,
    EdgeTable,
    LinearCells,
    Moments,
    block_moments,
    blocks,
    edge_table,
    numeric_codes,
)
from evergreen.tasks.core.profiles.grid import ColumnGrid, quantile_edges

FINITE = st.floats(allow_nan=False, allow_infinity=False, allow_subnormal=True)
ODD = st.sampled_from(
    [0.0, -0.0, 5e-324, -5e-324, 1.0, np.nextafter(1.0, 2), 1e308, -1e308, 2.0**53, 2.0**53 + 2]
)


def measure_moments(values):
    return sum(
        (block_moments(block, low=float(block.min()), high=float(block.max())) for block in blocks(values)),
        Moments(),
    )


EDGES = st.lists(FINITE | ODD | st.integers(-20, 20).map(float), max_size=40).map(
    lambda x: np.unique(np.array(x))
)


def searched(edges, values):
    return np.searchsorted(edges, values, side="right")


@settings(max_examples=400, deadline=None)
@given(EDGES, st.lists(FINITE | ODD, max_size=40), st.booleans())
@example(np.array([0.0, 5e-324]), [0.0, -0.0, 5e-324, -5e-324], True)
@example(np.array([-1.7e308, 0.0, 1.7e308]), [-1.7e308, 1.7e308, 0.0], True)
@example(np.array([1e300, np.nextafter(1e300, np.inf)]), [-1e308, 1e300, 1e308], True)
def test_the_bins_are_those_of_binary_search(edges, values, near):
    with np.errstate(over="ignore"):
        near_edges = [*edges, *np.nextafter(edges, np.inf), *np.nextafter(edges, -np.inf)] if near else []
    values = np.array([value for value in [*values, *near_edges] if np.isfinite(value)])
    table = edge_table(edges)
    assert searched(edges, values).tolist() == table.codes(values).tolist()
    assert (
        np.bincount(searched(edges, values), minlength=len(edges) + 1).tolist()
        == table.count(values).tolist()
    )


@pytest.mark.parametrize(
    "draw",
    [
        lambda rng, n: rng.normal(size=n),
        lambda rng, n: rng.lognormal(sigma=4, size=n),
        lambda rng, n: rng.standard_cauchy(n),
        lambda rng, n: np.where(rng.random(n) < 0.5, 0.0, rng.exponential(size=n)),
        lambda rng, n: rng.integers(0, 24, n).astype(float),
        lambda rng, n: rng.integers(0, 100_000, n).astype(float) / 100,
        lambda rng, n: np.exp(rng.uniform(-700, 700, n)) * rng.choice([-1, 1], n),
        lambda rng, n: 1.7e9 + rng.normal(size=n) * 1e-3,
        lambda rng, n: rng.normal(size=n).astype(np.float32).astype(float),
        lambda rng, n: np.full(n, 3.0),
        lambda rng, n: rng.integers(2**60, 2**60 + 5000, n).astype(float),
    ],
)
def test_many_values_are_counted_as_binary_search_does(draw):
    rng = np.random.default_rng(0)
    edges = quantile_edges(draw(rng, 5000))
    values = draw(rng, 2 * BLOCK + 7)
    expected = np.bincount(searched(edges, values), minlength=len(edges) + 1)
    assert expected.tolist() == edge_table(edges).count(values).tolist()
    assert searched(edges, values).tolist() == edge_table(edges).codes(values).tolist()


def test_values_in_strides_are_counted_too():
    values = np.random.default_rng(0).normal(size=(5000, 3))
    edges = quantile_edges(values[:, 0].copy())
    expected = np.bincount(searched(edges, values[:, 1]), minlength=len(edges) + 1)
    assert expected.tolist() == edge_table(edges).count(values[:, 1]).tolist()


def test_numbers_of_like_size_have_cells_of_equal_width_and_others_cells_by_their_bits():
    assert isinstance(edge_table(np.array([0.0, 1.0, 2.0])).cells, LinearCells)
    assert isinstance(edge_table(np.array([0.0, 5e-324])).cells, BitCells)
    assert isinstance(edge_table(np.geomspace(1e-9, 1e9, 200)).cells, BitCells)
    assert edge_table(np.array([1.0])).cells is None


@pytest.mark.parametrize("make", [LinearCells.between, BitCells.between])
@given(st.lists(FINITE | ODD, min_size=2, max_size=30))
def test_cells_never_decrease_with_the_value(make, values):
    values = np.sort(np.array(values))
    cells = make(-3.0, 1e6)
    placed = np.clip(cells.of(values), 0, TOP)
    assert (np.diff(placed) >= 0).all()
    assert (np.diff(placed)[values[1:] == values[:-1]] == 0).all()
    assert 0.9 * TOP / 2 <= np.ptp(np.clip(cells.of(np.array([-4.0, 1e6])), 0, TOP))


def test_more_edges_than_a_table_can_number_are_searched():
    edges = np.arange(40_000.0)
    values = np.random.default_rng(0).uniform(-10, 40_010, 5000)
    assert searched(edges, values).tolist() == edge_table(edges).codes(values).tolist()


def test_null_and_infinite_values_are_in_no_bin():
    values = np.array([np.nan, np.inf, -np.inf, 0.5])
    for table in (edge_table(np.array([0.0, 1.0])), EdgeTable(edges=np.array([0.0, 1.0]))):
        assert [-1, -2, -3, 1] == numeric_codes(values, table).tolist()


def test_a_grid_makes_its_table_once_it_pays_and_keeps_it():
    grid = ColumnGrid(kind="numeric", edges=(0.0, 1.0, 2.0))
    assert grid.edge_table(500).cells is None
    assert grid.edge_table(100_000) is grid.edge_table(500)


def test_moments_of_a_few_numbers_by_hand():
    # 1, 2, 6: mean 9/3 = 3; deviations -2, -1, 3; squares 4 + 1 + 9 = 14
    assert Moments(n=3, minimum=1.0, maximum=6.0, mean=3.0, squares=14.0) == measure_moments(
        np.array([1.0, 2, 6])
    )


@settings(max_examples=100, deadline=None)
@given(arrays(np.float64, st.integers(1, 200), elements=st.floats(-1e9, 1e9)), st.data())
def test_moments_of_parts_add_up(values, data):
    cut = data.draw(st.integers(0, len(values)))
    added = measure_moments(values[:cut]) + measure_moments(values[cut:])
    assert (len(values), values.min(), values.max()) == (added.n, added.minimum, added.maximum)
    assert values.mean() == pytest.approx(added.mean, rel=1e-9, abs=1e-9 * np.abs(values).max())
    whole = np.square(values - values.mean()).sum()
    assert whole == pytest.approx(added.squares, rel=1e-9, abs=1e-9 * np.square(values).max())


def test_moments_of_numbers_far_from_zero_keep_their_digits():
    values = 1e9 + np.random.default_rng(0).normal(size=3 * BLOCK)
    moments = measure_moments(values)
    assert np.var(values - 1e9) * len(values) == pytest.approx(moments.squares, rel=1e-9)


def test_the_mean_of_huge_numbers_stays_finite_and_their_squares_overflow():
    values = np.array([1.7e308, 1.6e308, 1.5e308])
    for moments in (measure_moments(values), measure_moments(values[:1]) + measure_moments(values[1:])):
        assert 1.6e308 == pytest.approx(moments.mean)
        assert np.isinf(moments.squares)
    opposite = measure_moments(np.array([1.7e308])) + measure_moments(np.array([-1.7e308]))
    assert 0.0 == opposite.mean

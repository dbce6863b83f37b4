import math

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.spatial.distance import jensenshannon

from evergreen.tasks.core.errors import DataError
from evergreen.tasks.core.stats.distances import (
    hellinger,
    js_distance,
    kl_divergence,
    psi,
    total_variation,
    wasserstein,
)
from evergreen.tasks.core.stats.two_sample import psi_p_value
from tests.support.simulated_models import lower_bound, upper_bound

ALL = {
    "psi": psi,
    "kl": kl_divergence,
    "js": js_distance,
    "hellinger": hellinger,
    "total_variation": total_variation,
    "wasserstein": wasserstein,
}
SYMMETRIC = [name for name in ALL if name != "kl"]
UNORDERED = [name for name in ALL if name != "wasserstein"]
BOUNDED = ["js", "hellinger", "total_variation", "wasserstein"]
COUNTS = st.integers(1, 12).flatmap(
    lambda bins: st.tuples(
        *[
            arrays(np.int64, bins, elements=st.integers(0, 10_000)).filter(lambda side: side.sum() > 0)
            for _ in "rc"
        ]
    )
)
FILLED = COUNTS.map(lambda sides: tuple(side + 1 for side in sides))


def test_psi_by_hand():
    # 30 of 50 and 20 of 50, half a row added: 30.5/51 against 20.5/51 in both cells, mirrored:
    # 2 * (10/51) * ln(30.5/20.5)
    assert 2 * (10 / 51) * math.log(30.5 / 20.5) == pytest.approx(psi([30, 20], [20, 30]), abs=1e-12)


def test_psi_of_shares_is_not_smoothed():
    # (.2 - .1) ln 2 + (.8 - .9) ln(8/9)
    expected = 0.1 * math.log(2) - 0.1 * math.log(8 / 9)
    assert expected == pytest.approx(psi([0.1, 0.9], [0.2, 0.8]), abs=1e-12)
    assert math.inf == psi([0.5, 0.5], [1.0, 0.0])


def test_psi_without_smoothing_is_infinite_where_one_side_alone_is_empty():
    assert math.inf == psi([10, 0], [5, 5], smoothing=0)
    assert psi([10, 0], [5, 5]) < math.inf
    assert 0 == psi([10, 0], [5, 0], smoothing=0)


def test_kl_by_hand_is_in_nats_and_takes_the_current_first():
    # .75 ln 1.5 + .25 ln .5
    assert 0.75 * math.log(1.5) + 0.25 * math.log(0.5) == pytest.approx(kl_divergence([3, 1], [2, 2]))
    assert math.inf == kl_divergence([1, 1], [2, 0])
    assert math.log(2) == pytest.approx(kl_divergence([2, 0], [1, 1]))


def test_total_variation_and_wasserstein_by_hand():
    # shares .5 .3 .2 and .2 .3 .5: .3 of the rows change cell, each over both steps of two
    sides = [50, 30, 20], [20, 30, 50]
    assert 0.3 == pytest.approx(total_variation(*sides))
    assert 0.3 == pytest.approx(wasserstein(*sides))
    # with the places 0, 3, 4 half of the way's .3 goes over 3 and half over 1 of 4
    assert 0.3 == pytest.approx(wasserstein(*sides, places=[0, 3, 4]))
    assert 0.3 * 3 / 4 == pytest.approx(wasserstein([50, 30, 20], [20, 60, 20], places=[0, 3, 4]))


def test_hellinger_by_hand():
    # 1 - (sqrt(.36 * .64) + sqrt(.64 * .36)) = 1 - .96
    assert math.sqrt(0.04) == pytest.approx(hellinger([36, 64], [64, 36]))


@settings(max_examples=100, deadline=None)
@given(COUNTS)
def test_distances_agree_with_scipy(sides):
    r, c = sides
    p, q = r / r.sum(), c / c.sum()
    assert scipy.stats.entropy(c, r) == pytest.approx(kl_divergence(c, r), abs=1e-9)
    assert jensenshannon(r, c, base=2) == pytest.approx(js_distance(r, c), abs=1e-9)
    assert np.linalg.norm(np.sqrt(p) - np.sqrt(q)) / math.sqrt(2) == pytest.approx(hellinger(r, c), abs=1e-9)
    steps = np.arange(len(r))
    way = scipy.stats.wasserstein_distance(steps, steps, r, c) / max(1, len(r) - 1)
    assert way == pytest.approx(wasserstein(r, c), abs=1e-9)


@settings(max_examples=100, deadline=None)
@given(COUNTS)
def test_psi_is_both_divergences_of_the_smoothed_counts(sides):
    r, c = (side + 0.5 for side in sides)
    expected = scipy.stats.entropy(r, c) + scipy.stats.entropy(c, r)
    assert expected == pytest.approx(psi(*sides), abs=1e-9)


@given(COUNTS, st.sampled_from(list(ALL)))
def test_nothing_lies_between_a_sample_and_itself(sides, name):
    assert 0 == pytest.approx(ALL[name](sides[0], sides[0]), abs=1e-12)
    assert 0 == pytest.approx(ALL[name](sides[0] + 1, 3 * (sides[0] + 1)), abs=1e-7 if name == "js" else 1e-2)


@given(COUNTS, st.sampled_from(list(ALL)))
def test_distances_are_never_negative(sides, name):
    assert ALL[name](*sides) >= 0


@given(COUNTS, st.sampled_from(BOUNDED))
def test_bounded_distances_stay_within_one(sides, name):
    assert ALL[name](*sides) <= 1 + 1e-12


@given(FILLED, st.sampled_from(SYMMETRIC))
def test_what_is_symmetric_by_definition_is(sides, name):
    assert ALL[name](*sides) == pytest.approx(ALL[name](*sides[::-1]), abs=1e-12)


def test_kl_is_not_symmetric():
    assert kl_divergence([9, 1], [5, 5]) != pytest.approx(kl_divergence([5, 5], [9, 1]), abs=0.1)


@given(FILLED, st.sampled_from(UNORDERED), st.randoms(use_true_random=False))
def test_permuting_the_bins_together_changes_nothing(sides, name, random):
    order = random.sample(range(len(sides[0])), len(sides[0]))
    permuted = ALL[name](*(side[order] for side in sides))
    assert ALL[name](*sides) == pytest.approx(permuted, abs=1e-12)


def test_wasserstein_knows_the_order_of_bins():
    assert wasserstein([1, 0, 0], [0, 1, 0]) < wasserstein([1, 0, 0], [0, 0, 1])


@given(FILLED, st.sampled_from([name for name in ALL if name != "psi"]))
def test_counts_and_their_shares_are_the_same(sides, name):
    as_shares = ALL[name](*(side / side.sum() for side in sides))
    assert ALL[name](*sides) == pytest.approx(as_shares, abs=1e-7)


@pytest.mark.parametrize("name", ALL)
def test_a_stack_of_columns_is_each_column_for_itself(name):
    rng = np.random.default_rng(0)
    r, c = rng.integers(1, 50, (2, 3, 4, 6))
    found = ALL[name](r, c)
    assert (3, 4) == found.shape
    assert [[ALL[name](r[i, j], c[i, j]) for j in range(4)] for i in range(3)] == pytest.approx(found)


def test_cells_that_do_not_exist_are_not_smoothed():
    padded = psi([[30, 20, 0]], [[20, 30, 0]], cells=[[True, True, False]])
    assert [psi([30, 20], [20, 30])] == pytest.approx(padded)


@pytest.mark.parametrize("name", ALL)
def test_no_rows_on_a_side_is_nan(name):
    assert math.isnan(ALL[name]([0, 0], [1, 2]))
    assert math.isnan(ALL[name]([1, 2], [0, 0]))
    assert [True, False] == np.isnan(ALL[name]([[0, 0], [1, 2]], [[1, 2], [1, 2]])).tolist()


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize(
    ("sides", "said"),
    [
        (([1, 2], [1, 2, 3]), "shapes"),
        (([], []), "at least one bin"),
        ((3, 4), "at least one bin"),
        (([1, -2], [1, 2]), "holds -2"),
        (([1, 2], [1, float("nan")]), "holds nan"),
        (([1, 2], [float("inf"), 2]), "holds inf"),
    ],
)
def test_what_is_no_pair_of_counts_is_refused(name, sides, said):
    with pytest.raises(DataError, match=said):
        ALL[name](*sides)


def test_without_drift_psi_follows_chi_square_and_not_its_fixed_levels():
    # 2,000 pairs of 10 cells; at 150 rows a fixed level of 0.1 fires often, the p-value in 5 %
    rng = np.random.default_rng(7)
    r, c = rng.multinomial(400, [0.1] * 10, 2_000), rng.multinomial(150, [0.1] * 10, 2_000)
    values = psi(r, c)
    hits = int((psi_p_value(values, reference_rows=400, current_rows=150, cells=10) < 0.05).sum())
    assert lower_bound(hits, 2_000) < 0.05 < upper_bound(hits, 2_000) + 0.005
    assert (values > 0.1).mean() > 0.2

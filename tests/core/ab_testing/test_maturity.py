import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evergreen.tasks.core.ab_testing.checks import measure_maturity
from evergreen.tasks.core.errors import DataError, InputError

AGES = [0.0, 1.0, 2.0, 3.0]


def test_shares_by_day_and_age_by_hand():
    place = [0.1, 0.9, 1.5, 1.6, 2.2]
    known = [0.1, 2.5, 1.8, np.nan, 9.0]
    found = measure_maturity(place, known, now=4.0, length=1.0, ages=AGES)
    assert [0.0, 1.0, 2.0] == found.starts.tolist()
    # day 0: at once 1 of 2, after 1.6 days both; day 1: after .3 days 1 of 2; day 2's label comes after now
    expected = [[0.5, 0.5, 1.0, 1.0], [0.0, 0.5, 0.5, np.nan], [0.0, 0.0, np.nan, np.nan]]
    np.testing.assert_array_equal(expected, found.shares)
    assert [2, 2, 1] == [cohort["rows"] for cohort in found.to_dict()["cohorts"]]
    assert found.to_dict()["cohorts"][2]["shares"] == [0.0, 0.0, None, None]


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000))
def test_parts_add_up_and_the_curve_never_falls(seed):
    rng = np.random.default_rng(seed)
    place = rng.uniform(0, 12, 300)
    known = np.where(rng.random(300) < 0.8, place + rng.exponential(1.0, 300), np.nan)
    options = {"now": 10.0, "length": 1.0, "ages": AGES}
    whole = measure_maturity(place, known, **options)
    parts = measure_maturity(place[:90], known[:90], **options) + measure_maturity(
        place[90:], known[90:], **options
    )
    np.testing.assert_array_equal(whole.shares, parts.shares)
    curve = whole.curve()
    assert (np.diff(curve) >= -1e-12).all()
    assert ((curve >= 0) & (curve <= 1 + 1e-12)).all()


def test_young_cohorts_do_not_bend_the_curve():
    rng = np.random.default_rng(0)
    place = np.sort(rng.uniform(0, 30, 60_000))
    known = np.where(rng.random(60_000) < 0.9, place + rng.exponential(2.0, 60_000), np.nan)
    found = measure_maturity(place, known, now=30.0, length=1.0, ages=[1.0, 2.0, 4.0, 8.0])
    expected = 0.9 * (1 - np.exp(-np.array([1.0, 2.0, 4.0, 8.0]) / 2))
    np.testing.assert_allclose(expected, found.curve(), atol=0.01)


@pytest.mark.parametrize(("length", "ages"), [(0.0, AGES), (1.0, []), (1.0, [2.0, 1.0]), (1.0, [-1.0])])
def test_cohorts_and_ages_that_are_none_are_refused(length, ages):
    with pytest.raises(InputError, match="ages that ascend"):
        measure_maturity([1.0], [1.0], now=2.0, length=length, ages=ages)


def test_columns_of_different_lengths_and_other_cohorts_are_refused():
    with pytest.raises(DataError, match="1 positions and 2 label times"):
        measure_maturity([1.0], [1.0, 2.0], now=2.0, length=1.0, ages=AGES)
    days, hours = (measure_maturity([1.0], [1.0], now=2.0, length=length, ages=AGES) for length in (1.0, 0.5))
    with pytest.raises(InputError, match="equal ages"):
        days + hours

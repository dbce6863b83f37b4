import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from statsmodels.stats.multitest import multipletests

from evergreen.tasks.core.errors import DataError
from evergreen.tasks.core.stats.resampling import benjamini_hochberg, benjamini_yekutieli, holm
from tests.support.simulated_models import upper_bound

P_VALUES = st.lists(st.floats(0, 1), min_size=1, max_size=30)


@pytest.mark.parametrize(
    ("ours", "method"), [(holm, "holm"), (benjamini_hochberg, "fdr_bh"), (benjamini_yekutieli, "fdr_by")]
)
def test_adjusted_p_values_agree_with_statsmodels(ours, method):
    """Of three sets: statsmodels collects all garbage at each call."""
    many = np.random.default_rng(7).beta(0.4, 1.0, size=200)
    for p in ([0.04], [0.0, 1.0, 0.02, 0.02, 0.5, 0.5], np.round(many, 3)):
        assert multipletests(p, method=method)[1] == pytest.approx(ours(p))


@given(P_VALUES)
def test_adjusting_never_makes_a_p_value_smaller(p):
    assert (holm(p) >= np.array(p) - 1e-15).all()


def test_holm_by_hand():
    # .01 x 3, then max(.03, .03 x 2), then max(.06, .04 x 1)
    assert [0.03, 0.06, 0.06] == pytest.approx(holm([0.01, 0.04, 0.03]).tolist())


def test_nan_stays_nan_and_still_counts():
    adjusted = holm([0.01, np.nan])
    assert adjusted[0] == 0.02
    assert np.isnan(adjusted[1])
    assert np.isnan(benjamini_hochberg([np.nan, 0.01])[0])


def test_none_at_all_is_none():
    assert holm([]).tolist() == []


def test_what_is_no_p_value_is_refused():
    with pytest.raises(DataError, match="0 to 1"):
        holm([1.5])


def test_holm_keeps_any_false_rejection_at_its_level():
    p = np.random.default_rng(0).random((2_000, 10))
    hits = sum(bool((holm(row) <= 0.05).any()) for row in p)
    assert upper_bound(hits, 2_000) <= 0.065
    assert (p <= 0.05).any(axis=1).mean() > 0.35  # without it

import json
import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import scipy.stats
from statsmodels.stats.multitest import multipletests

from evergreen.tasks.core.drift.columns import measure_columns
from evergreen.tasks.core.errors import InputError
from evergreen.tasks.core.profiles.grid import make_grid
from evergreen.tasks.core.profiles.profile import measure_profile
from evergreen.tasks.core.stats.distances import psi
from tests.support.simulated_models import upper_bound


def measured(reference, window, **options):
    """Measure frames, ``plan`` as a category; return the measures by column."""
    grid = make_grid(reference, categorical=frozenset({"plan"} & set(reference)))
    found = measure_columns(measure_profile(reference, grid), measure_profile(window, grid), **options)
    return {one.column: one for one in found}


def draw(n, seed, *, shift=0.0, missing=0.0):
    rng = np.random.default_rng(seed)
    x = np.where(rng.random(n) < missing, np.nan, rng.normal(shift, 1, n))
    return pd.DataFrame({"x": x, "y": rng.gamma(2, 3, n), "plan": rng.choice(["a", "b", "c"], n)})


def test_psi_is_over_the_deciles_of_the_reference():
    # 1,000 distinct values in order: each decile holds 100 of them; the window lies in the lower half
    reference = pd.DataFrame({"x": np.arange(1_000.0)})
    window = pd.DataFrame({"x": np.arange(0, 500.0, 2)})
    found = measured(reference, window)["x"]
    expected = psi([100] * 10, [50] * 5 + [0] * 5)
    assert expected == pytest.approx(found.psi, rel=0.02)  # fine bins do not end exactly at the deciles
    assert 0.5 == pytest.approx(found.distances["total_variation"], abs=0.01)
    assert 0.5 == pytest.approx(found.ks, abs=0.01)


def test_ks_is_within_its_bound_of_the_exact_one_and_its_p_value_near():
    reference, window = draw(5_000, 1), draw(700, 2, shift=0.1)
    for name in ("x", "y"):
        found, exact = measured(reference, window)[name], scipy.stats.ks_2samp(reference[name], window[name])
        assert exact.statistic - found.ks_bound <= found.ks <= exact.statistic + 1e-12
        assert exact.pvalue == pytest.approx(found.p_value, rel=0.15)
        assert found.ks_bound < 0.01


def test_a_value_of_its_own_bin_costs_no_exactness():
    rng = np.random.default_rng(3)
    reference, window = (pd.DataFrame({"x": rng.integers(0, 6, n).astype(float)}) for n in (4_000, 300))
    found = measured(reference, window)["x"]
    assert 0 == found.ks_bound
    assert scipy.stats.ks_2samp(reference.x, window.x).statistic == pytest.approx(found.ks, abs=1e-12)


def test_categories_are_tested_by_chi_square_with_missing_as_a_cell():
    reference = pd.DataFrame({"plan": ["a"] * 500 + ["b"] * 400 + [None] * 100})
    window = pd.DataFrame({"plan": ["a"] * 100 + ["b"] * 60 + [None] * 40})
    found = measured(reference, window)["plan"]
    table = [[500, 400, 100], [100, 60, 40]]
    assert "chi_square" == found.test
    assert scipy.stats.chi2_contingency(table, correction=False).pvalue == pytest.approx(
        found.p_value, abs=1e-12
    )
    assert psi(*table) == pytest.approx(found.psi, abs=1e-12)
    assert (0.1, 0.2) == (found.missing_before, found.missing_after)


def test_p_values_are_corrected_for_the_columns():
    reference, window = draw(3_000, 4), draw(400, 5, shift=0.2)
    found = list(measured(reference, window).values())
    expected = multipletests([one.p_value for one in found], method="fdr_bh")[1]
    assert expected == pytest.approx([one.adjusted_p_value for one in found], abs=1e-12)


def test_what_moved_drifted_and_the_others_did_not():
    found = measured(draw(4_000, 6), draw(600, 7, shift=0.5))
    assert {"x": True, "y": False, "plan": False} == {name: one.drifted for name, one in found.items()}
    assert 0.5 == pytest.approx(found["x"].mean_shift, abs=0.15)


def test_a_harmless_shift_of_many_rows_is_significant_and_no_drift():
    reference, window = draw(100_000, 8)[["x"]], draw(100_000, 9, shift=0.03)[["x"]]
    found = measured(reference, window)["x"]
    assert found.adjusted_p_value < 0.001
    assert found.drifted is False
    assert measured(reference, window, psi_warning=0.0005)["x"].drifted is True


def test_what_chance_gives_few_rows_is_said_beside_psi_and_is_no_drift():
    rng = np.random.default_rng(10)
    reference = pd.DataFrame(rng.normal(size=(3_000, 40))).rename(columns=str)
    window = pd.DataFrame(rng.normal(size=(60, 40))).rename(columns=str)
    found = measured(reference, window).values()
    assert sum(one.psi > 0.1 for one in found) > 10
    assert not any(one.drifted for one in found)
    assert upper_bound(sum(one.psi > one.psi_chance for one in found), 40) < 0.3


def test_missing_values_that_set_in_are_drift_though_ks_is_blind_to_them():
    found = measured(draw(3_000, 11), draw(500, 12, missing=0.3))["x"]
    assert found.p_value > 0.05
    assert found.missing_p_value < 1e-6
    assert found.drifted is True


def test_infinite_values_that_set_in_are_drift():
    window = draw(500, 13)
    window.loc[:99, "x"] = np.inf
    found = measured(draw(3_000, 14), window)["x"]
    assert found.drifted is True
    assert 0 == found.missing_after


def test_categories_never_seen_are_said():
    window = draw(500, 15)
    window.loc[:99, "plan"] = "new"
    found = measured(draw(3_000, 16), window)["plan"]
    assert 0.2 == found.unseen
    assert found.drifted is True


@pytest.mark.parametrize(
    ("window", "code"),
    [
        (pd.DataFrame({"x": [], "plan": []}, dtype=object), "no_rows"),
        (pd.DataFrame({"x": [np.nan] * 50, "plan": [None] * 50}), "all_null"),
        (pd.DataFrame({"x": [1.0], "plan": ["a"]}), "too_few_rows"),
        (pd.DataFrame({"x": [np.inf] * 10, "plan": ["a"] * 10}), "too_few_rows"),
    ],
)
def test_what_cannot_be_judged_is_never_no_drift(window, code):
    reference = draw(500, 17)[["x", "plan"]]
    for first, second in ((reference, window), (window, reference)):
        for one in measured(first, second).values():
            assert one.drifted is None
            assert code == one.reason.code
            assert "20" in one.reason.message


def test_a_constant_column_is_judged():
    same = pd.DataFrame({"x": np.full(300, 3.0), "plan": ["a"] * 300})
    found = measured(same, same)
    assert [False, False] == [one.drifted for one in found.values()]
    moved = measured(same, pd.DataFrame({"x": np.full(50, 4.0), "plan": ["b"] * 50}))
    assert [True, True] == [one.drifted for one in moved.values()]


def test_identical_profiles_have_no_distance():
    reference = draw(1_000, 18, missing=0.1)
    for one in measured(reference, reference).values():
        assert [0] * 5 == pytest.approx(
            [one.psi, *(one.distances[name] for name in ("kl", "js", "hellinger", "total_variation"))]
        )
        assert one.drifted is False


def test_the_json_form_holds_no_number_that_json_cannot():
    found = measured(draw(300, 19), pd.DataFrame({"x": [np.nan], "y": [1.0], "plan": [None]}))
    texts = [json.dumps(one.to_dict(), allow_nan=False) for one in found.values()]
    assert all(json.loads(text)["drifted"] is None for text in texts)
    keys = {"column", "kind", "psi", "kl", "js", "ks", "p_value", "adjusted_p_value", "drifted"}
    assert all(keys <= set(json.loads(text)) for text in texts)


def test_columns_stay_in_the_order_of_the_reference_and_only_common_ones_are_measured():
    reference, window = draw(300, 20), draw(300, 21)
    grid = make_grid(reference, categorical=frozenset(["plan"]))
    profiles = [measure_profile(frame, grid) for frame in (reference, window)]
    assert ["x", "y", "plan"] == [one.column for one in measure_columns(*profiles)]
    fewer = replace(profiles[1], columns={name: profiles[1].columns[name] for name in ("plan", "x")})
    assert ["x", "plan"] == [one.column for one in measure_columns(profiles[0], fewer)]
    assert () == measure_columns(profiles[0], replace(profiles[1], columns={}))


def test_columns_do_not_depend_on_what_is_measured_beside_them():
    reference, window = draw(2_000, 22), draw(300, 23, shift=0.3)
    both, alone = measured(reference, window), measured(reference[["x"]], window[["x"]])
    for name in ("psi", "psi_chance", "ks", "ks_bound", "wasserstein", "p_value", "mean_shift"):
        assert getattr(alone["x"], name) == pytest.approx(getattr(both["x"], name), abs=1e-12)
    for name in ("kl", "js"):
        assert alone["x"].distances[name] == pytest.approx(both["x"].distances[name], abs=1e-12)


def test_profiles_over_different_grids_are_refused():
    profiles = [
        measure_profile(draw(300, seed)[["x"]], make_grid(draw(300, seed)[["x"]], categorical=frozenset()))
        for seed in (1, 2)
    ]
    with pytest.raises(InputError, match="one grid"):
        measure_columns(*profiles)


def test_stationary_columns_are_hardly_ever_called_drift():
    rng = np.random.default_rng(24)
    reference = pd.DataFrame(rng.normal(size=(4_000, 30))).rename(columns=str)
    grid = make_grid(reference, categorical=frozenset())
    profile = measure_profile(reference, grid)
    windows = [pd.DataFrame(rng.normal(size=(100, 30))).rename(columns=str) for _ in range(60)]
    hits = sum(
        any(one.drifted for one in measure_columns(profile, measure_profile(window, grid)))
        for window in windows
    )
    assert upper_bound(hits, 60) < 0.25
    assert not math.isnan(measure_columns(profile, profile)[0].psi)

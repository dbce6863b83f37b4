"""Freshness: a stream that does not change is not said to age models; one that turns is."""

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import t, ttest_1samp
from threadpoolctl import threadpool_limits

from evergreen.tasks.core.init.freshness import (
    Freshness,
    advantage_p,
    encode,
    fit_quick,
    measure_freshness,
    outcome_codes,
    row_losses,
)
from tests.support.generated_data import DAY, FEATURES, STATIONARY, ageing_stream


@pytest.fixture(autouse=True)
def one_thread():
    with threadpool_limits(1):
        yield


def ask(frame, positions, *, problem="regression", **more):
    return measure_freshness(
        frame, positions, problem=problem, target="y", **{"numeric": list(FEATURES), **more}
    )


def test_the_p_value_of_a_hand_worked_series():
    differences = np.array([2.0, 0.0, 2.0, 0.0, 2.0, 0.0, 2.0, 0.0])

    # mean 1, variance 1 of 8 blocks; neighbours alternate, so no less than the variance of independent blocks:
    # se = sqrt(1 / 7 * (1 + 100 / 200)) = 0.46291, t = 2.16025 with 7 degrees of freedom
    assert advantage_p(differences, judged=100, learned=200) == pytest.approx(t.sf(2.16025, 7), rel=1e-4)


def test_the_variance_is_newey_west_s():
    rng = np.random.default_rng(0)
    series = np.convolve(rng.normal(size=300), np.ones(4), mode="valid") + 0.3
    fit = sm.OLS(series, np.ones_like(series)).fit(
        cov_type="HAC", cov_kwds={"maxlags": 7, "use_correction": True}
    )

    expected = float(t.sf(fit.params[0] / fit.bse[0], len(series) - 1))
    assert advantage_p(series, judged=0, learned=1) == pytest.approx(expected, rel=1e-6)


def test_dependent_blocks_are_never_more_certain_than_independent_ones():
    series = np.random.default_rng(1).normal(0.2, 1, size=100)

    assert (
        advantage_p(series, judged=0, learned=1)
        >= ttest_1samp(series, 0, alternative="greater").pvalue - 1e-12
    )


@given(st.lists(st.floats(-10, 10), min_size=2, max_size=60), st.floats(0.1, 100))
@settings(max_examples=50, deadline=None)
def test_the_p_value_is_a_chance_and_does_not_depend_on_the_unit(values, unit):
    p = advantage_p(np.array(values), judged=3, learned=2)

    assert 0 <= p <= 1
    if np.std(values) > 1e-3:
        assert advantage_p(unit * np.array(values), judged=3, learned=2) == pytest.approx(p, abs=1e-6)


@pytest.mark.parametrize(("values", "p"), [([], 1.0), ([3.0], 1.0), ([0.0] * 9, 1.0), ([2.0] * 9, 0.0)])
def test_series_without_spread(values, p):
    assert advantage_p(np.array(values), judged=1, learned=1) == p


@pytest.mark.slow
def test_streams_that_do_not_change_are_hardly_ever_said_to_age_models():
    false = [
        (kind, seed) for kind in STATIONARY for seed in range(5) if ask(*ageing_stream(seed, kind=kind)).pays
    ]

    # 20 streams; tests/proof/test_freshness_rates.py asks 800
    assert len(false) <= 1, false


@pytest.mark.parametrize("problem", ["regression", "binary"])
def test_coefficients_that_turn_by_thirty_percent_of_a_right_angle_are_found(problem):
    days = 300 if problem == "regression" else 1_500
    found = [
        ask(*ageing_stream(seed, problem=problem, days=days, a_day=20, turn=0.3 * np.pi / 2), problem=problem)
        for seed in range(10 if problem == "regression" else 3)
    ]

    assert sum(one.pays for one in found) >= 0.9 * len(found)
    assert all(one.gain > 0 for one in found)


def test_a_change_after_everything_was_learned_favours_nobody_who_did_not_see_it():
    frame, positions = ageing_stream(0, days=300)
    late = frame.assign(y=np.where(np.arange(len(frame)) < 0.95 * len(frame), frame["y"], -frame["y"]))

    assert not ask(late, positions).pays


@pytest.mark.parametrize(
    "change",
    [
        {"numeric": []},
        {"days": 100},  # 1,000 rows: 350 to learn from
        {"days": 20, "a_day": 100},  # 11 days to judge on
    ],
)
def test_where_too_little_is_there_nothing_is_said(change):
    size = {"days": 160, "a_day": 10} | {k: v for k, v in change.items() if k != "numeric"}
    more = {"numeric": change["numeric"]} if "numeric" in change else {}

    assert ask(*ageing_stream(0, **size), **more) is None


def test_a_window_of_one_class_says_nothing():
    frame, positions = ageing_stream(0, problem="binary")
    frame.loc[: len(frame) // 2, "y"] = 0

    assert ask(frame, positions, problem="binary") is None


def test_rows_are_not_learned_from_before_their_outcome_was_known():
    frame, positions = ageing_stream(0, days=300, turn=1.5)

    # with a gap of 100 days the fresh models are older, and of 200 nothing fresh was known at the first origin
    assert ask(frame, positions, gap=30 * DAY).gain < ask(frame, positions).gain
    assert ask(frame, positions, gap=200 * DAY) is None


def test_row_numbers_are_cut_into_chunks():
    frame, _ = ageing_stream(0)

    # 400 chunks of 4 rows, of which 52 % come after the first origin
    assert ask(frame, np.arange(len(frame), dtype=float), clock="rows").blocks == 208


def test_nothing_is_changed_and_the_answer_is_always_the_same():
    frame, positions = ageing_stream(0)
    before = frame.copy()

    assert ask(frame, positions) == ask(frame, positions)
    pd.testing.assert_frame_equal(frame, before)


def test_a_ranking_is_asked_within_its_groups():
    frame, positions = ageing_stream(0, days=300, turn=1.5)
    race = np.arange(len(frame)) // 5
    hidden = frame.assign(y=frame["y"] + 50 * (race % 7), race=race)

    found = ask(hidden, positions, problem="ranking", group="race")
    assert found.pays


def test_categories_and_missing_values_are_no_hindrance():
    frame, positions = ageing_stream(0, days=300, turn=1.5)
    frame["town"] = np.where(frame["a"] > 0, "x", None)
    frame.loc[::7, "b"] = np.nan

    assert ask(frame, positions, categorical=["town"]).pays


def test_a_class_that_was_never_seen_costs_a_bounded_sum():
    x = np.random.default_rng(0).normal(size=(200, 2))
    y = np.repeat([0.0, 1.0], 100)
    model = fit_quick("linear", x, y, classes=True, coded_from=2)

    assert row_losses(model, x[:3], np.array([2.0, 2.0, 2.0]), classes=True) == pytest.approx(np.log(1_000))


@pytest.mark.parametrize("kind", ["linear", "trees"])
def test_losses_are_those_of_scikit_learn(kind):
    from sklearn.metrics import log_loss, mean_squared_error

    frame, _ = ageing_stream(0, problem="binary")
    x = encode(frame, kind, numeric=FEATURES, categorical=())
    y = outcome_codes(frame["y"], problem="binary")
    model = fit_quick(kind, x, y, classes=True, coded_from=3)
    assert row_losses(model, x, y, classes=True).mean() == pytest.approx(
        log_loss(y, model.predict_proba(x)), rel=1e-3
    )
    numbers = fit_quick(kind, x, y, classes=False, coded_from=3)
    assert row_losses(numbers, x, y, classes=False).mean() == pytest.approx(
        mean_squared_error(y, numbers.predict(x))
    )


def test_freshness_pays_at_one_percent():
    assert [Freshness(kind="trees", gain=0.1, p_value=p, blocks=50).pays for p in (0.01, 0.011)] == [
        True,
        False,
    ]

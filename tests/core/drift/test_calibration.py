"""The null of a model's signals: budget, seasons, dependence, forecasts, scale."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.signal import lfilter
from scipy.stats import norm, t
from statsmodels.tsa.stattools import acf

from evergreen.tasks.core.config import ModelConfig
from evergreen.tasks.core.config.units import parse_rate, parse_span
from evergreen.tasks.core.drift.calibration import (
    calibration_table,
    expected_false_alarms,
    fit_null_model,
    join_null_models,
)
from evergreen.tasks.core.drift.policy import Policy, drift_policy, signal_levels, windows_in_budget
from evergreen.tasks.core.drift.seasons import (
    _autocorrelation,
    choose_gains,
    find_seasons,
    fit_forecasts,
    inflation,
    measure_persistence,
)
from evergreen.tasks.core.drift.thresholds import SignalScale, at_least_usual, shrink_variances
from evergreen.tasks.core.drift.types import DriftKind, SignalKey, Signals, SignalSeries
from evergreen.tasks.core.errors import InputError
from tests.support.drift_streams import HOUR, START, draw_counts, means, policy, reference_profile, signals_of

DATA, PERFORMANCE = DriftKind.DATA, DriftKind.PERFORMANCE
NO_ROWS = np.zeros(0)


def keys_of(columns, names=("location", "spread", "missing")):
    return tuple(SignalKey(DATA, f"x{place}", name) for place in range(columns) for name in names)


def ar(rng, phi, windows, columns):
    noise = rng.normal(size=(windows + 200, columns))
    return lfilter([np.sqrt(1 - phi**2)], [1, -phi], noise, axis=0)[200:]


def series_of(values, *, error=1.0, keys=None, rows=500.0, start=START):
    m, k = values.shape
    return SignalSeries(
        keys=keys or tuple(SignalKey(DATA, f"x{place}", "location") for place in range(k)),
        starts=start + HOUR * np.arange(m),
        rows=np.full(m, rows),
        values=values,
        errors=np.full((m, k), error),
        window="1h",
    )


# --- budget


def test_a_look_at_a_column_gets_its_part_of_the_budget():
    # 1 false alarm in 100 windows, 4 columns, 1 kind: 1 / 400 a look; location half of it, two others a quarter each.
    levels = signal_levels(keys_of(4), policy=Policy(kinds=(DATA,)), windows=100.0)
    assert levels[:3].tolist() == pytest.approx([1 / 800, 1 / 1600, 1 / 1600])


@given(columns=st.integers(1, 40), windows=st.floats(1.0, 1e5), kinds=st.integers(1, 5))
@settings(max_examples=50, deadline=None)
def test_the_looks_of_all_windows_never_spend_more_than_the_budget(columns, windows, kinds):
    keys = keys_of(columns)
    chosen = Policy(kinds=tuple(DriftKind)[:kinds])
    spent = signal_levels(keys, policy=chosen, windows=windows).sum() * windows
    assert spent <= chosen.budget.count / kinds * (1 + 1e-9)


@pytest.mark.parametrize(
    ("budget", "window", "clock", "expected"),
    [
        ("1 per 90d", "1h", "timestamp", 2160.0),
        ("1 per 50000 rows", "500 rows", "rows", 100.0),
        ("1 per 90d", "500 rows", "timestamp", 90 * 24 / 2),  # reference windows start every two hours
        ("1 per 50000 rows", "1h", "timestamp", 50.0),  # a reference window has 1,000 rows
        ("1 per 90d", "500 rows", "rows", 2160.0),  # one window a run of the monitor
    ],
)
def test_windows_in_the_budget_follow_the_clock(budget, window, clock, expected):
    chosen = Policy(budget=parse_rate(budget), window=parse_span(window), clock=clock)
    starts, rows = START + 2 * HOUR * np.arange(20), np.full(20, 1000.0)
    assert windows_in_budget(chosen, starts=starts, rows=rows) == expected


def test_the_policy_takes_the_keys_and_knows_which_way_the_metric_is_worse():
    plain = {
        "model": "m",
        "problem": "regression",
        "data": {"source": "x.csv", "target": "y"},
        "training": {"candidates": [{"name": "r", "estimator": "sklearn.linear_model.Ridge"}]},
        "drift": {"num_violation_windows": 1},
    }
    chosen = drift_policy(ModelConfig.model_validate(plain))
    assert (chosen.violated, chosen.evaluated, chosen.worse) == (1, 3, 1)
    assert chosen.side(SignalKey(PERFORMANCE, "rmse", "level")) == 1
    assert chosen.side(SignalKey(DATA, "x", "location")) == 0
    assert chosen.side(SignalKey(DriftKind.CONCEPT, "@loss", "level")) == 1


# --- dependence


def test_autocorrelation_agrees_with_statsmodels():
    x = ar(np.random.default_rng(0), 0.7, 300, 1)
    x -= x.mean()
    np.testing.assert_allclose(_autocorrelation(x, lags=20)[:, 0], acf(x[:, 0], nlags=20), atol=1e-9)


def test_inflation_of_a_long_ar1_is_the_sum_of_its_squared_autocorrelations():
    # 1 + 2 Σ .8^2k = 1 + 2 * .64 / .36 = 4.56
    x = ar(np.random.default_rng(1), 0.8, 20_000, 8)
    assert inflation(x).mean() == pytest.approx(4.56, rel=0.1)


def test_persistence_looks_through_the_noise():
    # AR(.9) of variance 1 under noise of variance 4: lag-1 .18 says little, the long memory is .9.
    rng = np.random.default_rng(2)
    x = ar(rng, 0.9, 20_000, 4) + rng.normal(0, 2, (20_000, 4))
    found = measure_persistence(x, noise=np.full(4, 4.0))
    assert found.memory.mean() == pytest.approx(0.9, abs=0.05)
    # 1 + 2 * .2 * .9 / .1 = 4.6
    assert found.of_mean.mean() == pytest.approx(4.6, rel=0.3)


@pytest.mark.parametrize("windows", [40, 168, 720])
def test_persistence_is_rarely_taken_too_low(windows):
    # True: share of the variance 1 / 1.2, memory .9.
    rng = np.random.default_rng(windows)
    x = ar(rng, 0.9, windows, 400) + rng.normal(0, 0.2**0.5, (windows, 400))
    found = measure_persistence(x - x.mean(axis=0), noise=np.full(400, 0.2))
    assert (found.of_mean < 1 + 2 * (1 / 1.2) * 9).mean() < 0.3


def test_independent_windows_count_nearly_in_full():
    rng = np.random.default_rng(3)
    found = measure_persistence(rng.normal(size=(720, 50)), noise=np.ones(50))
    assert np.median(found.of_mean) < 1.6
    assert np.median(found.of_square()) < 1.1


# --- forecasts


def test_forecast_errors_by_hand():
    # Gain .9, levels after each window 0, 0 + max(.9, 1/2) * 1 = .9, then .9 + .9 * (0 - .9) = .09.
    errors, last = fit_forecasts(np.array([[0.0], [1.0], [0.0]]), gains=np.array([0.9]), ahead=2)
    assert last[0] == pytest.approx(0.09)
    assert errors[0, :, 0].tolist() == pytest.approx([np.nan, 1.0, -0.9], nan_ok=True)
    assert errors[1, :, 0].tolist() == pytest.approx([np.nan, np.nan, 0.0], nan_ok=True)


def test_a_mean_is_forecast_by_all_windows_and_a_walk_by_its_last():
    rng = np.random.default_rng(4)
    still, walk = rng.normal(size=(500, 20)), rng.normal(size=(500, 20)).cumsum(axis=0)
    assert np.median(choose_gains(still)) == 0.05
    assert np.median(choose_gains(walk)) == 0.9


# --- scale


@given(share=st.floats(0.0, 1.0), other=st.floats(-5.0, 5.0))
@settings(max_examples=50, deadline=None)
def test_the_scale_goes_there_and_back(share, other):
    scale = SignalScale.of((SignalKey(DATA, "c", "share:a"), SignalKey(DATA, "c", "location")))
    values = np.array([share, other])
    np.testing.assert_allclose(scale.back(scale.put(values)), values, atol=1e-9)


def test_errors_of_shares_count_the_rows_that_have_a_value():
    keys = (SignalKey(DATA, "c", "share:a"), SignalKey(DATA, "c", "missing"))
    found = SignalScale.of(keys).put_errors(np.array([0.3, 0.75]), np.array([0.1, 0.1]), rows=400)
    # 100 rows have a value: 1 / (2 * 10); all 400 may miss it: 1 / (2 * 20)
    assert found.tolist() == [0.05, 0.025]


@pytest.mark.parametrize("share", [0.02, 0.1, 0.5, 0.9])
def test_the_spread_of_a_share_on_the_scale_does_not_depend_on_it(share):
    rng = np.random.default_rng(5)
    scale = SignalScale.of((SignalKey(DATA, "c", "share:a"),))
    drawn = scale.put(rng.binomial(500, share, size=(20_000, 1)) / 500)
    assert drawn.std() == pytest.approx(0.5 / np.sqrt(500), rel=0.06)


# --- seasons


def season_of(values, *, start=START, window="1h"):
    keys = tuple(SignalKey(DATA, f"x{place}", "location") for place in range(values.shape[1]))
    chosen = Policy(window=parse_span(window))
    length = chosen.window_length or HOUR
    starts = start + length * np.arange(len(values))
    return find_seasons(values, starts=starts, keys=keys, policy=chosen)


def test_a_daily_cycle_gets_a_reference_for_each_hour():
    rng = np.random.default_rng(6)
    wave = np.sin(2 * np.pi * np.arange(168) / 24)[:, None]
    found = season_of(np.hstack([wave + rng.normal(0, 0.5, (168, 5)), rng.normal(size=(168, 5))]))
    assert found.phases.tolist() == [24] * 5 + [1] * 5
    assert found.fewest.tolist() == [7] * 5 + [168] * 5
    hours = np.sin(2 * np.pi * np.arange(24) / 24)
    np.testing.assert_allclose(found.expected[:24, :5].mean(axis=1), hours, atol=0.35)


def test_a_weekly_cycle_of_days_is_found():
    rng = np.random.default_rng(7)
    weekend = (np.arange(70) % 7 >= 5).astype(float)[:, None]
    assert season_of(weekend + rng.normal(0, 0.3, (70, 4)), window="1d").phases.tolist() == [7] * 4


def test_windows_that_wander_are_not_taken_for_a_season():
    x = ar(np.random.default_rng(8), 0.9, 168, 2000)
    assert (season_of(x).phases > 1).mean() < 0.005


def test_part_of_a_wave_says_how_many_windows_would_do():
    wave = np.sin(2 * np.pi * np.arange(40) / 24)[:, None] + np.random.default_rng(9).normal(0, 0.1, (40, 3))
    found = season_of(wave)
    assert found.needed.tolist() == [72] * 3
    assert found.phases.tolist() == [1] * 3


def test_windows_of_rows_have_no_phase():
    keys = (SignalKey(DATA, "x", "location"),)
    wave = np.sin(2 * np.pi * np.arange(200) / 24)[:, None]
    found = find_seasons(wave, starts=np.arange(200.0), keys=keys, policy=Policy(clock="rows"))
    assert found.phases.tolist() == [1]


# --- limits


def test_theory_judges_fewer_than_ten_windows_by_the_normal_quantile():
    values = np.random.default_rng(10).normal(size=(4, 1))
    whole = Signals(
        keys=series_of(values).keys, values=np.array([0.2]), errors=np.array([0.5]), floors=np.zeros(1)
    )
    null = fit_null_model(series_of(values), policy=policy(), whole=whole)
    assert null.theory.tolist() == [True]
    assert null.expect(START).tolist() == [0.2]
    # a window's variance 1 and the reference's own 0.25; half of 1 / 2160 for each of two forms, two-sided
    limit = (null.level.spread(np.ones(1)) * null.level.quantiles())[0]
    assert limit == pytest.approx(norm.isf(1 / 2160 / 2 / 2) * np.sqrt(1.25))


def test_theory_without_a_whole_expects_the_windows_mean():
    values = np.array([[1.0], [3.0]])
    null = fit_null_model(series_of(values), policy=policy())
    assert null.expect(START).tolist() == [2.0]
    assert null.level.own[0].tolist() == [0.5]  # 1 / 2 windows


def test_few_windows_that_differ_beyond_doubt_add_their_spread():
    values = np.array([[0.0], [10.0], [-10.0], [0.0]])
    null = fit_null_model(series_of(values), policy=policy())
    assert null.level.between[0, 0] == pytest.approx(200 / 3 - 1)


def test_the_reference_is_raised_for_what_few_windows_do_not_know():
    rng = np.random.default_rng(11)
    null = fit_null_model(series_of(rng.normal(size=(400, 1))), policy=policy())
    freedom = null.level.freedom[0, 0]
    assert 300 < freedom < 400
    assert null.level.quantile[0, 0] == pytest.approx(t.isf(1 / 2160 / 3 / 2, freedom))
    assert null.level.spread(np.ones(1))[0] == pytest.approx(1.0, rel=0.12)
    assert null.level.spread(np.ones(1))[0] >= 1.0  # never below sampling error


def test_few_dependent_windows_know_no_level():
    rng = np.random.default_rng(12)
    null = fit_null_model(series_of(ar(rng, 0.9, 40, 30), error=0.1), policy=policy())
    limits = null.level.spread(np.full(30, 0.01)) * null.level.quantiles()
    assert np.median(limits) > 10


def test_windows_below_the_fewest_rows_teach_nothing():
    values = np.zeros((40, 1))
    values[:20] = 100.0
    series = series_of(values)
    series.rows[:20] = 10.0
    assert fit_null_model(series, policy=policy()).expect(START).tolist() == [0.0]


def test_one_sided_signals_have_their_whole_level_on_one_side():
    keys = (SignalKey(PERFORMANCE, "roc_auc", "level"),)
    values = np.random.default_rng(13).normal(size=(2, 1))
    null = fit_null_model(series_of(values, keys=keys), policy=policy(kinds=(PERFORMANCE,)))
    assert null.sides.tolist() == [-1]
    assert null.level.quantile[0, 0] == pytest.approx(norm.isf(1 / 2160 / 2))


def test_nothing_to_judge_by_is_an_input_error():
    with pytest.raises(InputError, match="Train the model"):
        fit_null_model(None, policy=policy())
    with pytest.raises(InputError, match="no reference"):
        join_null_models([])


def test_nulls_of_kinds_with_different_pasts_stand_beside_each_other():
    rng = np.random.default_rng(14)
    first = fit_null_model(series_of(rng.normal(size=(200, 2))), policy=policy())
    keys = (SignalKey(PERFORMANCE, "roc_auc", "level"),)
    second = fit_null_model(
        series_of(rng.normal(size=(3, 1)), keys=keys), policy=policy(kinds=(DATA, PERFORMANCE))
    )
    both = join_null_models([first, second])
    assert both.theory.tolist() == [False, False, True]
    assert both.columns == ((DATA, "x0"), (DATA, "x1"), (PERFORMANCE, "roc_auc"))
    assert both.level.quantile.shape == (1, 3)
    assert both.jump.quantile.shape == (3, 3)
    assert np.isfinite(both.expect(START)).all()


def test_the_table_shows_limits_in_the_signals_own_units():
    rng = np.random.default_rng(15)
    windows = signals_of(draw_counts(rng, means(rng, "cycle", 168, features=2)), reference_profile(2))
    chosen = policy()
    rows = calibration_table(fit_null_model(windows.series(0, 168), policy=chosen), policy=chosen)
    assert [row["column"] for row in rows] == ["x0", "x1"]
    assert {row["season"] for row in rows} == {"day"}
    assert all(row["null_sd"] == pytest.approx(0.0129, rel=0.2) for row in rows)
    assert sum(row["false_alarms"] for row in rows) == pytest.approx(1.0)
    assert expected_false_alarms(policy=chosen)["per_90_days"] == pytest.approx(1.0)


# --- borrowing


def test_columns_alike_know_their_common_variance():
    rng = np.random.default_rng(16)
    series = rng.normal(size=(40, 60))
    variances, freedom = shrink_variances(series.var(axis=0), np.full(60, 39.0), series)
    assert np.median(variances) == pytest.approx(1.0, abs=0.1)
    assert variances.min() > 0.8
    assert freedom.min() > 300


def test_a_column_that_varies_more_keeps_its_own_variance():
    rng = np.random.default_rng(17)
    series = rng.normal(size=(40, 30)) * np.r_[5.0, np.ones(29)]
    own = series.var(axis=0)
    assert shrink_variances(own, np.full(30, 39.0), series)[0][0] == own[0]


def test_columns_that_differ_lend_little():
    rng = np.random.default_rng(18)
    series = rng.normal(size=(40, 200)) * np.exp(rng.normal(0, 1, 200))
    freedom = shrink_variances(series.var(axis=0), np.full(200, 39.0), series)[1]
    # The log of a variance spreads by 2² = 4 = trigamma(d / 2) at d = 1.1: that much is lent.
    assert freedom[0] == pytest.approx(40.1, abs=0.4)


def test_columns_that_are_one_lend_nothing():
    one = np.random.default_rng(19).normal(size=(40, 1))
    variances, freedom = shrink_variances(
        np.full(10, one.var()), np.full(10, 39.0), np.repeat(one, 10, axis=1)
    )
    assert freedom == pytest.approx(np.full(10, 39.0))
    assert variances == pytest.approx(np.full(10, one.var()))


def test_few_columns_have_nobody_to_borrow_from():
    series = np.random.default_rng(20).normal(size=(40, 4))
    variances, freedom = shrink_variances(series.var(axis=0), np.full(4, 39.0), series)
    assert variances.tolist() == series.var(axis=0).tolist()
    assert freedom.tolist() == [39.0] * 4


def test_a_calm_column_is_taken_for_what_is_usual():
    keys = keys_of(6)
    memory = np.tile([0.1, 0.2, 0.3], 6)
    memory[:3] = 0.9
    raised = at_least_usual(memory, keys)
    assert raised[:3].tolist() == [0.9] * 3
    assert raised[3:6].tolist() == [0.1, 0.2, 0.3]
    memory[9:] = 0.6
    assert at_least_usual(memory, keys)[3:6].tolist() == [0.6] * 3

"""A model's own past: windows cut as monitoring cuts them, measured once, small and readable for ever."""

import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evergreen.tasks.core.data.rows import Rows
from evergreen.tasks.core.drift.answers import answer_signals
from evergreen.tasks.core.drift.calibration import fit_null_model
from evergreen.tasks.core.drift.policy import drift_policy
from evergreen.tasks.core.drift.profile_signals import prepare_signals
from evergreen.tasks.core.drift.types import DriftKind, Phase, SignalKey, SignalSeries
from evergreen.tasks.core.monitoring.reference_series import (
    MOST_WINDOWS,
    ReferenceSeries,
    merge_series,
    pack_series,
    reference_series,
    refit_series,
    take_signals,
    unpack_series,
)
from evergreen.tasks.core.profiles.grid import make_grid
from evergreen.tasks.core.profiles.profile import measure_profile
from evergreen.tasks.core.profiles.reference import count_windows
from tests.support.monitoring import MINUTE, Trained

HOUR = 3600.0
LINKS = 6  # information and correlation of three features


def series(keys, starts, *, seed=0, window="1h"):
    rng = np.random.default_rng(seed)
    shape = (len(starts), len(keys))
    return SignalSeries(
        keys=tuple(SignalKey(DriftKind.CONCEPT, *key) for key in keys),
        starts=np.asarray(starts, dtype=float),
        rows=np.full(len(starts), 500.0),
        values=rng.normal(scale=0.02, size=shape),
        errors=rng.uniform(0.005, 0.02, size=shape),
        window=window,
    )


@pytest.fixture(scope="module")
def trained():
    return Trained(n=6000)


@pytest.fixture(scope="module")
def past(trained):
    return trained.past()


def test_every_kind_has_its_series(past):
    assert set(DriftKind) == set(past.series)
    assert () == past.reasons
    assert "8h" == past.window


def test_windows_of_time_begin_at_multiples_of_their_length_and_are_full(trained):
    rows = Rows(trained.rows.frame, trained.rows.positions + 5 * HOUR)
    found = trained.past(rows=rows, scored=None).series[DriftKind.DATA]
    # 5:00 to 105:00: the first full eight hours begin at 8:00, the last at 96:00
    assert [8 * HOUR * step for step in range(1, 13)] == found.starts.tolist()
    assert {480.0} == set(found.rows)


def test_windows_of_rows_hold_so_many_rows():
    trained = Trained(n=2600, monitoring={"window": "500 rows"})
    found = trained.past().series[DriftKind.DATA]
    assert [500.0] * 5 == found.rows.tolist()
    assert [place * 500 * MINUTE for place in range(5)] == found.starts.tolist()


def test_answers_are_measured_in_the_windows_of_the_rows_that_they_cover(trained, past):
    data, prediction = past.series[DriftKind.DATA], past.series[DriftKind.PREDICTION]
    # answers cover the second half, from row 3,000 on; row 3,000 lies within the seventh window of 480
    assert 12 == len(data)
    assert data.starts[7:].tolist() == prediction.starts.tolist()
    assert past.series[DriftKind.PERFORMANCE].starts.tolist() == prediction.starts.tolist()
    loss = past.series[DriftKind.CONCEPT].values[:, -1]
    assert np.isnan(loss[:7]).all()
    assert np.isfinite(loss[7:]).all()


def test_a_window_of_the_past_is_what_monitoring_would_have_seen(trained, past):
    watch = trained.watch()
    inside = (trained.rows.positions >= 8 * 8 * HOUR) & (trained.rows.positions < 9 * 8 * HOUR)
    rows, scored = trained.rows.take(inside), trained.scored.take(inside)
    for phase in Phase:
        found = answer_signals(
            watch, scored, phase=phase, features=trained.features(rows), rng=np.random.default_rng(0)
        ).signals
        for kind in (DriftKind.PREDICTION, DriftKind.OUTCOME, DriftKind.CONCEPT, DriftKind.PERFORMANCE):
            if kind not in phase.kinds:
                continue
            one = past.series[kind]
            (place,) = np.flatnonzero(one.starts == 8 * 8 * HOUR)
            chosen = [at for at, key in enumerate(found.keys) if key.kind is kind]
            assert [found.keys[at] for at in chosen] == list(one.keys)
            assert found.values[chosen] == pytest.approx(one.values[place])
            assert found.errors[chosen] == pytest.approx(one.errors[place])


def test_features_of_a_window_are_what_monitoring_would_have_seen(trained, past):
    inputs = trained.watch().reference.inputs
    inside = (trained.rows.positions >= 0) & (trained.rows.positions < 8 * HOUR)
    frame = trained.features(trained.rows.take(inside)).assign(**{"@outcome": None})
    signals = prepare_signals(inputs, kind=DriftKind.DATA, min_effect=0.03)
    found = signals.measure(measure_profile(frame, inputs.grid))
    data = past.series[DriftKind.DATA]
    assert found.keys == data.keys
    assert found.values == pytest.approx(data.values[0])
    assert found.errors == pytest.approx(data.errors[0])


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000))
def test_many_windows_are_counted_as_one_by_one(seed):
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {"x": rng.normal(size=300), "c": rng.choice(["a", "b", None], size=300), "y": rng.integers(0, 3, 300)}
    )
    frame.loc[rng.random(300) < 0.1, "x"] = rng.choice([np.nan, np.inf, -np.inf])
    grid = make_grid(frame, categorical=frozenset({"c", "y"}), outcome="y")
    window = rng.integers(-1, 4, size=300)
    counted = count_windows(frame, grid, window=window, many=4)
    for place, profile in enumerate(counted):
        whole = measure_profile(frame[window == place], grid)
        for name, column in whole.columns.items():
            own = profile.columns[name]
            fields = ("n", "nulls", "plus_inf", "minus_inf", "counts", "joint")
            assert [getattr(column, field) for field in fields] == [getattr(own, field) for field in fields]


def test_answers_on_other_rows_have_windows_of_their_own(trained):
    _, scored = trained.window(n=1500, start=6000 * MINUTE)
    past = trained.past(scored=scored)
    # 1,500 minutes from 100:00 on: full windows begin at 104:00 and 112:00
    assert [13 * 8 * HOUR, 14 * 8 * HOUR] == past.series[DriftKind.PREDICTION].starts.tolist()
    concept = past.series[DriftKind.CONCEPT]
    assert 12 + 2 == len(concept)
    assert np.isnan(concept.values[-1, :LINKS]).all()
    assert np.isfinite(concept.values[-1, -1])


def test_rows_without_a_clock_have_no_past_and_say_so(trained):
    found = trained.past(rows=Rows(trained.rows.frame), scored=None)
    assert {} == found.series
    assert "no_clock" == found.reasons[0].code


def test_a_window_without_a_length_on_this_clock_is_a_reason_and_no_crash():
    trained = Trained(n=1200)
    config = trained.config.model_copy(
        update={"data": trained.config.data.model_copy(update={"clock": "rows"})}
    )
    found = reference_series(
        trained.rows, trained.half, monitor=trained.watch(), schema=trained.schema, config=config
    )
    assert {} == found.series
    assert "no_windows" == found.reasons[0].code


def test_too_few_rows_for_a_window_say_so():
    found = Trained(n=300).past()
    assert {} == found.series
    assert ("no_windows", 300) == (found.reasons[0].code, found.reasons[0].n)


def test_thin_windows_are_left_out():
    trained = Trained(n=3000, step=6 * MINUTE)
    # eighty rows each: fewer than monitoring.min_rows
    assert "no_windows" == trained.past().reasons[0].code


def test_of_many_windows_the_newest_are_kept():
    trained = Trained(n=4600, monitoring={"window": "2 rows", "min_rows": 1})
    found = trained.past(scored=None).series[DriftKind.OUTCOME]
    assert MOST_WINDOWS == len(found)
    assert trained.rows.positions[4596] == found.starts[-1]


def test_calibration_takes_the_past_as_it_is(trained, past):
    policy = drift_policy(trained.config)
    for kind, one in past.series.items():
        null = fit_null_model(one, policy=policy)
        assert {kind} == {key.kind for key in null.keys}
        assert np.isfinite(null.expected[0]).all()


def test_a_past_survives_json_far_below_its_errors(past):
    again = ReferenceSeries.from_dict(json.loads(json.dumps(past.to_dict())))
    assert set(past.series) == set(again.series)
    for kind, one in past.series.items():
        other = again.series[kind]
        assert (one.keys, one.window) == (other.keys, other.window)
        assert one.starts.tolist() == other.starts.tolist()
        assert np.array_equal(np.isnan(one.values), np.isnan(other.values))
        least = np.where(one.errors > 0, one.errors, np.inf).min(axis=0)
        assert np.nan_to_num(np.abs(one.values - other.values) / least).max() <= 0.005 + 1e-9


@settings(max_examples=50, deadline=None)
@given(st.floats(1e-9, 1e9), st.integers(0, 1000))
def test_packing_keeps_a_hundredth_of_the_error_in_any_unit(scale, seed):
    one = series([("a", "level"), ("b", "level")], range(5), seed=seed)
    one = SignalSeries(**{**vars(one), "values": one.values * scale, "errors": one.errors * scale})
    other = unpack_series(json.loads(json.dumps(pack_series(one))), window="1h")
    assert (np.abs(one.values - other.values).max(axis=0) <= one.errors.min(axis=0) * 0.00501).all()
    assert one.errors == pytest.approx(other.errors, rel=0.01)


def test_a_version_without_a_past_says_so():
    found = ReferenceSeries.from_dict(None)
    assert {} == found.series
    assert "no_past" == found.reasons[0].code


def test_a_month_of_hours_of_thirty_features_takes_at_most_three_megabytes():
    names = [(f"feature_{place:02d}", f"share:{part}") for place in range(30) for part in range(12)]
    links = [(f"feature_{place:02d}", what) for place in range(30) for what in ("information", "correlation")]
    past = ReferenceSeries(
        window="1h",
        series={
            DriftKind.DATA: series(names, np.arange(720) * HOUR + 1.7e9),
            DriftKind.CONCEPT: series(links, np.arange(720) * HOUR + 1.7e9),
        },
    )
    assert len(json.dumps(past.to_dict(), separators=(",", ":"))) < 3_000_000


def test_series_of_other_windows_are_put_beside_each_other():
    first, second = (
        series([("a", "level")], [0, 1, 2]),
        series([("b", "level"), ("c", "level")], [1, 2, 3], seed=1),
    )
    both = merge_series(first, second)
    assert [0, 1, 2, 3] == both.starts.tolist()
    assert np.array_equal(np.isnan(both.values), [[0, 1, 1], [0, 0, 0], [0, 0, 0], [1, 0, 0]])
    assert take_signals(both, first.keys).values.tolist() == first.values.tolist()
    assert take_signals(both, second.keys).starts.tolist() == second.starts.tolist()


def test_a_refit_has_its_own_features_and_the_judged_versions_answers(trained, past):
    rows, _ = trained.window(n=9000, seed=4)
    found = refit_series(rows, past, monitor=trained.watch(), schema=trained.schema, config=trained.config)
    own = trained.past(rows=rows, scored=None)
    assert 18 == len(found.series[DriftKind.DATA])
    assert np.array_equal(own.series[DriftKind.DATA].values, found.series[DriftKind.DATA].values)
    for kind in (DriftKind.PREDICTION, DriftKind.PERFORMANCE):
        assert found.series[kind] is past.series[kind]
    concept = found.series[DriftKind.CONCEPT]
    assert past.series[DriftKind.CONCEPT].keys == concept.keys
    assert np.array_equal(own.series[DriftKind.CONCEPT].values, concept.values[:, :LINKS])
    known = np.isfinite(concept.values[:, -1])
    assert np.array_equal(past.series[DriftKind.CONCEPT].values[7:, -1], concept.values[known, -1])


@pytest.mark.parametrize("judged", [ReferenceSeries.from_dict(None), ReferenceSeries(window="1h", series={})])
def test_a_refit_of_a_version_without_a_past_has_its_own_features_alone(trained, judged):
    rows, _ = trained.window(n=3000, seed=4)
    found = refit_series(rows, judged, monitor=trained.watch(), schema=trained.schema, config=trained.config)
    assert {DriftKind.DATA, DriftKind.OUTCOME, DriftKind.CONCEPT} == set(found.series)

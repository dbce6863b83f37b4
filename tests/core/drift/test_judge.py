"""Judging windows: what moves, k of n, alarms that open, worsen and resolve, and what is not known."""

import json
from dataclasses import replace

import numpy as np
import pytest

from evergreen.tasks.core.drift.calibration import fit_null_model, join_null_models
from evergreen.tasks.core.drift.columns import measure_columns
from evergreen.tasks.core.drift.detect import DetectorState, close_alarms
from evergreen.tasks.core.drift.fixed_thresholds import judge_fixed_thresholds
from evergreen.tasks.core.drift.judge import judge_window
from evergreen.tasks.core.drift.policy import Policy
from evergreen.tasks.core.drift.types import DriftKind, Level, SignalKey, Signals, SignalSeries, join_signals
from evergreen.tasks.core.profiles.profile import ColumnProfile, Profile
from tests.support.drift_streams import HOUR, ROWS, START, draw_counts, policy, reference_profile, signals_of

DATA, CONCEPT, PERFORMANCE = DriftKind.DATA, DriftKind.CONCEPT, DriftKind.PERFORMANCE
SD = 0.01


class Judge:
    """Judges windows of one-signal columns with noise of 0.01 after a reference of 400 quiet windows."""

    def __init__(self, *, columns=2, windows=400, kind=DATA, name="location", rows=ROWS, **options):
        self.rng = np.random.default_rng(0)
        self.keys = tuple(SignalKey(kind, f"x{place}", name) for place in range(columns))
        self.policy = Policy(kinds=(kind,), clock="rows", **options)
        past = self.rng.normal(0, SD, (windows, columns))
        series = SignalSeries(
            keys=self.keys,
            starts=500.0 * np.arange(windows),
            rows=np.full(windows, float(rows)),
            values=past,
            errors=np.full_like(past, SD),
            window="500 rows",
        )
        self.null = fit_null_model(series, policy=self.policy)
        self.state, self.place = DetectorState.empty(), windows

    def see(self, *values, rows=ROWS, floor=0.02, noise=0.2):
        """Judge a window whose columns have these values (the others 0), and a little noise."""
        filled = np.zeros(len(self.keys))
        filled[: len(values)] = values
        signals = Signals(
            keys=self.keys,
            values=filled + self.rng.normal(0, SD * noise, len(filled)),
            errors=np.full(len(filled), SD),
            floors=np.full(len(filled), floor),
        )
        found = judge_window(
            signals, self.null, self.state, policy=self.policy, position=500.0 * self.place, rows=rows
        )
        self.state, self.place = found.state, self.place + 1
        return found

    def levels(self, *windows, **options):
        return [self.see(one, **options).kinds[0].level.value for one in windows]

    def changes(self, *windows):
        return [[change.change for change in self.see(one).alarms] for one in windows]


# --- k of n, one window, floors


def test_quiet_windows_are_quiet():
    judge = Judge()
    assert judge.levels(*[0.0] * 10) == ["quiet"] * 10
    (reason,) = judge.see(0.0).kinds[0].reasons
    assert (reason.code, reason.observed) == ("within_limits", 0.0)


def test_one_window_warns_and_the_second_of_three_alarms():
    judge = Judge()
    assert judge.levels(0.0, 0.0, 0.1, 0.1) == ["quiet", "quiet", "warning", "drift"]


def test_the_second_may_come_one_window_later():
    assert Judge().levels(0.0, 0.1, 0.0, 0.1) == ["quiet", "warning", "quiet", "drift"]


def test_a_single_strange_window_never_alarms_however_strange():
    judge = Judge()
    assert judge.levels(0.0, 0.0, 5.0, 0.0, 0.0, 0.0) == [
        "quiet",
        "quiet",
        "warning",
        "quiet",
        "quiet",
        "quiet",
    ]
    assert judge.state.alarms == ()


def test_moves_of_different_columns_do_not_add_up():
    judge = Judge()
    judge.see(0.0, 0.0)
    assert judge.see(0.1, 0.0).kinds[0].level is Level.WARNING
    assert judge.see(0.0, 0.1).kinds[0].level is Level.WARNING


def test_k_and_n_are_those_of_the_policy():
    assert Judge(violated=1).levels(0.0, 0.1) == ["quiet", "drift"]
    assert Judge(violated=3).levels(0.0, 0.1, 0.1, 0.1) == ["quiet", "warning", "warning", "drift"]
    assert Judge(evaluated=1, violated=1).levels(0.0, 0.1) == ["quiet", "drift"]


def test_a_move_below_the_effect_floor_is_none_however_sure():
    judge = Judge()
    assert judge.levels(*[0.1] * 5, floor=0.2) == ["quiet"] * 5


def test_a_small_lasting_move_alarms_by_its_mean():
    # 0.034 is 3.4 standard deviations: below the limit of one window, above that of a mean of three.
    judge = Judge(columns=1)
    level = judge.null.level.spread(np.full(1, SD**2)) * judge.null.level.quantiles()
    assert level[0] > 0.036
    assert judge.levels(0.0, 0.0, *[0.034] * 4)[-2:] == ["drift", "drift"]


def test_a_strange_window_does_not_carry_an_ordinary_neighbour_past_the_limit_of_the_mean():
    # 0.012 is 1.2 standard deviations: ordinary, though beyond half of the limit that a mean of three windows has.
    judge = Judge(columns=1)
    mean = judge.null.sustained.spread(np.full(1, SD**2 / 3)) * judge.null.sustained.quantiles()
    assert mean[0] / 2 < 0.012
    assert judge.levels(0.0, 0.0, 5.0, noise=0.0) == ["quiet", "quiet", "warning"]
    assert judge.levels(0.012, 0.012, noise=0.0) == ["quiet", "quiet"]


def test_moved_says_how_far_from_what_and_how_sure():
    judge = Judge()
    judge.see(0.0, noise=0.0)
    (moved,) = judge.see(0.1, noise=0.0).kinds[0].moved
    assert (moved.column, moved.signal, moved.alarm) == ("x0", "location", False)
    assert moved.observed == pytest.approx(0.1)
    assert moved.effect == pytest.approx(0.1, abs=0.005)
    assert 0.03 < moved.limit < 0.08
    assert 0 < moved.p_value <= moved.adjusted_p_value < 1e-6
    assert moved.confidence > 0.999


# --- one alarm and its life


def test_an_alarm_opens_once_and_is_not_raised_again_while_it_lasts():
    assert Judge().changes(0.0, 0.1, 0.1, 0.1, 0.11, 0.1) == [[], [], ["opened"], [], [], []]


def test_an_alarm_worsens_when_its_effect_grows_by_half():
    judge = Judge()
    judge.changes(0.0, 0.1, 0.1)
    assert judge.changes(0.1, 0.2, 0.2, 0.2, 0.2) == [[], [], ["worsened"], [], []]


def test_one_strange_window_does_not_worsen_an_alarm():
    judge = Judge()
    judge.changes(0.0, 0.1, 0.1)
    assert judge.changes(0.3, 0.1, 0.1, 0.3) == [[], [], [], []]


def test_an_alarm_resolves_after_n_windows_that_came_back_and_may_open_again():
    judge = Judge()
    judge.changes(0.0, 0.1, 0.1)
    assert judge.changes(0.0, 0.0, 0.0, 0.0) == [[], [], ["resolved"], []]
    assert judge.see(0.0).kinds[0].level is Level.QUIET
    assert judge.changes(0.1, 0.1) == [[], ["opened"]]


def test_an_alarm_does_not_flap_around_its_limit():
    judge = Judge()
    judge.changes(0.0, 0.06, 0.06)
    assert sum(map(len, judge.changes(*[0.03, 0.06] * 20))) == 0


def test_the_state_is_drift_as_long_as_an_alarm_is_open():
    judge = Judge()
    judge.levels(0.0, 0.1, 0.1)
    assert judge.levels(0.0, 0.0, 0.0, 0.0) == ["drift", "drift", "quiet", "quiet"]


def test_a_change_says_since_when():
    judge = Judge()
    judge.see(0.0), judge.see(0.1)
    position = 500.0 * judge.place
    (change,) = judge.see(0.1).alarms
    assert (change.kind, change.column, change.change, change.since) == (DATA, "x0", "opened", position)
    assert change.effect == pytest.approx(0.1, abs=0.01)
    assert change.to_dict()["kind"] == "data"


def test_a_new_champion_closes_open_alarms():
    judge = Judge()
    judge.changes(0.0, 0.1, 0.1)
    assert [(one.column, one.change) for one in close_alarms(judge.state)] == [("x0", "resolved")]
    assert close_alarms(DetectorState.empty()) == ()


def test_a_memory_of_other_signals_is_forgotten_and_its_alarms_end():
    judge, other = Judge(), Judge(columns=3)
    judge.changes(0.0, 0.1, 0.1)
    other.state = judge.state
    found = other.see(0.0)
    assert [one.change for one in found.alarms] == ["resolved"]
    assert found.state.alarms == ()


# --- forecasts: a wandering stream


def wandering(seed, *, windows=400):
    rng = np.random.default_rng(seed)
    values = np.zeros((windows, 1))
    for place in range(1, windows):
        values[place] = 0.9 * values[place - 1] + rng.normal(0, 0.043)
    return values


def test_a_jump_within_the_range_of_a_wandering_stream_is_seen_against_its_forecast():
    past = wandering(3)
    keys = (SignalKey(DATA, "x", "location"),)
    chosen = Policy(kinds=(DATA,), clock="rows")
    series = SignalSeries(
        keys=keys,
        starts=500.0 * np.arange(400),
        rows=np.full(400, 500.0),
        values=past,
        errors=np.full_like(past, 0.01),
        window="500 rows",
    )
    null, memory, levels = fit_null_model(series, policy=chosen), DetectorState.empty(), []
    level = (null.level.spread(np.full(1, 1e-4)) * null.level.quantiles())[0]
    assert level > 0.4
    for place in range(6):
        value = past[-1] * 0.9 ** (place + 1) + (0.35 if place >= 3 else 0.0)
        signals = Signals(keys=keys, values=value, errors=np.full(1, 0.01), floors=np.full(1, 0.03))
        found = judge_window(signals, null, memory, policy=chosen, position=500.0 * (400 + place), rows=500)
        memory = found.state
        levels.append(found.kinds[0].level.value)
    assert levels[:3] == ["quiet"] * 3
    assert levels[3:5] == ["warning", "drift"]


def test_a_moved_window_teaches_the_forecast_nothing():
    judge = Judge()
    judge.see(0.0, noise=0.0)
    before = judge.state.forecast.copy()
    judge.see(0.1, noise=0.0)
    assert judge.state.forecast[0] == before[0]
    assert judge.state.age.tolist() == [1, 0]


def test_a_gap_after_the_reference_leaves_no_forecast():
    judge = Judge()
    judge.place += 50
    assert judge.see(0.0, noise=0.0).state.forecast_windows.tolist() == [1, 1]
    assert Judge().see(0.0, noise=0.0).state.forecast_windows.min() > 100


# --- only worse is drift


@pytest.mark.parametrize(("kind", "worse"), [(CONCEPT, 1), (PERFORMANCE, -1)])
def test_loss_and_metric_alarm_on_the_worse_side_alone(kind, worse):
    quiet = Judge(columns=1, kind=kind, name="level")
    assert quiet.levels(0.0, *[-0.2 * worse] * 4) == ["quiet"] * 5
    assert Judge(columns=1, kind=kind, name="level").levels(0.0, 0.2 * worse, 0.2 * worse)[-1] == "drift"


def test_an_error_metric_is_worse_above():
    judge = Judge(columns=1, kind=PERFORMANCE, name="level", worse=1)
    assert judge.levels(0.0, 0.2, 0.2)[-1] == "drift"


# --- what is not known


def test_too_few_rows_are_insufficient_and_say_how_many_would_do():
    judge = Judge()
    (verdict,) = judge.see(0.1, rows=99).kinds
    assert verdict.level is Level.INSUFFICIENT
    assert [(one.code, one.observed, one.limit) for one in verdict.reasons] == [("too_few_rows", 99.0, 100.0)]


def test_a_half_filled_window_is_insufficient():
    (verdict,) = Judge().see(0.1, rows=249).kinds
    assert [(one.code, one.limit) for one in verdict.reasons] == [("half_filled", 250.0)]
    assert Judge().see(0.0, rows=250).kinds[0].level is Level.QUIET


def test_an_insufficient_window_neither_resolves_an_alarm_nor_counts_among_the_n():
    judge = Judge()
    judge.see(0.0), judge.see(0.1)
    judge.see(0.0, rows=10)
    assert [one.change for one in judge.see(0.1).alarms] == ["opened"]
    for _ in range(5):
        assert judge.see(0.0, rows=10).alarms == ()
    assert len(judge.state.alarms) == 1


def test_a_column_that_cannot_be_measured_is_never_quiet():
    judge = Judge()
    judge.see(0.0)
    (verdict,) = judge.see(np.nan).kinds
    assert verdict.level is Level.INSUFFICIENT
    assert [one.code for one in verdict.reasons] == ["not_measured"]
    assert verdict.reasons[0].message.startswith("x0 could not be measured")


def test_an_open_alarm_stays_drift_while_its_column_cannot_be_measured():
    judge = Judge()
    judge.changes(0.0, 0.1, 0.1)
    (verdict,) = judge.see(np.nan).kinds
    assert (verdict.level, verdict.moved) == (Level.DRIFT, ())
    assert [one.code for one in verdict.reasons] == ["alarm_open", "not_measured"]
    json.dumps(verdict.to_dict(), allow_nan=False)


def test_a_signal_whose_floor_is_not_known_is_never_quiet():
    judge = Judge(columns=1)
    assert judge.see(0.0, floor=np.nan).kinds[0].level is Level.INSUFFICIENT


def test_a_move_elsewhere_is_told_beside_a_column_that_is_not_known():
    judge = Judge()
    judge.see(0.0)
    (verdict,) = judge.see(np.nan, 0.1).kinds
    assert verdict.level is Level.WARNING
    assert [one.code for one in verdict.reasons] == ["moved", "not_measured"]


def test_a_window_without_any_of_the_signals_is_insufficient():
    judge = Judge()
    nothing = Signals(keys=(), values=np.zeros(0), errors=np.zeros(0), floors=np.zeros(0))
    found = judge_window(nothing, judge.null, judge.state, policy=judge.policy, position=0.0, rows=ROWS)
    assert [verdict.level for verdict in found.kinds] == [Level.INSUFFICIENT]


def test_a_signal_the_reference_does_not_know_is_left_out():
    judge = Judge()
    more = (*reversed(judge.keys), SignalKey(DATA, "new", "location"))
    signals = Signals(
        keys=more, values=np.array([0.0, 0.0, 9.0]), errors=np.full(3, SD), floors=np.full(3, 0.02)
    )
    found = judge_window(signals, judge.null, judge.state, policy=judge.policy, position=0.0, rows=ROWS)
    assert found.kinds[0].level is Level.QUIET


def test_a_column_without_a_reference_is_named_and_the_others_are_judged():
    keys = (SignalKey(DATA, "known", "location"), SignalKey(DATA, "blank", "location"))
    past = np.random.default_rng(1).normal(0, SD, (50, 2))
    past[:, 1] = np.nan
    series = SignalSeries(
        keys=keys,
        starts=500.0 * np.arange(50),
        rows=np.full(50, 500.0),
        values=past,
        errors=np.where(np.isnan(past), np.nan, SD),
        window="500 rows",
    )
    chosen = Policy(kinds=(DATA,), clock="rows")
    null = fit_null_model(series, policy=chosen)
    signals = Signals(keys=keys, values=np.zeros(2), errors=np.full(2, SD), floors=np.full(2, 0.02))
    (verdict,) = judge_window(
        signals, null, DetectorState.empty(), policy=chosen, position=25_000.0, rows=500
    ).kinds
    assert verdict.level is Level.QUIET
    assert [one.code for one in verdict.reasons] == ["within_limits", "no_reference"]


def test_kinds_are_judged_each_for_itself():
    first, second = Judge(), Judge(columns=1, kind=PERFORMANCE, name="level", windows=4)
    null = join_null_models([first.null, second.null])
    keys, values = (*first.keys, *second.keys), np.array([0.0, 0.0, -0.2])
    signals = Signals(keys=keys, values=values, errors=np.full(3, SD), floors=np.full(3, 0.02))
    memory, chosen = DetectorState.empty(), Policy(clock="rows")
    for place in range(2):
        found = judge_window(signals, null, memory, policy=chosen, position=1e6 + 500.0 * place, rows=ROWS)
        memory = found.state
    said = {verdict.kind: (verdict.level, verdict.calibration) for verdict in found.kinds}
    assert said == {DATA: (Level.QUIET, "reference"), PERFORMANCE: (Level.DRIFT, "theory")}


# --- memory


def test_a_memory_read_back_from_json_judges_alike():
    first, second = Judge(), Judge()
    for value in (0.0, 0.1, 0.1, 0.2, np.nan, 0.2, 0.0, 0.0, 0.0, 0.1):
        one, other = first.see(value), second.see(value)
        assert one.to_dict()["kinds"] == other.to_dict()["kinds"]
        second.state = DetectorState.from_dict(json.loads(json.dumps(second.state.to_dict())))
    assert [alarm.column for alarm in first.state.alarms] == [alarm.column for alarm in second.state.alarms]


def test_an_empty_memory_is_json_too():
    assert DetectorState.from_dict(json.loads(json.dumps(DetectorState.empty().to_dict()))).alarms == ()


def test_the_memory_of_thirty_columns_is_small():
    windows = signals_of(draw_counts(np.random.default_rng(2), np.zeros((60, 30))), reference_profile())
    null = fit_null_model(windows.series(0, 59), policy=policy())
    found = judge_window(
        windows.signals(59),
        null,
        DetectorState.empty(),
        policy=policy(),
        position=START + 59 * HOUR,
        rows=ROWS,
    )
    assert len(json.dumps(found.state.to_dict())) < 20_000


# --- the policy of fixed thresholds

LITERAL = policy(name="fixed_thresholds", kinds=(DATA, CONCEPT, PERFORMANCE))


def literally(shift, memory=None, *, answers=(0.14, 0.8), nulls=0, rows=ROWS, policy=LITERAL):
    """Judge one window of two columns, the first shifted, by the fixed levels."""
    reference = reference_profile(2)
    counts = np.round(draw_counts(np.random.default_rng(5), np.array([shift, 0.0]), rows=1_000_000) / 2000)
    columns = {
        name: ColumnProfile(n=int(found.sum()) + nulls, nulls=nulls, counts=tuple(map(int, found)))
        for name, found in zip(reference.columns, counts, strict=True)
    }
    window = Profile(grid=reference.grid, columns=columns)
    keys = (SignalKey(CONCEPT, "@loss", "level"), SignalKey(PERFORMANCE, "roc_auc", "level"))
    floors = np.array([0.15 * 0.14, 0.05 * 0.8])
    whole = Signals(keys=keys, values=np.array([0.14, 0.8]), errors=np.full(2, 0.01), floors=floors)
    data = signals_of(np.asarray(counts)[None], reference).signals(0)
    found = Signals(keys=keys, values=np.array(answers), errors=np.full(2, 0.01), floors=floors)
    own = join_signals([data, whole])
    return judge_fixed_thresholds(
        join_signals([data, found]),
        fit_null_model(None, policy=policy, whole=own),
        memory or DetectorState.empty(),
        measures=measure_columns(reference, window),
        policy=policy,
        position=START,
        rows=rows,
    )


def levels_of(found):
    return {verdict.kind.value: verdict.level.value for verdict in found.kinds}


def test_literal_levels_leave_equal_windows_quiet():
    found = literally(0.0)
    assert levels_of(found) == {"data": "quiet", "concept": "quiet", "performance": "quiet"}
    assert {verdict.calibration for verdict in found.kinds} == {"literal"}


def test_literal_drift_opens_in_one_window_and_resolves_in_one():
    found = literally(0.8)
    assert levels_of(found)["data"] == "drift"
    (moved,) = found.kinds[0].moved
    assert (moved.column, moved.signal, moved.limit) == ("x0", "psi", 0.25)
    assert [(one.column, one.change) for one in found.alarms] == [("x0", "opened")]
    assert literally(0.8, found.state).alarms == ()
    assert [one.change for one in literally(0.0, found.state).alarms] == ["resolved"]


def test_a_small_p_value_is_literal_drift_too():
    (moved,) = literally(0.2).kinds[0].moved
    assert (moved.signal, moved.alarm) == ("p_value", True)
    assert abs(moved.effect) > moved.limit == pytest.approx(0.95)


def test_a_registered_measure_decides_where_it_has_a_level_and_is_shown_where_it_has_none():
    quiet = literally(0.1)
    assert levels_of(quiet)["data"] != "drift"
    (moved,) = literally(0.1, policy=replace(LITERAL, criticals={"kl": 0.002, "js": 0.9})).kinds[0].moved
    assert (moved.column, moved.signal, moved.limit, moved.alarm) == ("x0", "kl", 0.002, True)
    assert moved.observed >= 0.002


def test_of_several_measures_the_one_farthest_beyond_its_level_is_named():
    both = replace(LITERAL, criticals={"kl": 0.002, "js": 1e-4})
    assert ["js"] == [
        moved.signal for moved in literally(0.1, policy=both).kinds[0].moved if moved.column == "x0"
    ]


def test_literal_levels_of_loss_and_metric_look_to_the_worse_side():
    worse = literally(0.0, answers=(0.14 * 1.2, 0.8 * 0.9))
    assert levels_of(worse) == {"data": "quiet", "concept": "drift", "performance": "drift"}
    better = literally(0.0, answers=(0.1, 0.9))
    assert levels_of(better)["concept"] == levels_of(better)["performance"] == "quiet"


def test_what_cannot_be_measured_is_insufficient_by_the_literal_policy_as_well():
    found = literally(0.0, answers=(np.nan, 0.8))
    assert levels_of(found)["concept"] == "insufficient"
    assert literally(0.0, rows=10).kinds[0].reasons[0].code == "too_few_rows"


def test_literal_alarms_outlive_a_window_that_says_nothing():
    opened = literally(0.8)
    assert literally(0.8, opened.state, rows=10).state.alarms == opened.state.alarms

"""Which windows are due: aligned, full, each once, whatever happens between two runs."""

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evergreen.tasks.core.config.units import parse_span
from evergreen.tasks.core.data.clock import Window, parse_position
from evergreen.tasks.core.drift.types import Phase
from evergreen.tasks.core.errors import ConfigError
from evergreen.tasks.core.monitoring.windows import Windowing, due_windows, trained_on_reason, windows_between
from tests.support.training_data import model_config

HOUR, DAY = 3600.0, 86400.0
NOON = parse_position("2026-03-01T12:00:00Z", clock="timestamp")
INPUTS, OUTCOMES = Phase.INPUTS, Phase.OUTCOMES


def cutting(window, *, clock="timestamp", label_delay="0s"):
    return Windowing(clock=clock, window=parse_span(window), label_delay=parse_span(label_delay))


def due(positions, window="1h", *, clock="timestamp", label_delay="0s", phase=INPUTS, **more):
    given_more = {"last_end": None, "trained_to": None, **more}
    made = cutting(window, clock=clock, label_delay=label_delay)
    return due_windows(np.asarray(positions, dtype=float), cutting=made, phase=phase, **given_more)


def spans(found):
    windows = getattr(found, "windows", found)
    return [(each.window.start, each.window.end) for each in windows]


def from_noon(found, unit=HOUR):
    return [((start - NOON) / unit, (end - NOON) / unit) for start, end in spans(found)]


# --- durations


def test_an_hour_is_due_once_a_row_lies_at_or_past_its_end():
    half_hours = NOON + np.arange(0, 5) * HOUR / 2
    assert from_noon(due(half_hours)) == [(0, 1), (1, 2)]
    assert from_noon(due(half_hours[:4])) == [(0, 1)]


def test_windows_begin_at_whole_multiples_of_their_length_after_what_was_learned():
    rows = NOON + np.arange(0, 4 * HOUR, 600)
    assert from_noon(due(rows, trained_to=NOON + 60)) == [(1, 2), (2, 3)]
    assert from_noon(due(rows, trained_to=NOON + HOUR)) == [(1, 2), (2, 3)]


def test_a_day_begins_at_midnight_of_utc():
    rows = NOON + np.arange(0, 3 * DAY, HOUR)
    midnight = parse_position("2026-03-02", clock="timestamp")
    assert spans(due(rows, "1d", trained_to=NOON)) == [
        (midnight, midnight + DAY),
        (midnight + DAY, midnight + 2 * DAY),
    ]


def test_the_next_window_begins_where_the_last_one_in_the_ledger_ended():
    rows = NOON + np.arange(0, 4 * HOUR, 600)
    assert from_noon(due(rows, last_end=NOON + 2 * HOUR)) == [(2, 3)]


def test_empty_windows_between_rows_are_due():
    assert from_noon(due([NOON, NOON + 3 * HOUR])) == [(0, 1), (1, 2), (2, 3)]


def test_a_silence_between_training_and_the_first_row_is_not_cut_into_empty_windows():
    assert from_noon(due([NOON + 60, NOON + HOUR], trained_to=NOON - 3650 * DAY)) == [(0, 1)]
    earlier = NOON - 3651 * DAY
    assert from_noon(due([earlier, NOON + 60, NOON + HOUR], trained_to=NOON - 3650 * DAY)) == [(0, 1)]


def test_three_days_of_outage_leave_seventy_two_windows():
    rows = NOON + np.arange(0, 3 * DAY + 1, 600)
    found = due(rows, last_end=NOON)
    assert from_noon(found) == [(hour, hour + 1) for hour in range(72)]


def test_a_run_takes_the_oldest_windows_and_says_how_many_remain():
    rows = NOON + np.arange(0, 3 * DAY + 1, 600)
    found = due(rows, last_end=NOON, most=50)
    assert (from_noon(found), found.remaining) == ([(hour, hour + 1) for hour in range(50)], 22)
    assert [reason.code for reason in found.reasons] == ["more_windows"]


def test_a_silence_of_thirty_years_is_counted_without_being_laid_out():
    found = due([NOON, NOON + 30 * 365 * DAY], last_end=NOON, most=3)
    assert (len(found.windows), found.remaining) == (3, 30 * 365 * 24 - 3)


def test_rows_of_the_future_are_counted_and_make_nothing_due():
    rows = [NOON, NOON + HOUR, NOON + 50 * DAY]
    found = due(rows, now=NOON + 1.5 * HOUR)
    assert (from_noon(found), found.future, found.newest) == ([(0, 1)], 1, NOON + HOUR)
    assert [reason.code for reason in found.reasons] == ["future_rows"]
    assert "2026-04-20" in found.reasons[0].message


def test_rows_of_the_future_alone_make_nothing_due():
    found = due([NOON + DAY], now=NOON)
    assert (found.windows, found.future, found.newest) == ((), 1, None)


def test_an_as_of_moment_is_as_if_nothing_later_were_known():
    rows = NOON + np.arange(0, 6 * HOUR, 600)
    assert due(rows, until=NOON + 3 * HOUR - 1).windows == due(rows[rows < NOON + 3 * HOUR]).windows
    assert from_noon(due(rows, until=NOON + 3 * HOUR)) == [(0, 1), (1, 2), (2, 3)]
    assert due(rows, until=NOON + 3 * HOUR).future == 0


def test_without_rows_nothing_is_due():
    assert due([]) == due([], last_end=NOON, trained_to=NOON)
    assert due([]).windows == ()


# --- rows on a clock of row numbers


def test_row_numbers_are_cut_every_so_many_numbers_from_what_was_learned():
    found = due(np.arange(2100, 3600), "500 rows", clock="rows", trained_to=2100.0)
    assert spans(found) == [(2100, 2600), (2600, 3100), (3100, 3600)]


def test_the_last_row_number_of_a_window_fills_it():
    assert spans(due(np.arange(1000), "500 rows", clock="rows")) == [(0, 500), (500, 1000)]
    assert spans(due(np.arange(999), "500 rows", clock="rows")) == [(0, 500)]


# --- rows on a clock of time


def test_rows_along_time_end_a_window_where_the_next_row_is():
    rows = NOON + np.arange(7) * 60.0
    assert from_noon(due(rows, "3 rows"), 60) == [(0, 3), (3, 6)]
    assert from_noon(due(rows[:6], "3 rows"), 60) == [(0, 3)]


def test_rows_at_one_position_stay_together():
    rows = NOON + np.array([0, 0, 1, 1, 1, 1, 2, 3, 4, 4]) * 60.0
    # After three rows comes minute 1 again: its four rows all belong to the first window.
    assert from_noon(due(rows, "3 rows"), 60) == [(0, 2)]
    assert from_noon(due([*rows, NOON + 300], "3 rows"), 60) == [(0, 2), (2, 5)]


def test_rows_along_time_begin_where_learning_or_the_last_window_ended():
    rows = NOON + np.arange(9) * 60.0
    assert from_noon(due(rows, "3 rows", trained_to=NOON + 60), 60) == [(1, 4), (4, 7)]
    assert from_noon(due(rows, "3 rows", last_end=NOON + 240), 60) == [(4, 7)]


# --- outcomes


def test_outcomes_are_due_once_their_labels_are():
    rows = NOON + np.arange(0, 5 * HOUR + 1, 600)
    found = due(rows, phase=OUTCOMES, label_delay="2h")
    assert from_noon(found) == [(0, 1), (1, 2), (2, 3)]
    assert [each.known_by for each in found.windows] == [NOON + hour * HOUR for hour in (3, 4, 5)]


def test_labels_known_so_many_rows_later_wait_for_these_rows():
    rows = NOON + np.arange(0, 5) * HOUR
    assert from_noon(due(rows, phase=OUTCOMES, label_delay="2 rows")) == [(0, 1), (1, 2)]
    # The rows at 3 and 4 o'clock are the two after the window that ends at 2.
    assert [each.known_by for each in due(rows, phase=OUTCOMES, label_delay="2 rows").windows] == [
        NOON + 3 * HOUR,
        NOON + 4 * HOUR,
    ]
    assert due(rows, phase=OUTCOMES, label_delay="9 rows").windows == ()


def test_a_delay_on_a_clock_of_row_numbers_counts_numbers():
    rows = np.arange(1000)
    assert spans(due(rows, "300 rows", clock="rows", phase=OUTCOMES, label_delay="200 rows")) == [
        (0, 300),
        (300, 600),
    ]


def test_outcomes_follow_the_windows_whose_inputs_were_judged():
    rows = NOON + np.arange(0, 5 * HOUR + 1, 600)
    judged = [Window(NOON + 0.5 * HOUR, NOON + 2 * HOUR), Window(NOON, NOON + 0.5 * HOUR)]
    found = due(rows, phase=OUTCOMES, label_delay="1h", judged=judged)
    assert from_noon(found) == [(0, 0.5), (0.5, 2)]
    assert from_noon(due(rows, phase=OUTCOMES, judged=judged, last_end=NOON + 0.5 * HOUR)) == [(0.5, 2)]
    assert due(rows, phase=OUTCOMES, label_delay="4h", judged=judged[:1]).windows == ()
    assert due(rows, phase=OUTCOMES, judged=[]).windows == ()


# --- promotions and changes


def test_after_a_promotion_the_frontier_stays_and_learned_windows_are_marked():
    rows = NOON + np.arange(0, 4 * HOUR + 1, 600)
    found = due(rows, last_end=NOON, trained_to=NOON + 1.5 * HOUR)
    assert from_noon(found) == [(0, 1), (1, 2), (2, 3), (3, 4)]
    assert [each.learned for each in found.windows] == [True, True, False, False]
    reason = trained_on_reason(found.windows[0], trained_to=NOON + 1.5 * HOUR, version=7, clock="timestamp")
    assert reason.code == "window_in_training_data"
    assert "Version 7 has learned from rows up to 2026-03-01T13:30:00+00:00" in reason.message


def test_a_longer_window_begins_at_its_own_next_boundary():
    rows = NOON + np.arange(0, 3 * DAY, HOUR)
    midnight = parse_position("2026-03-02", clock="timestamp")
    assert spans(due(rows, "1d", last_end=NOON + HOUR))[0] == (midnight, midnight + DAY)


def test_a_model_that_learned_everything_has_nothing_due():
    assert due(np.arange(10), "2 rows", clock="rows", trained_to=math.inf).windows == ()


SPANS = ["1h", "2h", "7h", "1d", "20 rows", "3 rows"]
STEPS = st.lists(
    st.tuples(st.integers(0, 60), st.sampled_from(SPANS), st.integers(1, 9)), min_size=1, max_size=12
)


@settings(max_examples=60, deadline=None)
@given(steps=STEPS, seed=st.integers(0, 2**32 - 1))
def test_windows_never_overlap_or_repeat_whatever_arrives_and_whatever_length_is_set(steps, seed):
    rng = np.random.default_rng(seed)
    rows, judged, newest = np.zeros(0), [], NOON
    for arriving, window, most in steps:
        new = newest + np.sort(rng.integers(0, 40, arriving)) * 900.0
        rows, newest = np.concatenate([rows, new]), max([newest, *new])
        last_end = judged[-1].end if judged else None
        found = due(rows, window, last_end=last_end, trained_to=NOON + 100.0, most=most)
        assert len(found.windows) <= most
        judged += [each.window for each in found.windows]
    assert all(left.end <= right.start for left, right in pairwise(judged))
    assert all(each.end <= newest and each.start >= NOON + 100.0 for each in judged)


@settings(max_examples=60, deadline=None)
@given(batches=st.lists(st.integers(0, 30), min_size=1, max_size=8), seed=st.integers(0, 2**32 - 1))
@pytest.mark.parametrize("window", ["1h", "5 rows"])
def test_many_small_runs_find_what_one_run_at_the_end_finds(window, batches, seed):
    rng = np.random.default_rng(seed)
    rows = np.sort(NOON + rng.integers(0, 200, sum(batches)) * 300.0)
    last_end, steps = None, []
    for end in np.cumsum(batches):
        found = due(rows[:end], window, last_end=last_end)
        steps += spans(found)
        last_end = steps[-1][1] if steps else None
    assert steps == spans(due(rows, window))


# --- looks back


def test_a_look_back_cuts_all_windows_of_its_slice_again():
    rows, two_hours = NOON + np.arange(0, 6 * HOUR, 600), Window(NOON + HOUR, NOON + 3 * HOUR)
    options = {"phase": INPUTS, "trained_to": None}
    found = windows_between(rows, cutting=cutting("1h"), window=two_hours, **options)
    assert from_noon(found) == [(1, 2), (2, 3)]
    open_ended = windows_between(rows, cutting=cutting("1h"), window=Window(), **options)
    assert from_noon(open_ended) == [(hour, hour + 1) for hour in range(5)]
    by_rows = windows_between(rows, cutting=cutting("6 rows"), window=two_hours, **options)
    assert from_noon(by_rows) == [(1, 2), (2, 3)]
    empty = windows_between(rows, cutting=cutting("1h"), window=Window(0.0, NOON), **options)
    assert empty == ()


# --- refusals


@pytest.mark.parametrize(
    ("window", "clock", "said"),
    [("1h", "rows", "has no length on a clock of row numbers"), ("0s", "timestamp", "covers nothing")],
)
def test_a_window_without_a_length_is_refused(window, clock, said):
    with pytest.raises(ConfigError, match=said):
        cutting(window, clock=clock)


def test_a_model_without_a_clock_has_windows_in_the_log_only():
    with pytest.raises(ConfigError, match="has no clock"):
        Windowing.of(model_config())
    assert Windowing.of(model_config(monitoring={"source": "log"})).clock == "timestamp"
    made = Windowing.of(model_config(data={"time": "at", "label_delay": "7d"}, monitoring={"window": "1d"}))
    assert (made.window.text, made.label_delay.text, made.clock) == ("1d", "7d", "timestamp")

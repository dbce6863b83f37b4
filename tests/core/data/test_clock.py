"""Clocks: what becomes a position, what is refused by name, and windows that are half-open."""

from datetime import UTC, date, datetime, timedelta, timezone

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evergreen.tasks.core.config.units import parse_span
from evergreen.tasks.core.data.clock import Clock, Window, format_position, parse_position, span_length
from evergreen.tasks.core.data.times import note_naive_times, refuse_mixed_zones, to_positions
from evergreen.tasks.core.errors import ConfigError, DataError, InputError
from evergreen.tasks.core.serial import from_plain


def positions(values, **options):
    return to_positions(pd.Series(values, name="at"), **{"clock": "timestamp", **options}).tolist()


def test_mixed_time_zones_become_utc():
    # 12:00+02:00 is 10:00 UTC = 36,000 s; 05:00-05:00 is 10:00 UTC; 10:00Z and naive 10:00 are the same moment.
    same = [
        "1970-01-01T12:00:00+02:00",
        "1970-01-01 05:00:00-05:00",
        "1970-01-01T10:00:00Z",
        "1970-01-01 10:00",
    ]
    assert positions(same) == [36000.0] * 4


def test_every_way_to_hold_a_timestamp_gives_the_same_position():
    moment = datetime(2026, 3, 1, 12, 30, 15, 250000, tzinfo=UTC)
    naive = moment.replace(tzinfo=None)
    expected = moment.timestamp()
    held = [
        pd.Series([naive]),
        pd.Series([moment]),
        pd.Series([moment.astimezone(timezone(timedelta(hours=9)))]),
        pd.Series([naive], dtype="datetime64[us]"),
        pd.Series([moment.isoformat()]),
        pd.Series([moment], dtype=object),
        pd.Series([moment.isoformat()], dtype="category"),
        pd.Series([moment.isoformat()], dtype="string"),
    ]
    assert [to_positions(series, clock="timestamp")[0] for series in held] == [expected] * len(held)


def test_naive_and_aware_objects_may_stand_in_one_column():
    mixed = pd.Series(
        [datetime(1970, 1, 2), datetime(1970, 1, 2, tzinfo=UTC), date(1970, 1, 2)], dtype=object
    )
    assert to_positions(mixed, clock="timestamp").tolist() == [86400.0] * 3


@given(st.datetimes(min_value=datetime(1700, 1, 1), max_value=datetime(2200, 1, 1)))
def test_positions_agree_with_the_standard_library_to_the_microsecond(moment):
    expected = moment.replace(tzinfo=UTC).timestamp()
    assert positions([moment.isoformat()])[0] == pytest.approx(expected, abs=1e-6)


@given(st.integers(-8_000_000_000_000_000, 8_000_000_000_000_000))
def test_text_and_position_are_two_forms_of_one_moment(microseconds):
    position = microseconds / 1e6
    assert parse_position(format_position(position, clock="timestamp"), clock="timestamp") == position


@pytest.mark.parametrize("clock", ["seconds", "rows"])
@given(value=st.floats(allow_nan=False, allow_infinity=False) | st.just(float("inf")))
def test_numbers_survive_their_text(clock, value):
    assert parse_position(format_position(value, clock=clock), clock=clock) == value


def test_times_before_1970_are_negative():
    assert positions(["1969-12-31T23:59:59Z"]) == [-1.0]


def test_a_format_reads_text_and_whole_numbers_that_are_not_iso():
    assert positions(["02.01.1970"], time_format="%d.%m.%Y") == [86400.0]
    assert positions([19700102], time_format="%Y%m%d") == [86400.0]


@pytest.mark.parametrize(
    ("values", "options", "parts"),
    [
        (["2026-01-01", "soon"], {}, ["'at'", "'soon'", "row 2", "ISO 8601"]),
        (["2026-01-01", None], {}, ["null", "row 2"]),
        (["2026-01-01", "x", "y"], {}, ["'x'", "2 such values"]),
        ([1.0, 2.0], {}, ["numbers such as 1.0", "data.clock"]),
        (["31/12/2026"], {"time_format": "%m/%d/%Y"}, ["'31/12/2026'", "%m/%d/%Y"]),
        ([1.0, np.inf], {"clock": "seconds"}, ["'inf'", "row 2", "finite number"]),
        ([1, "b"], {"clock": "rows"}, ["'b'", "row 2"]),
        ([datetime(2026, 1, 1)], {"clock": "rows"}, ["timestamps", "data.clock: timestamp"]),
        (["9999-99-99"], {}, ["'9999-99-99'"]),
    ],
)
def test_what_is_not_on_the_clock_is_named_with_its_row(values, options, parts):
    with pytest.raises(DataError) as caught:
        positions(values, **options)
    assert [part for part in parts if part not in str(caught.value)] == []


def test_the_row_number_is_that_of_the_source():
    late = pd.Series(["2026-01-01", "soon"], index=[998, 999], name="at")
    with pytest.raises(DataError, match="row 1000"):
        to_positions(late, clock="timestamp")


def test_nulls_are_allowed_where_a_label_may_not_be_known_yet():
    found = to_positions(pd.Series(["1970-01-02", None]), clock="timestamp", allow_null=True)
    assert found[0] == 86400.0
    assert np.isnan(found[1])
    with pytest.raises(DataError, match="'late'"):
        to_positions(pd.Series(["late", None]), clock="timestamp", allow_null=True)


def test_reading_positions_leaves_the_column_as_it_was():
    column = pd.Series(["2026-01-01", "2026-01-02T00:00:00+01:00"])
    before = column.copy()
    to_positions(column, clock="timestamp")
    pd.testing.assert_series_equal(column, before)


@pytest.mark.parametrize(
    ("values", "codes"),
    [
        (["2026-01-01T00:00:00Z", "2026-01-01T00:00:00+0100"], []),
        (["2026-01-01 00:00:00.5+00", "2026-01-01T00:00-05:00"], []),
        (["2026-01-01T00:00:00Z", "2026-01-01"], ["naive_times"]),
        ([datetime(2026, 1, 1)], ["naive_times"]),
        ([datetime(2026, 1, 1, tzinfo=UTC)], []),
    ],
)
def test_times_without_a_zone_are_noted(values, codes):
    assert [note.code for note in note_naive_times(pd.Series(values, name="at"))] == codes


def test_a_window_holds_its_start_and_not_its_end():
    assert Window(1.0, 3.0).mask(np.array([0.0, 1.0, 2.999, 3.0])).tolist() == [False, True, True, False]


def test_an_open_window_holds_all():
    assert Window().mask(np.array([-1e300, 0.0, 1e300])).all()


def test_a_window_that_ends_before_it_starts_is_refused():
    with pytest.raises(InputError, match="must not end before"):
        Window(2.0, 1.0)


@pytest.mark.parametrize("window", [Window(), Window(0.1, 1e9 + 1e-6), Window(start=-5.0), Window(end=7.0)])
def test_a_window_survives_its_json_form_exactly(window):
    assert from_plain(Window, window.to_dict(clock="timestamp")) == window


@pytest.mark.parametrize(("clock", "text"), [("timestamp", "tomorrow"), ("seconds", "1h"), ("rows", "last")])
def test_a_point_that_is_not_on_the_clock_says_what_to_write(clock, text):
    with pytest.raises(InputError, match=f"'{text}' is not a point on a clock of"):
        parse_position(text, clock=clock)


def test_spans_have_a_length_only_on_a_clock_of_their_unit():
    assert span_length(parse_span("2h"), clock="timestamp") == 7200.0
    assert span_length(parse_span("30 rows"), clock="rows") == 30.0
    assert span_length(parse_span("0s"), clock="rows") == 0.0
    with pytest.raises(ConfigError, match="'30 rows' has no length on a clock of timestamps"):
        span_length(parse_span("30 rows"), clock="timestamp")
    with pytest.raises(ConfigError, match="'2h' has no length on a clock of row numbers"):
        span_length(parse_span("2h"), clock="rows")


def test_rows_counted_by_order_stand_at_their_index():
    frame = pd.DataFrame({"x": [1, 2]}, index=[10, 11])
    assert Clock(kind="rows").positions(frame).tolist() == [10.0, 11.0]
    assert Clock().positions(frame) is None


@pytest.mark.parametrize(
    "values",
    [
        ["2025-03-01T00:00:00", "2025-03-01"],
        ["2025-03-01T00:00:00Z", "2025-03-01T00:00:00-05:00", None],
        pd.to_datetime(["2025-03-01"]),
        [],
    ],
)
def test_times_that_all_have_a_zone_or_none_are_fine(values):
    assert refuse_mixed_zones(pd.Series(values, name="at")) is None


def test_some_times_without_a_zone_among_others_are_refused():
    with pytest.raises(DataError, match="1 of 2 times in 'at' carry no zone"):
        refuse_mixed_zones(pd.Series(["2025-03-01T00:00:00Z", "2025-03-01T01:00:00"], name="at"))

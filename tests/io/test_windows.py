"""The rows of due windows: the same whatever the source, in few reads, with labels as known when they were due."""

import dataclasses

import numpy as np
import pandas as pd
import pytest

from evergreen.tasks.core.config.units import parse_span
from evergreen.tasks.core.data.clock import Window
from evergreen.tasks.core.drift.types import Phase
from evergreen.tasks.core.errors import DataError
from evergreen.tasks.core.monitoring.windows import DueWindow, Windowing, due_windows
from evergreen.tasks.io.prediction_log.records import KnownOutcome, Prediction
from evergreen.tasks.io.sources.open import open_source
from evergreen.tasks.io.windows import (
    DataWindows,
    LogWindows,
    judged_since,
    last_window,
    read_windows,
    stream_of,
)
from tests.support.logs import NOW
from tests.support.memory_stores import MemoryLedger, MemoryLog
from tests.support.source_kinds import KINDS, rows
from tests.support.training_data import model_config

START = pd.Timestamp("2026-01-01", tz="UTC").timestamp()
HOUR, DAY = 3600.0, 86400.0
INPUTS, OUTCOMES = Phase.INPUTS, Phase.OUTCOMES


def opened(folder, *, also=(), **data):
    return DataWindows(open_source(model_config(data={"time": "at", **data}), base=folder), also=also)


def due_of(positions, window, *, phase=INPUTS, label_delay="0s", clock="timestamp", **more):
    cutting = Windowing(clock=clock, window=parse_span(window), label_delay=parse_span(label_delay))
    return due_windows(
        positions, cutting=cutting, phase=phase, last_end=None, trained_to=None, **more
    ).windows


@pytest.mark.parametrize(
    "kind", ["csv", "parquet", "parquet, clock as text", "sqlite table", "python window"]
)
def test_windows_hold_the_same_rows_whatever_the_source(kind, tmp_path, request):
    frame = rows()
    source = opened(tmp_path, **KINDS[kind](frame, tmp_path, request))
    positions = source.positions(-np.inf)
    assert positions.tolist() == [START + hour * HOUR for hour in range(len(frame))]
    found = list(read_windows(source, due_of(positions, "1d")))
    assert [each.rows.frame["n"].tolist() for each in found] == [
        list(range(day * 24, day * 24 + 24)) for day in range(len(frame) // 24)
    ]
    assert [each.due.window.start for each in found] == [START + day * DAY for day in range(len(found))]
    assert all((each.rows.positions < each.due.window.end).all() for each in found)


def test_positions_from_a_frontier_on_are_read_by_the_clock_alone(tmp_path, request):
    source = opened(tmp_path, **KINDS["sqlite table"](rows(), tmp_path, request))
    assert source.positions(START + 398 * HOUR).tolist() == [START + 398 * HOUR, START + 399 * HOUR]
    assert source.positions(START + 400 * HOUR).tolist() == []


class Counting:
    """A loader that remembers the windows it was asked for."""

    def __init__(self, loader):
        self._loader, self.asked = loader, []

    def __getattr__(self, name):
        return getattr(self._loader, name)

    def load(self, columns, window):
        self.asked.append((columns, window))
        return self._loader.load(columns, window)


def counted(folder, **data):
    source = open_source(model_config(data={"time": "at", **data}), base=folder)
    loader = Counting(source.loader)
    return DataWindows(dataclasses.replace(source, loader=loader)), loader


def hourly(n, **columns):
    frame = pd.DataFrame({"at": pd.date_range("2026-01-01", periods=n, freq="min"), "n": np.arange(n)})
    return frame.assign(y=frame["n"] % 2, **columns)


def test_three_days_of_hours_read_a_csv_once_for_its_clock_and_once_for_its_rows(tmp_path):
    hourly(72 * 60 + 1).to_csv(tmp_path / "rows.csv", index=False)
    source, loader = counted(tmp_path)
    positions = source.positions(START)
    found = list(read_windows(source, due_of(positions, "1h"), positions=positions))
    assert [len(each.rows) for each in found] == [60] * 72
    assert [columns for columns, _ in loader.asked] == [["at"], ["at", "n", "y"]]


def test_a_read_holds_no_more_rows_than_allowed_unless_one_window_has_more(tmp_path):
    hourly(600).to_csv(tmp_path / "rows.csv", index=False)
    source, loader = counted(tmp_path)
    positions = source.positions(START)
    windows = due_of(positions, "1h")
    found = list(read_windows(source, windows, positions=positions, most=150))
    assert [each.rows.frame["n"].tolist() for each in found] == [
        list(range(hour * 60, hour * 60 + 60)) for hour in range(9)
    ]
    asked = [window for _, window in loader.asked[1:]]
    assert [(each.end - each.start) / HOUR for each in asked] == [2, 2, 2, 2, 1]
    loader.asked.clear()
    assert [len(each.rows) for each in read_windows(source, windows, positions=positions, most=1)] == [60] * 9
    assert len(loader.asked) == 9


def test_empty_windows_are_empty_frames_with_all_columns(tmp_path):
    frame = hourly(240)
    frame[(frame["n"] < 60) | (frame["n"] >= 180)].to_csv(tmp_path / "rows.csv", index=False)
    source = opened(tmp_path)
    found = list(read_windows(source, due_of(source.positions(START), "1h")))
    assert [len(each.rows) for each in found] == [60, 0, 0]
    assert list(found[1].rows.frame.columns) == ["at", "n", "y"]
    assert found[1].rows.positions.tolist() == []


def test_without_windows_nothing_is_read(tmp_path):
    hourly(3).to_csv(tmp_path / "rows.csv", index=False)
    source, loader = counted(tmp_path)
    assert list(read_windows(source, ())) == []
    assert loader.asked == []


def test_row_numbers_of_a_source_without_a_clock_column_are_its_order(tmp_path):
    hourly(10).drop(columns="at").to_csv(tmp_path / "rows.csv", index=False)
    source = opened(tmp_path, time=None, clock="rows")
    positions = source.positions(4.0)
    assert positions.tolist() == [4, 5, 6, 7, 8, 9]
    found = list(read_windows(source, due_of(positions, "3 rows", clock="rows")))
    assert [each.rows.frame["n"].tolist() for each in found] == [[4, 5, 6], [7, 8, 9]]


@pytest.mark.parametrize("kind", ["csv", "parquet", "sqlite table"])
def test_the_newest_row_is_found_even_far_before_where_it_is_looked_for_first(kind, tmp_path, request):
    source = opened(tmp_path, **KINDS[kind](rows(), tmp_path, request))
    newest = START + 399 * HOUR
    for around in (START, newest, newest + DAY, newest + 400 * DAY, np.inf):
        assert source.newest(around=around, step=DAY) == newest
    assert source.newest(around=newest, step=HOUR, now=START + 90.0) == START
    assert source.newest(around=newest, step=HOUR, now=START - 1) is None


def test_a_time_that_is_none_is_refused_by_name(tmp_path):
    frame = hourly(60).astype({"at": str})
    frame.loc[7, "at"] = "soon"
    frame.to_csv(tmp_path / "rows.csv", index=False)
    with pytest.raises(DataError, match="'soon'"):
        opened(tmp_path).positions(START)


def test_mixed_time_zones_are_one_clock(tmp_path):
    frame = pd.DataFrame({"at": ["2026-01-01T00:30:00Z", "2026-01-01T03:00:00+02:00"], "y": [0, 1]})
    frame.to_csv(tmp_path / "rows.csv", index=False)
    assert opened(tmp_path).positions(START).tolist() == [START + HOUR / 2, START + HOUR]


# --- labels


def labelled(folder, **data):
    known = pd.date_range("2026-01-01 02:00", periods=120, freq="min").astype(str).to_series()
    known.iloc[5:10] = None  # nobody says when: they count as known after the delay
    known.iloc[10:20] = "2026-02-01"
    frame = hourly(121).assign(seen=[*known, None])
    frame.loc[11, "y"] = None  # not known at all: not late
    frame.to_csv(folder / "rows.csv", index=False)
    return opened(folder, label_time="seen", **data)


def test_labels_known_after_their_time_are_missing_and_counted(tmp_path):
    source = labelled(tmp_path)
    due = due_of(source.positions(START), "1h", phase=OUTCOMES, label_delay="1h")
    (hour,) = read_windows(source, due)
    # The first hour ends at 1:00 and its labels are due by 2:00: that of row 0 just came, those without a time count.
    assert np.flatnonzero(hour.rows.frame["y"].notna()).tolist() == [0, 5, 6, 7, 8, 9]
    assert hour.late == 60 - 6 - 1
    (inputs,) = read_windows(source, [dataclasses.replace(due[0], phase=INPUTS)])
    assert (inputs.rows.frame["y"].notna().sum(), inputs.late) == (59, 0)


def test_the_log_gives_the_same_shape_of_rows_with_outcomes_as_known_in_time():
    log, config = MemoryLog(), model_config(monitoring={"source": "log"})
    log.append_predictions(
        config.model,
        [
            Prediction(
                prediction_id=str(minute), position=START + minute * 60, features={"x": minute}, score=0.5
            )
            for minute in range(121)
        ],
        at=NOW,
    )
    known = [
        KnownOutcome(prediction_id=str(minute), outcome=minute % 2, known_at=START + (minute + 90) * 60)
        for minute in range(121)
    ]
    log.append_outcomes(config.model, known, at=NOW)
    source = LogWindows(log, config)
    positions = source.positions(START)
    due = due_of(positions, "1h", phase=OUTCOMES, label_delay="1h")
    (hour,) = read_windows(source, due, positions=positions)
    assert hour.rows.frame["x"].tolist() == list(range(60))
    assert hour.rows.frame["y"].notna().sum() == 31  # minutes 0 to 30 were known by 2:00
    assert hour.late == 29
    assert (hour.rows.frame["@score"] == 0.5).all()
    assert source.newest(around=START, step=HOUR) == START + 120 * 60


# --- where a phase stands


def put(ledger, *spans, phase=INPUTS):
    for start, end in spans:
        seq, _ = last_window(ledger, "fraud", phase)
        ledger.follow(
            model="fraud",
            stream=stream_of(phase),
            after=seq,
            kind="window",
            payload={"start": start, "end": end},
            at=NOW,
        )


def test_where_a_phase_stands_is_read_from_its_last_entry():
    ledger = MemoryLedger()
    assert last_window(ledger, "fraud", INPUTS) == (0, None)
    put(ledger, (0, 10), (10, 20))
    put(ledger, (0, 10), phase=OUTCOMES)
    assert last_window(ledger, "fraud", INPUTS) == (2, 20.0)
    assert last_window(ledger, "fraud", OUTCOMES) == (1, 10.0)


@pytest.mark.parametrize("first", [1, 3, 100])
def test_judged_windows_are_read_back_as_far_as_asked(first):
    ledger = MemoryLedger()
    put(ledger, *((start, start + 10) for start in range(0, 200, 10)))
    found = judged_since(ledger, "fraud", INPUTS, 120.0, first=first)
    assert found == [Window(start, start + 10) for start in range(120, 200, 10)]
    assert len(judged_since(ledger, "fraud", INPUTS, None, first=first)) == 20
    assert judged_since(ledger, "fraud", OUTCOMES, 0.0, first=first) == []


def test_outcomes_follow_inputs_through_the_ledger():
    ledger, positions = MemoryLedger(), START + np.arange(0, 10 * HOUR + 1, 600)
    judged = due_of(positions, "2h")
    put(ledger, *((due.window.start, due.window.end) for due in judged))
    waiting = judged_since(ledger, "fraud", INPUTS, last_window(ledger, "fraud", OUTCOMES)[1])
    due = due_of(positions, "5h", phase=OUTCOMES, label_delay="3h", judged=waiting)
    assert [each.window for each in due] == [each.window for each in judged[:3]]
    assert isinstance(due[0], DueWindow)

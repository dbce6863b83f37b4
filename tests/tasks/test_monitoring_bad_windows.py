"""Bad windows: INSUFFICIENT for a named reason or refused in one sentence; never a crash, never 'quiet'."""

import numpy as np
import pandas as pd
import pytest

from evergreen.tasks.core.errors import DataError
from evergreen.tasks.core.verdict import State
from tests.support.champions import (
    FIRST,
    hours,
    make_rows,
    reason_codes,
    run_monitor,
    verdict_of,
    window_entries,
    window_hours,
)

BAD, END = FIRST + 2, FIRST + 5
"""The hour that is bad, and where the rows end."""
PLACES = hours(BAD, BAD + 1)
INPUTS, OUTCOMES = ("data", "prediction"), ("outcome", "concept", "performance")
KINDS = INPUTS + OUTCOMES


def good(hours_=END):
    return make_rows(hours=hours_)


def holding(column, value):
    frame = good().astype({column: object})
    frame.loc[frame.index[PLACES], column] = value
    return frame


def empty():
    return good().drop(good().index[PLACES])


def one_row():
    return good().drop(good().index[PLACES][1:])


def all_null():
    frame = good().astype(object)
    frame.loc[frame.index[PLACES], ["x", "z", "colour", "y"]] = None
    return frame


def with_zone(zone):
    """Return rows of which every other time in the bad hour is written in another zone, or in none."""
    frame = good()
    told_as = [at.isoformat() for at in frame["at"]]
    for place in range(PLACES.start, PLACES.stop, 2):
        at = frame["at"].iloc[place]
        told_as[place] = (at.tz_convert(zone) if zone else at.tz_localize(None)).isoformat()
    return frame.assign(at=told_as)


FEW = ("insufficient", ["too_few_rows"])
UNLABELLED = ("insufficient", ["too_few_labelled"])
UNREADABLE = ("insufficient", ["unreadable"])
EMPTY = dict.fromkeys(INPUTS, FEW) | dict.fromkeys(OUTCOMES, UNLABELLED)
BROKEN = dict.fromkeys(KINDS, UNREADABLE)
MOVED = ("warning", "drift")
INSUFFICIENT = {
    "no row at all": (empty, EMPTY),
    "one row": (one_row, EMPTY),
    "no label": (lambda: holding("y", None), dict.fromkeys(OUTCOMES, UNLABELLED)),
    "nothing but nulls": (all_null, dict.fromkeys(OUTCOMES, UNLABELLED)),
    "one class": (lambda: holding("y", "yes"), {"performance": ("insufficient", ["metric_undefined"])}),
    "an unknown class": (
        lambda: holding("y", "maybe"),
        {"performance": ("insufficient", ["metric_undefined"])},
    ),
    "a column of nulls": (lambda: holding("x", None), {"concept": ("insufficient", ["not_measured"])}),
    "infinite values": (lambda: holding("x", np.inf), {"concept": ("insufficient", ["not_measured"])}),
    "a new category": (lambda: holding("colour", "purple"), {"concept": ("insufficient", ["not_measured"])}),
    "text among numbers": (lambda: holding("x", "abc"), BROKEN),
    "times with and without a zone": (lambda: with_zone(None), BROKEN),
}
DRIFTED = {
    "nothing but nulls": INPUTS,
    "one class": ("outcome",),
    "an unknown class": ("outcome",),
    "a column of nulls": INPUTS,
    "infinite values": INPUTS,
    "a new category": ("data",),
}
"""Kinds that can be judged in spite of it, and say that something moved."""


@pytest.mark.parametrize("case", INSUFFICIENT)
def test_a_bad_window_is_insufficient_for_a_named_reason_and_its_neighbours_are_not(case, monitored):
    make, expected = INSUFFICIENT[case]
    windows = run_monitor(monitored.setup(make())).details["windows"]
    bad = windows[BAD - FIRST]
    assert expected == {kind: verdict_of(bad, kind) for kind in expected}
    assert {kind: bad["verdicts"][kind] in MOVED for kind in DRIFTED.get(case, ())} == dict.fromkeys(
        DRIFTED.get(case, ()), True
    )
    assert ["quiet"] * 2 == [one["level"] for one in windows[: BAD - FIRST]]
    for neighbour in (*windows[: BAD - FIRST], *windows[BAD - FIRST + 1 :]):
        assert "insufficient" not in neighbour["verdicts"].values()


HARMLESS = {
    "a new column": lambda: good().assign(extra=1.0),
    "times in several zones": lambda: with_zone("America/New_York"),
    "naive times": lambda: good().assign(at=good()["at"].dt.tz_localize(None)),
    "rows in no order": lambda: good().sample(frac=1.0, random_state=3),
}


@pytest.mark.parametrize("case", HARMLESS)
def test_what_does_no_harm_changes_nothing(case, monitored):
    setup = monitored.setup(HARMLESS[case]())
    run_monitor(setup)
    assert [(40, "quiet")] * 4 == [(one["n"], one["level"]) for one in window_entries(setup, "inputs")]
    assert [(40, "quiet")] * 3 == [(one["n"], one["level"]) for one in window_entries(setup, "outcomes")]


def test_rows_from_the_future_make_nothing_due_and_are_told_of(monitored):
    future = good().tail(5).assign(at=pd.Timestamp("2199-01-01", tz="UTC"))
    setup = monitored.setup(pd.concat([good(), future]))
    result = run_monitor(setup)
    note = next(reason for reason in result.reasons if reason.code == "future_rows")
    assert (5, END - FIRST - 1) == (note.n, len(window_hours(setup, "inputs")))


@pytest.mark.parametrize("rows", ["repeated", "at one moment"])
def test_rows_that_coincide_are_all_counted_in_their_window(rows, monitored):
    frame = good()
    if rows == "repeated":
        frame = pd.concat([frame, frame.iloc[PLACES]])
    else:
        frame.loc[frame.index[PLACES], "at"] = frame["at"].iloc[PLACES.start]
    setup = monitored.setup(frame)
    run_monitor(setup)
    assert [40, 40, 80 if rows == "repeated" else 40, 40] == [
        one["n"] for one in window_entries(setup, "inputs")
    ]


REFUSED = {
    "no time": (lambda: holding("at", None), "Time column 'at' holds null"),
    "a time that is none": (lambda: holding("at", "someday"), "Time column 'at' holds 'someday'"),
    "no target column": (lambda: good().drop(columns="y"), r"Column 'y' \(data.target\) is not in"),
    "no clock column": (lambda: good().drop(columns="at"), r"Column 'at' \(data.time\) is not in"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_data_without_windows_are_refused_and_nothing_is_recorded(case, monitored):
    make, why = REFUSED[case]
    setup = monitored.setup(make())
    with pytest.raises(DataError, match=why):
        run_monitor(setup)
    assert [] == setup.stores.ledger.read()


def test_a_lost_column_makes_every_window_insufficient_and_the_run_too(monitored):
    setup = monitored.setup(good().drop(columns="z"))
    result = run_monitor(setup)
    assert State.INSUFFICIENT_DATA is result.state
    assert ["insufficient"] + ["unreadable"] * 5 == reason_codes(result)
    assert "Missing column 'z'" in result.reasons[1].message
    assert BROKEN == {kind: verdict_of(result.details["windows"][0], kind) for kind in KINDS}


def test_a_file_without_rows_leaves_nothing_to_look_at(monitored):
    result = run_monitor(monitored.setup(good().head(0)))
    assert (State.INSUFFICIENT_DATA, ["no_window"]) == (result.state, reason_codes(result))


def test_an_unreadable_window_keeps_memory_and_open_alarms(monitored):
    frame = good(FIRST + 9)
    frame.loc[frame.index[hours(FIRST + 1, FIRST + 9)], "x"] += 3.0
    frame = frame.astype({"x": object})
    frame.loc[frame.index[hours(FIRST + 5, FIRST + 6)], "x"] = "abc"
    setup = monitored.setup(frame)
    result = run_monitor(setup)
    looks = window_entries(setup, "inputs")
    assert "insufficient" == looks[5]["level"]
    assert (looks[4]["alert"]["open"], []) == (looks[5]["alert"]["open"], looks[5]["changes"])
    assert "x" in [alarm["name"] for alarm in looks[5]["alert"]["open"]]
    assert "x" in [alarm["column"] for alarm in result.details["open_alarms"]]
    changes = [[change["change"] for change in one["changes"] if change["column"] == "x"] for one in looks]
    assert ["opened"] == [change for several in changes for change in several]


def test_a_newest_window_that_cannot_be_read_is_not_called_quiet(monitored):
    frame = good().astype({"x": object})
    frame.loc[frame.index[hours(END - 2, END - 1)], "x"] = "abc"
    result = run_monitor(monitored.setup(frame))
    assert (State.INSUFFICIENT_DATA, "insufficient") == (result.state, reason_codes(result)[0])
    assert State.INSUFFICIENT_DATA is run_monitor(monitored.setup(frame)).state


def test_a_python_source_that_breaks_in_a_window_is_refused_like_a_file(monitored, monkeypatch):
    frames = {
        "text": holding("x", "abc"),
        "lacks": [good().iloc[: PLACES.start], good().iloc[PLACES.start :].drop(columns="y")],
    }
    (monitored.folder / "feed.py").write_text("def rows():\n    return CASE\n")
    monkeypatch.syspath_prepend(monitored.folder)
    import feed

    monkeypatch.setattr(feed, "CASE", frames["text"], raising=False)
    windows = run_monitor(monitored.setup(good(), data={"source": "feed:rows"})).details["windows"]
    assert BROKEN == {kind: verdict_of(windows[BAD - FIRST], kind) for kind in KINDS}
    monkeypatch.setattr(feed, "CASE", frames["lacks"], raising=False)
    again = monitored.restarted()
    with pytest.raises(DataError, match="lacks column 'y'"):
        run_monitor(again.setup(good(), data={"source": "feed:rows"}))

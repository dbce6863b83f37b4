"""Windows of rows, lengths that change, the log of served predictions, and PostgreSQL."""

from datetime import UTC, datetime

import pytest

from evergreen.tasks.core.drift.types import Phase
from evergreen.tasks.core.verdict import State
from evergreen.tasks.io.prediction_log.records import KnownOutcome, Prediction
from tests.support.champions import (
    FIRST,
    PER_HOUR,
    hour_text,
    hours,
    make_rows,
    reason_codes,
    run_monitor,
    verdict_of,
    window_entries,
    window_hours,
)

END = FIRST + 5
NOW = datetime(2025, 4, 1, tzinfo=UTC)


def test_windows_of_rows_go_along_a_clock_of_time(monitored):
    frame = make_rows(hours=END)
    setup = monitored.setup(frame, monitoring={"window": "60 rows"})
    result = run_monitor(setup)
    assert [60, 60, 60] == [one["n"] for one in window_entries(setup, "inputs")]
    ends = [end for _, end in window_hours(setup, "inputs")]
    assert [FIRST + 1.5, FIRST + 3.0, FIRST + 4.5] == pytest.approx(ends)
    assert {"theory"} == {
        verdict["calibration"] for verdict in result.details["windows"][0]["kinds"].values()
    }
    assert "window_changed" in reason_codes(result)


def test_a_length_that_changes_goes_on_where_the_last_window_ended(monitored):
    run_monitor(monitored.setup(make_rows(hours=FIRST + 3)))
    setup = monitored.setup(make_rows(hours=FIRST + 9), monitoring={"window": "2h"})
    run_monitor(setup)
    expected = [(120, 121), (121, 122), (122, 124), (124, 126), (126, 128)]
    assert expected == window_hours(setup, "inputs")
    assert expected[:-1] == window_hours(setup, "outcomes")


def test_labels_may_be_known_so_many_rows_later_on_a_clock_of_time(monitored):
    setup = monitored.setup(make_rows(hours=END), data={"label_delay": f"{2 * PER_HOUR} rows"})
    run_monitor(setup)
    assert (4, 2) == (len(window_hours(setup, "inputs")), len(window_hours(setup, "outcomes")))


def serve(setup, frame, *, version, score=0.9):
    """Log predictions of a frame with one score and version, as if they had been served."""
    served = [
        Prediction(
            prediction_id=str(place),
            position=row["at"].timestamp(),
            score=score,
            decision="yes",
            version=version,
            features={name: row[name] for name in ("x", "z", "colour")},
        )
        for place, row in frame.iterrows()
    ]
    setup.stores.log.append_predictions(setup.model, served, at=NOW)


def tell(setup, frame, *, after):
    """Log the outcomes of a frame, each so many seconds after its prediction."""
    known = [
        KnownOutcome(prediction_id=str(place), outcome=row["y"], known_at=row["at"].timestamp() + after)
        for place, row in frame.iterrows()
    ]
    setup.stores.log.append_outcomes(setup.model, known, at=NOW)


LOGGED = {"monitoring": {"source": "log"}, "data": {"numeric": ["x", "z"]}}


def test_served_predictions_are_watched_and_their_labels_when_they_come(monitored):
    frame = make_rows(hours=FIRST + 8).iloc[hours(FIRST, FIRST + 8)]
    setup = monitored.setup(make_rows(hours=FIRST), **LOGGED)
    first, rest = frame.iloc[: 4 * PER_HOUR], frame.iloc[4 * PER_HOUR :]
    serve(setup, first, version=1)
    tell(setup, first.iloc[:PER_HOUR], after=600.0)
    tell(setup, first.iloc[PER_HOUR : 2 * PER_HOUR], after=7201.0)
    run_monitor(setup)
    assert [(float(h), h + 1.0) for h in range(FIRST, FIRST + 3)] == window_hours(setup, "inputs")
    assert (PER_HOUR, 0) == (window_entries(setup, "outcomes")[0]["n"], late_in(setup, 0))
    assert (0, PER_HOUR) == (window_entries(setup, "outcomes")[1]["n"], late_in(setup, 1))
    before = window_entries(setup, "outcomes")
    serve(setup, rest, version=1)
    tell(setup, frame.iloc[2 * PER_HOUR :], after=60.0)
    run_monitor(setup)
    after = window_entries(setup, "outcomes")
    assert before == after[: len(before)]
    assert [PER_HOUR] * 4 == [one["n"] for one in after[2:]]


def late_in(setup, place):
    """Return how many labels came too late for a window, as its entry notes."""
    notes = window_entries(setup, "outcomes")[place]["notes"]
    return sum(note["n"] for note in notes if note["code"] == "late_labels")


def test_answers_that_were_served_count_and_not_what_the_champion_would_say(monitored):
    frame = make_rows(hours=FIRST + 4).iloc[hours(FIRST, FIRST + 4)]
    setup = monitored.setup(make_rows(hours=FIRST), **LOGGED)
    serve(setup, frame, version=1, score=0.999)
    served = run_monitor(setup).details["windows"]
    assert {"warning", "drift"} >= {window["verdicts"]["prediction"] for window in served}
    assert {"quiet"} == {window["verdicts"]["data"] for window in served}
    other = monitored.restarted().setup(make_rows(hours=FIRST), **LOGGED)
    serve(other, frame, version=7, score=0.999)
    assert {"quiet"} == {window["verdicts"]["prediction"] for window in run_monitor(other).details["windows"]}


def test_a_log_without_predictions_leaves_nothing_to_look_at(monitored):
    result = run_monitor(monitored.setup(make_rows(hours=FIRST), **LOGGED))
    assert (State.INSUFFICIENT_DATA, ["no_window"]) == (result.state, reason_codes(result))


def test_a_request_that_lacks_a_feature_makes_its_window_insufficient_not_the_run_a_crash(monitored):
    frame = make_rows(hours=FIRST + 4).iloc[hours(FIRST, FIRST + 4)]
    setup = monitored.setup(make_rows(hours=FIRST), **LOGGED)
    serve(setup, frame.assign(x=["abc", *frame["x"].iloc[1:]]), version=1)
    windows = run_monitor(setup).details["windows"]
    assert ("insufficient", ["unreadable"]) == verdict_of(windows[0], "data")
    assert {"quiet"} == {window["verdicts"]["data"] for window in windows[1:]}


def test_ledger_and_log_on_postgresql_hold_the_same_as_on_sqlite(monitored, postgres_url, monkeypatch):
    frame = make_rows(hours=FIRST + 8)
    frame.loc[frame.index[hours(FIRST + 2, FIRST + 8)], "x"] += 3.0
    small = monitored.setup(frame)
    run_monitor(small)
    monkeypatch.setenv("EVERGREEN_LEDGER_URL", postgres_url)
    monkeypatch.setenv("EVERGREEN_LOG_URL", postgres_url)
    big = monitored.setup(frame)
    for hour in range(FIRST + 2, FIRST + 9, 2):
        run_monitor(big, until=hour_text(hour))
    for phase in ("inputs", "outcomes"):
        assert window_entries(small, phase) == window_entries(big, phase)
        mine, theirs = (setup.stores.log.windows(setup.model, Phase(phase)) for setup in (small, big))
        assert [one.profiles for one in mine] == [one.profiles for one in theirs]
        assert [one.payload for one in mine] == [one.payload for one in theirs]

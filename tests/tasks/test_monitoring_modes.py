"""Runs that are not recorded, not allowed, bounded, met by another, or without what an earlier one left."""

import re
from datetime import UTC, datetime

import pytest
from prefect.logging import disable_run_logger

from evergreen.tasks.core.drift.types import Phase
from evergreen.tasks.core.errors import Blocked, ConfigError, InputError, NotLearnable
from evergreen.tasks.core.monitoring import monitor as guarding
from evergreen.tasks.core.verdict import State
from evergreen.tasks.monitoring import check_due_windows, load_monitor, read_monitor_request, stream_of
from evergreen.tasks.monitoring_report import MonitorRun, keep_history
from tests.support.champions import (
    FIRST,
    drifted_rows,
    hour_of,
    hour_text,
    hourly,
    make_rows,
    reason_codes,
    run_monitor,
    stored,
    window_alerts,
    window_hours,
)

END = FIRST + 6


@pytest.mark.parametrize("how", ["--from", "--dry-run", "run_mode"])
def test_a_look_that_is_not_recorded_leaves_no_trace(how, monitored):
    mode = {"monitoring": {"run_mode": "dry_run"}} if how == "run_mode" else {}
    setup = monitored.setup(drifted_rows(begin=FIRST + 2, end=END, until=END), **mode)
    before = stored(setup)
    options = {"since": hour_text(FIRST), "until": hour_text(END - 1)} if how == "--from" else {}
    result = run_monitor(setup, **options, dry_run=how == "--dry-run")
    assert hourly(FIRST, END - 1) == [
        (hour_of(w["start"]), hour_of(w["end"])) for w in result.details["windows"]
    ]
    kinds = [len(one["verdicts"]) for one in result.details["windows"]]
    assert [5, 5, 5, 5, 5 if how == "--from" else 2] == kinds
    assert (State.DRIFT, True, None) == (result.state, result.details["dry_run"], result.decision_id)
    assert before == stored(setup)


def test_a_look_back_sees_windows_that_were_judged_before(monitored):
    setup = monitored.setup(make_rows(hours=END))
    run_monitor(setup)
    before = stored(setup)
    result = run_monitor(setup, since=hour_text(FIRST + 1), until=hour_text(FIRST + 3))
    assert [FIRST + 1, FIRST + 2] == [hour_of(window["start"]) for window in result.details["windows"]]
    assert before == stored(setup)


def test_a_look_back_that_ends_before_it_begins_is_wrong_input(monitored):
    typed = f"{hour_text(FIRST + 3)} to {hour_text(FIRST)}"
    with pytest.raises(InputError, match=re.escape(f"must not end before it starts: {typed}. Swap them.")):
        run_monitor(monitored.setup(make_rows(hours=END)), since=hour_text(FIRST + 3), until=hour_text(FIRST))


def test_nobody_is_watched_without_a_champion_or_where_it_is_switched_off(monitored):
    setup = monitored.setup(make_rows(hours=END))
    setup.stores.registry.delete_alias(setup.model, "champion")
    with pytest.raises(NotLearnable, match="no @champion to monitor"):
        run_monitor(setup)
    with pytest.raises(Blocked, match="no window was checked"):
        run_monitor(monitored.setup(make_rows(hours=END), monitoring={"run_mode": "disabled"}))


def test_a_model_without_a_clock_is_told_what_to_configure(monitored):
    with pytest.raises(ConfigError, match=r"no clock \(data\.time is not set\)"):
        run_monitor(monitored.setup(make_rows(hours=END), data={"time": None, "label_delay": "0h"}))


def test_one_of_two_runs_that_meet_is_held_and_no_window_is_judged_twice(monitored, monkeypatch):
    setup = monitored.setup(make_rows(hours=END))
    look, others = guarding.monitor_window, []

    def look_while_another_run_goes_by(*arguments, **options):
        if not others:
            others.append(None)
            others.append(run_monitor(setup))
        return look(*arguments, **options)

    monkeypatch.setattr(guarding, "monitor_window", look_while_another_run_goes_by)
    with pytest.raises(Blocked, match="Another run has judged the window"):
        run_monitor(setup)
    assert hourly(FIRST, END - 1) == window_hours(setup, "inputs")
    assert hourly(FIRST, END - 2) == window_hours(setup, "outcomes")


def test_most_windows_of_a_run_are_bounded_and_the_next_goes_on(monitored):
    setup = monitored.setup(make_rows(hours=END), monitoring={"max_windows": 3})
    first, second = run_monitor(setup), run_monitor(setup)
    assert ([3, 2], [2, 0]) == (
        [len(run.details["windows"]) for run in (first, second)],
        [run.details["remaining"] for run in (first, second)],
    )
    assert "more_windows" in reason_codes(first)
    assert hourly(FIRST, END - 1) == window_hours(setup, "inputs")


@pytest.mark.parametrize("kinds", [["performance"], ["data"], ["outcome", "concept"]])
def test_any_choice_of_kinds_is_looked_at(kinds, monitored):
    setup = monitored.setup(make_rows(hours=END), drift={"kinds": kinds})
    result = run_monitor(setup)
    assert State.NO_DRIFT is result.state
    assert [kinds] * 4 == [list(window["verdicts"]) for window in result.details["windows"][:4]]


def test_alarms_end_when_nobody_knows_any_more_what_they_moved_away_from(monitored):
    setup = monitored.setup(drifted_rows(begin=FIRST + 1, end=FIRST + 4, until=FIRST + 9))
    run_monitor(setup, until=hour_text(FIRST + 4))
    assert "x" in [alarm["name"] for alarm in window_alerts(setup)[-1]["open"]]
    setup.stores.log.purge_windows(setup.model, written_before=datetime.now(UTC))
    result = run_monitor(setup)
    assert "x" in [alarm["name"] for alarm in window_alerts(setup)[4]["resolved"]]
    assert ([], []) == (window_alerts(setup)[-1]["open"], result.details["open_alarms"])


def test_history_never_takes_the_newest_windows_of_a_phase_that_lags_behind(monitored):
    lagging = {"data": {"label_delay": "8h"}, "monitoring": {"history": "1h"}}
    setup = monitored.setup(make_rows(hours=FIRST + 14), **lagging)
    with disable_run_logger():
        request, loaded = (
            read_monitor_request(setup, since=None, until=None, dry_run=False),
            load_monitor.fn(setup),
        )
        phases = {phase: check_due_windows.fn(setup, loaded, request, phase) for phase in loaded.phases}
        run = MonitorRun(request=request, monitor=loaded, phases=phases)
        assert 2 * 2 == keep_history.fn(setup, run, least=3)
    log = setup.stores.log
    assert [2, 3, 4] == [
        hour_of(one.window.start) - FIRST for one in log.windows(setup.model, Phase.OUTCOMES)
    ]
    assert stream_of(setup, loaded, Phase.OUTCOMES).head().state.fits(loaded.nulls[Phase.OUTCOMES])

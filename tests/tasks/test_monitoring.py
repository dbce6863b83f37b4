"""Watching a champion on real stores: each window once in each phase, whatever comes in between."""

import numpy as np
import pytest

from evergreen.tasks.alerts import deliver_alerts
from evergreen.tasks.core.drift.types import Phase
from evergreen.tasks.core.verdict import State
from tests.support.champions import (
    FIRST,
    NEXT,
    drifted_rows,
    hour_of,
    hour_text,
    hourly,
    hours,
    make_rows,
    run_monitor,
    set_champion,
    stored,
    verdict_of,
    window_alerts,
    window_entries,
    window_hours,
)

END = FIRST + 6


@pytest.fixture
def channel(monkeypatch, webhook):
    """Name a webhook on loopback as the channel."""
    monkeypatch.setenv("HOOK", f"json://127.0.0.1:{webhook.port}")
    return {"notify": ["env:HOOK"]}


def test_a_day_of_outage_is_caught_up_in_one_run(monitored, channel, webhook):
    setup = monitored.setup(drifted_rows(begin=FIRST + 10, end=FIRST + 25, until=FIRST + 25), alerts=channel)
    result = run_monitor(setup)
    assert hourly(FIRST, FIRST + 24) == window_hours(setup, "inputs")
    assert hourly(FIRST, FIRST + 23) == window_hours(setup, "outcomes")
    assert 24 == len(result.details["windows"])
    assert State.DRIFT is result.state
    first = next(hour_of(one["start"]) for one in window_entries(setup, "inputs") if one["changes"])
    assert FIRST + 10 <= first <= FIRST + 12
    deliver_alerts.fn(setup, sleep=lambda _: None, announce=lambda _: None)
    deliver_alerts.fn(setup, sleep=lambda _: None, announce=lambda _: None)
    assert webhook.got[0]["title"].startswith("[critical] tested: x (data)")
    topics = [body["message"].splitlines()[-1].split("/")[1] for body in webhook.got]
    assert "inputs" == topics[0]
    assert len(topics) == len(set(topics)), topics


def test_windows_are_judged_alike_one_by_one_and_all_at_once(monitored):
    frame = drifted_rows(begin=FIRST + 2, end=END, until=END)
    setup = monitored.setup(frame)
    for hour in range(FIRST + 1, END + 1):
        run_monitor(setup, until=hour_text(hour))
    by_step = {phase: window_entries(setup, phase.value) for phase in Phase}
    assert hourly(FIRST, END - 1) == window_hours(setup, "inputs")
    again = monitored.restarted().setup(frame)
    run_monitor(again)
    assert by_step == {phase: window_entries(again, phase.value) for phase in Phase}
    assert any(one["changes"] for one in by_step[Phase.INPUTS])


def test_a_run_without_a_new_window_keeps_the_state_and_leaves_no_trace(monitored):
    setup = monitored.setup(drifted_rows(begin=FIRST + 1, end=END, until=END))
    first = run_monitor(setup)
    before = stored(setup)
    second = run_monitor(setup)
    assert (State.DRIFT, State.DRIFT, []) == (first.state, second.state, second.details["windows"])
    assert second.reasons[0].message.startswith("No window was due; ")
    assert first.details["open_alarms"] == second.details["open_alarms"]
    assert before == stored(setup)


def test_an_open_alarm_is_raised_once_and_resolves_once(monitored):
    setup = monitored.setup(drifted_rows(begin=FIRST + 2, end=FIRST + 6, until=FIRST + 14))
    for hour in range(FIRST + 2, FIRST + 15, 3):
        run_monitor(setup, until=hour_text(hour))
    found = [
        (a["change"], [alarm["name"] for alarm in a["opened"] + a["resolved"]]) for a in window_alerts(setup)
    ]
    mine = [change for change, names in found if "x" in names]
    assert ["opened", "resolved"] == mine, found


def test_a_new_champion_closes_what_was_open_and_begins_anew(monitored):
    frame = drifted_rows(begin=FIRST + 1, end=FIRST + 40, until=FIRST + 19)
    setup = monitored.setup(frame)
    run_monitor(setup, until=hour_text(FIRST + 5))
    assert [1] * 5 == [one["version"] for one in window_entries(setup, "inputs")]
    assert "x" in [alarm["name"] for alarm in window_alerts(setup)[-1]["open"]]
    set_champion(setup, 2)
    result = run_monitor(setup)
    looks = window_entries(setup, "inputs")
    assert hourly(FIRST, FIRST + 18) == window_hours(setup, "inputs")
    assert [1] * 5 + [2] * 13 == [one["version"] for one in looks]
    resolved = [alarm["name"] for alarm in looks[5]["alert"]["resolved"]]
    assert "x" in resolved
    assert resolved.count("x") == sum("x" in [a["name"] for a in one["alert"]["resolved"]] for one in looks)
    assert "resolved" in [change["change"] for change in looks[5]["changes"]]
    assert 2 == result.version


def test_of_a_window_the_champion_learned_from_only_its_answers_are_unknown(monitored):
    setup = monitored.setup(make_rows(hours=FIRST + 19))
    run_monitor(setup, until=hour_text(FIRST + 5))
    set_champion(setup, 2)
    windows = {round(hour_of(one["start"])): one for one in run_monitor(setup).details["windows"]}
    learned, new = windows[NEXT - 1], windows[NEXT]
    for kind in ("prediction", "concept", "performance"):
        assert ("insufficient", ["window_in_training_data"]) == verdict_of(learned, kind)
        assert "insufficient" != new["verdicts"][kind]
    assert {"quiet"} >= {learned["verdicts"]["data"], learned["verdicts"]["outcome"]}
    assert learned["performance"] is None
    outcomes = [(one["version"], hour_of(one["start"])) for one in window_entries(setup, "outcomes")]
    assert [(1 if hour < FIRST + 4 else 2, hour) for hour in np.arange(FIRST, FIRST + 17.0)] == outcomes


def test_labels_that_come_too_late_are_counted_and_never_judged_again(monitored):
    frame = make_rows(hours=END)
    frame["seen"] = frame["at"] + np.timedelta64(30, "m")
    late = frame.index[hours(FIRST + 1, FIRST + 2)][:25]
    frame.loc[late, "seen"] = frame["at"].iloc[-1]
    setup = monitored.setup(frame, data={"label_time": "seen"})
    windows = run_monitor(setup).details["windows"]
    note = windows[1]["notes"][-1]
    assert ("late_labels", 25, 15) == (note["code"], note["n"], windows[1]["labelled"])
    assert ("insufficient", ["too_few_labelled"]) == verdict_of(windows[1], "performance")
    assert [] == windows[2]["notes"]
    before = window_entries(setup, "outcomes")
    longer = make_rows(hours=END + 3).assign(seen=lambda rows: rows["at"])
    run_monitor(monitored.setup(longer, data={"label_time": "seen"}))
    assert before == window_entries(setup, "outcomes")[: len(before)]

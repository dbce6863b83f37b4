"""Watching a champion on real stores: each window once in each phase, whatever comes in between."""

import numpy as np
import pytest

from evergreen.tasks.alerts import deliver_alerts
from evergreen.tasks.core.drift.types import Phase
from evergreen.tasks.core.verdict import State
from tests.support.champions import (
    FIRST,
    NEXT,
    adrift,
    alerts,
    crown,
    entries,
    every,
    hour_of,
    hours,
    kept,
    make_rows,
    moment,
    said,
    spans,
    watch,
)

END = FIRST + 6


@pytest.fixture
def channel(monkeypatch, webhook):
    """Name a webhook on loopback as the channel; no event is sent."""
    monkeypatch.setattr("evergreen.tasks.alerts.announce_monitoring", lambda alert: None)
    monkeypatch.setenv("HOOK", f"json://127.0.0.1:{webhook.port}")
    return {"notify": ["env:HOOK"]}


def test_a_day_of_outage_is_caught_up_in_one_run(watched, channel, webhook):
    setup = watched.setup(adrift(begin=FIRST + 10, end=FIRST + 25, until=FIRST + 25), alerts=channel)
    result = watch(setup)
    assert every(FIRST, FIRST + 24) == spans(setup, "inputs")
    assert every(FIRST, FIRST + 23) == spans(setup, "outcomes")
    assert 24 == len(result.details["windows"])
    assert State.DRIFT is result.state
    first = next(hour_of(one["start"]) for one in entries(setup, "inputs") if one["changes"])
    assert FIRST + 10 <= first <= FIRST + 12
    deliver_alerts.fn(setup, sleep=lambda _: None)
    deliver_alerts.fn(setup, sleep=lambda _: None)
    assert webhook.got[0]["title"].startswith("[critical] tested: x (data)")
    topics = [body["message"].splitlines()[-1].split("/")[1] for body in webhook.got]
    assert "inputs" == topics[0]
    assert len(topics) == len(set(topics)), topics


def test_windows_are_judged_alike_one_by_one_and_all_at_once(watched):
    frame = adrift(begin=FIRST + 2, end=END, until=END)
    setup = watched.setup(frame)
    for hour in range(FIRST + 1, END + 1):
        watch(setup, until=moment(hour))
    by_step = {phase: entries(setup, phase.value) for phase in Phase}
    assert every(FIRST, END - 1) == spans(setup, "inputs")
    again = watched.restarted().setup(frame)
    watch(again)
    assert by_step == {phase: entries(again, phase.value) for phase in Phase}
    assert any(one["changes"] for one in by_step[Phase.INPUTS])


def test_a_run_without_a_new_window_keeps_the_state_and_leaves_no_trace(watched):
    setup = watched.setup(adrift(begin=FIRST + 1, end=END, until=END))
    first = watch(setup)
    before = kept(setup)
    second = watch(setup)
    assert (State.DRIFT, State.DRIFT, []) == (first.state, second.state, second.details["windows"])
    assert second.reasons[0].message.startswith("No window was due; ")
    assert first.details["open_alarms"] == second.details["open_alarms"]
    assert before == kept(setup)


def test_an_open_alarm_is_raised_once_and_resolves_once(watched):
    setup = watched.setup(adrift(begin=FIRST + 2, end=FIRST + 6, until=FIRST + 14))
    for hour in range(FIRST + 2, FIRST + 15, 3):
        watch(setup, until=moment(hour))
    found = [(a["change"], [alarm["name"] for alarm in a["opened"] + a["resolved"]]) for a in alerts(setup)]
    mine = [change for change, names in found if "x" in names]
    assert ["opened", "resolved"] == mine, found


def test_a_new_champion_closes_what_was_open_and_begins_anew(watched):
    frame = adrift(begin=FIRST + 1, end=FIRST + 40, until=FIRST + 19)
    setup = watched.setup(frame)
    watch(setup, until=moment(FIRST + 5))
    assert [1] * 5 == [one["version"] for one in entries(setup, "inputs")]
    assert "x" in [alarm["name"] for alarm in alerts(setup)[-1]["open"]]
    crown(setup, 2)
    result = watch(setup)
    looks = entries(setup, "inputs")
    assert every(FIRST, FIRST + 18) == spans(setup, "inputs")
    assert [1] * 5 + [2] * 13 == [one["version"] for one in looks]
    resolved = [alarm["name"] for alarm in looks[5]["alert"]["resolved"]]
    assert "x" in resolved
    assert resolved.count("x") == sum("x" in [a["name"] for a in one["alert"]["resolved"]] for one in looks)
    assert "resolved" in [change["change"] for change in looks[5]["changes"]]
    assert 2 == result.version


def test_of_a_window_the_champion_learned_from_only_its_answers_are_unknown(watched):
    setup = watched.setup(make_rows(hours=FIRST + 19))
    watch(setup, until=moment(FIRST + 5))
    crown(setup, 2)
    windows = {round(hour_of(one["start"])): one for one in watch(setup).details["windows"]}
    learned, new = windows[NEXT - 1], windows[NEXT]
    for kind in ("prediction", "concept", "performance"):
        assert ("insufficient", ["window_in_training_data"]) == said(learned, kind)
        assert "insufficient" != new["verdicts"][kind]
    assert {"quiet"} >= {learned["verdicts"]["data"], learned["verdicts"]["outcome"]}
    assert learned["performance"] is None
    outcomes = [(one["version"], hour_of(one["start"])) for one in entries(setup, "outcomes")]
    assert [(1 if hour < FIRST + 4 else 2, hour) for hour in np.arange(FIRST, FIRST + 17.0)] == outcomes


def test_labels_that_come_too_late_are_counted_and_never_judged_again(watched):
    frame = make_rows(hours=END)
    frame["seen"] = frame["at"] + np.timedelta64(30, "m")
    late = frame.index[hours(FIRST + 1, FIRST + 2)][:25]
    frame.loc[late, "seen"] = frame["at"].iloc[-1]
    setup = watched.setup(frame, data={"label_time": "seen"})
    windows = watch(setup).details["windows"]
    note = windows[1]["notes"][-1]
    assert ("late_labels", 25, 15) == (note["code"], note["n"], windows[1]["labelled"])
    assert ("insufficient", ["too_few_labelled"]) == said(windows[1], "performance")
    assert [] == windows[2]["notes"]
    before = entries(setup, "outcomes")
    longer = make_rows(hours=END + 3).assign(seen=lambda rows: rows["at"])
    watch(watched.setup(longer, data={"label_time": "seen"}))
    assert before == entries(setup, "outcomes")[: len(before)]

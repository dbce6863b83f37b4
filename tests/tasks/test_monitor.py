"""Watching a champion on real stores: each window once in each phase, whatever comes in between."""

from datetime import UTC, datetime

import numpy as np
import pytest

import tasks.monitor
from tasks.alert import deliver_alerts
from tasks.core.drift.words import Phase
from tasks.core.errors import ConfigError, Held, InputError, NotLearnable
from tasks.core.verdict import State
from tasks.guard import post_guard
from tasks.monitor import read_question, stream_of
from tests.support.monitored import (
    BEGIN,
    FIRST,
    NEXT,
    crown,
    entries,
    hours,
    make_rows,
    said,
    spans,
    told,
    watch,
)

END = FIRST + 6


def adrift(*, begin, end, until):
    """Return rows whose ``x`` is shifted in some hours."""
    frame = make_rows(hours=until)
    frame.loc[frame.index[hours(begin, end)], "x"] += 3.0
    return frame


def moment(hour):
    return (BEGIN + np.timedelta64(hour, "h")).isoformat()


def every(first, last):
    return [(float(hour), hour + 1.0) for hour in range(first, last)]


def alerts(setup, phase="inputs"):
    return [one["alert"] for one in entries(setup, phase)]


def kept(setup):
    """Return all that a look may leave: the ledger, and the log's windows."""
    return setup.stores.ledger.read(), [setup.stores.log.windows(setup.model, phase) for phase in Phase]


@pytest.fixture
def channel(monkeypatch, webhook):
    """Name a webhook on loopback as the channel; no event is sent."""
    monkeypatch.setattr("tasks.alert.announce_monitoring", lambda alert: None)
    monkeypatch.setenv("HOOK", f"json://127.0.0.1:{webhook.port}")
    return {"notify": ["env:HOOK"]}


def test_three_days_of_outage_are_caught_up_in_one_run(watched, channel, webhook):
    setup = watched.setup(adrift(begin=FIRST + 20, end=FIRST + 73, until=FIRST + 73), alerts=channel)
    result = watch(setup)
    assert every(FIRST, FIRST + 72) == spans(setup, "inputs")
    assert every(FIRST, FIRST + 71) == spans(setup, "outcomes")
    assert 72 == len(result.details["windows"])
    assert State.DRIFT is result.state
    assert (
        FIRST + 20
        <= hour_of(next(one["start"] for one in entries(setup, "inputs") if one["changes"]))
        <= FIRST + 22
    )
    spoken = [
        alert["key"] for phase in Phase for alert in alerts(setup, phase.value) if alert["change"] != "none"
    ]
    deliver_alerts.fn(setup, sleep=lambda _: None)
    deliver_alerts.fn(setup, sleep=lambda _: None)
    titles = [body["title"] for body in webhook.got]
    assert len(titles) == len({title.split(":")[1] for title in titles}) <= len(Phase)
    assert titles[0].startswith("[critical] tested: x (data)"), titles
    assert len(spoken) == len(set(spoken))


def hour_of(position):
    return (position - BEGIN.timestamp()) / 3600


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
        assert ("insufficient", ["learned_window"]) == said(learned, kind)
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


@pytest.mark.parametrize("how", ["--from", "--dry-run", "run_mode"])
def test_a_look_that_is_not_recorded_leaves_no_trace(how, watched):
    mode = {"monitoring": {"run_mode": "dry_run"}} if how == "run_mode" else {}
    setup = watched.setup(adrift(begin=FIRST + 2, end=END, until=END), **mode)
    before = kept(setup)
    options = {"since": moment(FIRST), "until": moment(END - 1)} if how == "--from" else {}
    result = watch(setup, **options, dry_run=how == "--dry-run")
    assert every(FIRST, END - 1) == [
        (hour_of(w["start"]), hour_of(w["end"])) for w in result.details["windows"]
    ]
    kinds = [len(one["verdicts"]) for one in result.details["windows"]]
    assert [5, 5, 5, 5, 5 if how == "--from" else 2] == kinds
    assert (State.DRIFT, True, None) == (result.state, result.details["dry_run"], result.decision_id)
    assert before == kept(setup)


def test_a_look_back_sees_windows_that_were_judged_before(watched):
    setup = watched.setup(make_rows(hours=END))
    watch(setup)
    before = kept(setup)
    result = watch(setup, since=moment(FIRST + 1), until=moment(FIRST + 3))
    assert [FIRST + 1, FIRST + 2] == [hour_of(window["start"]) for window in result.details["windows"]]
    assert before == kept(setup)


def test_a_look_back_that_ends_before_it_begins_is_wrong_input(watched):
    with pytest.raises(InputError, match="must not end before it starts"):
        watch(watched.setup(make_rows(hours=END)), since=moment(FIRST + 3), until=moment(FIRST))


def test_nobody_is_watched_without_a_champion_or_where_it_is_switched_off(watched):
    setup = watched.setup(make_rows(hours=END))
    setup.stores.registry.delete_alias(setup.model, "champion")
    with pytest.raises(NotLearnable, match="no @champion to watch"):
        watch(setup)
    with pytest.raises(Held, match="nothing was looked at"):
        watch(watched.setup(make_rows(hours=END), monitoring={"run_mode": "disabled"}))


def test_a_model_without_a_clock_is_told_what_to_configure(watched):
    with pytest.raises(ConfigError, match=r"no clock \(data\.time is not set\)"):
        watch(watched.setup(make_rows(hours=END), data={"time": None, "label_delay": "0h"}))


def test_one_of_two_runs_that_meet_is_held_and_no_window_is_judged_twice(watched, monkeypatch):
    setup = watched.setup(make_rows(hours=END))
    look, others = tasks.monitor.look, []

    def look_while_another_run_goes_by(*arguments):
        if not others:
            others.append(None)
            others.append(watch(setup))
        return look(*arguments)

    monkeypatch.setattr(tasks.monitor, "look", look_while_another_run_goes_by)
    with pytest.raises(Held, match="Another run has looked at the window"):
        watch(setup)
    assert every(FIRST, END - 1) == spans(setup, "inputs")
    assert every(FIRST, END - 2) == spans(setup, "outcomes")


def test_most_windows_of_a_run_are_bounded_and_the_next_goes_on(watched):
    setup = watched.setup(make_rows(hours=END), monitoring={"max_windows": 3})
    first, second = watch(setup), watch(setup)
    assert ([3, 2], [2, 0]) == (
        [len(run.details["windows"]) for run in (first, second)],
        [run.details["remaining"] for run in (first, second)],
    )
    assert "more_windows" in told(first)
    assert every(FIRST, END - 1) == spans(setup, "inputs")


@pytest.mark.parametrize("kinds", [["performance"], ["data"], ["outcome", "concept"]])
def test_any_choice_of_kinds_is_looked_at(kinds, watched):
    setup = watched.setup(make_rows(hours=END), drift={"kinds": kinds})
    result = watch(setup)
    assert State.QUIET is result.state
    assert [kinds] * 4 == [list(window["verdicts"]) for window in result.details["windows"][:4]]


def test_memory_that_was_purged_begins_anew_and_the_run_goes_on(watched):
    setup = watched.setup(make_rows(hours=END))
    watch(setup, until=moment(FIRST + 3))
    assert 0 < setup.stores.log.purge_windows(setup.model, written_before=datetime.now(UTC))
    watch(setup)
    assert every(FIRST, END - 1) == spans(setup, "inputs")


def test_a_stream_stands_where_its_newest_entry_says(watched):
    setup = watched.setup(make_rows(hours=END))
    watch(setup)
    guard = post_guard.fn(setup)
    head = stream_of(setup, guard, Phase.INPUTS).head()
    assert (5, END - 1, 1) == (head.seq, hour_of(head.end), head.version)
    assert head.memory.fits(guard.watch.nulls[Phase.INPUTS])
    assert read_question(setup, since=None, until=None, dry_run=False).records

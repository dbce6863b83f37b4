"""Alerts: one message when something opens, one when it worsens, one when it resolves, none in between."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evergreen.tasks.core.alerts.alert import (
    WINDOW_WARNING,
    Alarm,
    Alert,
    AlertLevel,
    alert_text,
    alert_title,
    merge_alerts,
    next_alert,
)
from evergreen.tasks.core.data.clock import Window
from evergreen.tasks.core.drift.detect import AlarmChange
from evergreen.tasks.core.drift.types import DriftKind, KindVerdict, Level, MovedColumn, Phase
from evergreen.tasks.core.monitoring.window_result import WindowResult, window_alert
from tests.support.training_data import model_config

HOUR = 3600.0
PERFORMANCE = {
    "metric": "roc_auc",
    "value": 0.8,
    "low": 0.78,
    "high": 0.82,
    "reference": 0.9,
    "drop": 0.111,
    "estimated": True,
}


def moved(column, **options):
    values = {
        "kind": DriftKind.DATA,
        "signal": "location",
        "observed": 0.62,
        "expected": 0.5,
        "limit": 0.05,
        "p_value": 1e-6,
        "adjusted_p_value": 0.0005,
        "alarm": True,
    }
    return MovedColumn(column=column, **{**values, **options})


def verdict(level=Level.DRIFT, *columns, kind=DriftKind.DATA, **options):
    return KindVerdict(
        kind=kind, level=level, moved=tuple(moved(name, kind=kind, **options) for name in columns)
    )


def look(hour, *changes, verdicts=(), psi=None, version=3, performance=None):
    return WindowResult(
        window=Window(hour * HOUR, (hour + 1) * HOUR),
        phase=Phase.INPUTS,
        version=version,
        rows=500,
        kinds=tuple(verdicts),
        changes=tuple(change.to_dict() for change in changes),
        columns=tuple({"column": name, "psi": value} for name, value in (psi or {}).items()),
        performance=performance,
    )


def change(column, what, kind=DriftKind.DATA, since=0.0):
    return AlarmChange(kind=kind, column=column, signal="location", change=what, effect=0.12, since=since)


def tell(*looks, **options):
    """Return the alerts of windows in a row."""
    config = model_config(model="cards", **options)
    alerts = []
    for one in looks:
        alerts.append(window_alert(one, alerts[-1] if alerts else None, config=config, clock="timestamp"))
    return alerts


def test_an_alarm_is_told_when_it_opens_worsens_and_resolves_and_not_in_between():
    alerts = tell(
        look(0),
        look(1, change("age", "opened")),
        look(2),
        look(3, change("age", "worsened")),
        look(4),
        look(5, change("age", "resolved")),
        look(6),
    )
    assert ["none", "opened", "none", "worsened", "none", "resolved", "none"] == [a.change for a in alerts]
    assert [0, 1, 1, 2, 2, 3, 3] == [alert.number for alert in alerts]
    assert [0, 1, 1, 1, 1, 0, 0] == [len(alert.open) for alert in alerts]


def test_many_changes_of_a_window_are_one_alert_that_also_tells_what_stays_open():
    first, second = tell(
        look(0, change("age", "opened"), change("pay", "opened")),
        look(1, change("pay", "resolved"), change("@score", "opened", DriftKind.PREDICTION)),
    )
    assert ("opened", ["age", "@score"]) == (second.change, [alarm.name for alarm in second.open])
    assert [("prediction", "@score")] == [alarm.key for alarm in second.opened]
    assert [("data", "pay")] == [alarm.key for alarm in second.resolved]
    assert "cards/inputs/1970-01-01T01:00:00+00:00/opened" == first.key
    assert "Still open:\n  age (data)" in alert_text(second)


def test_the_same_window_gives_the_same_key_again():
    assert tell(look(1, change("age", "opened")))[0] == tell(look(1, change("age", "opened")))[0]


def test_a_column_whose_psi_passes_the_critical_level_makes_its_alarm_worse_once():
    alerts = tell(
        look(0, change("age", "opened"), psi={"age": 0.2}),
        look(1, psi={"age": 0.3}),
        look(2, psi={"age": 0.4}),
    )
    assert ["opened", "worsened", "none"] == [alert.change for alert in alerts]
    assert ["drift", "critical", "info"] == [alert.level.value for alert in alerts]
    assert AlertLevel.CRITICAL is alerts[2].open[0].level


def test_an_alarm_keeps_the_moment_it_began():
    alerts = tell(
        look(0, change("age", "opened", since=-HOUR)), look(1, change("age", "worsened", since=HOUR))
    )
    assert {"1969-12-31T23:00:00+00:00"} == {alert.open[0].since for alert in alerts}


def test_a_new_champion_closes_what_was_open():
    alerts = tell(look(0, change("age", "opened")), look(1, version=4))
    assert ("resolved", ()) == (alerts[1].change, alerts[1].open)


def test_warnings_are_silent_by_default():
    assert not any(alert.speaks for alert in tell(look(0), look(1, verdicts=[verdict(Level.WARNING, "age")])))


def test_a_kind_that_warns_is_told_once_until_it_is_quiet_where_that_is_wanted():
    levels = [Level.WARNING, Level.WARNING, Level.INSUFFICIENT, Level.WARNING, Level.QUIET]
    looks = [look(hour, verdicts=[verdict(level, "age")]) for hour, level in enumerate(levels)]
    alerts = tell(*looks, alerts={"level": "warning"})
    assert ["opened", "none", "none", "none", "resolved"] == [alert.change for alert in alerts]
    assert AlertLevel.WARNING is alerts[0].level
    assert "[warning] cards: data drift" == alert_title(alerts[0])


def test_a_warning_that_becomes_an_alarm_is_not_called_resolved():
    alerts = tell(
        look(0, verdicts=[verdict(Level.WARNING, "age")]),
        look(1, change("age", "opened"), verdicts=[verdict(Level.DRIFT, "age")]),
        alerts={"level": "warning"},
    )
    assert ("opened", ()) == (alerts[1].change, alerts[1].resolved)
    assert [("data", "age")] == [alarm.key for alarm in alerts[1].open]


def test_an_insufficient_window_opens_no_warning_and_closes_none():
    silent = tell(look(0, verdicts=[verdict(Level.INSUFFICIENT)]), alerts={"level": "warning"})[0]
    assert ("none", ()) == (silent.change, silent.open)


def test_the_text_says_since_when_how_much_how_sure_the_metric_the_next_step_and_where_to_look():
    one = look(
        1,
        change("age", "opened"),
        verdicts=[verdict(Level.DRIFT, "age")],
        psi={"age": 0.4},
        performance=PERFORMANCE,
    )
    alert = replace(tell(one)[0], link="http://mlflow/run")
    assert "[critical] cards: age (data)" == alert_title(alert)
    assert [
        "cards version 3, window 1970-01-01T01:00:00+00:00 to 1970-01-01T02:00:00+00:00.",
        "New:",
        "  age (data): location 0.62 instead of 0.5 (confidence 0.9995), since 1970-01-01T00:00:00+00:00",
        "Performance: roc_auc 0.8 (95 % interval 0.78 to 0.82), reference 0.9: 11.1 % worse, estimated without labels.",
        "Next: look upstream for a new source, unit or category; where the change is real and lasts, "
        "'evergreen retrain cards'.",
        "See http://mlflow/run",
        "Message cards/inputs/1970-01-01T02:00:00+00:00/opened",
    ] == alert_text(alert).splitlines()


@pytest.mark.parametrize(
    ("kind", "words"),
    [(DriftKind.PERFORMANCE, "evergreen rollback cards"), (DriftKind.DATA, "evergreen retrain cards")],
)
def test_the_next_step_fits_the_kind(kind, words):
    assert words in alert_text(tell(look(0, change("x", "opened", kind)))[0])


def test_of_a_private_column_neither_category_nor_value_is_told():
    one = look(
        0,
        change("town", "opened"),
        verdicts=[verdict(Level.DRIFT, "town", signal="share:Lyon", observed=0.777)],
    )
    text = alert_text(tell(one, data={"private": ["town"]})[0])
    assert "town (data): share moved (confidence 0.9995)" in text
    assert "Lyon" not in text
    assert "0.777" not in text


def test_of_many_columns_the_first_ten_are_listed():
    alert = tell(look(0, *(change(f"x{i}", "opened") for i in range(40))))[0]
    assert "  and 30 more" in alert_text(alert)
    assert len(alert_title(alert)) < 160


def test_an_alert_survives_its_json():
    alert = tell(look(0, change("age", "opened"), verdicts=[verdict(Level.DRIFT, "age")]))[0]
    assert alert == Alert.from_dict(alert.to_dict())


def state(*names, number=1):
    alarms = tuple(Alarm(kind="data", name=n, since="", message="", level=AlertLevel.DRIFT) for n in names)
    return Alert(model="m", topic="inputs", version=1, number=number, start="0", end="1", open=alarms)


def test_alerts_that_waited_are_told_as_the_newest_state():
    told = next_alert(None, state("a", "b"))
    later = [next_alert(told, state("b", "c"))]
    later.append(next_alert(later[-1], state("c", "d"), worsened=[("data", "c")]))
    alert = merge_alerts(told, later)
    assert (["c", "d"], ["a", "b"]) == ([a.name for a in alert.opened], [a.name for a in alert.resolved])
    assert 3 == alert.number


def test_what_opened_and_resolved_while_nobody_was_told_says_nothing():
    first = next_alert(None, state("a"))
    assert not merge_alerts(None, [first, next_alert(first, state())]).speaks


def test_an_alarm_that_resolved_and_opened_again_unheard_is_told_as_worse():
    told = next_alert(None, state("a"))
    gone = next_alert(told, state())
    assert "worsened" == merge_alerts(told, [gone, next_alert(gone, state("a"))]).change


@given(st.lists(st.sets(st.sampled_from("abcd")), min_size=1, max_size=8), st.integers(0, 7))
def test_a_sum_of_alerts_says_how_the_end_differs_from_what_was_told(states, at):
    alerts = []
    for names in states:
        alerts.append(next_alert(alerts[-1] if alerts else None, state(*sorted(names))))
    told = alerts[at] if at < len(alerts) - 1 else None
    alert = merge_alerts(told, alerts[at + 1 :] if told else alerts)
    before = {a.key for a in told.open} if told else set()
    after = {a.key for a in alerts[-1].open}
    assert after - before == {a.key for a in alert.opened}
    assert before - after == {a.key for a in alert.resolved}
    assert after == {a.key for a in alert.open}
    assert {a.key for a in alert.worsened} <= before & after


def test_a_warning_told_and_grown_since_is_not_called_resolved():
    warned = replace(
        state(),
        open=(Alarm(kind="data", name=WINDOW_WARNING, since="", message="", level=AlertLevel.WARNING),),
    )
    told = next_alert(None, warned)
    assert () == merge_alerts(told, [next_alert(told, state("a"))]).resolved

"""Events for automations: once a change, with a stable id, none for what only stays open."""

from evergreen.tasks.core.alerts.alert import (
    DEGRADED,
    DETECTED,
    HEALTHY,
    RECOVERED,
    RESOLVED,
    UNHEALTHY,
    WARNING,
    Alarm,
    Alert,
    AlertLevel,
    alert_events,
)


def alarm(kind, name="x", level=AlertLevel.DRIFT):
    return Alarm(
        kind=kind, name=name, since="then", message="moved", level=level, effect=0.1, confidence=0.99
    )


def alert(**changes):
    return Alert(
        model="cards",
        topic="inputs",
        version=3,
        number=1,
        start="a",
        end="b",
        entry_id="cards/windows-inputs/7",
        **changes,
    )


def names(**changes):
    return [event.name for event in alert_events(alert(**changes))]


def test_drift_of_each_kind_is_detected_and_performance_degrades():
    for kind in ("data", "prediction", "outcome", "concept"):
        assert [DETECTED] == names(opened=(alarm(kind),)) == names(worsened=(alarm(kind),))
    assert [DEGRADED] == names(opened=(alarm("performance"),))


def test_many_columns_are_one_event_of_a_name():
    (event,) = alert_events(
        alert(opened=(alarm("data", "a"), alarm("concept", "b")), worsened=(alarm("data", "c"),))
    )
    assert (["data", "concept"], ["a", "b", "c"]) == (event.payload["kinds"], event.payload["columns"])


def test_drift_is_resolved_once_nothing_of_it_is_open():
    assert [] == names(resolved=(alarm("data", "a"),), open=(alarm("concept", "b"),))
    assert [RESOLVED] == names(resolved=(alarm("data", "a"),), open=(alarm("performance", "m"),))
    assert [RECOVERED] == names(resolved=(alarm("performance"),))


def test_a_warning_is_an_event_of_its_own_and_its_end_is_none():
    warned = alarm("data", level=AlertLevel.WARNING)
    assert [WARNING] == names(opened=(warned,))
    assert [] == names(resolved=(warned,))


def test_health_has_events_of_its_own():
    ill = alarm("health", "disk", AlertLevel.CRITICAL)
    assert ([UNHEALTHY], [HEALTHY]) == (names(opened=(ill,)), names(resolved=(ill,)))


def test_what_only_stays_open_is_no_event():
    assert [] == names(open=(alarm("data"),))


def test_the_payload_says_model_version_window_kinds_columns_and_decision():
    (event,) = alert_events(alert(opened=(alarm("data", "age"),)))
    expected = {
        "model": "cards",
        "version": 3,
        "window": {"from": "a", "to": "b"},
        "kinds": ["data"],
        "columns": ["age"],
        "level": "drift",
        "decision_id": "cards/windows-inputs/7",
    }
    assert expected == {name: event.payload[name] for name in expected}
    assert {"kind": "data", "name": "age", "level": "drift"}.items() <= event.payload["alarms"][0].items()


def test_the_same_change_has_the_same_id_and_another_has_another():
    once, again = (alert_events(alert(opened=(alarm("data"),)))[0] for _ in range(2))
    other = alert_events(alert(worsened=(alarm("data"),)))[0]
    assert once.id == again.id != other.id

"""What a channel is still to be told, folded from what the ledger says it was told."""

from dataclasses import dataclass, field

from evergreen.tasks.core.alerts.alert import (
    FAILED,
    SENT,
    SUPERSEDED,
    Alarm,
    Alert,
    AlertLevel,
    Cursor,
    cursor,
    failed_payload,
    next_alert,
    settled_payload,
    undelivered,
)


@dataclass
class Kept:
    kind: str
    payload: dict = field(default_factory=dict)


def history(*states):
    """Return alerts after windows in which these columns are open."""
    alerts = []
    for end, names in enumerate(states):
        alarms = tuple(
            Alarm(kind="data", name=n, since="", message="", level=AlertLevel.DRIFT) for n in names
        )
        now = Alert(model="m", topic="inputs", version=1, number=0, start="", end=str(end), open=alarms)
        alerts.append(next_alert(alerts[-1] if alerts else None, now))
    return alerts


def names(alarms):
    return [alarm.name for alarm in alarms]


def test_a_channel_that_was_told_everything_is_told_nothing():
    alerts = history("", "a", "a", "a")
    due = undelivered(alerts, Cursor(), "ops")
    assert ["a"] == names(due.alert.opened)
    at = cursor([Kept(SENT, settled_payload(due))], "ops", "inputs")
    assert None is undelivered(alerts, at, "ops")
    assert (1, 0) == (at.number, at.failed)


def test_nothing_is_due_where_nothing_ever_happened():
    assert None is undelivered(history("", "", ""), Cursor(), "ops")


def test_after_an_outage_the_newest_state_alone_is_told_and_the_rest_is_superseded():
    alerts = history("", "a", "ab", "b", "b")
    due = undelivered(alerts, Cursor(), "ops")
    assert (["b"], []) == (names(due.alert.opened), names(due.alert.resolved))
    assert (alerts[1].key, alerts[2].key) == due.superseded
    assert 3 == due.number


def test_what_came_and_went_during_an_outage_is_superseded_without_a_message():
    alerts = history("", "a", "")
    due = undelivered(alerts, Cursor(), "ops")
    assert (None, (alerts[1].key, alerts[2].key)) == (due.alert, due.superseded)
    at = cursor([Kept(SUPERSEDED, settled_payload(due))], "ops", "inputs")
    assert None is undelivered(alerts, at, "ops")


def test_what_came_and_went_after_a_superseded_one_is_compared_with_what_was_told_last():
    alerts = history("a", "ab", "a", "")
    told = cursor([Kept(SENT, settled_payload(undelivered(alerts[:1], Cursor(), "ops")))], "ops", "inputs")
    quiet = undelivered(alerts[:3], told, "ops")
    kept = [Kept(SENT, settled_payload(undelivered(alerts[:1], Cursor(), "ops")))]
    kept.append(Kept(SUPERSEDED, settled_payload(quiet)))
    assert None is quiet.alert
    due = undelivered(alerts, cursor(kept, "ops", "inputs"), "ops")
    assert ["a"] == names(due.alert.resolved)


def test_a_failure_leaves_the_message_due_and_counts_the_attempts():
    alerts = history("a")
    due = undelivered(alerts, Cursor(), "ops")
    kept = [Kept(FAILED, failed_payload(due, "no answer")), Kept(FAILED, failed_payload(due, "no answer"))]
    again = undelivered(alerts, cursor(kept, "ops", "inputs"), "ops")
    assert (due.alert, 2) == (again.alert, again.failed)
    assert 3 == settled_payload(again)["attempt"]


def test_channels_and_topics_are_told_apart():
    due = undelivered(history("a"), Cursor(), "ops")
    kept = [Kept(SENT, settled_payload(due))]
    assert Cursor() == cursor(kept, "mail", "inputs") == cursor(kept, "ops", "outcomes")

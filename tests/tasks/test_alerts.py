"""Alerts on their way: to real sinks on loopback, through failures and outages, at least once, noted in the ledger."""

from datetime import UTC, datetime
from types import SimpleNamespace

import pytest

from evergreen.tasks.alerts import PAUSES, deliver_alerts, send_test
from evergreen.tasks.core.alerts.alert import EVENTS, TOPICS, Alarm, Alert, AlertLevel, next_alert
from evergreen.tasks.core.config.monitoring import AlertsConfig, MonitoringConfig
from evergreen.tasks.core.errors import ConfigError
from evergreen.tasks.io.alerts import open_alarms, read_alerts
from tests.support.memory_stores import MemoryLedger

NOW = datetime(2026, 3, 1, tzinfo=UTC)


@pytest.fixture
def events():
    """Alerts handed to Prefect's automations."""
    return []


@pytest.fixture
def setup(events):
    def make(*notify, run_mode="enabled", ledger=None):
        config = SimpleNamespace(
            alerts=AlertsConfig(notify=list(notify)), monitoring=MonitoringConfig(run_mode=run_mode)
        )
        stores = SimpleNamespace(ledger=ledger or MemoryLedger())
        return SimpleNamespace(model="cards", config=config, stores=stores, events=events)

    return make


def judge(setup, *states, topic="inputs"):
    """Keep windows after which these columns are open."""
    ledger = setup.stores.ledger
    for names in states:
        last = ledger.last("cards", TOPICS[topic])
        before = Alert.from_dict(last.payload["alert"]) if last else None
        alarms = tuple(
            Alarm(kind="data", name=n, since="then", message="moved", level=AlertLevel.DRIFT) for n in names
        )
        end = str(last.seq if last else 0)
        now = Alert(model="cards", topic=topic, version=1, number=0, start="", end=end, open=alarms)
        kept = {"alert": next_alert(before, now).to_dict()}
        ledger.append(model="cards", stream=TOPICS[topic], kind="window", payload=kept, at=NOW)


def deliver(setup):
    """Deliver without waiting; return codes of what came of it and the pauses that were made."""
    pauses = []
    reasons = deliver_alerts.fn(setup, sleep=pauses.append, announce=setup.events.append)
    return [reason.code for reason in reasons], [pause for pause in pauses if pause]


def kept(setup, channel):
    return [e.kind for e in setup.stores.ledger.read(stream="deliveries") if e.payload["channel"] == channel]


def titles(webhook):
    return [body["title"] for body in webhook.got]


@pytest.fixture
def hook(monkeypatch, webhook):
    monkeypatch.setenv(
        "HOOK", f"json://ada:s3cr3t-word@127.0.0.1:{webhook.port}/room/t0ken-t0ken?cto=2&rto=1.5"
    )
    return "env:HOOK"


def test_one_message_when_an_alarm_opens_worsens_and_resolves_and_none_in_between(
    setup, hook, webhook, events
):
    mine = setup(hook)
    for names in ("", "a", "a", "a", "", ""):
        judge(mine, names)
        deliver(mine)
        deliver(mine)
    assert ["[drift] cards: a (data)", "[resolved] cards: a (data)"] == titles(webhook)
    assert ["opened", "resolved"] == [alert.change for alert in events]
    assert ["sent", "sent"] == kept(mine, hook) == kept(mine, EVENTS)


def test_automations_that_nobody_runs_now_are_told_by_the_next_run(setup, hook, webhook, events):
    mine = setup(hook)
    judge(mine, "a")
    assert ["alert_sent"] == [
        reason.code for reason in deliver_alerts.fn(mine, automations=False, announce=mine.events.append)
    ]
    assert ([], ["[drift] cards: a (data)"]) == (events, titles(webhook))
    assert ["alert_sent"] == deliver(mine)[0]
    assert (1, 1) == (len(events), len(webhook.got))


def test_after_an_outage_the_newest_state_alone_is_told_and_the_rest_is_noted(setup, hook, webhook, events):
    mine = setup(hook)
    judge(mine, *["", "a", "ab", "b"], *["b"] * 68)
    assert ["alert_sent", "alert_sent"] == deliver(mine)[0]
    assert ["[drift] cards: b (data)"] == titles(webhook)
    sent = mine.stores.ledger.last("cards", "deliveries")
    assert ["cards/inputs/1/opened", "cards/inputs/2/opened"] == sent.payload["superseded"]
    assert ["b"] == [alarm.name for alarm in events[0].opened]


def test_what_came_and_went_during_an_outage_is_told_to_nobody(setup, hook, webhook, events):
    mine = setup(hook)
    judge(mine, "", "a", "")
    assert [] == deliver(mine)[0]
    assert ([], [], ["superseded"]) == (titles(webhook), events, kept(mine, hook))


def test_a_channel_that_fails_is_tried_again_with_pauses_then_by_the_next_run_and_arrives(
    setup, hook, webhook
):
    mine = setup(hook)
    judge(mine, "a")
    webhook.status = 500
    assert (["alert_sent", "alert_not_delivered"], list(PAUSES)) == deliver(mine)
    assert 3 == len(webhook.asked)
    webhook.status = 200
    assert (["alert_sent"], []) == deliver(mine)
    assert ["failed", "sent"] == kept(mine, hook)
    assert 2 == mine.stores.ledger.last("cards", "deliveries").payload["attempt"]
    assert ["[drift] cards: a (data)"] == titles(webhook)


def test_a_second_attempt_within_a_run_that_arrives_is_no_failure(setup, hook, webhook):
    mine = setup(hook)
    judge(mine, "a")
    webhook.status = 503

    def mend(pause):
        webhook.status = 200 if pause else 503

    assert ["alert_sent"] * 2 == [
        reason.code for reason in deliver_alerts.fn(mine, sleep=mend, announce=mine.events.append)
    ]
    assert (["sent"], 2) == (kept(mine, hook), len(webhook.asked))


def test_a_channel_that_never_answers_fails_after_its_time_limit(setup, hook, webhook):
    mine = setup(hook)
    judge(mine, "a")
    webhook.silent = True
    assert ["alert_sent", "alert_not_delivered"] == deliver(mine)[0]


def test_one_channel_down_does_not_keep_the_others_waiting(setup, hook, webhook, monkeypatch):
    monkeypatch.setenv("NOBODY", "json://127.0.0.1:1/hook")
    mine = setup("env:NOBODY", hook)
    judge(mine, "a")
    judge(mine, "b", topic="outcomes")
    assert ["alert_sent"] * 2 + ["alert_not_delivered"] + ["alert_sent"] * 2 == deliver(mine)[0]
    assert (["failed"], 2) == (kept(mine, "env:NOBODY"), len(webhook.got))


def test_a_reason_of_a_failure_holds_no_credentials(setup, hook, webhook):
    mine = setup(hook)
    judge(mine, "a")
    webhook.status = 403
    (reason,) = [
        r
        for r in deliver_alerts.fn(mine, sleep=lambda _: None, announce=mine.events.append)
        if r.code == "alert_not_delivered"
    ]
    noted = str([entry.payload for entry in mine.stores.ledger.read(stream="deliveries")])
    for secret in ("s3cr3t-word", "t0ken-t0ken"):
        assert secret not in reason.message + noted
    assert "403" in reason.message


@pytest.mark.parametrize(
    ("value", "said"), [(None, "GONE is not set"), ("nonsense://s3cr3t-word", "Apprise")]
)
def test_a_wrong_address_fails_the_delivery_and_not_the_monitoring(setup, monkeypatch, value, said):
    monkeypatch.delenv("GONE", raising=False)
    if value:
        monkeypatch.setenv("GONE", value)
    mine = setup("env:GONE")
    judge(mine, "a")
    reasons = deliver_alerts.fn(mine, sleep=lambda _: None, announce=mine.events.append)
    assert "alert_not_delivered" == reasons[-1].code
    assert said in reasons[-1].message
    assert "s3cr3t" not in reasons[-1].message


def test_a_new_channel_is_told_what_is_open_and_not_the_history(setup, hook, webhook):
    mine = setup()
    judge(mine, "", "a", "", "b")
    deliver(mine)
    deliver(setup(hook, ledger=mine.stores.ledger))
    assert ["[drift] cards: b (data)"] == titles(webhook)


@pytest.mark.parametrize("run_mode", ["dry_run", "disabled"])
def test_a_dry_run_tells_nobody(setup, hook, webhook, events, run_mode):
    mine = setup(hook, run_mode=run_mode)
    judge(mine, "a")
    assert ([], [], [], []) == (*deliver(mine), webhook.got, events)


def test_mail_arrives(setup, mailbox, monkeypatch):
    address = f"mailto://127.0.0.1:{mailbox.port}?from=evergreen@example.org&to=ops@example.org"
    monkeypatch.setenv("MAIL", address)
    mine = setup("env:MAIL")
    judge(mine, "a")
    assert ["alert_sent", "alert_sent"] == deliver(mine)[0]
    (letter,) = mailbox.got
    assert "Subject: [drift] cards: a (data)" in letter
    assert "To: ops@example.org" in letter


def test_mail_that_is_refused_is_a_failure(setup, mailbox, monkeypatch):
    mailbox.refuses = True
    address = f"mailto://127.0.0.1:{mailbox.port}?from=evergreen@example.org&to=ops@example.org"
    monkeypatch.setenv("MAIL", address)
    answer = send_test(setup("env:MAIL"))
    assert [("env:MAIL", False)] == [(one["channel"], one["arrived"]) for one in answer]


def test_reading_stops_at_what_was_told(setup):
    mine = setup()
    judge(mine, *["", "a"] * 60)
    assert [118, 119] == [a.number for a in read_alerts(mine.stores.ledger, "cards", "inputs", after=117)]
    assert 119 == len(read_alerts(mine.stores.ledger, "cards", "inputs", after=0))


def test_most_runs_read_one_window_of_a_topic(setup, monkeypatch):
    mine = setup()
    judge(mine, *["a"] * 100)
    deliver(mine)
    counts = []
    read_tail = mine.stores.ledger.read_tail
    monkeypatch.setattr(
        mine.stores.ledger,
        "read_tail",
        lambda m, s, count: counts.append((s, count)) or read_tail(m, s, count),
    )
    deliver(mine)
    assert 1 == max(count for stream, count in counts if stream.startswith("windows"))


def test_a_test_message_reaches_every_channel(setup, hook, webhook):
    answer = send_test(setup(hook))
    assert [{"channel": hook, "arrived": True, "message": "taken"}] == answer
    assert ["[test] cards: alerts arrive"] == titles(webhook)
    assert [] == kept(setup(hook), hook)


def test_a_test_without_a_channel_says_what_to_do(setup):
    with pytest.raises(ConfigError, match=r"alerts\.notify of 'cards' is empty"):
        send_test(setup())


def test_a_test_with_a_wrong_name_sends_nothing(setup, hook, webhook):
    with pytest.raises(ConfigError, match="variable GONE is not set"):
        send_test(setup(hook, "env:GONE"))
    assert [] == webhook.asked


def test_what_is_open_is_told_across_topics(setup):
    mine = setup()
    judge(mine, "a", "ab")
    judge(mine, "c", topic="outcomes")
    assert ["a", "b", "c"] == [alarm["name"] for alarm in open_alarms(mine.stores.ledger, mine.model)]

"""An alarm is kept once when it opens and once when it is over, and each time a process is started that sends it."""

import sys
import threading

from evergreen.deployments.service.alias_watcher import ServingAlarm, deliver_alerts
from evergreen.tasks.core.alerts.alert import HEALTH
from evergreen.tasks.io.alerts import record_health
from evergreen.tasks.io.settings import python_path
from tests.support.serving import model_of


def test_each_change_is_kept_and_sent_once_by_the_command(monitored, tmp_path, monkeypatch):
    """The interpreter only says how it was started: what the command does is tested with the flows."""
    says = tmp_path / "says"
    says.write_text('#!/bin/sh\necho "$@"; echo "$PYTHONPATH"\n')
    says.chmod(0o755)
    model = model_of(monitored)
    monkeypatch.setattr(sys, "executable", str(says))
    alarm = ServingAlarm(model, deliver=deliver_alerts)
    for trouble in ("Version 7 was refused", "Version 7 was refused", None, None):
        alarm.update(trouble, version=1)
        for thread in threading.enumerate():
            if thread.name == "evergreen-alert":
                thread.join()
    said = (model.settings.home / "logs" / "alerts.log").read_text().splitlines()
    assert [f"-m evergreen.deployments.cli alert {model.path} --deliver --json"] * 2 == said[::2]
    assert {python_path()} == set(said[1::2])
    opened = [one.payload["alert"]["open"] for one in model.stores.ledger.read(model="tested", stream=HEALTH)]
    assert [1, 0] == [len(one) for one in opened]


def test_an_alarm_that_is_being_told_is_kept_and_sent_before_the_service_has_ended(monitored):
    model = model_of(monitored)
    begun, go, order, deliveries = threading.Event(), threading.Event(), [], []

    def record(*args, **options):
        begun.set()
        assert go.wait(60)
        alert = record_health(*args, **options)
        order.append("kept")
        return alert

    def close():
        alarm.close(timeout=60)
        order.append("closed")

    alarm = ServingAlarm(model, deliver=deliveries.append, record=record)
    telling = threading.Thread(target=alarm.update, args=("Version 7 was refused",), kwargs={"version": 1})
    closing = threading.Thread(target=close)
    telling.start()
    assert begun.wait(60)
    closing.start()
    go.set()
    for thread in (telling, closing):
        thread.join()
    alarm.update(None, version=1)
    opened = model.stores.ledger.last("tested", HEALTH).payload["alert"]["open"]
    assert (["kept", "closed"], 1, 1) == (order, len(opened), len(deliveries))

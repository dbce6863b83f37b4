"""An alarm is kept once when it opens and once when it is over, and each time a process is started that sends it."""

import sys
import threading

from deployments.service.alarm import Alarm
from tasks.core.alerts.alert import HEALTH
from tests.support.servers import ROOT
from tests.support.serving import model_of

SEND = Alarm._deliver


def test_each_change_is_kept_and_sent_once_by_the_command(watched, tmp_path, monkeypatch):
    """The interpreter only says how it was started: what the command does is tested with the flows."""
    says = tmp_path / "says"
    says.write_text('#!/bin/sh\necho "$@"; echo "$PYTHONPATH"\n')
    says.chmod(0o755)
    model = model_of(watched)
    monkeypatch.setattr(sys, "executable", str(says))
    monkeypatch.setattr(Alarm, "_deliver", SEND)
    alarm = Alarm(model)
    for trouble in ("Version 7 was refused", "Version 7 was refused", None, None):
        alarm.tell(trouble, version=1)
        for thread in threading.enumerate():
            if thread.name == "evergreen-alert":
                thread.join()
    said = (model.settings.home / "logs" / "alerts.log").read_text().splitlines()
    assert [f"-m deployments.cli alert {model.path} --deliver --json"] * 2 == said[::2]
    assert {str(ROOT)} == {places.partition(":")[0] for places in said[1::2]}
    opened = [one.payload["alert"]["open"] for one in model.stores.ledger.read(model="tested", stream=HEALTH)]
    assert [1, 0] == [len(one) for one in opened]

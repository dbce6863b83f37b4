"""What every test of the service needs: alarms that are kept, and sent by no process that would outlive the test."""

import pytest

from deployments.service.alarm import Alarm


@pytest.fixture(autouse=True)
def deliveries(monkeypatch):
    """How often an alarm would have been sent; `tests/service/test_alarm.py` sends one."""
    sent = []
    monkeypatch.setattr(Alarm, "_deliver", lambda self: sent.append(1))
    return sent

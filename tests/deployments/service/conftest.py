"""What every test of the service needs: alarms that are kept, and sent by no process that would outlive the test."""

import pytest

from evergreen.deployments.service.alias_watcher import ServingAlarm


@pytest.fixture(autouse=True)
def deliveries(monkeypatch):
    """Paths of the models whose alarms would have been sent; `tests/deployments/service/test_alarm.py` sends one."""
    sent = []
    monkeypatch.setattr(ServingAlarm, "_deliver", lambda self: sent.append(self._setup.path))
    return sent

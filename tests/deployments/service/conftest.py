"""What every test of the service needs: alarms that are kept, and sent by no process that would outlive the test."""

import pytest

from evergreen.deployments.service.alias_watcher import ServingAlarm


@pytest.fixture(autouse=True)
def deliveries(monkeypatch):
    """Paths of the models whose alarms would have been sent; `tests/deployments/service/test_alarm.py` sends one.

    A service that has ended may send its last one while the next test runs: by the path each test knows its own.
    """
    sent = []
    monkeypatch.setattr(ServingAlarm, "_deliver", lambda self: sent.append(self._setup.path))
    return sent

"""Keep each change of health in the ledger; whoever checks something appends here."""

from __future__ import annotations

from tasks.core.alerts.alert import HEALTH, Alert
from tasks.core.health.alert import health_alert
from tasks.core.health.report import HealthReport
from tasks.io.clock import utc_now
from tasks.io.setup import Setup


def record_health(setup: Setup, report: HealthReport, *, version: int | None) -> Alert:
    """Append to the stream ``health`` when a check fell ill, got worse or recovered; return the newest alert."""
    ledger, now = setup.stores.ledger, utc_now()
    while True:
        last = ledger.last(setup.model, HEALTH)
        before = Alert.from_dict(last.payload["alert"]) if last else None
        alert = health_alert(
            report, before, model=setup.model, version=version, now=now, config=setup.config.alerts
        )
        if not alert.speaks:
            return before or alert
        payload = {**report.to_dict(), "version": version, "alert": alert.to_dict()}
        after = last.seq if last else 0
        if ledger.follow(
            model=setup.model, stream=HEALTH, after=after, kind="changed", payload=payload, at=now
        ):
            return alert

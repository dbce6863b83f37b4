"""The alert of a health report: opened once, resolved once, like drift's."""

from __future__ import annotations

from datetime import datetime

from tasks.core.alerts.alert import HEALTH, Alarm, Alert, AlertLevel, next_alert
from tasks.core.config.monitoring import AlertsConfig
from tasks.core.health.report import Check, Condition, HealthReport


def health_alert(
    report: HealthReport,
    before: Alert | None,
    *,
    model: str,
    version: int | None,
    now: datetime,
    config: AlertsConfig,
) -> Alert:
    """Return the alert of a health report; it says something only when a check fell ill, got worse or recovered.

    A failed check is an alarm; one that warns is, where ``alerts.level`` is ``warning``. A check that does not
    apply now, or is not in the report, leaves its alarm as it is: monitoring and the prediction service each report
    what they check.

    Parameters
    ----------
    report : HealthReport
        What the checks answered.
    before : Alert or None
        The newest alert of the stream ``health``.
    model, version : str, int | None
        The model and its champion.
    now : datetime
        Aware, in UTC.
    config : AlertsConfig
        Which levels are told.
    """
    at = now.isoformat(timespec="seconds")
    former = {alarm.name: alarm for alarm in before.open} if before else {}
    alarms = [_alarm(check, former.get(check.name), at, config) for check in report.checks]
    checked = {check.name for check in report.checks}
    others = [alarm for name, alarm in former.items() if name not in checked]
    present = (*others, *(alarm for alarm in alarms if alarm))
    worse = [alarm.key for alarm in present if alarm.name in former and _grew(former[alarm.name], alarm)]
    alert = Alert(model=model, topic=HEALTH, version=version, number=0, start=at, end=at, open=present)
    return next_alert(before, alert, worsened=worse)


def _alarm(check: Check, former: Alarm | None, at: str, config: AlertsConfig) -> Alarm | None:
    """Return the alarm of a check as it is now; None where it is well or not told of."""
    if check.condition is Condition.NOT_APPLICABLE:
        return former
    failed = check.condition is Condition.FAILED
    if not failed and (check.condition is Condition.OK or config.level != "warning"):
        return None
    return Alarm(
        kind=HEALTH,
        name=check.name,
        since=former.since if former else at,
        said=check.reason.message.rstrip("."),
        level=AlertLevel.CRITICAL if failed else AlertLevel.WARNING,
    )


def _grew(former: Alarm, now: Alarm) -> bool:
    return former.level is AlertLevel.WARNING and now.level is AlertLevel.CRITICAL

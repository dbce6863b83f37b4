"""What a health check answers with, and all of them together."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import ClassVar

from evergreen.tasks.core.alerts.alert import HEALTH, Alarm, Alert, AlertLevel, next_alert
from evergreen.tasks.core.config.monitoring import AlertsConfig
from evergreen.tasks.core.serial import Struct
from evergreen.tasks.core.verdict import Reason


class Condition(StrEnum):
    """How a check ended."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"
    NOT_APPLICABLE = "not_applicable"


@dataclass(frozen=True, kw_only=True)
class Check(Struct):
    """One check, with the numbers that decided."""

    name: str = field(metadata={"key": "check"})
    condition: Condition
    reason: Reason = field(metadata={"flat": True})


@dataclass(frozen=True, kw_only=True)
class HealthReport(Struct):
    """All checks of one run."""

    also: ClassVar = ("condition",)
    checks: tuple[Check, ...]

    @property
    def condition(self) -> Condition:
        """The worst of the checks that apply."""
        found = {check.condition for check in self.checks}
        return next((one for one in (Condition.FAILED, Condition.WARNING) if one in found), Condition.OK)

    def ill(self) -> Iterator[Check]:
        """Yield checks that warn or failed."""
        yield from (c for c in self.checks if c.condition in (Condition.WARNING, Condition.FAILED))

    @property
    def reasons(self) -> tuple[Reason, ...]:
        """Reasons of the checks that warn or failed."""
        return tuple(check.reason for check in self.ill())


def check(
    name: str,
    condition: Condition,
    message: str,
    *,
    observed: float | str | None = None,
    limit: float | str | None = None,
    n: int | None = None,
) -> Check:
    """Return a check whose reason's code is its name and how it ended, e.g. ``feed_failed``."""
    code = f"{name}_{condition.value}"
    return Check(
        name=name,
        condition=condition,
        reason=Reason(code=code, message=message, observed=observed, limit=limit, n=n),
    )


def duration(seconds: float) -> str:
    """Return a length of time for people.

    >>> duration(90.0), duration(7200.0), duration(200000.0)
    ('90 s', '2 h', '2.3 days')
    """
    for unit, size in (("days", 86400.0), ("h", 3600.0), ("min", 60.0)):
        if seconds >= 2 * size:
            return f"{seconds / size:.2g} {unit}" if seconds < 100 * size else f"{seconds / size:.0f} {unit}"
    return f"{seconds:.3g} s"


# The alert of a health report: opened once, resolved once, like drift's.


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

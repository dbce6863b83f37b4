"""Health checks: measured facts judged as ok, warning, failed or not applicable; their report and its alert."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import ClassVar

import numpy as np

from evergreen.tasks.core.alerts.alert import HEALTH, Alarm, Alert, AlertLevel, next_alert
from evergreen.tasks.core.arrays import FloatArray
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
        conditions = {check.condition for check in self.checks}
        return next((one for one in (Condition.FAILED, Condition.WARNING) if one in conditions), Condition.OK)

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
    reason = Reason(code=code, message=message, observed=observed, limit=limit, n=n)
    return Check(name=name, condition=condition, reason=reason)


def _not_judged(name: str, why: str, *, n: int | None = None) -> Check:
    return check(name, Condition.NOT_APPLICABLE, f"Not judged: {why}.", n=n)


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
        Which levels are reported.
    """
    at = now.isoformat(timespec="seconds")
    former = {alarm.name: alarm for alarm in before.open} if before else {}
    alarms = [_alarm(check, former.get(check.name), at, config) for check in report.checks]
    checked = {check.name for check in report.checks}
    others = [alarm for name, alarm in former.items() if name not in checked]
    present = (*others, *(alarm for alarm in alarms if alarm))
    warned = {name for name, alarm in former.items() if alarm.level is AlertLevel.WARNING}
    worse = [one.key for one in present if one.name in warned and one.level is AlertLevel.CRITICAL]
    alert = Alert(model=model, topic=HEALTH, version=version, number=0, start=at, end=at, open=present)
    return next_alert(before, alert, worsened=worse)


def _alarm(check: Check, former: Alarm | None, at: str, config: AlertsConfig) -> Alarm | None:
    """Return the alarm of a check as it is now; None where it is well or not reported."""
    if check.condition is Condition.NOT_APPLICABLE:
        return former
    failed = check.condition is Condition.FAILED
    if not failed and (check.condition is Condition.OK or config.level != "warning"):
        return None
    return Alarm(
        kind=HEALTH,
        name=check.name,
        since=former.since if former else at,
        message=check.reason.message.rstrip("."),
        level=AlertLevel.CRITICAL if failed else AlertLevel.WARNING,
    )


# Whether rows arrive as usual: how long a feed may be silent, and how thin it may be.
#
# A feed is silent when its newest row is older than the longest of
#
# - five windows;
# - g ln(T / (a g)), where g is the usual gap between rows and T 90 days: rows that come independently of each other
#   (Poisson) exceed it on average a = 0.1 times in 90 days, whatever their rate;
# - one and a half times the longest silence of the reference: nights and weekends are no alarm.
#
# So a stationary feed raises at most one false alarm in 900 days; a feed with a season that the reference did not see
# may raise one a season. ``alerts.max_data_age`` overrides the rule.


FALSE_ALARMS = 0.1
"""False alarms of silence that a stationary feed raises in 90 days, at most."""
_SPAN = 90 * 86400.0
_WINDOWS = 5
_LONGEST = 1.5
_MIN_WINDOWS = 20
_THIN = 0.5


@dataclass(frozen=True, kw_only=True)
class UsualFeed:
    """How rows arrived in the reference."""

    gap: float
    """Mean time between rows, in seconds."""
    window: float
    """Usual length of a window, in seconds."""
    longest: float
    """Longest silence, in seconds; at most one window too long, since windows are all that is kept."""
    fewest: float | None = None
    """Fewest rows in five windows in a row; None where windows are numbers of rows, or there are fewer than
    twenty."""

    def most_silence(self) -> float:
        """Return the silence, in seconds, from which on it is an alarm."""
        poisson = self.gap * math.log(max(_SPAN / (FALSE_ALARMS * self.gap), math.e))
        return max(_WINDOWS * self.window, poisson, _LONGEST * self.longest)


def usual_feed(starts: FloatArray, rows: FloatArray, *, length: float | None) -> UsualFeed | None:
    """Return how rows arrived in the reference's windows; None where fewer than two say anything.

    Parameters
    ----------
    starts, rows : array, shape (w,)
        Start in seconds and rows of the reference's windows, in time order; empty ones may be left out.
    length : float, optional
        Length of a window in seconds; None: windows are numbers of rows.
    """
    filled = rows > 0
    starts, rows = starts[filled], rows[filled]
    if len(starts) < 2 or starts[-1] <= starts[0]:
        return None
    steps = np.diff(starts)
    gap = float((starts[-1] - starts[0]) / rows[:-1].sum())
    if length is None:
        return UsualFeed(gap=gap, window=float(np.median(steps)), longest=float(steps.max()))
    return UsualFeed(
        gap=gap, window=length, longest=float(steps.max()), fewest=_fewest(starts, rows, length=length)
    )


def _fewest(starts: FloatArray, rows: FloatArray, *, length: float) -> float | None:
    """Return the fewest rows in five windows in a row, windows without a row included."""
    places = np.rint((starts - starts[0]) / length).astype(np.int64)
    counts = np.zeros(int(places[-1]) + 1)
    np.add.at(counts, places, rows)
    if len(counts) < _MIN_WINDOWS:
        return None
    return float(np.convolve(counts, np.ones(_WINDOWS), mode="valid").min())


def judge_silence(
    newest: float | None,
    now: float | None,
    *,
    usual: UsualFeed | None,
    limit: float | None,
    trained_to: float | None = None,
    training_lag: float | None = None,
) -> Check:
    """Judge whether rows still arrive.

    Parameters
    ----------
    newest : float or None
        Position of the newest row that is new to the champion, in seconds; None: there is none.
    now : float or None
        As-of moment on the same clock; None: the check does not apply (an explicit end, or a clock of rows).
    usual : UsualFeed or None
        How rows arrived in the reference.
    limit : float or None
        ``alerts.max_data_age`` in seconds; None: the rule above.
    trained_to : float or None
        End of the rows the champion was made of, in seconds: without a newer row their age counts, since nothing
        newer is due right after a training. None: not known.
    training_lag : float or None
        How old the newest row was when the champion was trained: beyond the limit the data are historical, and
        their silence says nothing.
    """
    most = limit if limit is not None else usual.most_silence() if usual else None
    if now is None:
        return _not_judged("feed", "the run was given its end, or the clock does not tell the time")
    if most is None:
        return _not_judged("feed", "nothing is known of the usual gap between rows; set alerts.max_data_age")
    if limit is None and training_lag is not None and training_lag > most:
        return _not_judged(
            "feed",
            f"the newest row was {duration(training_lag)} old when the champion was trained: historical data",
        )
    known = trained_to if newest is None else newest
    if known is None:
        return _not_judged(
            "feed", "there is no row yet, and it is not known up to when the champion was trained"
        )
    silence = max(now - known, 0.0)
    none = "No row has come since the champion's training; its newest"
    row = none if newest is None else "The newest row"
    message = f"{row} is {duration(silence)} old; at most {duration(most)} is usual."
    condition = Condition.FAILED if silence > most else Condition.OK
    remedy = " Look at what delivers the data." if condition is Condition.FAILED else ""
    return check("feed", condition, message + remedy, observed=silence, limit=most)


def judge_rate(counts: Sequence[int], *, usual: UsualFeed | None) -> Check:
    """Judge whether the newest windows hold as many rows as usual.

    Five windows with less than half of the fewest rows that five windows of the reference had warn. With at
    least twenty reference windows a stationary or seasonal feed comes there only by becoming thinner.

    Parameters
    ----------
    counts : sequence of int
        Rows of the newest windows, newest last, empty ones included.
    usual : UsualFeed or None
        How rows arrived in the reference.
    """
    newest = counts[-_WINDOWS:]
    if usual is None or usual.fewest is None or len(newest) < _WINDOWS:
        return _not_judged(
            "rate", "it needs windows of a duration, five of them, and twenty of the reference"
        )
    rows, limit = sum(newest), _THIN * usual.fewest
    message = (
        f"{rows} rows in the last {_WINDOWS} windows; the fewest in the reference were {usual.fewest:.0f}."
    )
    condition = Condition.WARNING if rows < limit else Condition.OK
    return check("rate", condition, message, observed=float(rows), limit=limit, n=_WINDOWS)


# Do labels arrive as usual.


_NEWEST = 5
_EARLIER = 10
_FAILED, _WARNING = 0.5, 0.8


def judge_labels(windows: Sequence[tuple[int, int]], *, min_rows: int) -> Check:
    """Judge the share of rows, old enough for a label, that have one.

    The newest five windows against all earlier ones given: less than 0.8 of the usual share warns, less than half
    fails. Without ten earlier windows only the lack of any label fails. Of 100 rows with independent labels and a
    usual share of 0.9 fewer than 72 have one by chance less than once in a million looks.

    Parameters
    ----------
    windows : sequence of (rows, labelled)
        Windows whose labels were due, newest last.
    min_rows : int
        With fewer rows in the newest five it does not apply.
    """
    newest, earlier = windows[-_NEWEST:], windows[:-_NEWEST]
    rows, labelled = (sum(column) for column in zip(*newest, strict=True)) if newest else (0, 0)
    if rows < min_rows:
        return _not_judged("labels", f"{rows} rows are old enough for a label, {min_rows} are needed", n=rows)
    share = labelled / rows
    if len([1 for total, _ in earlier if total]) < _EARLIER:
        if labelled:
            return _not_judged(
                "labels", f"{_EARLIER} earlier windows are needed to know what is usual", n=rows
            )
        return check("labels", Condition.FAILED, f"None of {rows} rows has a label.", observed=0.0, n=rows)
    usual = sum(known for _, known in earlier) / sum(total for total, _ in earlier)
    message = f"{share:.1%} of {rows} rows have a label; usual are {usual:.1%}."
    limits = {Condition.FAILED: _FAILED * usual, Condition.WARNING: _WARNING * usual}
    for condition, limit in limits.items():
        if share < limit:
            return check("labels", condition, message, observed=share, limit=limit, n=rows)
    return check("labels", Condition.OK, message, observed=share, limit=limits[Condition.WARNING], n=rows)


# Does the machinery work: champion, servers, disk, model age, and monitoring itself.


_RUNS = 3


def judge_champion(version: int | None, *, rows: int, trouble: str | None) -> Check:
    """Judge whether the champion resolves, loads and predicts.

    Parameters
    ----------
    version : int or None
        What ``@champion`` points at.
    rows : int
        Rows it was asked for.
    trouble : str or None
        What went wrong when it was loaded or asked; None: nothing.
    """
    if version is None:
        message = "There is no champion. Train, validate and challenge, or promote a version by hand."
        return check("champion", Condition.FAILED, message)
    if trouble is not None:
        message = (
            f"Version {version} does not answer: {trouble}. 'evergreen rollback' returns to the fallback."
        )
        return check("champion", Condition.FAILED, message, observed=float(version), n=rows)
    message = f"Version {version} loads and answers."
    return check("champion", Condition.OK, message, observed=float(version), n=rows)


def judge_servers(answers: Mapping[str, str | None]) -> tuple[Check, ...]:
    """Judge whether each store and server answers.

    Parameters
    ----------
    answers : mapping of str to str or None
        By name, what it said instead of answering; None: it answered.
    """
    return tuple(
        check(name, Condition.FAILED, f"{name} does not answer: {why}. See 'evergreen doctor'.")
        if why
        else check(name, Condition.OK, f"{name} answers.")
        for name, why in answers.items()
    )


def judge_disk(free: float, *, limit: float) -> Check:
    """Judge the share of the disk that is free; below twice ``alerts.min_free_disk`` it warns."""
    message = f"{free:.1%} of the disk is free."
    condition = Condition.FAILED if free < limit else Condition.WARNING if free < 2 * limit else Condition.OK
    remedy = "" if condition is Condition.OK else " Make room."
    return check("disk", condition, message + remedy, observed=free, limit=limit)


def judge_age(learned_to: float | None, now: float | None, *, limit: float | None) -> Check:
    """Judge how long ago the champion's training ended.

    Parameters
    ----------
    learned_to, now : float or None
        On a clock of time, in seconds; None: not known, or no such clock.
    limit : float or None
        ``alerts.max_model_age`` in seconds.
    """
    if limit is None or learned_to is None or now is None:
        why = "alerts.max_model_age is not set" if limit is None else "the clock does not tell the time"
        return _not_judged("age", why)
    age = now - learned_to
    message = f"The champion's training ended {duration(max(age, 0.0))} ago; {duration(limit)} is allowed."
    condition = Condition.WARNING if age > limit else Condition.OK
    return check("age", condition, message, observed=age, limit=limit)


def judge_last_run(last: datetime | None, now: datetime, *, interval: float) -> Check:
    """Judge whether monitoring ran; three intervals without a run warn.

    Parameters
    ----------
    last : datetime or None
        When the run before this one ended; None: there was none.
    now : datetime
        Aware, like ``last``.
    interval : float
        ``monitoring.interval`` in seconds.
    """
    if last is None:
        return _not_judged("last_run", "no earlier run is on record")
    passed = (now - last).total_seconds()
    message = (
        f"The last run was {duration(max(passed, 0.0))} ago; one every {duration(interval)} is expected."
    )
    condition = Condition.WARNING if passed > _RUNS * interval else Condition.OK
    remedy = " Look at the schedule and its worker." if condition is Condition.WARNING else ""
    return check("last_run", condition, message + remedy, observed=passed, limit=_RUNS * interval)

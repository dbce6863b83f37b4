"""Hours of the day in which nothing starts by itself."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta, tzinfo
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

_HOURS = re.compile(r"^\s*(\d{1,2}):(\d{2})\s*-\s*(\d{1,2}):(\d{2})(?:\s+(\S+))?\s*$")
_HELP = "hours such as '22:00-06:00' or '22:00-06:00 Europe/Berlin'"


@dataclass(frozen=True)
class QuietHours:
    """A part of each day, perhaps over midnight.

    Attributes
    ----------
    begin, end : half-open; an end before the beginning is on the next day.
    zone : time zone of both.
    text : as written.
    """

    begin: time
    end: time
    zone: tzinfo
    text: str

    def __str__(self) -> str:
        return self.text

    def ends_after(self, now: datetime) -> datetime | None:
        """Return when the quiet hours end that ``now`` (aware) lies in, in UTC; None outside of them."""
        local = now.astimezone(self.zone)
        for back in (0, 1):
            day = local.date() - timedelta(days=back)
            begin = datetime.combine(day, self.begin, self.zone)
            over = self.end <= self.begin
            end = datetime.combine(day + timedelta(days=over), self.end, self.zone)
            if begin <= local < end:
                return end.astimezone(UTC)
        return None


def parse_quiet_hours(value: Any) -> QuietHours:
    """Read quiet hours from text.

    Raises
    ------
    ValueError
        When it is not two times of day and perhaps a time zone.

    Examples
    --------
    >>> hours = parse_quiet_hours("22:00-06:00")
    >>> hours.ends_after(datetime(2026, 1, 1, 23, tzinfo=UTC)).isoformat()
    '2026-01-02T06:00:00+00:00'
    """
    match = _HOURS.match(value) if isinstance(value, str) else None
    if not match:
        raise ValueError(f"{value!r} is not {_HELP}")
    try:
        begin, end = time(int(match[1]), int(match[2])), time(int(match[3]), int(match[4]))
        zone = ZoneInfo(match[5]) if match[5] else UTC
    except (ValueError, ZoneInfoNotFoundError) as error:
        raise ValueError(f"{value!r} is not {_HELP} ({error})") from None
    if begin == end:
        raise ValueError(f"{value!r} covers nothing or everything; write {_HELP}")
    return QuietHours(begin, end, zone, value.strip())


def quiet_until(several: Sequence[QuietHours], now: datetime) -> datetime | None:
    """Return when the quiet hours end that ``now`` lies in, those that follow on each other joined; None outside."""
    end = None
    for _ in range(len(several) + 1):
        ends = [until for one in several if (until := one.ends_after(end or now)) is not None]
        end = max(ends, default=None) or end
    return end

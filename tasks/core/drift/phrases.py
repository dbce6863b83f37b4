"""Small phrases that reports and messages share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def short_time(text: Any) -> str:
    """Write a clock position for people: no seconds, no zone (it is UTC), no midnight.

    >>> short_time("2024-03-04T06:00:00+00:00"), short_time("2024-03-04T00:00:00+00:00"), short_time(1200)
    ('2024-03-04 06:00', '2024-03-04', '1200')
    """
    plain = str(text)
    if len(plain) < 16 or plain[10:11] != "T":
        return plain
    day, clock = plain[:10], plain[11:16]
    return day if clock == "00:00" else f"{day} {clock}"


def listed(names: Sequence[str], *, most: int = 3) -> str:
    """Write names as a phrase, the first ones by name.

    >>> listed(["a"]), listed(["a", "b"]), listed(["a", "b", "c", "d", "e"])
    ('a', 'a and b', 'a, b, c and 2 more')
    """
    shown = list(names) if len(names) <= most else [*names[:most], f"{len(names) - most} more"]
    return shown[0] if len(shown) == 1 else f"{', '.join(shown[:-1])} and {shown[-1]}"

"""Fresh ids of predictions: unique without asking anyone, and ascending, so that indexes grow at their end."""

from __future__ import annotations

import os
import time


def fresh_id() -> str:
    """Return a new id: 12 hexadecimal digits of the millisecond, then 80 random bits.

    Ids that arrive in order cost the log a third less than random ones: each commit touches a few pages at the end of
    the index, not one somewhere for each row.
    """
    return f"{time.time_ns() // 1_000_000:012x}{os.urandom(10).hex()}"

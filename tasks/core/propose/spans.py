"""Keys that are proposed, lengths of time a person would write, and how long targets resemble each other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

DAY = 86_400.0
_SECONDS = {"s": 1.0, "m": 60.0, "h": 3_600.0, "d": DAY}
_SHORT = ("1m", "5m", "10m", "15m", "30m", "1h", "2h", "3h", "4h", "6h", "8h", "12h")
_DAYS = (
    1,
    2,
    3,
    5,
    7,
    14,
    21,
    28,
    35,
    42,
    56,
    70,
    84,
    98,
    112,
    140,
    168,
    182,
    224,
    280,
    364,
    546,
    728,
    1092,
    1820,
)
LENGTHS = (*_SHORT, *(f"{days}d" for days in _DAYS))
"""Lengths that are proposed, shortest first."""


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One key of the configuration: dotted name, plain value, and why it is proposed (empty: it speaks for itself)."""

    key: str
    value: Any
    why: str = ""


def seconds(text: str) -> float:
    """Return the length of a proposed span in seconds.

    >>> seconds("2h")
    7200.0
    """
    return float(text[:-1]) * _SECONDS[text[-1]]


def resemblance(y: np.ndarray, positions: np.ndarray) -> float:
    """Return how long numbers resemble their successors: 0 unless neighbours correlate above 0.95.

    That is how targets look whose windows overlap (the mean of the next day, known every hour). The answer is
    the distance at which the correlation has fallen below one half; rows that share a moment tell nothing.
    """
    if len(y) < 200 or np.ptp(y) == 0 or len(np.unique(positions)) < 0.9 * len(positions):
        return 0.0
    centred = y - y.mean()
    scale = float(np.mean(centred**2))
    like = [float(np.mean(centred[k:] * centred[:-k])) / scale for k in range(1, min(500, len(y) // 4))]
    if like[0] <= 0.95:
        return 0.0
    steps = next((k for k, value in enumerate(like, start=1) if value < 0.5), len(like))
    return steps * float(np.median(np.diff(positions)))

"""The monitor's streams in the ledger: where each phase stands, and which windows it has judged."""

from __future__ import annotations

from collections.abc import Sequence

from tasks.core.data.clock import Window
from tasks.core.drift.words import Phase
from tasks.core.reign.ledger import Entry
from tasks.io.ledger import Ledger

KIND = "window"
"""Kind of an entry that says what was found in a window: ``start`` and ``end`` are its exact positions."""


def stream_of(phase: Phase) -> str:
    """Return the stream a phase writes its windows to."""
    return f"windows-{phase.value}"


def last_window(ledger: Ledger, model: str, phase: Phase) -> tuple[int, float | None]:
    """Return the number of the stream's last entry (0: none yet; what ``follow`` comes after) and its window's end."""
    last = ledger.last(model, stream_of(phase))
    return (last.seq, float(last.payload["end"])) if last else (0, None)


def judged_since(
    ledger: Ledger, model: str, phase: Phase, position: float | None, *, first: int = 64
) -> list[Window]:
    """Return the windows a phase has judged that start at or past a position (None: all), in time order.

    The stream is read from its end, twice as much each time, until it reaches back far enough.
    """
    count = first
    while True:
        entries = ledger.read_tail(model, stream_of(phase), count)
        if len(entries) < count or _reaches(entries, position):
            found = (Window(entry.payload["start"], entry.payload["end"]) for entry in entries)
            return [window for window in found if position is None or window.start >= position]
        count *= 2


def _reaches(entries: Sequence[Entry], position: float | None) -> bool:
    return position is not None and bool(entries[0].payload["start"] < position)

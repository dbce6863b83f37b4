"""The ledger of a replay: the entries that would have been written live, in memory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from tasks.core.reign.ledger import Entry, next_entry


@dataclass(kw_only=True)
class ReplayLedger:
    """Streams of one model under one policy.

    Attributes
    ----------
    model : str
        The model.
    streams : dict of str to list of Entry
        Entries by stream, oldest first.
    """

    model: str
    streams: dict[str, list[Entry]] = field(default_factory=dict)

    def read(self, stream: str) -> list[Entry]:
        """Return a stream's entries."""
        return self.streams.get(stream, [])

    def last(self, stream: str) -> Entry | None:
        """Return the newest entry of a stream."""
        entries = self.read(stream)
        return entries[-1] if entries else None

    def append(self, stream: str, kind: str, payload: Mapping[str, Any], *, at: datetime) -> Entry:
        """Append what happened; numbered and chained as in the real ledger, so that it reads the same."""
        entry = next_entry(
            self.last(stream), model=self.model, stream=stream, at=at, kind=kind, payload=payload
        )
        self.streams.setdefault(stream, []).append(entry)
        return entry

    def copy(self) -> ReplayLedger:
        """Return a ledger that goes on by itself from here."""
        return ReplayLedger(
            model=self.model, streams={name: list(entries) for name, entries in self.streams.items()}
        )

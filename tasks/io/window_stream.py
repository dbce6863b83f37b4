"""The stream of looks of one model and phase: where it stands, and the one way to append to it.

The ledger's entry is the commit point. What is bulky (profiles, distances, memory) is written to the log before it,
keyed by the window, so that a crash in between is mended by looking again: the same rows give the same look.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from tasks.core.alerts.alert import Alert
from tasks.core.data.clock import Window
from tasks.core.drift.words import Phase
from tasks.core.errors import Held
from tasks.core.judging.memory import Memory
from tasks.core.reign.ledger import Entry
from tasks.core.watching.head import Head
from tasks.core.watching.looking import Seen
from tasks.io.clock import utc_now
from tasks.io.ledger import Ledger
from tasks.io.log import Log
from tasks.io.log_records import WindowRecord
from tasks.io.window_entries import KIND, stream_of


@dataclass(frozen=True, kw_only=True)
class WindowStream:
    """One model's looks of one phase, in ledger and log."""

    ledger: Ledger
    log: Log
    model: str
    phase: Phase
    clock: str

    @property
    def name(self) -> str:
        """Name of the ledger's stream."""
        return stream_of(self.phase)

    def head(self) -> Head:
        """Read where the stream stands."""
        last = self.ledger.last(self.model, self.name)
        if last is None:
            return Head(memory=Memory.empty())
        window = Window(last.payload["start"], last.payload["end"])
        record = self.log.get_window(self.model, self.phase, window)
        alert = Alert.from_dict(last.payload["alert"]) if last.payload.get("alert") else None
        if record is None and alert is not None:
            alert = replace(
                alert, version=None
            )  # nobody knows any more what its alarms moved away from: they end
        return Head(
            seq=last.seq,
            end=window.end,
            version=last.payload["version"],
            memory=Memory.from_dict(record.payload["memory"]) if record else Memory.empty(),
            alert=alert,
        )

    def commit(self, seen: Seen, alert: Alert, *, after: int) -> Entry:
        """Append one look; from then on it is never done again.

        Raises
        ------
        Held
            ``window_taken`` when another run has looked at this window meanwhile.
        """
        looked, now = seen.looked, utc_now()
        self.log.put_window(
            WindowRecord(
                model=self.model,
                phase=self.phase,
                window=looked.window,
                version=looked.version,
                at=now,
                payload={"look": looked.to_dict(clock=self.clock), "memory": seen.memory.to_dict()},
                profiles={name: profile.to_window_dict() for name, profile in seen.profiles.items()},
            ),
            grids={profile.grid.id: profile.grid for profile in seen.profiles.values()}.values(),
        )
        payload = {**looked.to_entry(clock=self.clock), "alert": alert.to_dict()}
        entry = self.ledger.follow(
            model=self.model, stream=self.name, after=after, kind=KIND, payload=payload, at=now
        )
        if entry is None:
            raise Held(
                "window_taken",
                f"Another run has looked at the window from {payload['from']} meanwhile; it goes on from there.",
            )
        return entry

    def looks(self, *, since: float) -> list[Mapping[str, Any]]:
        """Return the looks at windows that start at or after a position, as the log has them, oldest first."""
        return [record.payload["look"] for record in self.log.windows(self.model, self.phase, since=since)]

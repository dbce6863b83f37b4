"""The monitor's streams in the ledger: where each phase stands, and which windows it has judged."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np

from evergreen.tasks.core.alerts.alert import Alert
from evergreen.tasks.core.arrays import FloatArray
from evergreen.tasks.core.config import ModelConfig
from evergreen.tasks.core.data.clock import Window
from evergreen.tasks.core.data.columns import needed_columns
from evergreen.tasks.core.data.rows import Rows
from evergreen.tasks.core.drift.detect import DetectorState
from evergreen.tasks.core.drift.types import Phase
from evergreen.tasks.core.errors import Blocked
from evergreen.tasks.core.monitoring.monitor import StreamPosition, WindowCheck, hide_late_labels, label_times
from evergreen.tasks.core.monitoring.windows import DueWindow
from evergreen.tasks.core.promotion.ledger import LedgerEntry
from evergreen.tasks.io.ledger import Ledger
from evergreen.tasks.io.outcome_sources import join_outcomes
from evergreen.tasks.io.prediction_log.records import KNOWN_AT, WindowRecord
from evergreen.tasks.io.prediction_log.store import Log
from evergreen.tasks.io.settings import utc_now
from evergreen.tasks.io.sources.open import Source
from evergreen.tasks.io.sources.parquet import ParquetLoader
from evergreen.tasks.io.sources.sql import SqlLoader

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


def _reaches(entries: Sequence[LedgerEntry], position: float | None) -> bool:
    return position is not None and bool(entries[0].payload["start"] < position)


# The rows of due windows, many of them in one read, from the model's data or from the log of served predictions.


READ_ROWS = 200_000
"""Most rows a read holds, unless one window alone has more."""

_STEPS = (1, 32, 1024)
"""How many windows to go back, one after the other, for the newest row of a source that reads no more than asked."""


class WindowSource(Protocol):
    """Where the rows of windows come from."""

    def positions(self, since: float) -> FloatArray:
        """Return the positions of all rows from ``since`` on, ascending."""

    def newest(self, *, around: float, step: float, now: float = math.inf) -> float | None:
        """Return the position of the newest row that is not past ``now``; None without any.

        ``around`` and ``step`` say where to look first (the last window's end, and the length of a window).
        """

    def read(self, window: Window) -> Rows:
        """Return the rows of a slice, in clock order."""

    def known_at(self, rows: Rows) -> FloatArray | None:
        """Return when the label of each row that was read became known; None: in time."""

    @property
    def target(self) -> str:
        """Column of the label."""


@dataclass(frozen=True, kw_only=True)
class WindowRows:
    """The rows of one due window.

    Attributes
    ----------
    due : DueWindow
        The window.
    rows : Rows
        Its rows in clock order, perhaps none.
    late : int
        Labels that became known after ``due.known_by``: missing in ``rows`` in the outcomes phase.
    """

    due: DueWindow
    rows: Rows
    late: int = 0


class DataWindows:
    """Windows of the model's data source.

    Parameters
    ----------
    source : Source
        The model's rows.
    also : collection of str
        Columns to read beside those the configuration names.
    """

    def __init__(self, source: Source, *, also: Collection[str] = ()) -> None:
        self._source, self._also = source, also

    @property
    def target(self) -> str:
        """Column of the label."""
        return self._source.config.data.target

    def positions(self, since: float) -> FloatArray:
        """Return the positions of all rows from ``since`` on, ascending; no column but the clock is read."""
        clock = self._source.clock.column
        columns = [clock] if clock is not None else self._source.columns()[:1]
        found = self._source.read_rows(Window(since), columns=columns).positions
        return np.zeros(0) if found is None else np.asarray(found, dtype=np.float64)

    def newest(self, *, around: float, step: float, now: float = math.inf) -> float | None:
        """Return the position of the newest row that is not past ``now``; None without any."""
        narrow = isinstance(self._source.loader, ParquetLoader | SqlLoader) and math.isfinite(around)
        starts = [around - windows * step for windows in _STEPS] if narrow else []
        for start in (*starts, -math.inf):
            found = self.positions(start)
            found = found[found <= now]
            if len(found):
                return float(found[-1])
        return None

    def read(self, window: Window) -> Rows:
        """Return the rows of a slice, in clock order."""
        needed = needed_columns(self._source.columns(), self._source.config, also=self._also)
        return self._source.read_rows(window, columns=needed)

    def known_at(self, rows: Rows) -> FloatArray | None:
        """Return what ``data.label_time`` says; None without it."""
        return label_times(rows, config=self._source.config)


class LogWindows:
    """Windows of the log of served predictions; the outcome of ``monitoring.outcomes`` is in the target's column."""

    def __init__(self, log: Log, config: ModelConfig) -> None:
        self._log, self._config = log, config

    @property
    def target(self) -> str:
        """Column of the label."""
        return self._config.data.target

    def positions(self, since: float) -> FloatArray:
        """Return the positions of all predictions from ``since`` on, ascending."""
        return self._log.positions(self._config.model, since=since)

    def newest(self, *, around: float, step: float, now: float = math.inf) -> float | None:
        """Return the position of the newest prediction that is not past ``now``; None without any."""
        return self._log.newest_position(self._config.model, until=now)

    def read(self, window: Window) -> Rows:
        """Return the predictions of a slice, in clock order."""
        numeric = self._config.data.numeric or ()
        logged = self._log.read_predictions(self._config.model, window, target=self.target, numeric=numeric)
        return join_outcomes(logged.rows, config=self._config, window=window)

    def known_at(self, rows: Rows) -> FloatArray | None:
        """Return when each outcome came in."""
        return rows.frame[KNOWN_AT].to_numpy(dtype=np.float64)


def read_windows(
    source: WindowSource,
    windows: Sequence[DueWindow],
    *,
    positions: FloatArray | None = None,
    most: int = READ_ROWS,
) -> Iterator[WindowRows]:
    """Yield the rows of each window, in time order; neighbours share a read as long as it stays below ``most`` rows.

    Parameters
    ----------
    source : WindowSource
        Where they come from.
    windows : sequence of DueWindow
        Of one phase.
    positions : array, shape (n,), optional
        Ascending positions of the rows from the first window on, where they were read already.
    most : int
        Most rows to hold at once, unless one window alone has more.

    Raises
    ------
    DataError
        When the rows cannot be read as the configuration says.
    """
    ordered = sorted(windows, key=lambda due: due.window.start)
    if not ordered:
        return
    known = source.positions(ordered[0].window.start) if positions is None else positions
    for group in _groups(ordered, known, most):
        read = source.read(Window(group[0].window.start, group[-1].window.end))
        for due in group:
            yield _window_rows(source, due, _slice(read, due.window))


def _groups(windows: Sequence[DueWindow], positions: FloatArray, most: int) -> Iterator[list[DueWindow]]:
    group: list[DueWindow] = []
    for due in windows:
        start = group[0].window.start if group else due.window.start
        first, last = np.searchsorted(positions, [start, due.window.end])
        if group and last - first > most:
            yield group
            group = []
        group.append(due)
    yield group


def _slice(rows: Rows, window: Window) -> Rows:
    positions = np.zeros(0) if rows.positions is None else rows.positions
    first, last = np.searchsorted(positions, [window.start, window.end])
    return Rows(rows.frame.iloc[first:last].reset_index(drop=True), positions[first:last])


def _window_rows(source: WindowSource, due: DueWindow, rows: Rows) -> WindowRows:
    if due.phase is Phase.INPUTS:
        return WindowRows(due=due, rows=rows)
    shown, late = hide_late_labels(
        rows, target=source.target, known=source.known_at(rows), known_by=due.known_by
    )
    return WindowRows(due=due, rows=shown, late=late)


# The stream of looks of one model and phase: where it stands, and the one way to append to it.
#
# The ledger's entry is the commit point. What is bulky (profiles, distances, memory) is written to the log before it,
# keyed by the window, so that a crash in between is mended by looking again: the same rows give the same look.


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

    def head(self) -> StreamPosition:
        """Read where the stream stands."""
        last = self.ledger.last(self.model, self.name)
        if last is None:
            return StreamPosition(memory=DetectorState.empty())
        window = Window(last.payload["start"], last.payload["end"])
        record = self.log.get_window(self.model, self.phase, window)
        alert = Alert.from_dict(last.payload["alert"]) if last.payload.get("alert") else None
        if record is None and alert is not None:
            alert = replace(
                alert, version=None
            )  # nobody knows any more what its alarms moved away from: they end
        return StreamPosition(
            seq=last.seq,
            end=window.end,
            version=last.payload["version"],
            memory=DetectorState.from_dict(record.payload["memory"]) if record else DetectorState.empty(),
            alert=alert,
        )

    def commit(self, seen: WindowCheck, alert: Alert, *, after: int) -> LedgerEntry:
        """Append one look; from then on it is never done again.

        Raises
        ------
        Blocked
            ``window_taken`` when another run has looked at this window meanwhile.
        """
        looked, now = seen.result, utc_now()
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
            raise Blocked(
                "window_taken",
                f"Another run has judged the window from {payload['from']} meanwhile and goes on from there; "
                "nothing is left to do.",
            )
        return entry

    def looks(self, *, since: float) -> list[Mapping[str, Any]]:
        """Return the looks at windows that start at or after a position, as the log has them, oldest first."""
        return [record.payload["look"] for record in self.log.windows(self.model, self.phase, since=since)]

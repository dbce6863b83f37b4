"""The monitor's streams in the ledger: the last window of each phase, and the windows it has judged."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

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
from evergreen.tasks.io.sources.files import ParquetLoader
from evergreen.tasks.io.sources.open import Source
from evergreen.tasks.io.sources.sql import SqlLoader

KIND = "window"
"""Kind of an entry that holds the result of a window: ``start`` and ``end`` are its exact positions."""


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
        windows = [Window(entry.payload["start"], entry.payload["end"]) for entry in entries]
        if len(entries) < count or (position is not None and windows[0].start < position):
            return [window for window in windows if position is None or window.start >= position]
        count *= 2


# The rows of due windows, many of them in one read, from the model's data or from the log of served predictions.


READ_ROWS = 200_000
"""Most rows a read holds, unless one window alone has more."""

_STEPS = (1, 32, 1024)
"""How many windows to go back, one after the other, for the newest row of a source that reads windows alone."""


@dataclass(frozen=True, kw_only=True)
class WindowRows:
    """The rows of one due window."""

    due: DueWindow
    """The window."""
    rows: Rows
    """Its rows in clock order, perhaps none."""
    late: int = 0
    """Labels that became known after ``due.known_by``: missing in ``rows`` in the outcomes phase."""


class DataWindows:
    """Windows of the model's data source.

    Parameters
    ----------
    source : Source
        The model's rows.
    also : collection of str
        Columns to read in addition to those the configuration names.
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
        positions = self._source.read_rows(Window(since), columns=columns).positions
        return np.zeros(0) if positions is None else np.asarray(positions, dtype=np.float64)

    def newest(self, *, around: float, step: float, now: float = math.inf) -> float | None:
        """Return the position of the newest row that is not past ``now``; None without any.

        ``around`` and ``step`` say where to look first: the last window's end, and the length of a window.
        """
        narrow = isinstance(self._source.loader, ParquetLoader | SqlLoader) and math.isfinite(around)
        starts = [around - windows * step for windows in _STEPS] if narrow else []
        for start in (*starts, -math.inf):
            positions = self.positions(start)
            positions = positions[positions <= now]
            if len(positions):
                return float(positions[-1])
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


WindowSource = DataWindows | LogWindows
"""Where the rows of windows come from."""


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
    if positions is None:
        positions = source.positions(ordered[0].window.start)
    for group in _groups(ordered, positions, most):
        read = source.read(Window(group[0].window.start, group[-1].window.end))
        places = np.zeros(0) if read.positions is None else read.positions
        for due in group:
            first, last = np.searchsorted(places, [due.window.start, due.window.end])
            rows = Rows(read.frame.iloc[first:last].reset_index(drop=True), places[first:last])
            late = 0
            if due.phase is not Phase.INPUTS:
                known = source.known_at(rows)
                rows, late = hide_late_labels(
                    rows, target=source.target, known_at=known, known_by=due.known_by
                )
            yield WindowRows(due=due, rows=rows, late=late)


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


# The stream of judged windows of one model and phase: where it stands, and the one way to append to it.
#
# The ledger's entry is the commit point. What is bulky (profiles, distances, detector state) is written to the log
# before it, keyed by the window, so that a crash in between is repaired by judging again: the same rows give the same
# result.


@dataclass(frozen=True, kw_only=True)
class WindowStream:
    """One model's judged windows of one phase, in ledger and log."""

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
            return StreamPosition(state=DetectorState.empty())
        window = Window(last.payload["start"], last.payload["end"])
        record = self.log.get_window(self.model, self.phase, window)
        alert = Alert.from_dict(last.payload["alert"]) if last.payload.get("alert") else None
        if record is None and alert is not None:
            # what its alarms moved away from is no longer known: they end
            alert = replace(alert, version=None)
        return StreamPosition(
            seq=last.seq,
            end=window.end,
            version=last.payload["version"],
            state=DetectorState.from_dict(record.payload["memory"]) if record else DetectorState.empty(),
            alert=alert,
        )

    def commit(self, check: WindowCheck, alert: Alert, *, after: int) -> LedgerEntry:
        """Append the result of one window; from then on it is never judged again.

        Raises
        ------
        Blocked
            ``window_taken`` when another run has judged this window meanwhile.
        """
        result, now = check.result, utc_now()
        self.log.put_window(
            WindowRecord(
                model=self.model,
                phase=self.phase,
                window=result.window,
                version=result.version,
                at=now,
                payload={"look": result.to_dict(clock=self.clock), "memory": check.state.to_dict()},
                profiles={name: profile.to_window_dict() for name, profile in check.profiles.items()},
            ),
            grids={profile.grid.id: profile.grid for profile in check.profiles.values()}.values(),
        )
        payload = {**result.to_entry(clock=self.clock), "alert": alert.to_dict()}
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

    def results(self, *, since: float) -> list[Mapping[str, Any]]:
        """Return the results of windows that start at or after a position, as the log has them, oldest first."""
        return [record.payload["look"] for record in self.log.windows(self.model, self.phase, since=since)]

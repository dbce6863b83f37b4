"""The rows of due windows, many of them in one read, from the model's data or from the log of served predictions."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from tasks.core.config import ModelConfig
from tasks.core.data.clock import Window
from tasks.core.data.columns import needed_columns
from tasks.core.data.rows import Rows
from tasks.core.drift.words import Phase
from tasks.core.metrics.scored import FloatArray
from tasks.core.watching.late import hide_late_labels, label_times
from tasks.core.watching.windows import DueWindow
from tasks.io.log_records import KNOWN_AT
from tasks.io.prediction_log import PredictionLog
from tasks.io.sources import Source
from tasks.io.sources_parquet import ParquetLoader
from tasks.io.sources_sql import SqlLoader

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
    """Windows of the log of served predictions; the outcome is in the target's column."""

    def __init__(self, log: PredictionLog, config: ModelConfig) -> None:
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
        return self._log.read_predictions(
            self._config.model, window, target=self.target, numeric=numeric
        ).rows

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

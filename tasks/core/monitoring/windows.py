"""Which windows of a model's clock are to be checked next: each once, in each of two phases.

What was judged is never cut again: the next window begins where the last one in the ledger ended, whoever is champion
by now and whatever ``monitoring.window`` says.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from evergreen.tasks.core.arrays import FloatArray
from evergreen.tasks.core.config import ModelConfig
from evergreen.tasks.core.config.units import Span
from evergreen.tasks.core.data.clock import Window, format_position, span_length
from evergreen.tasks.core.drift.types import Phase
from evergreen.tasks.core.errors import ConfigError, counted
from evergreen.tasks.core.verdict import Reason

# How a model's clock is cut into windows: by durations, by row numbers, or by counting rows along time.


@dataclass(frozen=True, kw_only=True)
class Windowing:
    """How a model's clock is cut into windows."""

    clock: str
    """``timestamp``, ``seconds`` or ``rows``: what positions count."""
    window: Span
    label_delay: Span
    """``window``, ``label_delay``: ``monitoring.window`` and ``data.label_delay``."""

    def __post_init__(self) -> None:
        if self.window.amount <= 0:
            raise ConfigError(
                f"monitoring.window is '{self.window}', which covers nothing. Write 1h, 1d or '500 rows'."
            )
        if not self.counts_rows:
            span_length(self.window, clock=self.clock)
        if not self.waits_rows:
            span_length(self.label_delay, clock=self.clock)

    @classmethod
    def of(cls, config: ModelConfig) -> Windowing:
        """Return the cutting of a model.

        The log of served predictions has a clock of time even where the model's data have none.

        Raises
        ------
        ConfigError
            When the model has no clock, or its window or label delay has no length on it.
        """
        data, monitoring = config.data, config.monitoring
        if not data.ordered and monitoring.source == "data":
            raise ConfigError(
                f"Model '{config.model}' has no clock (data.time is not set), so its data have no windows to monitor. "
                "Name data.time, write data.clock: rows, or watch served predictions by monitoring.source: log."
            )
        clock = data.clock if data.ordered else "timestamp"
        return cls(clock=clock, window=monitoring.window, label_delay=data.label_delay)

    @property
    def counts_rows(self) -> bool:
        """True where a window is so many rows, but positions are times: rows must be seen to cut it."""
        return self.window.unit == "rows" and self.clock != "rows"

    @property
    def waits_rows(self) -> bool:
        """True where labels are known so many rows later, but positions are times."""
        return self.label_delay.unit == "rows" and self.clock != "rows"

    def full_to(self, positions: FloatArray) -> float:
        """Return where the clock is full to, by its rows: row number 9 fills the place from 9 to 10.

        Parameters
        ----------
        positions : array, shape (n,)
            Ascending positions of rows, at least one; likewise below.
        """
        newest = float(positions[-1])
        return math.floor(newest) + 1.0 if self.clock == "rows" else newest

    def known_to(self, positions: FloatArray, until: float) -> float:
        """Return the position before which labels are due, at the newest row or ``until`` if that is earlier."""
        if self.waits_rows:
            place = len(positions) - 1 - int(self.label_delay.amount)
            return float(positions[place]) if place >= 0 else -math.inf
        return min(self.full_to(positions), until) - span_length(self.label_delay, clock=self.clock)

    def known_by(self, end: float, positions: FloatArray) -> float:
        """Return the position at which the labels of a window that ends at ``end`` are due; infinity: not yet."""
        if self.waits_rows:
            place = int(np.searchsorted(positions, end, side="left")) + int(self.label_delay.amount)
            return float(positions[place]) if place < len(positions) else math.inf
        return end + span_length(self.label_delay, clock=self.clock)

    def floor(self, position: float) -> float:
        """Return where the window begins that is the first to hold a row at this position."""
        if self.counts_rows:
            return position
        if self.clock == "rows":
            return float(math.floor(position))
        return math.floor(position / self.window.amount) * self.window.amount

    def cut(
        self, positions: FloatArray, *, start: float, ready: float, most: int | None = None
    ) -> tuple[list[Window], int]:
        """Return the first ``most`` windows from ``start`` on that end by ``ready``, and how many there are in all.

        ``start`` is rounded up: durations begin at multiples of their length from position 0, row numbers at a whole
        number.
        """
        if not start < ready:
            return [], 0
        if self.counts_rows:
            windows = _cut_rows(positions[positions >= start], int(self.window.amount), start, ready)
            return windows[:most], len(windows)
        length, origin = self.window.amount, math.ceil(start) if self.clock == "rows" else 0.0
        first = math.ceil((start - origin) / length)
        total = max(math.floor((ready - origin) / length) - first, 0)
        count = total if most is None else min(total, most)
        edges = [origin + (first + step) * length for step in range(count + 1)]
        return [Window(left, right) for left, right in pairwise(edges)], total


def _cut_rows(positions: FloatArray, count: int, start: float, ready: float) -> list[Window]:
    """Cut after every ``count`` rows; a window ends where the next row is, so that equal positions stay together."""
    windows: list[Window] = []
    place = 0
    while place + count < len(positions):
        place = int(np.searchsorted(positions, positions[place + count - 1], side="right"))
        if place == len(positions) or positions[place] > ready:
            break
        end = float(positions[place])
        windows.append(Window(start, end))
        start = end
    return windows


@dataclass(frozen=True, kw_only=True)
class DueWindow:
    """One window that is to be checked."""

    window: Window
    """Finite slice of the clock."""
    phase: Phase
    """The check it is due for."""
    known_by: float
    """Position as of which its labels count: ``to + label_delay``. A label that came later is unknown."""
    learned: bool = False
    """The champion learned from (some of) these rows, so its answers on them say nothing: the check is INSUFFICIENT,
    with ``learned_reason``."""


@dataclass(frozen=True, kw_only=True)
class WindowSchedule:
    """What is to be checked now."""

    windows: tuple[DueWindow, ...] = ()
    """In time order, none of them judged before."""
    remaining: int = 0
    """Windows that are due as well but left to the next run (``monitoring.max_windows``)."""
    newest: float | None = None
    """Position of the newest row that is not in the future; None without rows."""
    future: int = 0
    """Rows whose time has not come yet; they make no window due."""
    reasons: tuple[Reason, ...] = ()
    """What a reader should know of all this: ``future_rows``, ``more_windows``."""


def due_windows(
    positions: FloatArray,
    *,
    cutting: Windowing,
    phase: Phase,
    last_end: float | None,
    trained_to: float | None,
    judged: Sequence[Window] | None = None,
    now: float = math.inf,
    until: float = math.inf,
    most: int = 1000,
) -> WindowSchedule:
    """Return the windows a phase has to check next.

    Durations are cut at multiples of their length from position 0 (a day begins at 00:00 UTC); rows on a clock of row
    numbers every N numbers from the frontier; rows on a clock of time where the N-th next row begins a window, rows at
    one position staying together. The frontier is the end of the last window that was judged, else the end of what
    the champion learned (nothing is cut in a silence between that and the first row), rounded up to a whole window.
    A promotion does not move it; a changed length goes on from it, so that nothing overlaps or repeats. A window is
    due for its inputs once the newest row lies at or past its end, for its outcomes ``label_delay`` later. Empty
    windows between rows are due too.

    Parameters
    ----------
    positions : array, shape (n,)
        Positions of the rows from the frontier on (earlier ones do no harm), in any order.
    cutting : Windowing
        How the clock is cut.
    phase : Phase
        Which of the two checks.
    last_end : float | None
        End of the last window in the ledger's stream of this phase; None: there is none yet.
    trained_to : float | None
        End of what the champion learned from; None: unknown.
    judged : sequence of Window, optional
        For ``outcomes``: windows whose inputs were judged. They are taken as they are, so that both checks see the same
        rows even where late rows came in between or the length was changed. Without them it cuts for itself.
    now : float
        The present on a clock of timestamps: later rows are counted, and make nothing due.
    until : float
        As-of moment: as if nothing later were known, so that rows past it are no rows of the future either.
    most : int
        Most windows to return.
    """
    arrived = np.sort(positions[positions <= now])
    ordered = arrived[arrived <= until]
    future = positions[(positions > now) & (positions < until)]
    notes = _future_note(future, now, cutting.clock)
    if not len(ordered):
        return WindowSchedule(future=len(future), reasons=notes)
    full = min(cutting.full_to(ordered), until)
    ready = full if phase is Phase.INPUTS else cutting.known_to(ordered, until)
    if judged is None:
        start = _frontier(ordered, cutting, last_end, trained_to)
        windows, total = cutting.cut(ordered, start=start, ready=ready, most=most)
    else:
        begin = -math.inf if last_end is None else last_end
        waiting = [window for window in judged if window.start >= begin and window.end <= ready]
        windows, total = sorted(waiting, key=lambda window: window.start)[:most], len(waiting)
    remaining, count = total - len(windows), len(windows)
    if remaining:
        limit = f"this run takes {count} (monitoring.max_windows), the next goes on."
        message = f"{counted(remaining, 'more window')} {'is' if remaining == 1 else 'are'} due; {limit}"
        notes += (Reason(code="more_windows", message=message, observed=remaining, limit=count),)
    return WindowSchedule(
        windows=_to_due_windows(windows, ordered, cutting, phase, trained_to),
        remaining=remaining,
        newest=float(ordered[-1]),
        future=len(future),
        reasons=notes,
    )


def windows_between(
    positions: FloatArray, *, cutting: Windowing, phase: Phase, window: Window, trained_to: float | None
) -> tuple[DueWindow, ...]:
    """Return all windows that lie whole in a slice of the clock, whether they were judged before or not.

    For a check back that a person asks for; nothing of it is to be recorded. An open end is where the rows end.

    Parameters
    ----------
    positions : array, shape (n,)
        Positions of the slice's rows and of the next one after it, in any order.
    """
    ordered = np.sort(positions)
    inside = ordered[window.mask(ordered)]
    if not len(inside):
        return ()
    start = window.start if math.isfinite(window.start) else cutting.floor(float(inside[0]))
    ready = window.end if math.isfinite(window.end) else cutting.full_to(inside)
    windows, _ = cutting.cut(ordered, start=start, ready=ready)
    return _to_due_windows(windows, ordered, cutting, phase, trained_to)


def trained_on_reason(due: DueWindow, *, trained_to: float, version: int, clock: str) -> Reason:
    """Return why a window is INSUFFICIENT whose rows the champion has learned from."""
    return Reason(
        code="window_in_training_data",
        message=(
            f"Version {version} has learned from rows up to {format_position(trained_to, clock=clock)}, so its answers "
            f"on this window from {format_position(due.window.start, clock=clock)} say nothing. Later windows will."
        ),
        observed=due.window.start,
        limit=trained_to,
    )


def _frontier(
    positions: FloatArray, cutting: Windowing, last_end: float | None, trained_to: float | None
) -> float:
    if last_end is not None:
        return last_end
    learned_to = -math.inf if trained_to is None else trained_to
    unseen = positions[positions >= learned_to]
    return max(learned_to, cutting.floor(float(unseen[0]))) if len(unseen) else learned_to


def _to_due_windows(
    windows: list[Window], positions: FloatArray, cutting: Windowing, phase: Phase, trained_to: float | None
) -> tuple[DueWindow, ...]:
    learned_to = -math.inf if trained_to is None else trained_to
    return tuple(
        DueWindow(
            window=window,
            phase=phase,
            known_by=cutting.known_by(window.end, positions),
            learned=window.start < learned_to,
        )
        for window in windows
    )


def _future_note(late: FloatArray, now: float, clock: str) -> tuple[Reason, ...]:
    if not len(late):
        return ()
    newest = float(late.max())
    message = (
        f"The clock is ahead of now ({format_position(now, clock=clock)}) in {counted(len(late), 'row')}, up to "
        f"{format_position(newest, clock=clock)}: no window is due by these. Correct their times."
    )
    return (Reason(code="future_rows", message=message, observed=newest, limit=now, n=len(late)),)

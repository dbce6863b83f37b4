"""Monitor: look at the champion's next windows, each once and in two phases, and say what drifted."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from prefect import get_run_logger

from tasks.core.alerts.window import window_alert
from tasks.core.data.clock import Window, parse_position
from tasks.core.data.rows import Rows
from tasks.core.drift.words import Phase
from tasks.core.judging.memory import Memory
from tasks.core.metrics.scored import FloatArray
from tasks.core.watching import guard as guarding
from tasks.core.watching.cutting import Cutting
from tasks.core.watching.head import Head, after_look, frontier
from tasks.core.watching.looking import Seen
from tasks.core.watching.windows import Due, windows_between
from tasks.data import open_source_of
from tasks.guard import Guard
from tasks.io.clock import utc_now
from tasks.io.setup import Setup
from tasks.io.window_entries import judged_since
from tasks.io.window_rows import DataWindows, LogWindows, WindowSource, read_windows
from tasks.io.window_stream import WindowStream
from tasks.retries import TRANSIENT
from tasks.stage_task import stage_task


@dataclass(frozen=True, kw_only=True, eq=False)
class Asked:
    """What a run was asked to look at.

    Attributes
    ----------
    since, until : float
        Slice of the clock; with a finite ``since`` it is a look back, of which nothing is recorded.
    now : float
        The present on a clock of timestamps, else infinite.
    dry_run : bool
        Look and report, record nothing.
    """

    since: float = -math.inf
    until: float = math.inf
    now: float = math.inf
    dry_run: bool = False

    @property
    def looks_back(self) -> bool:
        """True when a past range is looked at again."""
        return math.isfinite(self.since)

    @property
    def records(self) -> bool:
        """True when looks are committed."""
        return not (self.looks_back or self.dry_run)


@dataclass(frozen=True, kw_only=True, eq=False)
class Looks:
    """What a run has looked at in one phase.

    Attributes
    ----------
    looks : tuple of dict
        In time order, with everything (`tasks.core.watching.looked.Looked.to_dict`).
    memory : Memory
        What the judge remembers at the end.
    due : Due
        What was due.
    decision_id : str | None
        The newest entry of the ledger's stream; None for an empty one.
    newest : Rows | None
        Rows of the newest window that had any.
    seen : Seen | None
        The newest look.
    """

    looks: tuple[Mapping[str, Any], ...]
    memory: Memory
    due: Due
    decision_id: str | None = None
    newest: Rows | None = None
    seen: Seen | None = None


def read_question(setup: Setup, *, since: str | None, until: str | None, dry_run: bool) -> Asked:
    """Turn what was typed into positions.

    Raises
    ------
    InputError
        When a moment is not on the model's clock.
    """
    clock = Cutting.of(setup.config).clock
    now = utc_now().timestamp() if clock == "timestamp" else math.inf
    return Asked(
        since=-math.inf if since is None else parse_position(since, clock=clock),
        until=math.inf if until is None else parse_position(until, clock=clock),
        now=now,
        dry_run=dry_run or setup.config.monitoring.run_mode == "dry_run",
    )


def windows_of(setup: Setup, guard: Guard) -> WindowSource:
    """Return where the model's windows come from."""
    if setup.config.monitoring.source == "log":
        return LogWindows(setup.stores.log, setup.config)
    return DataWindows(open_source_of(setup), also=guard.model.columns)


def stream_of(setup: Setup, guard: Guard, phase: Phase) -> WindowStream:
    """Return the stream of looks of a phase."""
    stores = setup.stores
    return WindowStream(
        ledger=stores.ledger, log=stores.log, model=setup.model, phase=phase, clock=guard.watch.clock
    )


@stage_task(**TRANSIENT, task_run_name="look at {phase.value}")
def look_at_windows(setup: Setup, guard: Guard, asked: Asked, phase: Phase) -> Looks:
    """Look at every window of a phase that is due, oldest first, and commit each before the next."""
    stream, source = stream_of(setup, guard, phase), windows_of(setup, guard)
    head = Head(memory=Memory.empty()) if asked.looks_back else stream.head()
    positions, due = find_due(setup, guard, asked, phase, head, source)
    told: list[Mapping[str, Any]] = []
    newest, seen = None, None
    for found in read_windows(source, due.windows, positions=positions):
        seen = guarding.look(guard, found.due, found.rows, late=found.late, head=head, config=setup.config)
        if asked.records:
            head = commit(setup, guard, stream, seen, head)
        else:
            head = Head(memory=seen.memory, version=guard.version)
        told.append(seen.looked.to_dict(clock=guard.watch.clock))
        newest = guarding.readable_rows(guard, found.rows) if len(found.rows) else newest
        report_progress(len(told), len(due.windows), told[-1])
    entry = setup.stores.ledger.last(setup.model, stream.name)
    return Looks(
        looks=tuple(told), memory=head.memory, due=due, decision_id=entry.id if entry else None, newest=newest,
        seen=seen,
    )  # fmt: skip


def find_due(
    setup: Setup, guard: Guard, asked: Asked, phase: Phase, head: Head, source: WindowSource
) -> tuple[FloatArray, Due]:
    """Return the positions of the rows from the frontier on, and the windows to look at."""
    learned = guard.watch.trained_to
    if asked.looks_back:
        return _look_back(setup, asked, phase, source, learned=learned)
    judged = None
    if phase is Phase.OUTCOMES:
        judged = judged_since(setup.stores.ledger, setup.model, Phase.INPUTS, head.end)
    positions = source.positions(frontier(head, learned=learned, judged=judged))
    if judged is not None and asked.dry_run:
        judged += unrecorded(setup, guard, asked, source)
    return positions, guarding.find_due(
        positions, guard, phase, head, config=setup.config, judged=judged, now=asked.now, until=asked.until
    )


def _look_back(
    setup: Setup, asked: Asked, phase: Phase, source: WindowSource, *, learned: float | None
) -> tuple[FloatArray, Due]:
    """Return the same for a past range that is looked at again."""
    positions = source.positions(asked.since)
    span = Window(asked.since, asked.until)
    cutting = Cutting.of(setup.config)
    windows = windows_between(positions, cutting=cutting, phase=phase, window=span, trained_to=learned)
    newest = float(positions[-1]) if len(positions) else None
    return positions, Due(windows=windows, newest=newest)


def unrecorded(setup: Setup, guard: Guard, asked: Asked, source: WindowSource) -> list[Window]:
    """Return the windows whose inputs a dry run looks at: it shows their outcomes as well."""
    head = stream_of(setup, guard, Phase.INPUTS).head()
    _, due = find_due(setup, guard, asked, Phase.INPUTS, head, source)
    return [each.window for each in due.windows]


def commit(setup: Setup, guard: Guard, stream: WindowStream, seen: Seen, head: Head) -> Head:
    """Commit a look with its alert; return where the stream stands then."""
    alert = window_alert(seen.looked, head.alert, teller=guarding.teller_of(guard, config=setup.config))
    entry = stream.commit(seen, alert, after=head.seq)
    return after_look(head, seen, alert, seq=entry.seq)


def report_progress(done: int, total: int, look: Mapping[str, Any]) -> None:
    """Say in the run's log how far it is: each of few windows, else every tenth part."""
    if total <= 10 or done % max(total // 10, 1) == 0 or done == total:
        get_run_logger().info(
            "%s %d/%d, window from %s: %s", look["phase"], done, total, look["from"], look["level"]
        )

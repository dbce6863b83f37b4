"""The guard of a champion: who is watched and by what, and one look at one window with its rows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from evergreen.tasks.core.alerts.alert import Alert
from evergreen.tasks.core.arrays import BoolArray, FloatArray
from evergreen.tasks.core.config import ModelConfig
from evergreen.tasks.core.data.clock import Window
from evergreen.tasks.core.data.rows import Rows
from evergreen.tasks.core.data.times import refuse_mixed_zones
from evergreen.tasks.core.drift.detect import DetectorState
from evergreen.tasks.core.drift.reference import Reference
from evergreen.tasks.core.drift.types import Phase
from evergreen.tasks.core.errors import DataError
from evergreen.tasks.core.metrics.base import Metric
from evergreen.tasks.core.metrics.scored import Scored
from evergreen.tasks.core.monitoring.reference_series import FrozenReference, ReferenceSeries
from evergreen.tasks.core.monitoring.setup import (
    VERSION,
    MonitorSetup,
    prepare_setup,
    served_answers,
    show_missing,
    with_logged_answers,
)
from evergreen.tasks.core.monitoring.window_alert import AlertPolicy
from evergreen.tasks.core.monitoring.window_check import (
    WindowCheck,
    check_window,
    close_champion_period,
    refuse_window,
    with_late_labels,
)
from evergreen.tasks.core.monitoring.windows import DueWindow, Windowing, WindowSchedule, due_windows
from evergreen.tasks.core.seeds import seed_for
from evergreen.tasks.core.training.scoring import Scorer
from evergreen.tasks.core.verdict import Reason

# The head of a stream of looks: where it stands, and from where on rows matter to the next look.


@dataclass(frozen=True, kw_only=True)
class StreamPosition:
    """Where a stream of looks stands.

    Attributes
    ----------
    seq : int
        Number of its last entry; 0 for an empty stream.
    end : float | None
        End of the last window; None before the first.
    version : int | None
        The champion that was looked at.
    memory : Memory
        What the judge remembers; empty where the log has been purged of it.
    alert : Alert | None
        The alert of the last look.
    """

    seq: int = 0
    end: float | None = None
    version: int | None = None
    memory: DetectorState
    alert: Alert | None = None


def frontier(head: StreamPosition, *, learned: float | None, judged: Sequence[Window] | None = None) -> float:
    """Return the position from which on rows matter to the next look.

    Parameters
    ----------
    learned : float | None
        Position from which on rows are new to the champion.
    judged : sequence of Window, optional
        For ``outcomes``: windows whose inputs were judged, oldest first.
    """
    place = head.end if head.end is not None else -math.inf if learned is None else learned
    return min(place, judged[0].start) if judged else place


def after_check(head: StreamPosition, seen: WindowCheck, alert: Alert, *, seq: int) -> StreamPosition:
    """Return where the stream stands once a look is kept as its entry number ``seq``."""
    looked = seen.looked
    return replace(
        head, seq=seq, end=looked.window.end, version=looked.version, memory=seen.memory, alert=alert
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class ChampionMonitor:
    """A champion, its own past, and what it is watched by."""

    model: Scorer
    past: ReferenceSeries
    watch: MonitorSetup

    @property
    def version(self) -> int:
        """The champion's version."""
        return self.watch.version

    @property
    def phases(self) -> tuple[Phase, ...]:
        """Phases whose kinds of drift are looked at; ``inputs`` always, for it cuts the windows of both."""
        return tuple(phase for phase in Phase if phase is Phase.INPUTS or phase in self.watch.nulls)


def prepare_monitor(
    model: Scorer,
    frozen: FrozenReference,
    *,
    config: ModelConfig,
    metric: Metric,
    version: int,
    trained_to: float | None,
) -> ChampionMonitor:
    """Prepare the watch of a version from what was frozen with it.

    Parameters
    ----------
    metric : Metric
        What performance is followed by.
    version : int
        Its number.
    trained_to : float | None
        Position from which on rows are new to it; None where that is not known.
    """
    watch = prepare_setup(
        Reference.from_dict(frozen.profile),
        frozen.past,
        config=config,
        schema=model.schema,
        metric=metric,
        version=version,
        trained_to=trained_to,
    )
    return ChampionMonitor(model=model, past=frozen.past, watch=watch)


def find_due(
    positions: FloatArray,
    guard: ChampionMonitor,
    phase: Phase,
    head: StreamPosition,
    *,
    config: ModelConfig,
    judged: Sequence[Window] | None = None,
    now: float = math.inf,
    until: float = math.inf,
) -> WindowSchedule:
    """Return the windows that a phase has to check next; see ``monitoring.windows.due_windows``."""
    return due_windows(
        positions,
        cutting=Windowing.of(config),
        phase=phase,
        last_end=head.end,
        trained_to=guard.watch.trained_to,
        judged=judged,
        now=now,
        until=until,
        most=config.monitoring.max_windows,
    )


def monitor_window(
    guard: ChampionMonitor,
    due: DueWindow,
    rows: Rows,
    *,
    late: int,
    head: StreamPosition,
    config: ModelConfig,
) -> WindowCheck:
    """Look at one window; one that cannot be read is INSUFFICIENT by name, not a crash.

    Parameters
    ----------
    rows : Rows
        Its rows; in the phase ``outcomes`` with the labels known by then.
    late : int
        Labels that came too late for it.
    head : Head
        Where the stream stands: a champion that was not looked at before begins with an empty memory.
    """
    changed = head.version is not None and head.version != guard.version
    memory = DetectorState.empty() if changed else head.memory
    rng = np.random.default_rng(seed_for(config.model, str(due.window.start), due.phase.value))
    try:
        _require_plain_times(config, rows)
        rows = readable_rows(guard, rows)
        scored, own = _answers_to(guard, rows, config)
        seen = check_window(guard.watch, due, rows, scored, memory=memory, rng=rng, answered_rows=own)
    except DataError as error:
        reason = Reason(code="unreadable", message=str(error), n=len(rows))
        seen = refuse_window(guard.watch, due, reason, rows=len(rows), memory=memory)
    seen = with_late_labels(seen, late)
    return close_champion_period(seen, head.memory) if changed else seen


def readable_rows(guard: ChampionMonitor, rows: Rows) -> Rows:
    """Return a window's rows with missing values for what the log conceals."""
    return show_missing(rows, guard.watch.concealed, guard.watch.config)


def alert_policy(guard: ChampionMonitor, *, config: ModelConfig) -> AlertPolicy:
    """Return who tells the alarms of a guard's looks."""
    return AlertPolicy(
        model=config.model,
        clock=guard.watch.clock,
        config=config.alerts,
        critical=config.drift_critical,
        private=frozenset(config.data.private),
    )


def _require_plain_times(config: ModelConfig, rows: Rows) -> None:
    """Check that the rows' own times say which window they belong to."""
    data = config.data
    if data.clock == "timestamp" and data.time in rows.frame:
        refuse_mixed_zones(rows.frame[data.time])


def _answers_to(guard: ChampionMonitor, rows: Rows, config: ModelConfig) -> tuple[Scored, BoolArray | None]:
    """Return the champion's answers, and to which rows: those it gave where they were logged, else what it would say.

    Where the log conceals features it cannot be asked anew: rows that others answered have no answer of its own.
    """
    if guard.watch.concealed and VERSION in rows.frame:
        return served_answers(guard.model, rows, version=guard.version, config=config)
    scored = guard.model.score(rows, config=config)
    if config.monitoring.source == "log":
        return with_logged_answers(scored, rows, version=guard.version), None
    return scored, None

"""The guard of a champion: who is watched and by what, and one look at one window with its rows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tasks.core.alerts.window import Teller
from tasks.core.config import ModelConfig
from tasks.core.data.clock import Window
from tasks.core.data.rows import Rows
from tasks.core.data.zones import refuse_mixed_zones
from tasks.core.drift.reference import Reference
from tasks.core.drift.words import Phase
from tasks.core.errors import DataError
from tasks.core.judging.memory import Memory
from tasks.core.learning.scorer import Scorer
from tasks.core.metrics.base import Metric
from tasks.core.metrics.scored import BoolArray, FloatArray, Scored
from tasks.core.records.frozen import Frozen
from tasks.core.seeds import seed_for
from tasks.core.verdict import Reason
from tasks.core.watching.concealed import own_answers, show_missing
from tasks.core.watching.cutting import Cutting
from tasks.core.watching.head import Head
from tasks.core.watching.logged import VERSION, with_logged_answers
from tasks.core.watching.looking import Seen, close_reign, look_at, refuse_window, with_late_labels
from tasks.core.watching.past import Past
from tasks.core.watching.watch import Watch, prepare_watch
from tasks.core.watching.windows import Due, DueWindow, due_windows


@dataclass(frozen=True, kw_only=True, eq=False)
class Guard:
    """A champion, its own past, and what it is watched by."""

    model: Scorer
    past: Past
    watch: Watch

    @property
    def version(self) -> int:
        """The champion's version."""
        return self.watch.version

    @property
    def phases(self) -> tuple[Phase, ...]:
        """Phases whose kinds of drift are looked at; ``inputs`` always, for it cuts the windows of both."""
        return tuple(phase for phase in Phase if phase is Phase.INPUTS or phase in self.watch.nulls)


def prepare_guard(
    model: Scorer,
    frozen: Frozen,
    *,
    config: ModelConfig,
    metric: Metric,
    version: int,
    trained_to: float | None,
) -> Guard:
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
    watch = prepare_watch(
        Reference.from_dict(frozen.profile), frozen.past, config=config, schema=model.schema, metric=metric,
        version=version, trained_to=trained_to,
    )  # fmt: skip
    return Guard(model=model, past=frozen.past, watch=watch)


def find_due(
    positions: FloatArray,
    guard: Guard,
    phase: Phase,
    head: Head,
    *,
    config: ModelConfig,
    judged: Sequence[Window] | None = None,
    now: float = math.inf,
    until: float = math.inf,
) -> Due:
    """Return the windows that a phase has to look at next; see `tasks.core.watching.windows.due_windows`."""
    return due_windows(
        positions, cutting=Cutting.of(config), phase=phase, last_end=head.end, trained_to=guard.watch.trained_to,
        judged=judged, now=now, until=until, most=config.monitoring.max_windows,
    )  # fmt: skip


def look(guard: Guard, due: DueWindow, rows: Rows, *, late: int, head: Head, config: ModelConfig) -> Seen:
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
    memory = Memory.empty() if changed else head.memory
    rng = np.random.default_rng(seed_for(config.model, str(due.window.start), due.phase.value))
    try:
        _require_plain_times(config, rows)
        rows = readable_rows(guard, rows)
        scored, own = _answers_to(guard, rows, config)
        seen = look_at(guard.watch, due, rows, scored, memory=memory, rng=rng, answered_rows=own)
    except DataError as error:
        reason = Reason(code="unreadable", message=str(error), n=len(rows))
        seen = refuse_window(guard.watch, due, reason, rows=len(rows), memory=memory)
    seen = with_late_labels(seen, late)
    return close_reign(seen, head.memory) if changed else seen


def readable_rows(guard: Guard, rows: Rows) -> Rows:
    """Return a window's rows with missing values for what the log conceals."""
    return show_missing(rows, guard.watch.concealed, guard.watch.config)


def teller_of(guard: Guard, *, config: ModelConfig) -> Teller:
    """Return who tells the alarms of a guard's looks."""
    return Teller(
        model=config.model, clock=guard.watch.clock, config=config.alerts, private=frozenset(config.data.private)
    )  # fmt: skip


def _require_plain_times(config: ModelConfig, rows: Rows) -> None:
    """Check that the rows' own times say which window they belong to."""
    data = config.data
    if data.clock == "timestamp" and data.time in rows.frame:
        refuse_mixed_zones(rows.frame[data.time])


def _answers_to(guard: Guard, rows: Rows, config: ModelConfig) -> tuple[Scored, BoolArray | None]:
    """Return the champion's answers, and to which rows: those it gave where they were logged, else what it would say.

    Where the log conceals features it cannot be asked anew: rows that others answered have no answer of its own.
    """
    if guard.watch.concealed and VERSION in rows.frame:
        return own_answers(guard.model, rows, version=guard.version, config=config)
    scored = guard.model.score(rows, config=config)
    if config.monitoring.source == "log":
        return with_logged_answers(scored, rows, version=guard.version), None
    return scored, None

"""Watching in a replay: the windows that are due as of a step, looked at as the monitor looks at them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tasks.core.alerts.alert import AlertLevel
from tasks.core.alerts.window import window_alert
from tasks.core.data.clock import Window
from tasks.core.data.rows import Rows
from tasks.core.drift.words import Phase
from tasks.core.judging.memory import Memory
from tasks.core.replay.clock import Tick
from tasks.core.replay.stages import Court
from tasks.core.replay.version import Version
from tasks.core.watching.guard import Guard, find_due, look, prepare_guard, teller_of
from tasks.core.watching.head import Head, after_look, frontier
from tasks.core.watching.late import hide_late_labels, label_times
from tasks.core.watching.windows import DueWindow


@dataclass(frozen=True, kw_only=True)
class Watched:
    """What the looks of one step found.

    Attributes
    ----------
    levels : mapping of str to str
        Newest level of each kind of drift that was looked at in this step.
    opened : int
        Alarms that opened.
    """

    levels: Mapping[str, str] = field(default_factory=dict)
    opened: int = 0


@dataclass(kw_only=True)
class Watchman:
    """The monitor of one policy: where its two streams stand.

    Attributes
    ----------
    court : Court
        The policy's rows and configuration.
    heads : dict of Phase to Head
        Where each stream stands.
    judged : list of Window
        Windows whose inputs were looked at.
    newest : dict of Phase to dict
        The newest entry of each stream, as the ledger would hold it.
    """

    court: Court
    heads: dict[Phase, Head] = field(
        default_factory=lambda: {phase: Head(memory=Memory.empty()) for phase in Phase}
    )
    judged: list[Window] = field(default_factory=list)
    newest: dict[Phase, Mapping[str, Any]] = field(default_factory=dict)
    _guard: Guard | None = None

    @property
    def entries(self) -> list[Mapping[str, Any]]:
        """Return the newest entry of each stream that has one."""
        return [self.newest[phase] for phase in Phase if phase in self.newest]

    def watch(self, champion: Version, tick: Tick) -> Watched:
        """Look at every window that is due, both phases."""
        guard = self._post(champion)
        before = {phase: self.heads[phase].seq for phase in Phase}
        opened = sum(self._look(guard, phase, tick) for phase in guard.phases)
        levels = {
            kind: verdict["level"]
            for phase, entry in self.newest.items()
            if self.heads[phase].seq > before[phase]
            for kind, verdict in entry["kinds"].items()
        }
        return Watched(levels=levels, opened=opened)

    def _post(self, champion: Version) -> Guard:
        """Return the guard of a champion, prepared once a reign."""
        if self._guard is None or self._guard.version != champion.number:
            config = self.court.config
            plan = champion.model.plan
            self._guard = prepare_guard(
                champion.model, champion.frozen, config=config, metric=self.court.tools.metric(config),
                version=champion.number,
                trained_to=plan.unseen_from if plan.unseen_from is not None else champion.learned_to,
            )  # fmt: skip
        return self._guard

    def _look(self, guard: Guard, phase: Phase, tick: Tick) -> int:
        """Look at what is due in one phase; return how many alarms opened."""
        head, config = self.heads[phase], self.court.config
        judged = self._waiting(head) if phase is Phase.OUTCOMES else None
        since = frontier(head, learned=guard.watch.trained_to, judged=judged)
        positions = self.court.history.seen(since, tick.until)
        due = find_due(
            positions, guard, phase, head, config=config, judged=judged, now=tick.until, until=tick.until
        )
        return sum(self._look_at(guard, one) for one in due.windows)

    def _look_at(self, guard: Guard, due: DueWindow) -> int:
        """Look at one window and keep what the ledger would."""
        config, head = self.court.config, self.heads[due.phase]
        rows, late = self._rows(due)
        seen = look(guard, due, rows, late=late, head=head, config=config)
        alert = window_alert(seen.looked, head.alert, teller=teller_of(guard, config=config))
        self.heads[due.phase] = after_look(head, seen, alert, seq=head.seq + 1)
        self.newest[due.phase] = {
            **seen.looked.to_entry(clock=guard.watch.clock),
            "alert": alert.to_dict(),
        }
        if due.phase is Phase.INPUTS:
            self.judged.append(due.window)
        return sum(alarm.level is not AlertLevel.WARNING for alarm in alert.opened)

    def _rows(self, due: DueWindow) -> tuple[Rows, int]:
        """Return a window's rows; those of outcomes with the labels known by then, and how many came later."""
        config, rows = self.court.config, self.court.history.between(due.window)
        if due.phase is Phase.INPUTS:
            return rows, 0
        known = label_times(rows, config=config)
        return hide_late_labels(rows, target=config.data.target, known=known, known_by=due.known_by)

    def _waiting(self, head: Head) -> list[Window]:
        return [one for one in self.judged if head.end is None or one.start >= head.end]

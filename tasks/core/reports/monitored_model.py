"""What there is to tell of a monitored model: its windows, oldest first, and what a reader asks of them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from evergreen.tasks.core.config import ModelConfig
from evergreen.tasks.core.drift.types import DriftKind, Level, worst
from evergreen.tasks.core.profiles.profile import Profile
from evergreen.tasks.core.reports.charts import Axis, pool, runs
from evergreen.tasks.core.verdict import StageResult

JUDGED = (Level.QUIET, Level.WARNING, Level.DRIFT)


@dataclass(frozen=True, kw_only=True)
class ColumnMove:
    """One column that moved, and how long it has."""

    column: str
    signal: str
    """``column``, ``signal``: the column, and what of it moved (of several signals the most severe)."""
    kind: DriftKind
    """Kind of drift."""
    observed: float
    expected: float
    effect: float
    limit: float
    confidence: float
    """``observed``, ``expected``, ``effect``, ``limit``, ``confidence``: in the newest of its windows; NaN where
    the window does not say. ``confidence`` is one minus the corrected p-value."""
    alarm: bool
    """True when it was (part of) an alarm in any of its windows."""
    first: int
    last: int
    """``first``, ``last``: places of its windows among those reported; between them no judged window was without the
    move."""

    @property
    def times(self) -> float:
        """The effect in units of its limit; NaN without a limit."""
        return abs(self.effect) / self.limit if self.limit > 0 else math.nan


@dataclass(frozen=True, kw_only=True, eq=False)
class MonitoredModel:
    """A model that is monitored, and its windows."""

    config: ModelConfig
    """The model's configuration."""
    windows: Sequence[Mapping[str, Any]]
    """As in the JSON of ``evergreen monitor``, oldest first."""
    promotions: Sequence[Mapping[str, Any]] = ()
    """``version``, ``at`` (text) and ``kind`` of each change of champion, oldest first."""
    profiles: tuple[tuple[Profile, Profile], ...] = ()
    """Pairs over one grid: the reference, and the newest window; empty where distributions are not at hand."""
    limits: Mapping[str, str] = field(default_factory=dict)
    """What is to be said of how the limits were made, beside the policy: a name and a sentence each."""
    concluded: Level | None = None
    """What the run concluded; None: the most severe of the newest levels."""
    open_alarms: Sequence[Mapping[str, Any]] = ()
    """``kind``, ``column``, ``since`` of the alarms that are open."""

    @classmethod
    def after(cls, result: StageResult, *, config: ModelConfig, **options: Any) -> MonitoredModel:
        """Return what a monitoring run looked at; ``options`` are fields, e.g. more windows than the run's own."""
        facts = {"windows": result.details["windows"], "open_alarms": result.details.get("open_alarms", ())}
        return cls(config=config, concluded=Level.of(result.state), **{**facts, **options})

    @property
    def model(self) -> str:
        """Registered model name."""
        return self.config.model

    @cached_property
    def private(self) -> frozenset[str]:
        """Columns of which neither a value nor a category's name is shown."""
        named = frozenset(self.config.data.private)
        return named | {"@outcome", "@decision"} if self.config.data.target in named else named

    @cached_property
    def now(self) -> dict[DriftKind, Level]:
        """The newest level of each kind that was checked: of the newest window that could be judged, if any."""
        newest = {}
        for kind in DriftKind:
            levels = [level for window in self.windows if (level := level_of(window, kind)) is not None]
            judged = [level for level in levels if level is not Level.INSUFFICIENT]
            if levels:
                newest[kind] = judged[-1] if judged else Level.INSUFFICIENT
        return newest

    @property
    def level(self) -> Level:
        """What the run concluded, else the most severe of the newest levels."""
        return worst(self.now.values()) if self.concluded is None else self.concluded

    @cached_property
    def moves(self) -> tuple[ColumnMove, ...]:
        """Every move, the ones that go on first, alarms before warnings, then by effect in units of its limit."""

        def rank(move: ColumnMove) -> tuple[bool, bool, float]:
            return not self.goes_on(move), not move.alarm, -float(np.nan_to_num(move.times))

        moves = [move for kind in DriftKind for move in _moves(self.windows, kind)]
        return tuple(sorted(moves, key=rank))

    @cached_property
    def current(self) -> tuple[ColumnMove, ...]:
        """The moves that go on in the newest window judged for their kind."""
        return tuple(move for move in self.moves if self.goes_on(move))

    @cached_property
    def still_open(self) -> tuple[Mapping[str, Any], ...]:
        """Open alarms of columns that do not move in the newest windows: they have not resolved yet."""
        moving = {(move.kind.value, move.column) for move in self.current}
        return tuple(one for one in self.open_alarms if (one["kind"], one["column"]) not in moving)

    def goes_on(self, move: ColumnMove) -> bool:
        """True when the newest window judged for this kind still shows the move."""
        return move.last == self._newest[move.kind]

    @cached_property
    def _newest(self) -> dict[DriftKind, int]:
        """Place of the newest judged window of each kind."""
        places = enumerate(self.windows)
        return {kind: at for at, window in places for kind in DriftKind if level_of(window, kind) in JUDGED}

    @cached_property
    def performance(self) -> Mapping[str, Any] | None:
        """The newest known performance: measured if any window was, else estimated; None without either."""
        performances = [one for window in self.windows if (one := performance_of(window)) is not None]
        measured = [one for one in performances if not one.get("estimated")]
        return (measured or performances)[-1] if performances else None


def level_of(window: Mapping[str, Any], kind: DriftKind) -> Level | None:
    """Return a window's level for a kind; None when it was not checked (yet)."""
    level = window.get("verdicts", {}).get(kind.value)
    return None if level is None else Level(level)


def performance_of(window: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return a window's performance when it holds a number; None where one of its numbers is not known."""
    performance = window.get("performance")
    if not performance or math.isnan(real(performance.get("value"))):
        return None
    return {
        name: None if isinstance(value, float) and math.isnan(value) else value
        for name, value in performance.items()
    }


def real(value: Any) -> float:
    """Return a number of a JSON document, NaN for what is none."""
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else math.nan


def rounded(value: Any, *, digits: int) -> Any:
    """Return a number of so many significant digits, None for one that is not finite; what is no float as it is.

    >>> rounded(0.123456789, digits=4), rounded(math.nan, digits=4), rounded("auc", digits=4)
    (0.1235, None, 'auc')
    """
    if not isinstance(value, float):
        return value
    return float(f"{value:.{digits}g}") if math.isfinite(value) else None


def _moves(windows: Sequence[Mapping[str, Any]], kind: DriftKind) -> list[ColumnMove]:
    """Join a column's consecutive windows into one move; windows that could not be judged are passed over."""
    done: list[ColumnMove] = []
    running: dict[str, ColumnMove] = {}
    for place, window in enumerate(windows):
        if level_of(window, kind) not in JUDGED:
            continue
        of_kind = [one for one in window.get("moved", ()) if one["kind"] == kind.value]
        moved = {str(one["column"]): one for one in reversed(of_kind)}
        done += [move for column, move in running.items() if column not in moved]
        running = {column: _move(one, kind, place, running.get(column)) for column, one in moved.items()}
    return [*done, *running.values()]


def _move(one: Mapping[str, Any], kind: DriftKind, place: int, before: ColumnMove | None) -> ColumnMove:
    named = ("observed", "expected", "effect", "limit", "confidence")
    numbers = {name: real(one.get(name)) for name in named}
    return ColumnMove(
        column=str(one["column"]),
        signal=str(one.get("signal", "")),
        kind=kind,
        alarm=bool(one.get("alarm")) or (before is not None and before.alarm),
        first=place if before is None else before.first,
        last=place,
        **numbers,
    )


# What was said of each kind of drift, window by window, as rows of a drawing.


Windows = Sequence[Mapping[str, Any]]
STRIP = 20
VOID = (
    '<defs><pattern id="void" width="5" height="5" patternUnits="userSpaceOnUse" patternTransform="rotate(45)">'
    '<rect width="5" height="5" class="s0"/><rect width="1.6" height="5" class="hatch"/></pattern></defs>'
)
"""Hatching of what could not be judged; a drawing that uses it must hold it."""


def level_strips(windows: Windows, axis: Axis, top: float) -> tuple[str, float]:
    """Return a row for each kind that was checked, and the height of all of them."""
    kinds = [kind for kind in DriftKind if any(level_of(window, kind) is not None for window in windows)]
    drawn = [_strip(windows, kind, axis, top + place * STRIP) for place, kind in enumerate(kinds)]
    return "".join(drawn), len(kinds) * STRIP


def _strip(windows: Windows, kind: DriftKind, axis: Axis, top: float) -> str:
    """Draw a kind's levels; the height of a mark says the level once more."""
    levels = [level_of(window, kind) for window in windows]
    pools = ([level for level in group if level is not None] for group in pool(levels, axis.cells))
    cells = [worst(group) if group else None for group in pools]
    parts = [axis.name(kind.value, top + STRIP - 7, css="kind")]
    for first, last, shown in runs(cells, by=lambda level: level):
        level = shown[0]
        if level is None:
            continue
        tall = {Level.QUIET: 0.3, Level.WARNING: 0.65}.get(level, 1.0) * (STRIP - 4)
        title = f"{kind.value}: {level.value}, {axis.span(windows, first, last)}"
        css = f"l-{level.value}"
        parts.append(axis.block(first, last, top + STRIP - 4 - tall, tall, css=css, title=title))
    return "".join(parts)

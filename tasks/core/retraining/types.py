"""The rules of a model's retraining, as its configuration says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

import numpy as np

from evergreen.tasks.core.arrays import FloatArray
from evergreen.tasks.core.config import ModelConfig
from evergreen.tasks.core.config.quiet_hours import QuietHours, parse_quiet_hours
from evergreen.tasks.core.config.units import Span
from evergreen.tasks.core.registry import plugged
from evergreen.tasks.core.serial import Struct
from evergreen.tasks.core.verdict import Reason

MOST_BACK_OFF = 8.0
"""A cooldown is never multiplied by more than this."""
MONTH = timedelta(days=30)
"""Length that ``retraining.max_per_30d`` counts in."""
_MONTHLY = Span(2592000.0, "seconds", "30d")


def length_text(length: timedelta) -> str:
    """Return a duration as people write it.

    >>> length_text(timedelta(days=14)), length_text(timedelta(hours=1)), length_text(timedelta(minutes=90))
    ('14d', '1h', '1.5h')
    """
    seconds, units = length.total_seconds(), (("d", 86400.0), ("h", 3600.0), ("m", 60.0))
    unit, size = next((one for one in units if seconds >= one[1]), ("s", 1.0))
    return f"{seconds / size:g}{unit}"


@dataclass(frozen=True, kw_only=True)
class RetrainPolicy:
    """When a retraining may start."""

    run_mode: str = "enabled"
    """One of ``enabled``, ``dry_run``, ``disabled``. Whether it may at all."""
    triggers: frozenset[str] = frozenset()
    """What asks."""
    every: Span = _MONTHLY
    """Trigger ``periodic``."""
    min_new_rows: int | None = None
    """Trigger ``labels``."""
    limits: Mapping[str, float] = field(default_factory=dict)
    """Least size by kind of drift."""
    cooldown: timedelta = timedelta(hours=1)
    """Shortest time between two starts."""
    max_per_30d: int | None = None
    """Most starts in 30 days."""
    back_off: float = 2.0
    hysteresis: float = 1.5
    """Factors, >= 1."""
    quiet_hours: tuple[QuietHours, ...] = ()
    """When nothing starts by itself."""
    fresh_rows: int = 100
    """Rows labelled since that a champion restored by rollback needs before it is challenged again."""
    options: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """What stands beside the name of a trigger."""


def retrain_policy(config: ModelConfig) -> RetrainPolicy:
    """Return the rules of a model."""
    chosen = config.retraining
    named = plugged(chosen.triggers)
    return RetrainPolicy(
        run_mode=chosen.run_mode,
        triggers=frozenset(named),
        options=named,
        every=chosen.every,
        min_new_rows=chosen.min_new_rows,
        limits=config.retraining_limits,
        cooldown=timedelta(seconds=chosen.cooldown.amount),
        max_per_30d=chosen.max_per_30d,
        back_off=chosen.back_off,
        hysteresis=chosen.hysteresis,
        quiet_hours=tuple(map(parse_quiet_hours, chosen.quiet_hours)),
        fresh_rows=max(chosen.min_new_rows or 0, config.monitoring.min_rows),
    )


# The types of retraining: a moment, a cause, a request, a decision.


MANUAL = "manual"
"""What asks when a person does."""
REQUESTED_BY = (MANUAL, "schedule", "drift", "performance")
"""Triggers a run can be asked for by: a person, a schedule, and the events of monitoring."""


@dataclass(frozen=True, kw_only=True)
class Moment:
    """When something is decided: on the calendar, and on the model's own clock."""

    at: datetime
    """Aware, UTC. Cooldown, budget and quiet hours go by it."""
    position: float | None = None
    """How far the rows have come on the model's clock; None where that is not known."""


@dataclass(frozen=True, kw_only=True)
class Cause(Struct):
    """One thing that asks for a retraining."""

    trigger: str
    """``data``, ``prediction``, ``outcome``, ``concept``, ``performance``, ``periodic``, ``labels`` or
    ``manual``."""
    name: str = ""
    """The column (or metric) of an alarm; empty for the others."""
    message: str = field(default="", metadata={"key": "said"})
    """A sentence for people."""
    size: float | None = None
    limit: float | None = None
    """How large it is and from what size on it asks; None where that has no number."""
    since: str | None = None
    """When the alarm began, as text on the model's clock."""
    position: float | None = None
    """The same as a position."""

    @property
    def key(self) -> str:
        """What it is about, ``trigger:name``."""
        return f"{self.trigger}:{self.name}"

    def to_reason(self) -> Reason:
        """Return it as a reason of what it starts."""
        return Reason(code=self.trigger, message=self.message, observed=self.size, limit=self.limit)


@dataclass(frozen=True, kw_only=True, eq=False)
class Labels:
    """Rows whose label is known now."""

    positions: FloatArray = field(default_factory=lambda: np.zeros(0))
    """Shape (n,). Their positions, ascending; older ones than anybody asks for may be left out."""

    @property
    def newest(self) -> float | None:
        """Position of the newest labelled row; None without any."""
        return float(self.positions[-1]) if len(self.positions) else None

    def after(self, position: float | None) -> int:
        """Return how many labelled rows lie past a position (None: all)."""
        if position is None:
            return len(self.positions)
        return len(self.positions) - int(np.searchsorted(self.positions, position, side="right"))


@dataclass(frozen=True, kw_only=True, eq=False)
class RetrainingRequest:
    """What asks for a retraining now, before it is decided whether it may start."""

    causes: tuple[Cause, ...] = ()
    """Alarms that are open and large enough, and ``manual`` where a person asks."""
    judged: bool = True
    """False when the newest windows could not be judged: no alarm then says nothing."""
    labels: Labels = field(default_factory=Labels)
    """Rows to train on."""
    champion_since: datetime | None = None
    """When the champion was promoted; None without one."""
    champion_trained_up_to: float | None = None
    """Position up to which the champion was trained; None where that is not known."""
    forced: str | None = None
    """Why a person overrides what holds it; None: it is not overridden."""

    @property
    def manual(self) -> bool:
        """True when a person asks."""
        return any(cause.trigger == MANUAL for cause in self.causes)


class RetrainingAction(StrEnum):
    """What is decided."""

    START = "start"
    HOLD = "hold"
    INSUFFICIENT = "insufficient"


@dataclass(frozen=True, kw_only=True)
class RetrainDecision(Struct):
    """Whether a retraining starts, and why."""

    outcome: RetrainingAction
    """start, hold or insufficient."""
    reasons: tuple[Reason, ...]
    """Every cause that starts it, or everything that holds it."""
    causes: tuple[Cause, ...] = ()
    """What asks."""
    next_allowed_at: datetime | None = None
    """When a retraining may start (or, where nothing asks, is due); None where no time alone changes that."""
    change_at: float | None = None
    """Position of the newest change that asks, for ``retraining.window: since_change``."""

    @property
    def starts(self) -> bool:
        """True when it starts."""
        return self.outcome is RetrainingAction.START

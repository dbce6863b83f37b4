"""The rules of a model's retraining, as its configuration says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta

from tasks.core.config import ModelConfig
from tasks.core.config.quiet_hours import QuietHours, parse_quiet_hours
from tasks.core.config.units import Span

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
    seconds = length.total_seconds()
    units = (("d", 86400.0), ("h", 3600.0), ("m", 60.0))
    unit, size = next(((unit, size) for unit, size in units if seconds >= size), ("s", 1.0))
    return f"{seconds / size:g}{unit}"


@dataclass(frozen=True, kw_only=True)
class RetrainPolicy:
    """When a retraining may start.

    Attributes
    ----------
    run_mode : {'enabled', 'dry_run', 'disabled'}
        Whether it may at all.
    triggers : frozenset of str
        What asks.
    every : Span
        Trigger ``periodic``.
    min_new_rows : int | None
        Trigger ``labels``.
    limits : mapping of str to float
        Least size by kind of drift.
    cooldown : timedelta
        Shortest time between two starts.
    max_per_30d : int | None
        Most starts in 30 days.
    back_off, hysteresis : float
        Factors, >= 1.
    quiet_hours : tuple of QuietHours
        When nothing starts by itself.
    fresh_rows : int
        Rows labelled since that a champion restored by rollback needs before it is challenged again.
    """

    run_mode: str = "enabled"
    triggers: frozenset[str] = frozenset()
    every: Span = _MONTHLY
    min_new_rows: int | None = None
    limits: Mapping[str, float] = field(default_factory=dict)
    cooldown: timedelta = timedelta(hours=1)
    max_per_30d: int | None = None
    back_off: float = 2.0
    hysteresis: float = 1.5
    quiet_hours: tuple[QuietHours, ...] = ()
    fresh_rows: int = 100

    def limit(self, kind: str) -> float:
        """Return the least size of an alarm of a kind that asks."""
        return self.limits.get(kind, 0.0)


def retrain_policy(config: ModelConfig) -> RetrainPolicy:
    """Return the rules of a model."""
    chosen = config.retraining
    return RetrainPolicy(
        run_mode=chosen.run_mode,
        triggers=frozenset(chosen.triggers),
        every=chosen.every,
        min_new_rows=chosen.min_new_rows,
        limits={
            "data": chosen.drift_threshold,
            "prediction": chosen.drift_threshold,
            "outcome": chosen.outcome_shift,
            "concept": chosen.concept_rise,
            "performance": chosen.performance_drop,
        },
        cooldown=timedelta(seconds=chosen.cooldown.amount),
        max_per_30d=chosen.max_per_30d,
        back_off=chosen.back_off,
        hysteresis=chosen.hysteresis,
        quiet_hours=tuple(map(parse_quiet_hours, chosen.quiet_hours)),
        fresh_rows=max(chosen.min_new_rows or 0, config.monitoring.min_rows),
    )

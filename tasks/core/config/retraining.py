"""When and on what a model is trained again."""

from __future__ import annotations

from typing import Literal

from tasks.core.config.section import OpenFraction, Section
from tasks.core.config.units import AnySpan, Duration, Span


class RetrainingConfig(Section):
    """Window of training rows, triggers and cooldown."""

    window: Literal["full"] | AnySpan = Span(15552000.0, "seconds", "180d")
    """Newest part of history that training learns from: a duration, a number of rows, or `full`."""
    drift_threshold: OpenFraction = 0.25
    """Drift level that asks for a retraining."""
    performance_drop: OpenFraction = 0.05
    """Relative loss of performance that asks for a retraining."""
    cooldown: Duration = Span(3600.0, "seconds", "1h")
    """Shortest time between two retrainings of one model, whatever asked for them."""
    weighted: bool = False
    """Weight training rows by recency."""

"""What monitoring looks at, when it warns, and whom it tells."""

from __future__ import annotations

from typing import Literal

from pydantic import model_validator

from tasks.core.config.section import OpenFraction, Positive, Section
from tasks.core.config.units import AnySpan, Duration, Span


class MonitoringConfig(Section):
    """When the monitor runs and what one look covers."""

    run_mode: Literal["disabled", "dry_run", "enabled"] = "enabled"
    """A dry run reports and never acts."""
    interval: Duration = Span(3600.0, "seconds", "1h")
    """How often the flow runs."""
    window: AnySpan = Span(500.0, "rows", "500 rows")
    """What one look covers: a duration or a number of rows."""
    history: Duration = Span(2592000.0, "seconds", "30d")
    """How long profiles of windows are kept."""


class DriftConfig(Section):
    """Levels of drift."""

    psi_warning: Positive = 0.10
    """Population stability index that warns."""
    psi_critical: Positive = 0.25
    """Population stability index that is drift."""
    ks_significance: OpenFraction = 0.05
    """Level of the Kolmogorov–Smirnov test."""
    concept_threshold: OpenFraction = 0.15
    """Relative rise of the champion's loss that is concept drift."""

    @model_validator(mode="after")
    def _warning_comes_first(self) -> DriftConfig:
        if self.psi_warning > self.psi_critical:
            raise ValueError(
                f"drift.psi_warning {self.psi_warning} must not exceed drift.psi_critical {self.psi_critical}"
            )
        return self


class AlertsConfig(Section):
    """Levels that send a message."""

    drift_critical: OpenFraction = 0.25
    """Drift level of a critical alert."""
    performance_drop: OpenFraction = 0.05
    """Relative loss of performance that alerts."""

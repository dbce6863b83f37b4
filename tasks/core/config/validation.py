"""The gate: what a candidate must prove before it may challenge."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from evergreen.tasks.core.config.section import Count, Fraction, NonNegative, Plugged, Positive, Section


class LatencyLimits(Section):
    """Latency limits in milliseconds (operational: measured live, never replayed)."""

    p50_ms: Positive = 100.0
    """Median for one row."""
    p95_ms: Positive = 250.0
    """95th percentile for one row."""
    batch_rows: Count = 1000
    """Rows of the batch."""
    batch_p95_ms: Positive = 2000.0
    """95th percentile for the batch."""


class SliceConfig(Section):
    """Slices of the holdout that must not be left behind."""

    columns: list[str] = Field(default_factory=list)
    """Columns to slice by; default: categorical features of few values."""
    min_rows: Count = 50
    """Smaller slices are not judged."""
    max_drop: NonNegative = 0.25
    """How far the worst slice's metric may fall below the whole (absolute where bounded, else relative)."""


class ValidationConfig(Section):
    """Gates; each says PASS, FAIL or INSUFFICIENT with numbers."""

    floors: dict[str, float] = Field(default_factory=dict)
    """Least (error metrics: largest) allowed value by metric."""
    baseline_margin: NonNegative = 0.0
    """Margin over the naive baseline, absolute where bounded, else relative; the 95 % interval must lie above it."""
    baseline: Literal["constant", "persistence", "auto"] = "auto"
    """Baseline to beat. `constant`: majority, mean or random order; `persistence`: 'same as last' as well;
    `auto`: the constant one decides, and losing to 'same as last' is warned about by name."""
    max_calibration_error: Fraction = 0.25
    """Largest expected calibration error (probabilities)."""
    latency: LatencyLimits = LatencyLimits()
    """Latency limits."""
    slices: SliceConfig = SliceConfig()
    """Worst-slice limits."""
    max_model_mb: Positive = 500.0
    """Largest model in megabytes."""
    leakage_score: Fraction = 0.98
    """A single feature whose ranking power (AUC, |rank correlation|) on the holdout exceeds this looks like a leak;
    1.0 switches the check off."""
    min_rows: Count = 50
    """Fewer holdout rows end INSUFFICIENT."""
    gates: list[Plugged] = Field(default_factory=list)
    """Gates of the team's own, by dotted path, `package.module:function` (`function(context) -> Verdict`), or by the
    name an installed package gives; one that takes options is written `name: {option: value}` (docs/extending.md)."""

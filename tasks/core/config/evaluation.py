"""What a candidate must show: the gate's limits, the challenge of the champion, and its promotion."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from evergreen.tasks.core.config.units import (
    AnySpan,
    Count,
    Duration,
    Fraction,
    MetricName,
    NonNegative,
    OpenFraction,
    Plugged,
    Positive,
    Section,
    Span,
)
from evergreen.tasks.core.registry import GATES, require_registered

_Gate = Annotated[Plugged, AfterValidator(partial(require_registered, GATES))]


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
    gates: list[_Gate] = Field(default_factory=list)
    """Gates of the team's own, by dotted path, `package.module:function` (`function(context) -> Verdict`), or by the
    name an installed package gives; one that takes options is written `name: {option: value}` (docs/extending.md)."""


class CostThreshold(Section):
    """Choose the decision threshold on the holdout by the cheapest expected cost."""

    false_positive: NonNegative
    """Cost of a false alarm."""
    false_negative: NonNegative
    """Cost of a miss."""


class CustomMetric(Section):
    """A metric of the team's own: `function(scored) -> float`."""

    path: str
    """Dotted path, `package.module:function` or `package.module.function`."""
    greater_is_better: bool
    """Direction of the metric."""
    bounded: bool = False
    """True when it lies between 0 and 1, so that differences are absolute."""


class BusinessMetric(Section):
    """Worth of decisions by `data.value_column`: each outcome's gain as a multiple of the row's value, or fixed."""

    true_positive: float = 1.0
    """Multiple of the value gained on a hit."""
    false_positive: float = 0.0
    """Multiple of the value gained (negative: lost) on a false alarm."""
    false_negative: float = 0.0
    """Multiple of the value gained (negative: lost) on a miss."""
    true_negative: float = 0.0
    """Multiple of the value gained on a correct pass."""
    action_cost: NonNegative = 0.0
    """Fixed cost of every positive decision."""


class EvaluationConfig(Section):
    """Metrics, the test of champion against challenger, and its error budget."""

    metric: MetricName | None = None
    """Metric that decides, by scikit-learn's name.
    Default by problem: roc_auc, log_loss (multiclass), rmse, ndcg_at_3."""
    metrics: list[str] = Field(default_factory=list)
    """Further metrics that are measured and shown."""
    custom_metrics: dict[str, CustomMetric] = Field(default_factory=dict)
    """Metrics of the team's own by name."""
    business: BusinessMetric | None = None
    """Business metric `business_value`, needs `data.value_column`."""
    threshold: Fraction | CostThreshold | Literal["auto"] = 0.5
    """Decision threshold (binary): fixed, or chosen on the holdout by cost; `auto` maximises F1."""
    significance_level: OpenFraction = 0.05
    """Chance of any wrong promotion of this model within 90 days; each evaluation that can promote spends a part."""
    min_improvement: NonNegative = 0.02
    """Least difference worth a promotion: absolute for metrics bounded by 0 and 1, relative for error metrics."""
    policy: Literal["superiority", "non_inferiority"] = "superiority"
    """`non_inferiority` promotes equals by design: lower bound above minus `margin`."""
    strict: bool = False
    """True: the whole interval must lie beyond `min_improvement`."""
    margin: NonNegative = 0.01
    """Margin of `policy: non_inferiority`."""
    validation_window: AnySpan = Span(604800.0, "seconds", "7d")
    """Newest part of history, which champion and challenger are compared on; nothing in it was trained on."""
    dependence: Literal["auto", "blocked", "independent"] = "auto"
    """`auto`: rows are blocked where there is a clock, a group or an entity, else independent."""
    block: AnySpan | None = None
    """Length of a block; default: a day, or longer until neighbours are independent."""
    min_blocks: int = Field(default=7, ge=2)
    """Fewer blocks end INSUFFICIENT."""
    power: OpenFraction = 0.8
    """Power the report plans for, at twice `min_improvement`."""
    bootstrap: Count = 10000
    """Resamples where a bootstrap is the test."""
    max_rollback_attempts: int = Field(default=3, ge=0)
    """How often a promotion that fails its smoke test rolls back before it stops."""

    @model_validator(mode="after")
    def _strict_is_superiority(self) -> EvaluationConfig:
        if self.strict and self.policy == "non_inferiority":
            raise ValueError("evaluation.strict needs policy: superiority; remove one of the two")
        return self


class PromotionConfig(Section):
    """How a challenger becomes the champion."""

    evidence: Literal["offline", "shadow", "ab"] = "offline"
    """What promotes. `offline`: a won challenge; `shadow`, `ab`: a won challenge is ReadyForLiveTest, and the live test
    promotes."""
    refit: bool = True
    """After *superior*, refit the winning recipe on all labelled rows (timed data) before promoting."""
    refit_agreement: OpenFraction = 0.7
    """Least rank correlation (agreement of classes) of the refit's scores with the judged version's."""
    approval: Literal["auto", "manual"] = "auto"
    """`manual` pauses the challenge for an answer."""
    approval_timeout: Duration = Span(86400.0, "seconds", "1d")
    """How long to wait for the answer before the champion is kept."""

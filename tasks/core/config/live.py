"""How a challenger is tested on live traffic where `promotion.path` is `shadow` or `ab`, or by `evergreen ab`."""

from __future__ import annotations

from pydantic import Field, field_validator

from tasks.core.config.section import OpenFraction, Positive, Section
from tasks.core.config.units import AnySpan, Span


class LiveConfig(Section):
    """Defaults of live tests; `evergreen ab create` may change each of them for one test."""

    metric: str | None = None
    """A mean over rows or groups: accuracy, brier_score, log_loss, mse, mae, business_value, win_rate, ndcg_at_3, …
    Default: `evaluation.metric` where it is one, else its nearest relative (roc_auc: brier_score, rmse: mse)."""
    share: OpenFraction = 0.1
    """Share of the traffic that the challenger answers (`path: ab`)."""
    min_improvement: Positive | None = None
    """The improvement worth finding, absolute for metrics bounded by 0 and 1, else relative to the champion's metric
    before the test. Default: `evaluation.min_improvement`."""
    relative: bool = True
    """`false`: `min_improvement` is in the metric's own unit, also for losses, errors and amounts."""
    longest: AnySpan = Span(2419200.0, "seconds", "28d")
    """After it the champion is kept."""
    follow_up: AnySpan | None = None
    """A prediction counts when it is so old, with the outcome known by then. Default: `data.label_delay`; without one,
    with any outcome as soon as it is known."""
    clip: OpenFraction = 0.99
    """Quantile of the champion's past values at which an unbounded metric is clipped, at both ends."""
    guardrails: dict[str, Positive] = Field(default_factory=dict)
    """Metrics a challenger must not harm, each with the most by which it may be worse, in its own unit."""

    @field_validator("metric")
    @classmethod
    def _translate_metric(cls, value: str | None) -> str | None:
        return value.replace("@", "_at_") if value else value

    @field_validator("clip")
    @classmethod
    def _clip_is_an_upper_quantile(cls, value: float) -> float:
        if value <= 0.5:
            raise ValueError("live.clip must be above 0.5, e.g. 0.99")
        return value

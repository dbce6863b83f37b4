"""How a model is served, and how its challengers are tested on the traffic: canary ramps and live tests."""

from __future__ import annotations

from dataclasses import fields
from datetime import timedelta
from typing import Annotated, Literal

from pydantic import Field, field_validator

from evergreen.tasks.core.config.canary import STEPS, GuardrailLimits, Ramp
from evergreen.tasks.core.config.section import Count, MetricName, OpenFraction, Positive, Section
from evergreen.tasks.core.config.units import AnySpan, Duration, Span
from evergreen.tasks.core.errors import InputError

Megabytes = Annotated[float, Field(gt=0.0, le=1024.0)]


class ServingConfig(Section):
    """Limits of the prediction service, and what it keeps of its answers."""

    log: Literal["durable", "off"] = "durable"
    """`durable`: a prediction that was answered with 200 is in the log, synced to disk. `off`: nothing is kept."""
    private: Literal["hash", "leave_out"] = "hash"
    """What the log keeps of `data.private` columns: a keyed hash of each value, or nothing. Who a row is about is
    hashed in either case where `data.entity` is private."""
    max_rows: Count = 1000
    """Most rows of one request; more get 413. The log's queue has room for four such requests, and for 10,000 rows at
    least."""
    max_body_mb: Megabytes = 8.0
    """Largest body of a request in megabytes; a larger one gets 413 before it is read."""
    max_waiting: Count = 1024
    """Most requests that wait for an answer at once; further ones get 503 with Retry-After."""
    batch_rows: Count = 512
    """Most rows that waiting requests are joined to for one call of the model."""
    timeout: Duration = Span(10.0, "seconds", "10s")
    """Longest time for a request to arrive, and again for its answer; then 408 or 503."""
    rate_limit: Positive | None = None
    """Requests a second of each API key (without keys: of each client address) in the long run; more get 429."""
    rate_burst: Count = 100
    """Requests a key may send at once before `rate_limit` holds it back."""
    poll: Duration = Span(1.0, "seconds", "1s")
    """How often the registry's aliases are read; a moved @champion is served after this, loading and a smoke
    test."""


class LiveConfig(Section):
    """Defaults of live tests; `evergreen ab create` may change each of them for one test."""

    metric: MetricName | None = None
    """A mean over rows or groups: accuracy, brier_score, log_loss, mse, mae, business_value, win_rate, ndcg_at_3, …
    Default: `evaluation.metric` where it is one, else its nearest relative (roc_auc: brier_score, rmse: mse)."""
    share: OpenFraction = 0.1
    """Share of the traffic that the challenger answers (`promotion.evidence: ab`)."""
    min_improvement: Positive | None = None
    """The improvement worth finding, absolute for metrics bounded by 0 and 1, else relative to the champion's metric
    before the test. Default: `evaluation.min_improvement`."""
    relative: bool = True
    """`false`: `min_improvement` is in the metric's own unit, also for losses, errors and amounts."""
    max_duration: AnySpan = Span(2419200.0, "seconds", "28d")
    """Longest duration of a test; after it the champion is kept."""
    label_delay: AnySpan | None = None
    """A prediction counts when it is so old, with the outcome known by then. Default: `data.label_delay`; without one,
    with any outcome as soon as it is known."""
    winsorize: OpenFraction = 0.99
    """Quantile of the champion's past values at which an unbounded metric is clipped, at both ends."""
    guardrails: dict[str, Positive] = Field(default_factory=dict)
    """Metrics a challenger must not harm, each with the most by which it may be worse, in its own unit."""

    @field_validator("winsorize")
    @classmethod
    def _winsorize_is_an_upper_quantile(cls, value: float) -> float:
        if value <= 0.5:
            raise ValueError("live.winsorize must be above 0.5, e.g. 0.99")
        return value


# How canaries are ramped up, and what sends them back.


_RATIO = Field(gt=1.0, le=100.0)


class TrafficConfig(Section):
    """Canary ramps (`evergreen traffic ramp`) and the guardrails of every challenger that answers."""

    steps: list[float] = Field(default=list(STEPS))
    """Shares of the traffic that a canary gets one after the other."""
    min_rows: Count = 500
    """Rows that a challenger must have answered in a step before the next."""
    min_time: Duration = Span(600.0, "seconds", "10m")
    """Shortest step."""
    error_rise: OpenFraction | None = 0.005
    """Most by which a challenger's error rate may exceed the champion's; `null`: not watched."""
    latency_ratio: Annotated[float, _RATIO] | None = 1.5
    """How many times as long as the champion a challenger may take for the same rows; `null`: not watched."""
    score_shift: Annotated[float, Field(gt=0.0, lt=0.5)] | None = 0.1
    """Most by which the mean rank of a challenger's scores among the champion's may differ from 1/2; `null`: not
    watched."""
    false_aborts: OpenFraction = 0.05
    """Probability that challengers as good as the champion are ever sent back, over a whole ramp and all after it."""
    processes: Count = 1
    """Service processes that serve the model at once: each judges what it serves, and spends its part."""

    @field_validator("steps")
    @classmethod
    def _steps_rise(cls, value: list[float]) -> list[float]:
        try:
            return list(Ramp(arm="canary", steps=tuple(value)).steps)
        except InputError as error:
            raise ValueError(str(error)) from None

    @property
    def limits(self) -> GuardrailLimits:
        """Limits that challengers must keep."""
        values = {field.name: getattr(self, field.name) for field in fields(GuardrailLimits)}
        return GuardrailLimits(**values | {"min_time": timedelta(seconds=self.min_time.amount)})

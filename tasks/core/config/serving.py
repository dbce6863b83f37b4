"""How a model is served, and how its challengers are tested on the traffic: canary ramps and live tests."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from datetime import timedelta
from itertools import pairwise
from typing import Annotated, Literal

from pydantic import Field, field_validator

from evergreen.tasks.core.config.units import (
    AnySpan,
    Count,
    Duration,
    MetricName,
    OpenFraction,
    Positive,
    Section,
    Span,
)
from evergreen.tasks.core.errors import InputError
from evergreen.tasks.core.serial import Struct


@dataclass(frozen=True, kw_only=True)
class GuardrailLimits:
    """Limits that arms must keep.

    Attributes
    ----------
    error_rise : most by which an arm's error rate may exceed the champion's; None: not checked. So the other two.
    latency_ratio : how many times as long as the champion an arm may take for the same rows.
    score_shift : most by which the mean rank of an arm's scores among the champion's may differ from its own.
    false_aborts : probability that arms as good as the champion are ever stopped, over all rounds, arms and guardrails.
    min_rows : fewest rows of an arm in a round.
    min_time : shortest round.
    processes : how many processes check the same traffic, each what it serves itself.
    """

    error_rise: float | None = 0.005
    latency_ratio: float | None = 1.5
    score_shift: float | None = 0.1
    false_aborts: float = 0.05
    min_rows: int = 500
    min_time: timedelta = timedelta(minutes=10)
    processes: int = 1


CELLS = 10_000
"""The traffic is cut into so many cells by the hash of the entity; a share is a whole number of them (0.01 %)."""


# Canary ramps: the steps in which a challenger gets more of the traffic, and how long each lasts at least.


STEPS = (0.01, 0.05, 0.25, 0.5, 1.0)


@dataclass(frozen=True, kw_only=True)
class Ramp(Struct):
    """A canary ramp of one challenger.

    Attributes
    ----------
    arm : the challenger.
    steps : its shares, rising.
    min_rows : rows it must have answered in a step before the next.
    min_time : shortest step.

    Raises
    ------
    InputError
        When steps do not rise or are no shares.
    """

    arm: str
    steps: tuple[float, ...] = STEPS
    min_rows: int = 500
    min_time: timedelta = field(default=timedelta(minutes=10), metadata={"key": "min_seconds"})

    def __post_init__(self) -> None:
        object.__setattr__(self, "steps", tuple(self.steps))
        shares = [round(step * CELLS) / CELLS == round(step, 12) and 0.0 < step <= 1.0 for step in self.steps]
        if not self.steps or not all(shares) or any(a >= b for a, b in pairwise(self.steps)):
            allowed = f"rising shares above 0 up to 1 in whole 0.0001, e.g. {list(STEPS)}"
            raise InputError(f"Steps {list(self.steps)} of a ramp are not allowed. Allowed: {allowed}.")
        if self.min_rows < 1 or self.min_time < timedelta(0):
            given = f"min_rows {self.min_rows} and min_time {self.min_time}"
            allowed = "1 row or more, and no negative time"
            raise InputError(f"A ramp with {given} is not allowed. Allowed: {allowed}.")


Megabytes = Annotated[float, Field(gt=0.0, le=1024.0)]


class ServingConfig(Section):
    """Limits of the prediction service, and what it keeps of its answers."""

    log: Literal["durable", "off"] = "durable"
    """`durable`: a prediction that was answered with 200 is in the log, synced to disk. `off`: nothing is stored."""
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
    """Longest duration of a test; after it the champion stays."""
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

"""How canaries are ramped up, and what sends them back."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

from pydantic import Field, field_validator

from tasks.core.config.section import Count, OpenFraction, Section
from tasks.core.config.units import Duration, Span
from tasks.core.errors import InputError
from tasks.core.traffic.limits import Limits
from tasks.core.traffic.ramp import STEPS, Ramp

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
    def limits(self) -> Limits:
        """What challengers are held to."""
        return Limits(
            error_rise=self.error_rise,
            latency_ratio=self.latency_ratio,
            score_shift=self.score_shift,
            false_aborts=self.false_aborts,
            min_rows=self.min_rows,
            min_time=timedelta(seconds=self.min_time.amount),
            processes=self.processes,
        )

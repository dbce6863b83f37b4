"""When a model is trained again, on what, and how often at most."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, field_validator, model_validator

from evergreen.tasks.core.config.quiet_hours import parse_quiet_hours
from evergreen.tasks.core.config.units import (
    AnySpan,
    Count,
    Duration,
    Fraction,
    OpenFraction,
    Plugged,
    Section,
    Span,
)
from evergreen.tasks.core.registry import STRATEGIES, TRIGGERS, require_registered

PRESETS: Mapping[str, Mapping[str, Mapping[str, Any]]] = {
    "fixed_thresholds": {
        "drift": {
            "policy": "fixed_thresholds",
            "kinds": ["data", "outcome"],
            "ks_significance": 0.05,
            "outcome_threshold": 0.02,
        },
        "retraining": {
            "triggers": ["data", "outcome"],
            "drift_threshold": 0.0,
            "outcome_shift": 0.02,
            "cooldown": "1h",
            "back_off": 1.0,
            "hysteresis": 1.0,
        },
    }
}
"""Values by preset and section. ``fixed_thresholds``: p < 0.05 or an outcome shift above 2 %, hourly at most."""


def preset_values(name: object) -> dict[str, dict[str, Any]]:
    """Return the values of a preset, section by section; nothing for an unknown name."""
    values_by_section = PRESETS.get(name, {}) if isinstance(name, str) else {}
    return {section: dict(values) for section, values in values_by_section.items()}


_FACTOR = Field(ge=1.0, le=16.0)


def _weighting(value: object) -> object:
    """Read a plain yes, and a written no."""
    return "recency" if value is True else False if value == "none" else value


_Trigger = Annotated[Plugged, AfterValidator(partial(require_registered, TRIGGERS))]
_Strategy = Annotated[Plugged, AfterValidator(partial(require_registered, STRATEGIES))]


class RetrainingConfig(Section):
    """Triggers, limits and strategy of retraining."""

    run_mode: Literal["disabled", "dry_run", "enabled"] = "enabled"
    """A dry run decides, reports and never acts."""
    preset: Literal["fixed_thresholds"] | None = None
    """Ready set of rules: `fixed_thresholds` is any p below 0.05 or an outcome shift above 2 %, once an hour at
    most. What is written in the model's file wins over it."""
    triggers: list[_Trigger] = Field(
        default=["data", "prediction", "outcome", "concept", "performance", "periodic"]
    )
    """What asks for a retraining: alarms of monitoring by kind of drift, `periodic` (`every`), `labels`
    (`min_new_rows`), or one of the team's own by dotted path or by the name an installed package gives (with options:
    `name: {option: value}`). By hand it is always possible."""
    every: AnySpan = Span(2592000.0, "seconds", "30d")
    """Trigger `periodic`: so long after the last retraining (or the champion's training) the next one is due."""
    min_new_rows: Count | None = None
    """Trigger `labels`: so many rows labelled since the last retraining make one due."""
    drift_threshold: Fraction | None = None
    """Least PSI of a column whose alarm (data, prediction) asks for a retraining; 0: every alarm does. Default:
    `drift.psi_critical`."""
    outcome_shift: Fraction | None = None
    """Least total-variation shift of the outcome that asks; default: `drift.outcome_threshold`."""
    concept_rise: Fraction | None = None
    """Least relative rise of the champion's loss that asks; alarms of features' links with the outcome always do.
    Default: `drift.concept_threshold`."""
    performance_drop: OpenFraction | None = None
    """Least relative loss of the metric that asks; default: `drift.performance_threshold`."""
    cooldown: Duration = Span(3600.0, "seconds", "1h")
    """Shortest time between two retrainings of one model, whatever asked for them; failed ones count."""
    max_per_30d: Count | None = None
    """Most retrainings within 30 days."""
    back_off: Annotated[float, _FACTOR] = 2.0
    """Each retraining in a row that brought no new champion multiplies the cooldown by this, up to 8 times."""
    hysteresis: Annotated[float, _FACTOR] = 1.5
    """An alarm that was open when a challenger was refused asks again only when it is so many times as large."""
    quiet_hours: list[str] = Field(default_factory=list)
    """Hours in which nothing starts by itself, e.g. `22:00-06:00` or `22:00-06:00 Europe/Berlin` (default: UTC)."""
    window: Annotated[AnySpan | _Strategy, Field(union_mode="left_to_right")] = Span(
        15552000.0, "seconds", "180d"
    )
    """What training uses: the newest duration (`6mo`, `180d`) or number of rows, `full` history, or
    `since_change`: all since the last detected change; or a strategy of the team's own."""
    min_rows_since_change: Count = 1000
    """`window: since_change` reaches back at least so many rows."""
    weighted: Annotated[Literal[False] | _Strategy, BeforeValidator(_weighting)] = False
    """Weight of training rows: `recency` (or `true`: newer counts more, by `half_life`), `similarity` (the more a row
    is like the newest window, the more it counts), a strategy of the team's own, or `false`."""
    half_life: AnySpan | None = None
    """`weighted: recency`: a row counts half as much as one so much newer; default: half the training rows' length."""

    @field_validator("quiet_hours")
    @classmethod
    def _hours_can_be_read(cls, value: list[str]) -> list[str]:
        return [str(parse_quiet_hours(hours)) for hours in value]

    @model_validator(mode="after")
    def _labels_are_counted(self) -> RetrainingConfig:
        if "labels" in self.triggers and self.min_new_rows is None:
            raise ValueError("retraining.triggers names 'labels': set retraining.min_new_rows, or remove it")
        return self

"""Which windows monitoring checks, what counts as drift, and who is notified."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any, Literal, get_args

from pydantic import AfterValidator, Field, create_model, model_validator

from evergreen.tasks.core.config.units import (
    AnySpan,
    Count,
    Duration,
    Fraction,
    NonNegative,
    OpenFraction,
    Plugged,
    Positive,
    Rate,
    Section,
    Span,
    ToRate,
)
from evergreen.tasks.core.registry import DRIFT_MEASURES, require_registered

_Measure = Annotated[Plugged, AfterValidator(partial(require_registered, DRIFT_MEASURES))]

Kind = Literal["data", "prediction", "outcome", "concept", "performance"]


class MonitoringConfig(Section):
    """When the monitor runs and what one window covers."""

    run_mode: Literal["disabled", "dry_run", "enabled"] = "enabled"
    """A dry run reports and never acts."""
    source: Literal["data", "log"] = "data"
    """Where windows come from: the model's data source, scored by the champion, or the log of served predictions."""
    outcomes: Plugged = "log"
    """Where outcomes of served predictions come from (`source: log`): `log`, what was sent to the service, or a source
    of the team's own (docs/extending.md) whose outcomes win where it has some."""
    interval: Duration = Span(3600.0, "seconds", "1h")
    """How often the flow runs."""
    window: AnySpan = Span(500.0, "rows", "500 rows")
    """What one window covers: a duration or a number of rows."""
    min_rows: Count = 100
    """A window with fewer rows is INSUFFICIENT (fewer labelled rows: its outcome, concept and performance)."""
    max_windows: Count = 1000
    """Most windows one run catches up on; the next run goes on from there."""
    history: Duration = Span(2592000.0, "seconds", "30d")
    """How long profiles of windows are kept (the newest hundred windows stay however old they are)."""
    report_rows: int = Field(default=5000, ge=0)
    """Rows of the sample the Evidently page is drawn from (without `data.private` columns); 0: no such page."""


def _with_levels(section: type[Section]) -> type[Section]:
    """Give a section a key for the level of each registered drift measure, ``<name>_critical``."""
    text = "Level from which a column is drift (fixed thresholds):"
    levels: dict[str, Any] = {
        f"{name}_critical": (Positive | None, Field(default=None, description=f"{text} {one.advice}"))
        for name, one in DRIFT_MEASURES.built_in().items()
    }
    names: dict[str, Any] = {"__module__": section.__module__, "__doc__": section.__doc__}
    whole: type[Section] = create_model(section.__name__, __base__=section, **names, **levels)
    return whole


@_with_levels
class DriftConfig(Section):
    """What counts as drift."""

    policy: Literal["calibrated", "fixed_thresholds"] = "calibrated"
    """`calibrated`: limits from the model's own past and a budget of false alarms. `fixed_thresholds`:
    the fixed levels below, each window and column for itself; it alarms on noise, and docs/limits.md says how often."""
    kinds: list[Kind] = Field(default=list(get_args(Kind)), min_length=1)
    """Kinds of drift that are checked; the budget is shared among them."""
    false_alarms: ToRate = Rate(1.0, Span(7776000.0, "seconds", "90d"), "1 per 90d")
    """Budget of `calibrated`: false alarms expected of a stationary stream, e.g. `1 per 90d`, `1 per 50000 rows`."""
    min_effect: NonNegative = 0.03
    """Smallest move worth an alarm (`calibrated`): a share of rows, or of rank (0.03 of rank is about 0.1 standard
    deviations)."""
    num_evaluation_windows: Count = 3
    """An alarm considers this many of the newest windows of a column (`calibrated`)."""
    num_violation_windows: Count = 2
    """So many of them must have moved, the newest among them; fewer warn (`calibrated`)."""
    seasons: Literal["auto", "none"] = "auto"
    """`auto`: where hours of the day or days of the week differ, each has its own reference."""
    psi_warning: Positive = 0.10
    """Population stability index that warns."""
    psi_critical: Positive = 0.25
    """Population stability index that is drift."""
    ks_significance: OpenFraction = 0.05
    """Level of the Kolmogorov–Smirnov and χ² tests (`fixed_thresholds`), and of the corrected
    p-values that are shown."""
    outcome_threshold: OpenFraction = 0.02
    """Smallest shift of the outcome's distribution (total variation) that counts."""
    concept_threshold: OpenFraction = 0.15
    """Smallest relative rise of the champion's loss that is concept drift."""
    correlation_threshold: OpenFraction = 0.10
    """Smallest change of a feature's correlation with the outcome that is concept drift (Fisher's z)."""
    performance_threshold: OpenFraction = 0.05
    """Smallest relative loss of the metric that is performance drift."""
    measures: list[_Measure] = Field(default_factory=list)
    """Distances of the team's own that are shown for each column, by dotted path or by the name an installed package
    gives; `name: {critical: 0.2}` decides as well (fixed thresholds; docs/extending.md)."""

    @model_validator(mode="after")
    def _warning_comes_first(self) -> DriftConfig:
        pairs = {"psi_warning": "psi_critical", "num_violation_windows": "num_evaluation_windows"}
        for less, more in pairs.items():
            low, high = getattr(self, less), getattr(self, more)
            if low > high:
                raise ValueError(f"drift.{less} {low} must not exceed drift.{more} {high}")
        return self


class AlertsConfig(Section):
    """Who is notified, and from which level on."""

    notify: list[str] = Field(default_factory=list)
    """Prefect notification blocks, `type/name`, e.g. `slack-webhook/ops`; `env:NAME` and `secret:BLOCK` hold an
    Apprise URL. Empty: alerts stay in the ledger, the events and the Prefect UI."""
    level: Literal["warning", "drift"] = "drift"
    """Least level that sends a message."""
    drift_critical: OpenFraction | None = None
    """Population stability index from which an open alarm is called critical; default: `drift.psi_critical`."""
    performance_drop: OpenFraction | None = None
    """Smallest relative loss of performance that counts; default: `drift.performance_threshold`."""
    max_data_age: Duration | None = None
    """Alert when the newest row is older than this; default: five windows, what rows that come at random exceed once
    in 900 days, or one and a half times the longest silence of the reference, whichever is longest."""
    max_model_age: Duration | None = None
    """Alert when the champion's training ended longer ago; default: never."""
    min_free_disk: Fraction = 0.05
    """Alert when less of the disk is free."""

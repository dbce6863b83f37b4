"""The whole configuration of one model, and how a mapping becomes one or a clear error."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from pydantic import Field, ValidationError, model_validator

from evergreen.tasks.core.config.data import ContractConfig, DataConfig, SplitConfig
from evergreen.tasks.core.config.evaluation import EvaluationConfig, PromotionConfig, ValidationConfig
from evergreen.tasks.core.config.explain import explain_errors
from evergreen.tasks.core.config.monitoring import AlertsConfig, DriftConfig, MonitoringConfig
from evergreen.tasks.core.config.renamed import in_todays_keys
from evergreen.tasks.core.config.retraining import RetrainingConfig, preset_values
from evergreen.tasks.core.config.serving import LiveConfig, ServingConfig, TrafficConfig
from evergreen.tasks.core.config.training import TrainingConfig
from evergreen.tasks.core.config.units import Section, Span
from evergreen.tasks.core.errors import ConfigError

_CLOCK_SPANS = {
    "evaluation": ("validation_window", "block"),
    "split": ("purge", "holdout"),
    "data": ("label_delay",),
    "live": ("max_duration", "label_delay"),
    "retraining": ("window", "half_life"),
}
"""Keys of lengths on the model's clock, by section."""


class Problem(StrEnum):
    """Kind of prediction problem."""

    BINARY = "binary"
    MULTICLASS = "multiclass"
    REGRESSION = "regression"
    RANKING = "ranking"


class ModelConfig(Section):
    """One managed model."""

    model: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.\-]*$")
    """Name of the MLflow registered model; an environment is a prefix (`prod.fraud`). Default: the file's name."""
    problem: Problem
    """`binary`, `multiclass`, `regression` or `ranking`."""
    description: str = ""
    """One sentence for people, shown on the registered model."""
    artifacts: list[str] = Field(default_factory=list)
    """Functions of the team's own, `package.module:function`, that log files, frames and figures beside a stage's own
    (docs/extending.md); one that fails is a warning."""
    data: DataConfig
    split: SplitConfig = SplitConfig()
    contract: ContractConfig = ContractConfig()
    training: TrainingConfig
    evaluation: EvaluationConfig = EvaluationConfig()
    validation: ValidationConfig = ValidationConfig()
    promotion: PromotionConfig = PromotionConfig()
    live: LiveConfig = LiveConfig()
    monitoring: MonitoringConfig = MonitoringConfig()
    drift: DriftConfig = DriftConfig()
    alerts: AlertsConfig = AlertsConfig()
    retraining: RetrainingConfig = RetrainingConfig()
    serving: ServingConfig = ServingConfig()
    traffic: TrafficConfig = TrafficConfig()

    @model_validator(mode="after")
    def _roles_fit_the_problem(self) -> ModelConfig:
        if self.problem is Problem.RANKING and self.data.group is None:
            remedy = "name the column of the group to rank in"
            raise ValueError(f"data.group is needed for problem: ranking; {remedy}")
        if self.evaluation.business and self.data.value_column is None:
            remedy = "name the column that holds a row's worth"
            raise ValueError(f"evaluation.business needs data.value_column; {remedy}")
        if self.evaluation.business and self.problem is not Problem.BINARY:
            problem = self.problem.value
            raise ValueError(f"evaluation.business needs problem: binary, not {problem}; remove it")
        return self

    @model_validator(mode="after")
    def _columns_have_one_role(self) -> ModelConfig:
        features = [*(self.data.numeric or []), *(self.data.categorical or [])]
        for role in ("target", "time", "label_time", "weight"):
            name = getattr(self.data, role)
            if name in features:
                remedy = "remove it from the features"
                raise ValueError(f"data.{role} '{name}' is also listed as a feature; {remedy}")
        return self

    @property
    def drift_critical(self) -> float:
        """PSI from which an open alarm is critical: ``alerts.drift_critical``, else ``drift.psi_critical``."""
        own = self.alerts.drift_critical
        return self.drift.psi_critical if own is None else own

    @property
    def performance_drop(self) -> float:
        """Relative loss of the metric that counts: ``alerts.performance_drop``, else the one of ``drift``."""
        own = self.alerts.performance_drop
        return self.drift.performance_threshold if own is None else own

    @property
    def retraining_limits(self) -> dict[str, float]:
        """Least size of an alarm that asks for a retraining, by kind: of ``retraining``, else of ``drift``."""
        limits, drift = self.retraining, self.drift
        own = {
            "data": (limits.drift_threshold, drift.psi_critical),
            "prediction": (limits.drift_threshold, drift.psi_critical),
            "outcome": (limits.outcome_shift, drift.outcome_threshold),
            "concept": (limits.concept_rise, drift.concept_threshold),
            "performance": (limits.performance_drop, drift.performance_threshold),
        }
        return {kind: default if chosen is None else chosen for kind, (chosen, default) in own.items()}

    @property
    def timed(self) -> bool:
        """True when rows have a clock and are split by it."""
        return self.data.ordered and self.split.method != "random"


def parse_model(
    values: dict[str, Any], *, origin: str, defaults: dict[str, Any] | None = None
) -> ModelConfig:
    """Turn a mapping into a configuration.

    The model's own values win over those of its preset (``retraining.preset``), and these over the defaults.

    Parameters
    ----------
    values : dict
        What the model's file says.
    origin : str
        File name for messages.
    defaults : dict, optional
        What the base file says; ``values`` win key by key.

    Raises
    ------
    ConfigError
        Naming each wrong key, its value, what is allowed and the likeliest intended key.
    """
    values = in_todays_keys(values, origin=origin)
    defaults = in_todays_keys(defaults or {}, origin="base.yaml")
    try:
        config = ModelConfig.model_validate(_layered(defaults, values))
    except ValidationError as error:
        raise ConfigError(explain_errors(error, ModelConfig, origin=origin)) from None
    _check_spans(config, values, origin)
    return config


def merge(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """Return ``over`` laid on ``base``, mapping by mapping; neither is changed.

    >>> merge({"a": {"x": 1, "y": 2}}, {"a": {"y": 3}})
    {'a': {'x': 1, 'y': 3}}
    """
    merged = dict(base)
    for key, value in over.items():
        both = isinstance(value, dict) and isinstance(base.get(key), dict)
        merged[key] = merge(base[key], value) if both else value
    return merged


def overlay_model(config: ModelConfig, overlay: dict[str, Any], *, origin: str) -> ModelConfig:
    """Return a configuration with some values of some sections replaced; all else is the same.

    Parameters
    ----------
    overlay : dict
        Values by section, e.g. ``{"retraining": {"cooldown": "6h"}}``.
    origin : str
        What the values come from, for messages.

    Raises
    ------
    ConfigError
        Naming each wrong key, its value and what is allowed.
    """
    changed: dict[str, Any] = {}
    for name, values in overlay.items():
        kind: type[Section] = type(getattr(config, name))
        try:
            changed[name] = kind.model_validate(merge(getattr(config, name).model_dump(), values))
        except ValidationError as error:
            raise ConfigError(explain_errors(error, kind, origin=f"{origin} ({name})")) from None
    return config.model_copy(update=changed)


def _layered(defaults: dict[str, Any], values: dict[str, Any]) -> dict[str, Any]:
    """Return values laid on their preset, laid on the defaults."""
    merged = merge(defaults, values)
    retraining = merged.get("retraining")
    preset = preset_values(retraining.get("preset") if isinstance(retraining, dict) else None)
    return merge(merge(defaults, preset), values) if preset else merged


def _check_spans(config: ModelConfig, values: dict[str, Any], origin: str) -> None:
    """Refuse durations that a model with a row clock wrote itself (defaults are translated)."""
    if config.data.clock != "rows":
        return
    for section, names in _CLOCK_SPANS.items():
        written = values.get(section)
        for name in (name for name in names if isinstance(written, dict) and name in written):
            span = getattr(getattr(config, section), name)
            if isinstance(span, Span) and span.unit == "seconds" and span.amount:
                wrong = f"Wrong value '{span}' for '{section}.{name}' in {origin}"
                raise ConfigError(f"{wrong}: data.clock counts rows; write e.g. '500 rows'.")

"""The whole configuration of one model, and how a mapping becomes one or a clear error."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from pydantic import Field, ValidationError, model_validator

from tasks.core.config.data import ContractConfig, DataConfig, SplitConfig
from tasks.core.config.evaluation import EvaluationConfig, PromotionConfig
from tasks.core.config.explain import explain_errors
from tasks.core.config.monitoring import AlertsConfig, DriftConfig, MonitoringConfig
from tasks.core.config.retraining import RetrainingConfig
from tasks.core.config.section import Section
from tasks.core.config.training import TrainingConfig
from tasks.core.config.validation import ValidationConfig
from tasks.core.errors import ConfigError


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
    data: DataConfig
    split: SplitConfig = SplitConfig()
    contract: ContractConfig = ContractConfig()
    training: TrainingConfig
    evaluation: EvaluationConfig = EvaluationConfig()
    validation: ValidationConfig = ValidationConfig()
    promotion: PromotionConfig = PromotionConfig()
    monitoring: MonitoringConfig = MonitoringConfig()
    drift: DriftConfig = DriftConfig()
    alerts: AlertsConfig = AlertsConfig()
    retraining: RetrainingConfig = RetrainingConfig()

    @model_validator(mode="after")
    def _roles_fit_the_problem(self) -> ModelConfig:
        if self.problem is Problem.RANKING and self.data.group is None:
            raise ValueError(
                "data.group is needed for problem: ranking; name the column of the group to rank in"
            )
        if self.evaluation.business and self.data.value is None:
            raise ValueError("evaluation.business needs data.value; name the column that holds a row's worth")
        if self.evaluation.business and self.problem is not Problem.BINARY:
            raise ValueError(
                f"evaluation.business needs problem: binary, not {self.problem.value}; remove it"
            )
        return self

    @model_validator(mode="after")
    def _columns_have_one_role(self) -> ModelConfig:
        features = [*(self.data.numeric or []), *(self.data.categorical or [])]
        for role in ("target", "time", "label_time", "weight"):
            if getattr(self.data, role) in features:
                raise ValueError(
                    f"data.{role} '{getattr(self.data, role)}' is also listed as a feature; remove it from the features"
                )
        return self

    @model_validator(mode="after")
    def _spans_fit_the_clock(self) -> ModelConfig:
        spans = {
            "evaluation.validation_window": self.evaluation.validation_window,
            "split.purge": self.split.purge,
            "data.label_delay": self.data.label_delay,
            "retraining.window": self.retraining.window,
        }
        if self.data.time is None:
            return self
        for key, span in spans.items():
            if span == "full" or span.amount == 0:
                continue
            if self.data.clock == "rows" and span.unit == "seconds" and key in self._spans_set():
                raise ValueError(
                    f"{key} '{span}' is a duration, but data.clock counts rows; write e.g. '500 rows'"
                )
        return self

    def _spans_set(self) -> set[str]:
        """Return dotted names of the keys somebody wrote (defaults are translated, not refused)."""
        sections = {
            "evaluation": self.evaluation,
            "split": self.split,
            "data": self.data,
            "retraining": self.retraining,
        }
        return {f"{name}.{key}" for name, section in sections.items() for key in section.model_fields_set}

    @property
    def timed(self) -> bool:
        """True when rows have a clock and are split by it."""
        return self.data.time is not None and self.split.method != "random"


def parse_model(values: dict[str, Any], *, origin: str) -> ModelConfig:
    """Turn a mapping (base and model file merged) into a configuration.

    Parameters
    ----------
    values : dict
        Nested mapping as read from YAML.
    origin : str
        File name for messages.

    Raises
    ------
    ConfigError
        Naming each wrong key, its value, what is allowed and the likeliest intended key.
    """
    try:
        return ModelConfig.model_validate(values)
    except ValidationError as error:
        raise ConfigError(explain_errors(error, ModelConfig, origin=origin)) from None

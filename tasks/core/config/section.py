"""The base of every section: frozen, closed, each key described."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
OpenFraction = Annotated[float, Field(gt=0.0, lt=1.0)]
NonNegative = Annotated[float, Field(ge=0.0)]
Positive = Annotated[float, Field(gt=0.0)]
Count = Annotated[int, Field(ge=1)]


def _one_name(value: str | dict[str, dict[str, Any]]) -> str | dict[str, dict[str, Any]]:
    if isinstance(value, dict) and len(value) != 1:
        raise ValueError(
            "options stand under one name each; write '- name: {option: value}', and the next name in a line of its own"
        )
    return value


Plugged = Annotated[str | dict[str, dict[str, Any]], AfterValidator(_one_name)]
"""A name or dotted path of what a team plugs in, perhaps with its options: ``{name: {option: value}}``."""


def _metric_name(value: str) -> str:
    return value.replace("@", "_at_")


MetricName = Annotated[str, AfterValidator(_metric_name)]
"""Name of a metric; ``ndcg@3`` is read as ``ndcg_at_3``."""


class Section(BaseModel):
    """A closed, frozen part of the configuration; an unknown key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True, allow_inf_nan=False)

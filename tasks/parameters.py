"""Types of flow parameters, so that the run form of the Prefect UI offers what there is."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from tasks.io.configs import list_models
from tasks.io.settings import read_settings


def _offer_models(schema: dict[str, Any]) -> None:
    models = list_models(read_settings().config_dir)
    if models:
        schema["enum"] = models


ModelName = Annotated[
    str,
    Field(
        title="Model",
        description="A model of config/ (in Python also the path of a YAML file)",
        json_schema_extra=_offer_models,
    ),
]
"""Name of a model; a drop-down of the configured ones in the UI."""

AsOf = Annotated[
    str | None,
    Field(
        title="As of",
        description="Use nothing at or after this moment, nor labels unknown then (default: all there is)",
    ),
]
"""A moment on the model's clock."""

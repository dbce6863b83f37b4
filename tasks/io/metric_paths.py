"""Bring in what a team wrote itself, by dotted path: metrics, gates, generators."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any, cast

from tasks.core.config import ModelConfig
from tasks.core.errors import ConfigError, did_you_mean
from tasks.core.metrics.registry import Metric, custom_metric


def import_function(path: str, *, key: str) -> Callable[..., Any]:
    """Import a function named ``package.module:function`` or ``package.module.function``.

    Parameters
    ----------
    path : str
        The dotted path.
    key : str
        Configuration key it stands under, for messages.

    Raises
    ------
    ConfigError
        When the module or the function does not exist, or it cannot be called.
    """
    module_path, _, name = path.partition(":") if ":" in path else path.rpartition(".")
    if not module_path or not name:
        raise ConfigError(f"'{path}' in {key} is no dotted path; write package.module:function.")
    try:
        module = importlib.import_module(module_path)
    except ImportError as error:
        raise ConfigError(
            f"'{path}' in {key} cannot be imported: {error}. Correct the path, or start from the folder (PYTHONPATH) "
            "that holds the module."
        ) from error
    found = getattr(module, name, None)
    if not callable(found):
        near = did_you_mean(name, [known for known in dir(module) if not known.startswith("_")])
        raise ConfigError(f"'{path}' in {key}: module '{module_path}' has no function '{name}'.{near}")
    return cast("Callable[..., Any]", found)


def custom_metrics(config: ModelConfig) -> dict[str, Metric]:
    """Return the team's own metrics (``evaluation.custom_metrics``) by name.

    Raises
    ------
    ConfigError
        When one cannot be imported.
    """
    return {
        name: custom_metric(
            name,
            import_function(own.path, key=f"evaluation.custom_metrics.{name}"),
            greater_is_better=own.greater_is_better,
            bounded=own.bounded,
        )
        for name, own in config.evaluation.custom_metrics.items()
    }

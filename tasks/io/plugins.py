"""Entry points of installed packages, offered to the registry of each kind."""

from __future__ import annotations

import sys
from functools import lru_cache, partial
from importlib.metadata import EntryPoint, EntryPoints, entry_points
from typing import Any

from evergreen.tasks.core.errors import ConfigError
from evergreen.tasks.core.registry import (
    DRIFT_MEASURES,
    GATES,
    LIBRARIES,
    METRICS,
    STRATEGIES,
    TRIGGERS,
    PluginRegistry,
)

SOURCES: PluginRegistry[Any] = PluginRegistry(
    "kind of source", key="data.format", home=["evergreen.tasks.io.sources.open"]
)
"""Where rows come from, by ``data.format`` or the scheme of ``data.source``."""
OUTCOME_SOURCES: PluginRegistry[Any] = PluginRegistry(
    "outcome source", key="monitoring.outcomes", home=["evergreen.tasks.io.outcome_sources"]
)
"""Where outcomes of served predictions come from."""
GROUPS: dict[str, PluginRegistry[Any]] = {
    "evergreen.gates": GATES,
    "evergreen.metrics": METRICS,
    "evergreen.sources": SOURCES,
    "evergreen.outcome_sources": OUTCOME_SOURCES,
    "evergreen.model_libraries": LIBRARIES,
    "evergreen.triggers": TRIGGERS,
    "evergreen.strategies": STRATEGIES,
    "evergreen.drift_measures": DRIFT_MEASURES,
}
"""The registry of each group of entry points."""


def offer_plugins() -> None:
    """Offer the entry points of the packages on ``sys.path``, once for each path; nothing is imported yet."""
    path = tuple(sys.path)
    for group, registry in GROUPS.items():
        registry.offer({point.name: partial(_load, point, group) for point in _points(path, group)})


@lru_cache(maxsize=64)
def _points(path: tuple[str, ...], group: str) -> EntryPoints:
    """Return the entry points of a group; asked once for each ``sys.path``."""
    return entry_points(group=group)


def _load(point: EntryPoint, group: str) -> Any:
    """Return what an entry point names; ``ConfigError`` when it cannot be imported."""
    try:
        return point.load()
    except Exception as error:  # a package's import may raise anything
        package = point.dist.name if point.dist else "a package"
        raise ConfigError(
            f"The entry point '{point.name}' in {group}, {point.value} of {package}, cannot be imported: "
            f"{type(error).__name__}: {error}. Correct or remove the package."
        ) from error

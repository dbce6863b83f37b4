"""What a team logs beside a stage's own: functions that its configuration names under ``artifacts``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from prefect.logging import get_logger

from evergreen.tasks.core.config import ModelConfig
from evergreen.tasks.core.errors import ConfigError
from evergreen.tasks.core.log_items import Figure, File, Json, LogItem, Metrics, Params, Table, Tags, Text
from evergreen.tasks.core.registry import import_path
from evergreen.tasks.io.mlflow_store.tracking import Tracker

_ITEMS = (File, Figure, Json, Metrics, Params, Table, Tags, Text)


@dataclass(frozen=True, kw_only=True)
class StageFacts:
    """What a stage knows when its run is written.

    Attributes
    ----------
    stage : str
        ``train``, ``validate``, ``challenge``, ``monitor``, ``replay`` or ``ab-test``.
    config : ModelConfig
        The model.
    facts : mapping
        By name. train: ``task``, ``selection``; validate: ``context``, ``decision``; challenge: ``result``; monitor:
        ``watched``, ``result``; replay: ``result``; ab-test: ``state``, ``result``. Nothing in it may be changed.
    """

    stage: str
    config: ModelConfig
    facts: Mapping[str, Any]

    @property
    def model(self) -> str:
        """Name of the model."""
        return self.config.model

    def __getitem__(self, name: str) -> Any:
        """Return a fact by name."""
        return self.facts[name]


def log_team_artifacts(
    tracker: Tracker, run_id: str, *, config: ModelConfig, stage: str, **facts: Any
) -> list[str]:
    """Ask each function of ``artifacts`` and write what it gives to the run.

    A function ``function(facts)`` of a `StageFacts` yields log items (`evergreen.tasks.core.log_items`), or returns a
    mapping of names to texts, frames, figures, files (``Path``) and what JSON takes; None: nothing.

    Returns
    -------
    list of str
        What went wrong, one sentence a function; it is logged as a warning and changes no decision.
    """
    known = StageFacts(stage=stage, config=config, facts=facts)
    wrong = []
    for path in config.artifacts:
        try:
            function = import_path(path, key="artifacts")
            tracker.write_items(run_id, list(_items(function(known), path)))
        except Exception as error:  # whatever a team's function does, the stage's decision stands
            why = " ".join(f"{type(error).__name__}: {error}".split())
            wrong.append(f"'{path}' of artifacts logged nothing in stage {stage}: {why}")
            get_logger("evergreen").warning("%s", wrong[-1])
    return wrong


def _items(found: Any, path: str) -> Iterator[LogItem]:
    if isinstance(found, Mapping):
        yield from (_item(str(name), value) for name, value in found.items())
    elif isinstance(found, Iterable) and not isinstance(found, str):
        for one in found:
            if not isinstance(one, _ITEMS):
                raise ConfigError(f"'{path}' yielded a {type(one).__name__}, allowed are log items.")
            yield one
    elif found is not None:
        raise ConfigError(
            f"'{path}' returned a {type(found).__name__}, allowed is a mapping of names, or log items."
        )


def _item(name: str, value: Any) -> LogItem:
    """Describe an object by its kind; a name without an ending gets one."""
    if isinstance(value, pd.DataFrame):
        return Table(_ended(name, ".json"), {str(column): value[column].tolist() for column in value})
    if isinstance(value, Path):
        return File(f"{name}/{value.name}", str(value))
    if hasattr(value, "savefig"):
        return Figure(_ended(name, ".png"), value)
    return Text(_ended(name, ".txt"), value) if isinstance(value, str) else Json(_ended(name, ".json"), value)


def _ended(name: str, ending: str) -> str:
    return name if "." in name.rpartition("/")[2] else f"{name}{ending}"

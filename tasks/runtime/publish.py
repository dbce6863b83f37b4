"""Publish a report: documents and numbers in an MLflow run, pages in Prefect, and what a team logs beside them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evergreen.tasks.core.errors import ConfigError
from evergreen.tasks.core.log_items import Figure, File, Json, LogItem, Metrics, Params, Table, Tags, Text
from evergreen.tasks.core.registry import import_path

if TYPE_CHECKING:
    from evergreen.tasks.core.config import ModelConfig
    from evergreen.tasks.io.mlflow_store.tracking import Tracker
    from evergreen.tasks.io.setup import Setup

EXPERIMENTS = {
    "train": "comparison",
    "validate": "validation",
    "challenge": "evaluation",
    "ab-test": "ab_testing",
    "monitor": "monitoring",
    "replay": "retraining",
}
"""The experiment that a stage's reports are in, after the model's name."""
_LOG_ITEMS = (File, Figure, Json, Metrics, Params, Table, Tags, Text)


@dataclass(frozen=True)
class Report:
    """The MLflow run that a report is written to."""

    setup: Setup
    stage: str
    """The run's tag ``evergreen.stage``, and what functions of ``artifacts`` get as ``stage``."""
    name: str
    experiment: str = ""
    """The run is in the experiment ``<model>/<experiment>``; empty: the one of the stage (`EXPERIMENTS`)."""
    tags: Mapping[str, str] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)
    """What functions of ``artifacts`` are handed (`StageFacts`)."""


@dataclass(frozen=True)
class Artifact:
    """What Prefect shows of a report: Markdown, a table, an image, or a link to the MLflow run."""

    key: str
    """``{model}`` in it becomes the model's name; Prefect keeps one history a key."""
    description: str | None = None
    markdown: str | Callable[..., str] = ""
    """A text, or a function of ``run_url`` (None: the MLflow store has no pages)."""
    table: list[dict[str, Any]] | None = None
    """Rows, each column to value."""
    image: str | None = None
    """Address of a picture, also ``data:``."""
    link: str | None = None
    """Text of a link to the MLflow run; left out where the store has no pages."""


def publish(report: Report, items: Iterable[LogItem | Artifact]) -> dict[str, Any]:
    """Write log items and a team's own to a new MLflow run, then show the artifacts in Prefect.

    Returns
    -------
    dict
        ``run_id`` and ``run_url`` (None: the store has no pages) of the MLflow run.
    """
    from evergreen.tasks.io.mlflow_store.tracking import open_tracker

    setup, items = report.setup, list(items)
    tracker, tags = open_tracker(setup.stores), {**run_tags(report.stage), **report.tags}
    experiment = report.experiment or EXPERIMENTS.get(report.stage, report.stage)
    with tracker.run(setup.model, experiment, name=report.name, tags=tags) as run_id:
        tracker.write_items(run_id, [item for item in items if not isinstance(item, Artifact)])
        log_team_artifacts(tracker, run_id, config=setup.config, stage=report.stage, **report.facts)
    url = tracker.run_url(run_id)
    show(setup.model, *(item for item in items if isinstance(item, Artifact)), run_url=url)
    return {"run_id": run_id, "run_url": url}


def show(model: str, *artifacts: Artifact, run_url: str | None = None) -> None:
    """Show artifacts in Prefect; ``run_url`` is the address of the MLflow run they are about, where there is one."""
    from prefect import artifacts as prefect

    for one in artifacts:
        named: Any = {"key": artifact_key(one.key.format(model=model)), "description": one.description}
        if one.table is not None:
            prefect.create_table_artifact(one.table, **named)
        elif one.image is not None:
            prefect.create_image_artifact(one.image, **named)
        elif one.link is None:
            text = one.markdown if isinstance(one.markdown, str) else one.markdown(run_url=run_url)
            prefect.create_markdown_artifact(text, **named)
        elif run_url:
            prefect.create_link_artifact(run_url, link_text=one.link, **named)


def artifact_key(name: str) -> str:
    """Return a key that Prefect takes: lower case, digits and dashes alone.

    >>> artifact_key("challenge-prod.Fraud_v2")
    'challenge-prod-fraud-v2'
    """
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


def run_tags(stage: str) -> dict[str, str]:
    """Return the tags of an MLflow run that name its stage and its Prefect run (when there is one)."""
    from prefect.runtime import flow_run

    prefect_run: Any = flow_run.get_id()
    return {"evergreen.stage": stage, **({"evergreen.prefect_run": str(prefect_run)} if prefect_run else {})}


# What a team logs beside a stage's own: functions that its configuration names under `artifacts`.


@dataclass(frozen=True, kw_only=True)
class StageFacts:
    """What a stage knows when its run is written."""

    stage: str
    """``train``, ``validate``, ``challenge``, ``monitor``, ``replay`` or ``ab-test``."""
    config: ModelConfig
    facts: Mapping[str, Any]
    """By name. train: ``task``, ``selection``; validate: ``context``, ``decision``; challenge: ``result``; monitor:
    ``watched``, ``result``; replay: ``result``; ab-test: ``state``, ``result``. Nothing in it may be changed."""

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
    from prefect.logging import get_logger

    stage_facts = StageFacts(stage=stage, config=config, facts=facts)
    problems = []
    for path in config.artifacts:
        try:
            function = import_path(path, key="artifacts")
            tracker.write_items(run_id, list(_log_items(function(stage_facts), path)))
        except Exception as error:  # whatever a team's function does, the stage's decision stands
            why = " ".join(f"{type(error).__name__}: {error}".split())
            problems.append(f"'{path}' of artifacts logged nothing in stage {stage}: {why}")
            get_logger("evergreen").warning("%s", problems[-1])
    return problems


def _log_items(answer: Any, path: str) -> Iterator[LogItem]:
    if isinstance(answer, Mapping):
        yield from (_log_item(str(name), value) for name, value in answer.items())
    elif isinstance(answer, Iterable) and not isinstance(answer, str):
        for item in answer:
            if not isinstance(item, _LOG_ITEMS):
                raise ConfigError(f"'{path}' yielded a {type(item).__name__}, allowed are log items.")
            yield item
    elif answer is not None:
        raise ConfigError(
            f"'{path}' returned a {type(answer).__name__}, allowed is a mapping of names, or log items."
        )


def _log_item(name: str, value: Any) -> LogItem:
    """Describe an object by its kind; a name without an ending gets one."""
    import pandas as pd

    def ended(ending: str) -> str:
        return name if "." in name.rpartition("/")[2] else f"{name}{ending}"

    if isinstance(value, pd.DataFrame):
        return Table(ended(".json"), {str(column): value[column].tolist() for column in value})
    if isinstance(value, Path):
        return File(f"{name}/{value.name}", str(value))
    if hasattr(value, "savefig"):
        return Figure(ended(".png"), value)
    return Text(ended(".txt"), value) if isinstance(value, str) else Json(ended(".json"), value)

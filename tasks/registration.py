"""Bring in a model that was trained elsewhere: it gets a profile and a contract from the data, and a version."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

from evergreen.tasks.core.data.rows import Parts
from evergreen.tasks.core.metrics.base import Metric
from evergreen.tasks.core.metrics.registry import metrics_of
from evergreen.tasks.core.records.foreign import ForeignRecord, describe_foreign, examine_foreign
from evergreen.tasks.core.training.scoring import version_tags
from evergreen.tasks.core.verdict import Reason, StageResult, State
from evergreen.tasks.data import load_parts
from evergreen.tasks.io.config import custom_metrics
from evergreen.tasks.io.mlflow_store.model_files import fetch_model, load_foreign
from evergreen.tasks.io.mlflow_store.tracking import Tracker, open_tracker
from evergreen.tasks.io.mlflow_store.versions import VersionRecord, earlier_grid, store_version
from evergreen.tasks.io.plots import holdout_figures
from evergreen.tasks.io.setup import Setup, open_setup, record_decision
from evergreen.tasks.promotion import Promoter
from evergreen.tasks.runtime.publish import run_tags
from evergreen.tasks.runtime.task import SIDE_EFFECT, stage_task


def register_model(model: str, uri: str, *, trained_to: str) -> StageResult:
    """Register a model that was trained elsewhere as @candidate: the one Python call, no Prefect needed.

    Parameters
    ----------
    model : str
        Name under ``config/``, or path of a YAML file.
    uri : str
        MLflow model URI (``runs:/RUN/model``, ``models:/NAME/VERSION``) or a folder with an ``MLmodel`` file.
    trained_to : str
        End of what it was trained on, on the model's clock; only rows from there on judge it.

    Raises
    ------
    InputError
        When the model cannot be read or is not allowed, or the model has no clock.
    NotLearnable
        When nothing is left to judge it on.
    """
    setup = open_setup(model)
    result = bring_in(setup, load_parts(setup, trained_to=trained_to), uri)
    return record_decision(setup, "register", result)


def bring_in(setup: Setup, parts: Parts, uri: str) -> StageResult:
    """Load, examine, describe and register a foreign model; point @candidate at it."""
    config, stores = setup.config, setup.stores
    foreign = load_foreign(uri, tracker=open_tracker(stores), config=config)
    metrics = metrics_of(config, custom=custom_metrics(config))
    record = examine_foreign(foreign, parts, config, inputs=foreign.inputs, metrics=metrics)
    info = store_version(setup, foreign_version_record(setup, parts, record, uri, metrics=metrics))
    Promoter.of(setup).set_candidate(info.version)
    message = f"The model at '{uri}' is version {info.version}, @candidate."
    facts = {"metric": metrics[0].name, "metrics": record.metrics, "baselines": record.baselines}
    return StageResult(
        state=State.REGISTERED,
        model=setup.model,
        version=info.version,
        reasons=(Reason(code="registered", message=message, n=len(record.holdout)), *parts.warnings),
        details={**facts, "baseline": record.baselines["constant"], "run_id": info.run_id, "source": uri},
    )


def foreign_version_record(
    setup: Setup, parts: Parts, record: ForeignRecord, uri: str, *, metrics: Sequence[Metric]
) -> VersionRecord:
    """Return all that is stored with the version."""
    described = describe_foreign(
        record, parts, config=setup.config, uri=uri, metrics=metrics, earlier=earlier_grid(setup)
    )
    tags = version_tags(parts.plan, parts.training, trigger="register", fingerprint=parts.fingerprint)
    figures = holdout_figures(record.holdout, problem=setup.config.problem.value)
    return VersionRecord(
        stage="register",
        title="a model trained elsewhere",
        items=[*described, *figures],
        parts={"training": parts.training, "holdout": parts.holdout},
        store=lambda tracker, run_id: copy_model(tracker, run_id, uri),
        tags={**tags, **run_tags("register"), "evergreen.source": uri},
        description=f"Trained elsewhere, brought in from {uri}",
    )


def copy_model(tracker: Tracker, run_id: str, uri: str) -> str:
    """Copy a model's files to a run of ours, so that the version outlives its source; return their URI."""
    with tempfile.TemporaryDirectory() as folder:
        local = fetch_model(uri, Path(folder), tracker=tracker)
        return tracker.store_folder(run_id, local, "model")


bring_in_task = stage_task(name="bring in", **SIDE_EFFECT)(bring_in)

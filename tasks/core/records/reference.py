"""What is stored with a version: its documents, its reference for monitoring, and its past window by window."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from evergreen.tasks.core.arrays import Array
from evergreen.tasks.core.config import ModelConfig
from evergreen.tasks.core.contract.contract import learn_contract
from evergreen.tasks.core.data.rows import Rows, SplitPlan
from evergreen.tasks.core.data.schema import Schema
from evergreen.tasks.core.drift.answers import prepare_answers
from evergreen.tasks.core.drift.estimate import Reference, measure_worth
from evergreen.tasks.core.errors import NotLearnable
from evergreen.tasks.core.log_items import Json, LogItem, Params, Text
from evergreen.tasks.core.metrics.base import Metric
from evergreen.tasks.core.metrics.scored import Scored
from evergreen.tasks.core.monitoring.reference_series import (
    FrozenReference,
    ReferenceSeries,
    reference_series,
    refit_series,
)
from evergreen.tasks.core.profiles.grid import Grid
from evergreen.tasks.core.profiles.reference import fit_inputs, reference_profiles
from evergreen.tasks.core.redact import redacted
from evergreen.tasks.core.reports.monitoring import frozen_sample
from evergreen.tasks.core.training.scoring import Recipe, decided_by
from evergreen.tasks.core.training.training import Selection, TrainingTask, Winner


def freeze_training(
    task: TrainingTask,
    selection: Selection,
    winner: Winner,
    config: ModelConfig,
    *,
    earlier: Grid | None = None,
) -> FrozenReference:
    """Return the reference of a version that was trained: its answers are those out of fold, else on the holdout.

    Parameters
    ----------
    earlier : Grid, optional
        The inputs' grid of the model so far, documents while it fits.
    """
    run = selection.chosen_run
    scored, source = (run.out_of_fold, "out_of_fold") if run else (winner.holdout, "holdout")
    return freeze_reference(
        task.parts.training,
        decided_by(scored, winner.recipe.threshold.value),
        schema=task.schema,
        config=config,
        metrics=task.metrics,
        score_source=source,
        earlier=earlier,
    )


def freeze_reference(
    rows: Rows,
    scored: Scored,
    *,
    schema: Schema,
    config: ModelConfig,
    metrics: Sequence[Metric],
    score_source: str,
    earlier: Grid | None = None,
) -> FrozenReference:
    """Return the reference of a version.

    Parameters
    ----------
    rows : Rows
        Rows trained on.
    scored : Scored
        Answers, decided as the version decides, on rows the answering model was not trained on.
    metrics : sequence of Metric
        All that the model is measured by, the deciding one first.
    score_source : str
        ``out_of_fold`` or ``holdout``.
    earlier : Grid, optional
        The inputs' grid of an earlier version, documents while it fits.
    """
    profile = reference_profiles(
        rows, scored, schema=schema, config=config, score_source=score_source, earlier=earlier
    )
    profile["worth"] = measure_worth(scored, metrics, problem=config.problem.value)
    monitor = prepare_answers(Reference.from_dict(profile), config=config, metric=metrics[0])
    past = reference_series(rows, scored, monitor=monitor, schema=schema, config=config)
    return FrozenReference(profile=profile, past=past)


def freeze_refit(
    judged: FrozenReference, rows: Rows, *, schema: Schema, config: ModelConfig, metric: Metric
) -> FrozenReference:
    """Return the reference of a refit: features and outcome anew, answers and their worth as judged.

    No row is left that the refit was not trained on, so its own answers cannot be measured; it is the judged
    recipe, and agrees with the judged version within ``promotion.refit_agreement``.

    Parameters
    ----------
    judged : Frozen
        Of the judged version.
    rows : Rows
        What the refit was trained on.
    metric : Metric
        The deciding one.
    """
    grid = Reference.from_dict(judged.profile).inputs.grid
    inputs = fit_inputs(rows, schema=schema, config=config, earlier=grid)
    profile = {**judged.profile, "inputs": inputs.profile.to_dict(), "grid": inputs.reason}
    monitor = prepare_answers(Reference.from_dict(profile), config=config, metric=metric)
    return FrozenReference(
        profile=profile, past=refit_series(rows, judged.past, monitor=monitor, schema=schema, config=config)
    )


# What monitoring will need of a version, documents with it: ``profile.json`` and ``past.json``.


FOLDER = "evergreen"


def frozen_items(frozen: FrozenReference) -> Iterator[LogItem]:
    """Yield the two documents."""
    yield Json(f"{FOLDER}/profile.json", dict(frozen.profile))
    past = json.dumps(frozen.past.to_dict(), separators=(",", ":"))  # 3 MB less than indented
    yield Text(f"{FOLDER}/past.json", past)


def version_documents(
    rows: Rows, *, schema: Schema, plan: SplitPlan, recipe: Recipe, config: ModelConfig
) -> Iterator[LogItem]:
    """Yield the documents stored with a version under ``evergreen/``; ``rows`` are those it was trained on."""
    documents = {
        "schema": schema.to_dict(),
        "split": plan.to_dict(),
        "recipe": recipe.to_dict(),
        "contract": learn_contract(rows.frame, schema=schema, config=config).to_dict(),
        "config": shown_config(config),
        **frozen_sample(rows, schema=schema, config=config),
    }
    yield from _json_documents(documents)


def _json_documents(documents: Mapping[str, Any]) -> Iterator[LogItem]:
    return (Json(f"{FOLDER}/{name}.json", content) for name, content in documents.items())


def shown_config(config: ModelConfig) -> dict[str, Any]:
    """Return a configuration as it may be stored: addresses without passwords, options left out."""
    plain = config.model_dump(mode="json")
    plain["data"] |= {"source": redacted(config.data.source), "options": sorted(config.data.options)}
    return plain


def refit_reference_items(
    documents: Mapping[str, Any], rows: Rows, *, schema: Schema, config: ModelConfig, metric: Metric
) -> Iterator[LogItem]:
    """Yield both documents of a refit; see `evergreen.tasks.core.records.reference.freeze_refit`.

    Parameters
    ----------
    documents : mapping
        ``profile`` and ``past`` (None: it has none) of the judged version.
    """
    judged = FrozenReference(profile=documents["profile"], past=ReferenceSeries.from_dict(documents["past"]))
    yield from frozen_items(freeze_refit(judged, rows, schema=schema, config=config, metric=metric))


# What the run of a refit holds: the documents of the judged version, with the refit's own split.


def describe_refit(
    documents: Mapping[str, Any], plan: SplitPlan, recipe: Recipe, *, n: int, judged: int
) -> Iterator[LogItem]:
    """Yield the items of a refit's run, its reference apart (`evergreen.tasks.core.records.reference`).

    Parameters
    ----------
    documents : mapping
        Documents of the judged version by name that hold for the refit too.
    plan : SplitPlan
        What the refit was trained on; replaces the judged version's.
    n : int
        Rows trained on.
    judged : int
        The judged version.
    """
    candidate = recipe.candidate
    yield Params(
        {
            "candidate": candidate.name if candidate else None,
            "estimator": candidate.estimator if candidate else None,
            "threshold": recipe.threshold.value,
            "training_rows": n,
            "evaluated_as": judged,
            **(candidate.params if candidate else {}),
            **recipe.settings,
        }
    )
    yield from _json_documents({**documents, "split": plan.to_dict()})


def check_same_classes(y: Array, recipe: Recipe) -> None:
    """Check that rows hold the classes a recipe was judged on.

    Raises
    ------
    NotLearnable
        ``classes_changed`` when a class is new, or (binary) one is missing.
    """
    if not recipe.classes:
        return
    present, judged_classes = set(np.unique(y).tolist()), set(recipe.classes)
    if present - judged_classes or (len(judged_classes) == 2 and judged_classes - present):
        raise NotLearnable(
            "classes_changed",
            f"The version was judged on the classes {sorted(map(str, judged_classes))}; the rows to refit on hold "
            f"{sorted(map(str, present))}. Train a new version.",
            observed=float(len(present)),
            limit=float(len(judged_classes)),
            n=len(y),
        )

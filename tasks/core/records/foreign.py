"""A model that was trained elsewhere: which columns it takes, and what is stored with it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from evergreen.tasks.core.config import ModelConfig
from evergreen.tasks.core.data.rows import Parts
from evergreen.tasks.core.data.schema import Schema, infer_schema
from evergreen.tasks.core.errors import DataError
from evergreen.tasks.core.log_items import LogItem, Metrics, Params
from evergreen.tasks.core.metrics.base import Metric
from evergreen.tasks.core.metrics.registry import measure
from evergreen.tasks.core.metrics.scored import Scored
from evergreen.tasks.core.profiles.grid import Grid
from evergreen.tasks.core.records.reference import freeze_reference, frozen_items, version_documents
from evergreen.tasks.core.records.training import baseline_metrics
from evergreen.tasks.core.seeds import seed_for
from evergreen.tasks.core.training.baseline import all_baselines
from evergreen.tasks.core.training.features import ModelSpec, class_labels, outcomes
from evergreen.tasks.core.training.scoring import Recipe, config_digest, score_rows
from evergreen.tasks.core.training.training import pick_threshold


@dataclass(frozen=True, kw_only=True, eq=False)
class ForeignRecord:
    """A model that was trained elsewhere, as measured on the data."""

    schema: Schema
    recipe: Recipe
    """Its columns; classes and threshold (no candidate: it cannot be fitted again)."""
    holdout: Scored
    """Its answers on rows it was not trained on."""
    metrics: dict[str, float]
    """On the holdout."""
    baselines: dict[str, dict[str, float]]
    """The same for each naive baseline."""


def examine_foreign(
    estimator: Any, parts: Parts, config: ModelConfig, *, inputs: Sequence[str], metrics: Sequence[Metric]
) -> ForeignRecord:
    """Let a foreign model answer the holdout, and measure it beside the naive baselines.

    Parameters
    ----------
    estimator : object
        With ``predict``.
    parts : Parts
        Divided so that training ends where the model's did.
    inputs : sequence of str
        Columns it takes.
    """
    schema = foreign_schema(parts, config, inputs=inputs)
    recipe = foreign_recipe(estimator, parts, schema, config)
    spec = ModelSpec(schema, config, recipe.classes)
    scored = score_rows(estimator, parts.holdout, spec, threshold=recipe.threshold.value)
    rng = np.random.default_rng(seed_for(config.model, parts.fingerprint, "baseline"))
    baselines = all_baselines(spec, training=parts.training, rows=parts.holdout, rng=rng)
    return ForeignRecord(
        schema=schema,
        recipe=recipe,
        holdout=scored,
        metrics=measure(scored, metrics),
        baselines={kind: measure(answers, metrics) for kind, answers in baselines.items()},
    )


def foreign_schema(parts: Parts, config: ModelConfig, *, inputs: Sequence[str] | None) -> Schema:
    """Return the schema of a foreign model: the columns its signature names, else those of the configuration.

    Parameters
    ----------
    inputs : sequence of str, optional
        Input columns of the model's signature.

    Raises
    ------
    DataError
        When the data lack a column the model takes.
    """
    frame = parts.training.frame if len(parts.training) else parts.holdout.frame
    schema = infer_schema(frame, config)
    if inputs is None:
        return schema
    missing = [name for name in inputs if name not in schema.features]
    if missing:
        absent = "it is no feature" if missing[0] in frame else "the data have none"
        why = schema.dropped.get(missing[0]) or absent
        raise DataError(
            f"The model takes the column '{missing[0]}', which cannot be used: {why}. Features of the data: "
            f"{', '.join(schema.features)}. Add the column, or list it under data.numeric or data.categorical."
        )
    numeric, categorical = (
        tuple(name for name in kind if name in inputs) for kind in (schema.numeric, schema.categorical)
    )
    return replace(schema, numeric=numeric, categorical=categorical)


def foreign_recipe(estimator: Any, parts: Parts, schema: Schema, config: ModelConfig) -> Recipe:
    """Return a recipe without a candidate: the classes of the data, and a threshold as the configuration says."""
    y = np.concatenate([outcomes(p.frame, schema, config) for p in (parts.training, parts.holdout) if len(p)])
    classes = class_labels(y, config)
    scored = score_rows(estimator, parts.holdout, ModelSpec(schema, config, classes))
    return Recipe(
        problem=config.problem.value,
        candidate=None,
        classes=classes,
        threshold=pick_threshold(scored, config),
        config_digest=config_digest(config),
    )


def describe_foreign(
    record: ForeignRecord,
    parts: Parts,
    *,
    config: ModelConfig,
    uri: str,
    metrics: Sequence[Metric],
    earlier: Grid | None = None,
) -> Iterator[LogItem]:
    """Yield what the run of a registration holds; profile and contract come from the rows before its training's end."""
    training, schema = parts.training, record.schema
    yield Params({"uri": uri, "threshold": record.recipe.threshold.value, "training_rows": len(training)})
    yield Metrics({**record.metrics, **baseline_metrics(record.baselines)})
    yield from version_documents(
        training, schema=schema, plan=parts.plan, recipe=record.recipe, config=config
    )
    frozen = freeze_reference(
        training,
        record.holdout,
        schema=schema,
        config=config,
        metrics=metrics,
        score_source="holdout",
        earlier=earlier,
    )
    yield from frozen_items(frozen)

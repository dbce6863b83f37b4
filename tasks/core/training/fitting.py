"""Fit one candidate's pipeline: weights, class weights and group sizes go where its estimator takes them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from sklearn.pipeline import Pipeline

from evergreen.tasks.core.arrays import Array, IntArray
from evergreen.tasks.core.config import ModelConfig
from evergreen.tasks.core.config.training import Candidate
from evergreen.tasks.core.data.rows import Rows
from evergreen.tasks.core.data.schema import Schema
from evergreen.tasks.core.errors import ConfigError
from evergreen.tasks.core.training.estimators import build_pipeline, is_ranker, takes_weights
from evergreen.tasks.core.training.features import feature_frame, group_codes, outcomes
from evergreen.tasks.core.training.weights import match_labels, training_weights


def fit_candidate(
    candidate: Candidate,
    rows: Rows,
    *,
    schema: Schema,
    config: ModelConfig,
    settings: Mapping[str, Any] | None = None,
) -> Pipeline:
    """Fit a candidate on rows.

    Parameters
    ----------
    candidate : Candidate
        The recipe.
    rows : Rows
        Training rows, all labelled.
    settings : mapping, optional
        Parameters found by a search; they replace those of the recipe.

    Raises
    ------
    ConfigError
        When the estimator refuses its parameters, the weights or the data.
    """
    pipeline = build_pipeline(candidate, schema, config, settings=settings)
    y = outcomes(rows.frame, schema, config)
    model = pipeline.named_steps["model"]
    in_estimator = _set_class_weight(model, y, config)
    weights = training_weights(rows, y, schema=schema, config=config, class_weights=not in_estimator)
    options: dict[str, Any] = {} if weights is None else {"model__sample_weight": weights}
    if options and not takes_weights(model):
        raise ConfigError(
            f"Candidate '{candidate.name}': {candidate.estimator} takes no weights. Remove training.class_weight, "
            "data.weight and retraining.weighted, or choose an estimator that does."
        )
    codes = group_codes(rows.frame, schema) if is_ranker(model) else None
    if codes is not None:
        order = np.argsort(codes, kind="stable")
        rows, y = rows.take(order), y[order]
        options = {name: value[order] for name, value in options.items()}
        options["model__group"] = group_sizes(rows, schema)
    try:
        return pipeline.fit(feature_frame(rows.frame, schema), y, **options)
    except (ValueError, TypeError) as error:
        first = " ".join(str(error).split())[:300]
        raise ConfigError(
            f"Candidate '{candidate.name}' ({candidate.estimator}) cannot be trained: {first} "
            "Correct its parameters, or choose another estimator."
        ) from error


def group_sizes(rows: Rows, schema: Schema) -> IntArray:
    """Return the sizes of consecutive groups, shape (groups,), as rankers want them."""
    codes = group_codes(rows.frame, schema)
    if codes is None:
        raise ConfigError("A ranker needs data.group; name the column of the group to rank in.")
    starts = np.flatnonzero(np.r_[True, codes[1:] != codes[:-1]])
    return np.diff(np.r_[starts, len(codes)]).astype(np.int64)


def _set_class_weight(model: Any, y: Array, config: ModelConfig) -> bool:
    """Set class weights of an estimator that takes no sample weights; tell whether nothing is left to do.

    Sample weights come first: some estimators look the classes up after recoding them, and fail on text.
    """
    wanted, own = config.training.class_weight, model.get_params().get("class_weight")
    if wanted is None or own is not None:
        return True
    if takes_weights(model) or "class_weight" not in model.get_params():
        return False
    by_label = wanted if wanted == "balanced" else match_labels(np.unique(y).tolist(), wanted)
    model.set_params(class_weight=by_label)
    return True

"""What is inside a served estimator: its transformers, and the model after them."""

from __future__ import annotations

from typing import Any

import pandas as pd
from sklearn.model_selection import FixedThresholdClassifier, TunedThresholdClassifierCV
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder

_THRESHOLDS = (FixedThresholdClassifier, TunedThresholdClassifierCV)


def unwrap(estimator: Any) -> tuple[list[Any], Any]:
    """Return the transformers of an estimator in order, and the model that answers.

    A decision threshold around it is taken off: scores do not depend on it.

    >>> from sklearn.preprocessing import StandardScaler
    >>> from sklearn.linear_model import Ridge
    >>> unwrap(Pipeline([("scale", StandardScaler()), ("model", Ridge())]))
    ([StandardScaler()], Ridge())
    """
    if isinstance(estimator, _THRESHOLDS):
        return unwrap(getattr(estimator, "estimator_", estimator.estimator))
    if not isinstance(estimator, Pipeline):
        return [], estimator
    before = [step for _, step in estimator.steps[:-1]]
    after, model = unwrap(estimator.steps[-1][1])
    return [*before, *after], model


def fitted_names(estimator: Any) -> tuple[str, ...] | None:
    """Return the names of the columns an estimator was fitted on, in order; None where it was fitted on an array."""
    transformers, model = unwrap(estimator)
    for one in (*transformers, model):
        names = getattr(one, "feature_names_in_", None)
        if names is not None:
            return tuple(str(name) for name in names)
        if hasattr(one, "n_features_in_"):
            return None
    return None


def text_columns(estimator: Any) -> frozenset[str]:
    """Return the columns whose categories, as a fitted encoder knows them, are all text."""
    found: set[str] = set()
    for transformer in unwrap(estimator)[0]:
        for _, part, columns in getattr(transformer, "transformers_", ()):
            known = known_categories(part)
            if isinstance(columns, list) and known is not None and len(known) == len(columns):
                found |= {
                    name
                    for name, values in zip(columns, known, strict=True)
                    if values and all(isinstance(value, str) for value in values)
                }
    return frozenset(found)


def known_categories(transformer: Any) -> list[list[Any]] | None:
    """Return the categories of each column that an encoder knows, without missing ones; None where there is none."""
    steps = [step for _, step in transformer.steps] if isinstance(transformer, Pipeline) else [transformer]
    for step in steps:
        if isinstance(step, OrdinalEncoder | OneHotEncoder):
            return [[v for v in values.tolist() if not pd.isna(v)] for values in step.categories_]
    return None

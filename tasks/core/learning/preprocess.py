"""The steps before an estimator: finite numbers, coded categories, imputing and scaling where they are needed."""

from __future__ import annotations

import numpy as np
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, OrdinalEncoder, StandardScaler

from tasks.core.data.schema import Schema

NATIVE_CATEGORIES = 254
"""Most categories the histogram gradient boosting takes per column."""


def build_preprocessor(
    schema: Schema, *, style: str, impute: bool, max_categories: int
) -> ColumnTransformer | str:
    """Return the transformer from feature columns (by name, in any order) to numbers.

    Infinities become missing. A category never seen in training is treated as a missing one.

    Parameters
    ----------
    schema : Schema
        ``numeric`` and ``categorical`` name the features.
    style : {'ordinal', 'onehot', 'none'}
        Integer codes for trees; indicator columns, imputed and scaled numbers for the rest; nothing.
    impute : bool
        Fill missing numbers by the median (with an indicator column), for estimators that refuse them.
    max_categories : int
        Rarer categories are pooled.
    """
    if style == "none":
        return "passthrough"
    numeric = [*_finite_numbers()]
    if impute:
        fill = SimpleImputer(strategy="median", add_indicator=True, keep_empty_features=True)
        numeric.append(("fill", fill))
    if style == "onehot":
        numeric.append(("scale", StandardScaler()))
    parts = [
        ("numeric", Pipeline(numeric), list(schema.numeric)),
        ("categorical", _categories(style=style, impute=impute, most=max_categories), [*schema.categorical]),
    ]
    return ColumnTransformer([part for part in parts if part[2]], verbose_feature_names_out=False)


def _finite_numbers() -> list[tuple[str, FunctionTransformer]]:
    to_nan = {"nan": np.nan, "posinf": np.nan, "neginf": np.nan}
    return [
        ("float", FunctionTransformer(np.asarray, kw_args={"dtype": "float64"})),
        ("finite", FunctionTransformer(np.nan_to_num, kw_args=to_nan)),
    ]


def _categories(*, style: str, impute: bool, most: int) -> Pipeline:
    """Code categories; for indicators -1 (missing or never seen) is a category of its own if training had it."""
    missing = -1 if impute or style == "onehot" else np.nan
    codes = OrdinalEncoder(
        handle_unknown="use_encoded_value",
        unknown_value=missing,
        encoded_missing_value=missing,
        max_categories=most if style == "onehot" else NATIVE_CATEGORIES,
    )
    # as objects 2, 2.0 and True are compared as Python does, whatever type a serving frame gives the column
    plain = FunctionTransformer(np.asarray, kw_args={"dtype": "object"})
    steps: list[tuple[str, object]] = [("object", plain), ("codes", codes)]
    if style == "onehot":
        steps.append(("onehot", OneHotEncoder(handle_unknown="ignore", sparse_output=False)))
    return Pipeline(steps)

"""Estimators by import path: what is allowed, what each can do, and the pipeline built around one."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, is_classifier
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, OrdinalEncoder, StandardScaler

from evergreen.tasks.core.config import ModelConfig
from evergreen.tasks.core.config.training import Candidate
from evergreen.tasks.core.data.schema import Schema
from evergreen.tasks.core.errors import ConfigError, UnknownName, did_you_mean
from evergreen.tasks.core.registry import LIBRARIES, require_type

# The steps before an estimator: finite numbers, coded categories, imputing and scaling where they are needed.


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
    to_nan = {"nan": np.nan, "posinf": np.nan, "neginf": np.nan}
    numeric: list[tuple[str, BaseEstimator]] = [
        ("float", FunctionTransformer(np.asarray, kw_args={"dtype": "float64"})),
        ("finite", FunctionTransformer(np.nan_to_num, kw_args=to_nan)),
    ]
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
    steps: list[tuple[str, BaseEstimator]] = [("object", plain), ("codes", codes)]
    if style == "onehot":
        steps.append(("onehot", OneHotEncoder(handle_unknown="ignore", sparse_output=False)))
    return Pipeline(steps)


N_JOBS = 2
"""Threads of forests and boosting libraries, unless the parameters say otherwise."""


@dataclass(frozen=True, kw_only=True)
class ModelLibrary:
    """A library whose estimators may be trained, stored and served: one row of the table."""

    path: str
    """Import path that its estimators begin with, e.g. ``lightgbm``; also the package to install."""
    trees: tuple[str, ...] = ()
    """Import paths of its tree models: categories go in as integer codes, numbers unscaled."""
    takes_missing: bool | None = None
    """Whether its estimators take missing values; None: each one's own tags decide."""
    defaults: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Parameters by the beginning of an import path, set where the recipe gives none."""
    trusted: tuple[str, ...] = ()
    """What a stored model may hold beside classes of the library, by import path. Models are stored as skops
    files, which hold no code; a function that is not named here is refused."""


@LIBRARIES.reader
def _as_library(name: str, thing: Any) -> ModelLibrary:
    what, kind = f"The model library '{name}' is", "a evergreen.tasks.core.training.estimators.ModelLibrary"
    allowed = f"{kind}. Correct it, or remove it from training.allow."
    return require_type(thing, ModelLibrary, what=what, allowed=allowed)


_FORESTS = ("sklearn.ensemble.RandomForest", "sklearn.ensemble.ExtraTrees")
LIBRARIES.register("sklearn")(
    ModelLibrary(
        path="sklearn",
        trees=("sklearn.tree", "sklearn.ensemble"),
        defaults={path: {"n_jobs": N_JOBS} for path in _FORESTS},
    )
)
for _name, _quiet in (("lightgbm", {"verbose": -1}), ("xgboost", {"verbosity": 0})):
    _given = {_name: {"n_jobs": N_JOBS, **_quiet}}
    LIBRARIES.register(_name)(ModelLibrary(path=_name, trees=(_name,), takes_missing=True, defaults=_given))


def libraries(allow: Sequence[str] = ()) -> list[ModelLibrary]:
    """Return the libraries: built-in ones, those of packages, and rows that ``training.allow`` names (with a colon)."""
    own = [LIBRARIES.get(name) for name in allow if ":" in name]
    return [*LIBRARIES.standard().values(), *own]


def allowed_roots(allow: Sequence[str] = ()) -> list[str]:
    """Return the import paths that estimators may begin with: those of libraries, and what ``training.allow`` lists."""
    return [*(one.path for one in libraries(allow)), *(path for path in allow if ":" not in path)]


def _within(path: str, roots: Iterable[str]) -> bool:
    return any(path == root or path.startswith(f"{root}.") for root in roots)


def load_estimator_class(path: str, *, allow: Sequence[str] = ()) -> type[BaseEstimator]:
    """Return the estimator class at an import path that is allowed.

    Parameters
    ----------
    path : str
        E.g. ``sklearn.linear_model.LogisticRegression``.
    allow : sequence of str
        Packages, full paths or rows of a library (``module:name``) allowed beside those (``training.allow``).

    Raises
    ------
    ConfigError
        When the path is not allowed, its package is not installed, or it is no estimator.
    UnknownName
        When the module has no such class.

    Examples
    --------
    >>> load_estimator_class("sklearn.linear_model.Ridge").__name__
    'Ridge'
    """
    module_path, _, name = path.rpartition(".")
    if not is_allowed(path, allow=allow):
        raise ConfigError(
            f"Estimator '{path}' is not allowed. Allowed: import paths under {', '.join(allowed_roots(allow))}. "
            "Choose one of these, or add its package to training.allow."
        )
    try:
        cls = getattr(importlib.import_module(module_path), name, None)
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"Estimator '{path}' needs the module '{error.name}', which is not installed. "
            f"Install it (pip install {str(error.name).split('.')[0]}) or choose another estimator."
        ) from None
    if cls is None:
        classes = [name for name in dir(importlib.import_module(module_path)) if not name.startswith("_")]
        near = did_you_mean(name, classes)
        raise UnknownName(f"Unknown estimator '{path}': module '{module_path}' has no '{name}'.{near}")
    if not (isinstance(cls, type) and hasattr(cls, "fit") and hasattr(cls, "get_params")):
        raise ConfigError(f"'{path}' is no scikit-learn compatible estimator: it needs fit and get_params.")
    return cls


def is_allowed(path: str, *, allow: Sequence[str] = ()) -> bool:
    """Tell whether an import path lies in an allowed package, or is itself allowed.

    >>> is_allowed("sklearn.svm.SVC"), is_allowed("os.system"), is_allowed("sklearnx.A")
    (True, False, False)
    """
    return _within(path, allowed_roots(allow))


def build_estimator(
    path: str, params: Mapping[str, Any], *, allow: Sequence[str] = (), random_state: int = 0
) -> BaseEstimator:
    """Construct an estimator; a parameter ``{estimator: path, params: {…}}`` becomes an estimator itself.

    ``random_state`` and the library's defaults (a modest ``n_jobs``, no output) are set unless ``params`` does.

    Raises
    ------
    ConfigError
        When the estimator does not know a parameter.
    """
    cls = load_estimator_class(path, allow=allow)
    accepted = _parameters(cls)
    unknown = [name for name in params if accepted is not None and name not in accepted]
    if unknown:
        raise ConfigError(
            f"'{path}' has no parameter '{unknown[0]}'. It has: {', '.join(sorted(accepted or ()))}."
            f"{did_you_mean(unknown[0], accepted or ())} Rename or remove it."
        )
    given = {name: _nested(value, allow=allow, random_state=random_state) for name, value in params.items()}
    defaults: dict[str, Any] = {"random_state": random_state}
    for library in libraries(allow):
        for start, values in library.defaults.items():
            defaults |= values if path.startswith(start) else {}
    used = {name: value for name, value in defaults.items() if accepted is None or name in accepted}
    try:
        return cls(**{**used, **given})
    except TypeError as error:
        raise ConfigError(f"'{path}' cannot be made: {error}. Add or correct its params.") from error


def build_pipeline(
    candidate: Candidate, schema: Schema, config: ModelConfig, *, settings: Mapping[str, Any] | None = None
) -> Pipeline:
    """Build the unfitted pipeline of a candidate: preprocessing that fits the estimator, then the estimator.

    It holds scikit-learn and NumPy objects only (beside the estimator), so that it loads anywhere.

    Parameters
    ----------
    candidate : Candidate
        The recipe.
    schema : Schema
        Roles of the columns.
    config : ModelConfig
        For ``training`` and the kind of problem.
    settings : mapping, optional
        Parameters found by the search; they replace those of the recipe.

    Raises
    ------
    ConfigError
        When the estimator or a parameter is not allowed or does not fit the problem.
    """
    training, allow = config.training, config.training.allow
    params = {**candidate.params, **(settings or {})}
    estimator = build_estimator(candidate.estimator, params, allow=allow, random_state=training.random_state)
    _check_kind(estimator, candidate, config)
    style: str = candidate.preprocess
    if style == "auto":
        trees = [path for library in libraries(allow) for path in library.trees]
        style = "ordinal" if _within(type(estimator).__module__, trees) else "onehot"
    if style == "ordinal" and "categorical_features" in estimator.get_params() and schema.categorical:
        first, count = len(schema.numeric), len(schema.categorical)
        coded = params.get("categorical_features", list(range(first, first + count)))
        estimator.set_params(categorical_features=coded)
    impute = not allows_nan(estimator, allow=allow)
    most = training.max_categories
    preprocessor = build_preprocessor(schema, style=style, impute=impute, max_categories=most)
    if config.problem in ("binary", "multiclass") and not hasattr(estimator, "predict_proba"):
        estimator = CalibratedClassifierCV(estimator, method="sigmoid", ensemble=False, cv=3)
    return Pipeline([("columns", preprocessor), ("model", estimator)])


def allows_nan(estimator: BaseEstimator, *, allow: Sequence[str] = ()) -> bool:
    """Tell whether an estimator takes missing values itself: by its library's row, else by its own tags."""
    for library in libraries(allow):
        if library.takes_missing is not None and _within(type(estimator).__module__, [library.path]):
            return library.takes_missing
    return bool(estimator.__sklearn_tags__().input_tags.allow_nan)


def is_ranker(estimator: BaseEstimator) -> bool:
    """Tell whether ``fit`` wants group sizes (LightGBM's and XGBoost's rankers)."""
    return "group" in inspect.signature(estimator.fit).parameters and "Ranker" in type(estimator).__name__


def takes_weights(estimator: BaseEstimator) -> bool:
    """Tell whether ``fit`` takes ``sample_weight``."""
    return "sample_weight" in inspect.signature(estimator.fit).parameters


def _check_kind(estimator: BaseEstimator, candidate: Candidate, config: ModelConfig) -> None:
    """Refuse a classifier for numbers, and a regressor for classes."""
    wants_classifier = config.problem in ("binary", "multiclass")
    if is_ranker(estimator) and config.problem == "ranking":
        return
    if is_classifier(estimator) != wants_classifier:
        wanted = "a classifier" if wants_classifier else "a regressor (or a ranker, for ranking)"
        raise ConfigError(
            f"Candidate '{candidate.name}': '{candidate.estimator}' does not fit problem: {config.problem}. "
            f"Allowed: {wanted}. Choose another estimator."
        )


def _parameters(cls: type[BaseEstimator]) -> frozenset[str] | None:
    """Return the constructor's parameters, those of parents included where it takes any (``**kwargs``)."""
    names: set[str] = set()
    for base in cls.__mro__:
        init = base.__dict__.get("__init__")
        if init is None or base is object:
            continue
        parameters = inspect.signature(init).parameters.values()
        names |= {p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
        if not any(p.kind is p.VAR_KEYWORD for p in parameters):
            return frozenset(names - {"self"})
    # lightgbm and xgboost pass unknown keywords to their own library, so nothing can be refused here
    return frozenset(names - {"self"}) if cls.__module__.startswith("sklearn") else None


def _nested(value: Any, *, allow: Sequence[str], random_state: int) -> Any:
    """Build the estimators that mappings describe, in lists too; anything else is left as it is."""
    if isinstance(value, list):
        return [_nested(one, allow=allow, random_state=random_state) for one in value]
    if not (isinstance(value, dict) and "estimator" in value and set(value) <= {"estimator", "params"}):
        return value
    params = value.get("params") or {}
    return build_estimator(value["estimator"], params, allow=allow, random_state=random_state)

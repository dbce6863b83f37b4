"""Log a fitted model to MLflow, and load a version with all that scoring needs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version as installed_version
from typing import TYPE_CHECKING, Any

import pandas as pd

from evergreen.tasks.core.data.rows import SplitPlan
from evergreen.tasks.core.data.schema import Schema
from evergreen.tasks.core.training.estimators import libraries
from evergreen.tasks.core.training.features import flexible_columns
from evergreen.tasks.core.training.scoring import Recipe, Scorer
from evergreen.tasks.io.mlflow_store.documents import local_folder, read_documents
from evergreen.tasks.io.mlflow_store.model_files import (
    load_estimator,
    load_foreign,
    store_model,
    types_to_trust,
)
from evergreen.tasks.io.mlflow_store.reader import VersionInfo
from evergreen.tasks.io.mlflow_store.tracking import Tracker, answered, open_tracker
from evergreen.tasks.io.setup import Setup

if TYPE_CHECKING:
    from mlflow.models import ModelSignature


NEEDED = ("schema", "split", "recipe")
"""Documents without which a version cannot score."""
_REQUIREMENTS = ("scikit-learn", "numpy", "scipy", "pandas", "skops")


@dataclass(frozen=True, kw_only=True, eq=False)
class LoadedModel(Scorer):
    """A registered version ready to score.

    Attributes
    ----------
    info : VersionInfo
        The registered version.
    """

    info: VersionInfo


def log_model(
    tracker: Tracker,
    run_id: str,
    estimator: Any,
    *,
    features: pd.DataFrame,
    private: Sequence[str] = (),
    allow: Sequence[str] = (),
    metadata: dict[str, Any] | None = None,
) -> str:
    """Store a fitted estimator with its run as skops (no pickle) and return its URI ``models:/m-…``.

    Parameters
    ----------
    features : DataFrame, shape (n, p)
        Some feature rows (``signature_features``): signature and input example come from them.
    private : sequence of str
        Columns that are blank in the example.
    allow : sequence of str
        ``training.allow``.

    Raises
    ------
    InputError
        When the estimator holds types that are not allowed.
    """
    example = features.head(5).copy()
    example[[name for name in private if name in example]] = None
    trusted = types_to_trust(estimator, allow=allow)
    with answered(tracker.tracking_uri):
        return store_model(
            tracker.client,
            run_id,
            estimator,
            metadata=metadata,
            serialization_format="skops",
            skops_trusted_types=trusted,
            signature=_signature(features, estimator.predict(features)),
            input_example=example.astype({name: features[name].dtype for name in example}),
            pip_requirements=requirements(estimator, allow=allow),
        )


def storing(setup: Setup, estimator: Any, features: pd.DataFrame) -> Callable[[Tracker, str], str]:
    """Return what stores an estimator with a run, for `evergreen.tasks.io.mlflow_store.versions.VersionRecord`."""
    private, allow = setup.config.data.private, setup.config.training.allow
    return partial(log_model, estimator=estimator, features=features, private=private, allow=allow)


def load_model(setup: Setup, version: int) -> LoadedModel:
    """Load a version, trained here or registered from elsewhere.

    Raises
    ------
    UnknownName
        When there is no such version.
    InputError
        When its files hold types or code that are not allowed, or it was not registered by Evergreen.
    """
    info = setup.stores.registry.version(setup.model, version)
    documents = read_documents(setup, info, NEEDED)
    return build_model(setup, info, documents, uri=f"models:/{setup.model}/{version}")


def build_model(setup: Setup, info: VersionInfo, documents: Mapping[str, Any], *, uri: str) -> LoadedModel:
    """Load a version's files, and put them together with its documents.

    Parameters
    ----------
    info : VersionInfo
        The registered version.
    documents : mapping
        `NEEDED`, as they are stored with the version.
    uri : str
        Where its files are; a local folder works without a registry.

    Raises
    ------
    InputError
        When its files hold types or code that are not allowed.
    """
    recipe, tracker = Recipe.from_dict(documents["recipe"]), open_tracker(setup.stores)
    if recipe.candidate is None:
        estimator: Any = load_foreign(uri, tracker=tracker, config=setup.config)
    else:
        folder = local_folder(uri) or local_folder(info.source)
        estimator = load_estimator(uri, tracker=tracker, config=setup.config, folder=folder)
    return LoadedModel(
        info=info,
        estimator=estimator,
        schema=Schema.from_dict(documents["schema"]),
        plan=SplitPlan.from_dict(documents["split"]),
        recipe=recipe,
    )


def read_split(setup: Setup, version: int) -> tuple[Schema, SplitPlan]:
    """Return a version's columns and how its rows were divided, without loading the model."""
    info = setup.stores.registry.version(setup.model, version)
    documents = read_documents(setup, info, ("schema", "split"))
    return Schema.from_dict(documents["schema"]), SplitPlan.from_dict(documents["split"])


def _signature(features: pd.DataFrame, answers: Any) -> ModelSignature:
    """Return the signature: every column by name, typed where a type cannot do harm."""
    from mlflow.models import ModelSignature, infer_signature
    from mlflow.types.schema import AnyType, ColSpec, DataType, Schema

    flexible = set(flexible_columns(features))
    columns: list[Any] = [
        ColSpec(AnyType(), name)  # type: ignore[no-untyped-call]
        if name in flexible
        else ColSpec(DataType.double if features[name].dtype.kind == "f" else DataType.string, name)
        for name in map(str, features)
    ]
    return ModelSignature(inputs=Schema(columns), outputs=infer_signature(features.head(0), answers).outputs)


def requirements(estimator: Any, *, allow: Sequence[str] = ()) -> list[str]:
    """Return what is needed to load an estimator, with versions as installed here."""
    inside = [one for one in estimator.get_params(deep=True).values() if hasattr(one, "get_params")]
    roots = {type(step).__module__.split(".")[0] for step in (estimator, *inside)}
    extra = sorted(roots & {one.path for one in libraries(allow)} - {"sklearn"})
    return [f"{name}=={installed_version(name)}" for name in (*_REQUIREMENTS, *extra)]

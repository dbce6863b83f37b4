"""Log a fitted model as MLflow keeps it, and load a version with all that is needed to score with it."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from tasks.core.config import ModelConfig
from tasks.core.errors import InputError
from tasks.core.recipe import Recipe
from tasks.core.rows import Rows
from tasks.core.schema import Schema
from tasks.core.scored import Scored
from tasks.core.scoring import score_rows
from tasks.core.split_plan import SplitPlan
from tasks.io.registry import VersionInfo
from tasks.io.setup import Setup
from tasks.io.tracking import Tracker, answered, open_tracker
from tasks.io.trust import load_skops, types_to_trust

if TYPE_CHECKING:
    from mlflow.models import Model

SIGNATURE_ROWS = 1000
"""Feature rows that signature and input example are read from."""
FOLDER = "evergreen"
"""Folder of our documents among a run's artifacts."""
_REQUIREMENTS = ("scikit-learn", "numpy", "scipy", "pandas", "skops")
_CODE_MODULES = ("mlflow.pyfunc.model", "mlflow.pyfunc.loaders")


@dataclass(frozen=True, kw_only=True, eq=False)
class LoadedModel:
    """A version ready to score, with what it was trained by.

    Attributes
    ----------
    info : VersionInfo
        The registered version.
    estimator : object
        A scikit-learn estimator, or a foreign model with ``predict``.
    schema, plan, recipe : Schema, SplitPlan, Recipe
        Its columns; what it has learned from; classes, threshold and how to fit it again.
    """

    info: VersionInfo
    estimator: Any
    schema: Schema
    plan: SplitPlan
    recipe: Recipe

    @property
    def classes(self) -> tuple[Any, ...]:
        """(negative, positive) for binary, all classes for multiclass, else empty."""
        return self.recipe.classes

    @property
    def threshold(self) -> float:
        """Decision threshold on P(positive)."""
        return self.recipe.threshold.value

    def score(self, rows: Rows, *, config: ModelConfig) -> Scored:
        """Score labelled rows with the version's own schema, classes and threshold."""
        return score_rows(
            self.estimator,
            rows,
            schema=self.schema,
            config=config,
            classes=self.classes,
            threshold=self.threshold,
        )


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
        Some feature rows: signature and input example come from them.
    private : sequence of str
        Columns that are blank in the example.
    allow : sequence of str
        ``training.allow``.

    Raises
    ------
    InputError
        When the estimator holds types that are not allowed.
    """
    import mlflow
    from mlflow.models import infer_signature

    mlflow.set_tracking_uri(tracker.tracking_uri)
    example = features.head(5).copy()
    example[[name for name in private if name in example]] = None
    trusted = types_to_trust(estimator, allow=allow)
    with answered(tracker.tracking_uri):
        logged = mlflow.sklearn.log_model(
            estimator,
            name="model",
            run_id=run_id,
            serialization_format="skops",
            skops_trusted_types=trusted,
            signature=infer_signature(
                features.head(SIGNATURE_ROWS), estimator.predict(features.head(SIGNATURE_ROWS))
            ),
            input_example=example.astype({name: features[name].dtype for name in example}),
            pip_requirements=requirements(estimator, allow=allow),
            metadata=metadata,
        )
    return str(logged.model_uri)


def storing(setup: Setup, estimator: Any, features: pd.DataFrame) -> Callable[[Tracker, str], str]:
    """Return what stores an estimator with a run, for `tasks.io.versions.Dossier`."""
    config = setup.config

    def store(tracker: Tracker, run_id: str) -> str:
        return log_model(
            tracker, run_id, estimator, features=features,
            private=config.data.private, allow=config.training.allow,
        )  # fmt: skip

    return store


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
    documents = read_documents(setup, info, ("schema", "split", "recipe"))
    estimator = load_estimator(
        f"models:/{setup.model}/{version}", tracker=open_tracker(setup.stores), config=setup.config
    )
    return LoadedModel(
        info=info,
        estimator=estimator,
        schema=Schema.from_dict(documents["schema"]),
        plan=SplitPlan.from_dict(documents["split"]),
        recipe=Recipe.from_dict(documents["recipe"]),
    )


def read_documents(setup: Setup, info: VersionInfo, names: Sequence[str]) -> dict[str, Any]:
    """Return JSON documents stored with a version (``schema``, ``split``, ``recipe``, ``contract``, ``profile``, …).

    Raises
    ------
    InputError
        When one is missing: the version was not registered by Evergreen.
    """
    run_id = info.tags.get("evergreen.run") or info.run_id
    tracker = open_tracker(setup.stores)
    found = {name: tracker.read_json(run_id, f"{FOLDER}/{name}.json") for name in names} if run_id else {}
    missing = [name for name in names if found.get(name) is None]
    if missing:
        raise InputError(
            f"Version {info.version} of '{info.model}' lacks {FOLDER}/{missing[0]}.json in its run: it was not "
            "registered by Evergreen. Bring it in with 'evergreen register MODEL URI --trained-to T'."
        )
    return found


def load_estimator(uri: str, *, tracker: Tracker, config: ModelConfig) -> Any:
    """Load a model by URI: scikit-learn models as they are, others behind ``predict``.

    skops files are checked type by type; models that are pickled or bring code of their own are refused unless
    ``training.allow_pickle`` says otherwise.

    Raises
    ------
    InputError
        When the URI leads nowhere, or its files are not allowed.
    """
    import mlflow
    from mlflow.models import Model

    mlflow.set_tracking_uri(tracker.tracking_uri)
    with tempfile.TemporaryDirectory() as folder:
        local = fetch_model(uri, Path(folder))
        model = Model.load(str(local))
        flavor = model.flavors.get("sklearn", {})
        if flavor.get("serialization_format") == "skops":
            return load_skops(local / flavor["pickled_model"], allow=config.training.allow)
        _refuse_code(local, model, uri, config)
        if flavor:
            return mlflow.sklearn.load_model(str(local))
        return mlflow.pyfunc.load_model(str(local))


def fetch_model(uri: str, folder: Path) -> Path:
    """Download a model's files.

    Raises
    ------
    InputError
        When there is no MLflow model at this URI.
    """
    import mlflow
    from mlflow.exceptions import MlflowException

    try:
        local = Path(mlflow.artifacts.download_artifacts(artifact_uri=uri, dst_path=str(folder)))
    except (MlflowException, OSError) as error:
        raise InputError(
            f"No model can be read at '{uri}': {str(error).strip().splitlines()[0]}. Give a URI such as "
            "runs:/RUN/model, models:/NAME/VERSION or a folder with an MLmodel file."
        ) from error
    if not (local / "MLmodel").is_file():
        raise InputError(f"'{uri}' holds no MLflow model: there is no file 'MLmodel' in it.")
    return local


def requirements(estimator: Any, *, allow: Sequence[str] = ()) -> list[str]:
    """Return what is needed to load an estimator, with versions as installed here."""
    roots = {type(step).__module__.split(".")[0] for step in _steps(estimator)}
    extra = sorted(roots & {"lightgbm", "xgboost"})
    return [f"{name}=={installed_version(name)}" for name in (*_REQUIREMENTS, *extra)]


def _steps(estimator: Any) -> list[Any]:
    """Return an estimator and the estimators inside it."""
    parts = [value for value in estimator.get_params(deep=True).values() if hasattr(value, "get_params")]
    return [estimator, *parts]


def _refuse_code(local: Path, model: Model, uri: str, config: ModelConfig) -> None:
    """Refuse files whose loading runs what their author put in, unless that is allowed."""
    if config.training.allow_pickle:
        return
    python = model.flavors.get("python_function", {})
    pickled = [path.name for path in local.rglob("*") if path.suffix in (".pkl", ".pickle", ".joblib")]
    runs_code = bool(python.get("code")) or str(python.get("loader_module", "")).startswith(_CODE_MODULES)
    if pickled or runs_code or "serialization_format" in model.flavors.get("sklearn", {}):
        what = f"pickled code ({pickled[0]})" if pickled else "code of its own"
        raise InputError(
            f"The model at '{uri}' brings {what}; loading it would run whatever its author put in. Log it as skops "
            "(mlflow.sklearn.log_model), or, if you trust it, set training.allow_pickle: true."
        )

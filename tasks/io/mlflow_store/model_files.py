"""A model that was trained elsewhere, behind the feature frames of this project."""

from __future__ import annotations

import importlib
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd
import yaml

from evergreen.tasks.core.config import ModelConfig
from evergreen.tasks.core.errors import DataError, InputError
from evergreen.tasks.core.training.estimators import allowed_roots, is_allowed, libraries
from evergreen.tasks.io.mlflow_store.tracking import Tracker

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Metric, Run
    from mlflow.models import Model


_WHOLE = {"long": np.int64, "integer": np.int32}
_OTHER: Mapping[str, type[Any]] = {"double": np.float64, "float": np.float32, "boolean": bool}


class ForeignModel:
    """Gives a model its columns in its own order and types.

    Parameters
    ----------
    model : object
        With ``predict``, perhaps ``predict_proba`` and ``classes_``.
    types : mapping of str to str
        Type of each input column by its MLflow name (``double``, ``long``, ``string``, … or ``any``), in order.
    """

    def __init__(self, model: Any, types: Mapping[str, str]) -> None:
        self.model = model
        self.types = dict(types)
        if hasattr(model, "predict_proba"):
            self.classes_ = model.classes_
            self.predict_proba = partial(self._ask, model.predict_proba)

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of the input columns, in the model's order."""
        return tuple(self.types)

    def predict(self, frame: pd.DataFrame) -> Any:
        """Return the model's predictions.

        Raises
        ------
        InputError
            When the model itself fails on these rows.
        """
        return self._ask(self.model.predict, frame)

    def conform(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Return the model's columns in its order and types.

        Raises
        ------
        DataError
            When a column is missing, or should hold whole numbers and does not.
        """
        missing = [name for name in self.types if name not in frame.columns]
        if missing:
            raise DataError(f"The model takes the column '{missing[0]}', which the rows do not have. Add it.")
        return pd.DataFrame({name: _as_type(frame[name], kind) for name, kind in self.types.items()})

    def _ask(self, method: Callable[[pd.DataFrame], Any], frame: pd.DataFrame) -> Any:
        given = self.conform(frame)
        try:
            return method(given)
        except Exception as error:  # a foreign model may raise anything; all of it means the same
            first = " ".join(str(error).split())[:300]
            raise InputError(
                f"The model fails on the data ({type(error).__name__}: {first}). Correct the model, or the types of "
                "its signature."
            ) from error


def _as_type(column: pd.Series, kind: str) -> pd.Series:
    if kind not in _WHOLE:
        return column.astype(_OTHER[kind]) if kind in _OTHER else column
    values = column.astype(np.float64)
    if not (np.isfinite(values).all() and (values == values.round()).all()):
        raise DataError(
            f"The model takes whole numbers in '{column.name}', and the rows hold missing or broken ones. "
            "Log it with a signature of doubles."
        )
    return values.astype(_WHOLE[kind])


# Which types a stored model may be made of; anything else is refused before it is loaded.


_TRUSTED = {
    "numpy.asarray",
    "numpy.nan_to_num",
    "numpy.dtype",
    "sklearn.utils.validation.check_array",
    "functools.partial",
    "collections.OrderedDict",
    "collections.defaultdict",
}


# What a functools.partial calls is listed, and checked, on its own.


def trusted_types(names: Iterable[str], *, allow: Sequence[str] = (), what: str = "The model") -> list[str]:
    """Return the type names after a check that all are allowed.

    Classes of scikit-learn, LightGBM and XGBoost are allowed, functions are not (a few harmless ones of NumPy
    apart), since a function may be called with anything; beside these what ``training.allow`` lists.

    Raises
    ------
    InputError
        Naming those that are not allowed.
    """
    listed = sorted(names)
    refused = [name for name in listed if not _is_trusted(name, allow)]
    if refused:
        raise InputError(
            f"{what} holds types that are not allowed: {', '.join(refused)}. Allowed: classes of "
            f"{', '.join(allowed_roots(allow))}. If you trust them, add them to training.allow."
        )
    return listed


def load_skops(path: Path, *, allow: Sequence[str] = ()) -> Any:
    """Load a skops file after checking every type in it; the file's own list of trusted types is ignored.

    Raises
    ------
    InputError
        When it holds a type that is not allowed.
    """
    import skops.io

    names = skops.io.get_untrusted_types(file=path)
    return skops.io.load(
        path, trusted=trusted_types(names, allow=allow, what=f"The model file '{path.name}'")
    )


def types_to_trust(estimator: Any, *, allow: Sequence[str] = ()) -> list[str]:
    """Return the types of an estimator of ours that skops wants to have named, checked like any other."""
    import skops.io

    return trusted_types(skops.io.get_untrusted_types(data=skops.io.dumps(estimator)), allow=allow)


def _is_trusted(name: str, allow: Sequence[str]) -> bool:
    own = [path for path in allow if ":" not in path]
    known = _TRUSTED.union(*(library.trusted for library in libraries(allow)))
    if name in known or any(name == root or name.startswith(f"{root}.") for root in own):
        return True
    return is_allowed(name, allow=allow) and isinstance(_resolve(name), type)


def _resolve(name: str) -> Any:
    module, _, attribute = name.rpartition(".")
    return getattr(importlib.import_module(module), attribute, None)


# Files of stored models: store them, fetch them, refuse what may run code, load the rest.


_CODE_MODULES = ("mlflow.pyfunc.model", "mlflow.pyfunc.loaders")


def load_estimator(uri: str, *, tracker: Tracker, config: ModelConfig, folder: Path | None = None) -> Any:
    """Load a model by URI: scikit-learn models as they are, others behind ``predict``.

    skops files are checked type by type; models that are pickled or bring code of their own are refused unless
    ``training.allow_pickle`` says otherwise.

    Parameters
    ----------
    folder : Path, optional
        Where its files may be on this machine: a skops file there is loaded as it is, without MLflow.

    Raises
    ------
    InputError
        When the URI leads nowhere, or its files are not allowed.
    """
    skops_file = _skops_file(folder) if folder else None
    if skops_file is not None:
        return load_skops(skops_file, allow=config.training.allow)
    return _load(uri, tracker, config)[0]


def _skops_file(folder: Path) -> Path | None:
    """Return the skops file of a scikit-learn model in a folder; None where there is none."""
    described = folder / "MLmodel"
    if not described.is_file():
        return None
    flavor = yaml.safe_load(described.read_text(encoding="utf-8"))["flavors"].get("sklearn", {})
    return folder / flavor["pickled_model"] if flavor.get("serialization_format") == "skops" else None


def load_foreign(uri: str, *, tracker: Tracker, config: ModelConfig) -> ForeignModel:
    """Load a model that was trained elsewhere, so that it takes our feature frames as its signature wants them.

    Raises
    ------
    InputError
        As `load_estimator`, or when the model does not name its input columns.
    """
    estimator, model = _load(uri, tracker, config)
    types: dict[str, str] = {}
    if model.signature and model.signature.inputs:
        inputs = model.signature.inputs
        kinds = (getattr(kind, "name", str(kind)) for kind in inputs.input_types())
        types = dict(zip(inputs.input_names(), kinds, strict=False))
    if not types:
        types = dict.fromkeys(getattr(estimator, "feature_names_in_", ()), "any")
    if not types:
        raise InputError(
            f"The model at '{uri}' does not name its input columns. Log it with a signature "
            "(mlflow.models.infer_signature on a DataFrame)."
        )
    return ForeignModel(estimator, types)


def _load(uri: str, tracker: Tracker, config: ModelConfig) -> tuple[Any, Model]:
    """Fetch a model's files and load them after the checks; return it with its description."""
    import mlflow
    from mlflow.models import Model

    with tempfile.TemporaryDirectory() as folder:
        local = fetch_model(uri, Path(folder), tracker=tracker)
        model = Model.load(str(local))
        flavor = model.flavors.get("sklearn", {})
        if flavor.get("serialization_format") == "skops":
            return load_skops(local / flavor["pickled_model"], allow=config.training.allow), model
        _refuse_code(local, model, uri, config)
        load = mlflow.sklearn.load_model if flavor else mlflow.pyfunc.load_model
        return load(str(local)), model


def fetch_model(uri: str, folder: Path, *, tracker: Tracker) -> Path:
    """Download a model's files; ``runs:`` and ``models:`` are resolved by the tracker's own store.

    Raises
    ------
    InputError
        When there is no MLflow model at this URI.
    """
    import mlflow
    from mlflow.exceptions import MlflowException

    store = tracker.tracking_uri
    try:
        place = _resolved(uri, tracker.client)
        fetched = mlflow.artifacts.download_artifacts(
            artifact_uri=place, dst_path=str(folder), tracking_uri=store, registry_uri=store
        )
    except (MlflowException, OSError) as error:
        raise InputError(
            f"No model can be read at '{uri}': {str(error).strip().splitlines()[0]}. Give a URI such as "
            "runs:/RUN/model, models:/NAME/VERSION or a folder with an MLmodel file."
        ) from error
    local = Path(fetched)
    if not (local / "MLmodel").is_file():
        raise InputError(f"'{uri}' holds no MLflow model: there is no file 'MLmodel' in it.")
    return local


def _resolved(uri: str, client: MlflowClient) -> str:
    """Return where the files of a URI lie.

    MLflow's own downloads look up ``models:`` in the store that the process calls its own, whatever store they are
    given. A URI that names a server (``models://…``) is left to MLflow.
    """
    from mlflow.store.artifact.models_artifact_repo import ModelsArtifactRepository
    from mlflow.store.artifact.utils.models import get_model_name_and_version

    if uri.startswith("runs:/") and not uri.startswith("runs://"):
        uri = _of_run(uri, client)
    while uri.startswith("models:/") and not uri.startswith("models://"):
        root, path = ModelsArtifactRepository.split_models_uri(uri)  # type: ignore[no-untyped-call]
        named = get_model_name_and_version(client, root)  # type: ignore[no-untyped-call]
        if len(named) == 1:
            place = client.get_logged_model(named[0]).artifact_location
        else:
            place = client.get_model_version_download_uri(*named)
        uri = f"{str(place).rstrip('/')}/{path}".rstrip("/")
    return uri


def _of_run(uri: str, client: MlflowClient) -> str:
    """Return where ``runs:/RUN/PATH`` leads: to the model of that name which the run logged, else to its own files."""
    run_id, _, path = uri.removeprefix("runs:/").partition("/")
    info = client.get_run(run_id).info
    name, _, rest = path.partition("/")
    token: str | None = None
    while name:
        page = client.search_logged_models([info.experiment_id], f"name = '{name}'", page_token=token)
        for model in page:
            if model.source_run_id == run_id:
                return f"{model.artifact_location}/{rest}".rstrip("/")
        token = page.token
        if not token:
            break
    return f"{info.artifact_uri}/{path}".rstrip("/")


def store_model(
    client: MlflowClient, run_id: str, estimator: Any, *, metadata: dict[str, Any] | None, **options: Any
) -> str:
    """Store an estimator with a run as ``mlflow.sklearn.log_model`` does, by a client of the run's own store.

    Parameters
    ----------
    metadata : dict, optional
        Kept in the file ``MLmodel``.
    options
        As ``mlflow.sklearn.save_model`` takes them.

    Returns
    -------
    str
        URI ``models:/m-…``.
    """
    import mlflow.sklearn
    from mlflow.entities import LoggedModelOutput
    from mlflow.models import Model
    from mlflow.tracking.context.registry import resolve_tags

    run = client.get_run(run_id)
    logged = client.create_logged_model(
        run.info.experiment_id,
        name="model",
        source_run_id=run_id,
        params=run.data.params,
        tags=resolve_tags(),
    )
    status: Literal["READY", "FAILED"] = "FAILED"
    try:
        client.log_outputs(run_id, [LoggedModelOutput(logged.model_id, step=0)])
        client.log_batch(run_id, metrics=_metrics_of(client, run, logged.model_id))
        described = Model(
            artifact_path=logged.artifact_location,
            model_uuid=logged.model_id,
            run_id=run_id,
            metadata=metadata,
            model_id=logged.model_id,
        )
        with tempfile.TemporaryDirectory() as folder:
            local = str(Path(folder) / "model")
            mlflow.sklearn.save_model(estimator, local, mlflow_model=described, **options)
            client.log_model_artifacts(logged.model_id, local)
        status = "READY"
    finally:
        client.finalize_logged_model(logged.model_id, status)
    return f"models:/{logged.model_id}"


def _metrics_of(client: MlflowClient, run: Run, model_id: str) -> list[Metric]:
    """Return a run's own metrics of step 0 once more, as metrics of a logged model."""
    from mlflow.entities import Metric

    run_id = run.info.run_id
    return [
        Metric(one.key, one.value, one.timestamp, one.step, model_id=model_id, run_id=run_id)
        for name in run.data.metrics
        for one in client.get_metric_history(run_id, name)
        if one.step == 0 and one.model_id is None
    ]


def _refuse_code(local: Path, model: Model, uri: str, config: ModelConfig) -> None:
    """Refuse files that run their author's code when they are loaded, unless that is allowed."""
    if config.training.allow_pickle:
        return
    python = model.flavors.get("python_function", {})
    pickled = [path.name for path in local.rglob("*") if path.suffix in (".pkl", ".pickle", ".joblib")]
    runs_code = bool(python.get("code")) or str(python.get("loader_module", "")).startswith(_CODE_MODULES)
    if pickled or runs_code or "serialization_format" in model.flavors.get("sklearn", {}):
        what = f"pickled code ({pickled[0]})" if pickled else "code of its own"
        raise InputError(
            f"The model at '{uri}' brings {what}; loading it would run its author's code. Log it as skops "
            "(mlflow.sklearn.log_model), or, if you trust it, set training.allow_pickle: true."
        )

"""Files of stored models: fetch them, refuse what may run code, load the rest."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks.core.config import ModelConfig
from tasks.core.errors import InputError
from tasks.io.foreign import ForeignModel
from tasks.io.tracking import Tracker
from tasks.io.trust import load_skops

if TYPE_CHECKING:
    from mlflow.models import Model

_CODE_MODULES = ("mlflow.pyfunc.model", "mlflow.pyfunc.loaders")


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
        return _load(local, Model.load(str(local)), uri, config)


def load_foreign(uri: str, *, tracker: Tracker, config: ModelConfig) -> ForeignModel:
    """Load a model that was trained elsewhere, so that it takes our feature frames as its signature wants them.

    Raises
    ------
    InputError
        As `load_estimator`, or when the model does not name its input columns.
    """
    import mlflow
    from mlflow.models import Model

    mlflow.set_tracking_uri(tracker.tracking_uri)
    with tempfile.TemporaryDirectory() as folder:
        local = fetch_model(uri, Path(folder))
        model = Model.load(str(local))
        schema = model.signature.inputs if model.signature else None
        types = (
            dict(
                zip(
                    schema.input_names(),
                    [getattr(kind, "name", str(kind)) for kind in schema.input_types()],
                    strict=False,
                )
            )
            if schema
            else {}
        )
        estimator = _load(local, model, uri, config)
    if not types:
        types = dict.fromkeys(getattr(estimator, "feature_names_in_", ()), "any")
    if not types:
        raise InputError(
            f"The model at '{uri}' does not name its input columns. Log it with a signature "
            "(mlflow.models.infer_signature on a DataFrame)."
        )
    return ForeignModel(estimator, types)


def _load(local: Path, model: Model, uri: str, config: ModelConfig) -> Any:
    """Load downloaded files after the checks."""
    import mlflow

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

"""Models are stored without pickle, loaded after a check of their types, and served by MLflow alone."""

import os

import mlflow
import numpy as np
import pandas as pd
import pytest
import skops.io
import yaml
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from evergreen.tasks.core.config.training import Candidate
from evergreen.tasks.core.data.rows import Rows
from evergreen.tasks.core.errors import InputError
from evergreen.tasks.core.training.features import feature_frame, signature_features
from evergreen.tasks.core.training.fitting import fit_candidate
from evergreen.tasks.core.training.scoring import Threshold
from evergreen.tasks.core.training.training import with_threshold
from evergreen.tasks.io.mlflow_store.model_files import (
    ForeignModel,
    fetch_model,
    load_estimator,
    load_foreign,
    load_skops,
    trusted_types,
)
from evergreen.tasks.io.mlflow_store.models import log_model, requirements
from evergreen.tasks.io.mlflow_store.registry import MlflowRegistry
from evergreen.tasks.io.mlflow_store.tracking import Tracker
from tests.support.training_data import make_frame, make_rows, model_config, schema

PATHS = [
    "sklearn.linear_model.LogisticRegression",
    "sklearn.ensemble.HistGradientBoostingClassifier",
    "sklearn.ensemble.RandomForestClassifier",
    "sklearn.svm.LinearSVC",
    "lightgbm.LGBMClassifier",
]


@pytest.fixture
def tracker(mlflow_uri, tmp_path):
    return Tracker(mlflow_uri, artifact_root=(tmp_path / "artifacts").as_uri())


def fitted(path, *, threshold=0.3):
    model = fit_candidate(
        Candidate(name="c", estimator=path), make_rows(), schema=schema(), config=model_config()
    )
    return with_threshold(model, Threshold(value=threshold, method="fixed"), classes=("no", "yes"))


def logged(tracker, model, *, features=None, **options):
    run_id = tracker.create_run("tested", "training", name="x")
    features = feature_frame(make_frame(), schema()) if features is None else features
    return log_model(tracker, run_id, model, features=features, **options)


def by_mlflow(tracker, uri):
    """Load a model as a process does whose own store this is."""
    mlflow.set_tracking_uri(tracker.tracking_uri)
    return mlflow.pyfunc.load_model(uri)


def log_elsewhere(tracker, model, frame, **options):
    mlflow.set_tracking_uri(tracker.tracking_uri)
    signature = mlflow.models.infer_signature(frame, model.predict(frame))
    options = {"signature": signature, "pip_requirements": [], **options}
    run_id = tracker.create_run("tested", "training", name="elsewhere")
    mlflow.set_experiment(experiment_id=tracker.client.get_run(run_id).info.experiment_id)
    return mlflow.sklearn.log_model(model, name="model", run_id=run_id, **options).model_uri


@pytest.mark.parametrize("path", PATHS)
def test_a_model_comes_back_as_it_was_and_without_pickle(tracker, tmp_path, path):
    model = fitted(path)
    uri = logged(tracker, model)
    features = feature_frame(make_frame(seed=1), schema())
    again = load_estimator(uri, tracker=tracker, config=model_config())
    assert np.allclose(model.predict_proba(features), again.predict_proba(features), rtol=0, atol=1e-12)
    assert [] == [file.name for file in fetch_model(uri, tmp_path, tracker=tracker).rglob("*.pkl")]


def test_mlflow_alone_serves_it_with_the_threshold(tracker):
    model = fitted(PATHS[0], threshold=0.05)
    served = by_mlflow(tracker, logged(tracker, model))
    features = feature_frame(make_frame(), schema())
    expected = np.where(model.predict_proba(features)[:, 1] >= 0.05, "yes", "no")
    assert expected.tolist() == served.predict(features).tolist()


def test_the_signature_names_every_feature_as_a_number_or_a_text(tracker):
    uri = logged(tracker, fitted(PATHS[0]))
    inputs = by_mlflow(tracker, uri).metadata.signature.inputs
    assert {"signal": "double", "noise": "double", "colour": "string"} == {
        column.name: column.type.name for column in inputs
    }


@pytest.mark.parametrize("whole", [[1, 2, 3], [1.0, 2.0, np.nan], [True, False, True]])
def test_mlflow_takes_whole_numbers_in_any_type_and_missing_ones(tracker, whole):
    """MLflow refuses int64 where a signature says double, and NaN where it says long."""
    frame = make_frame()
    frame["noise"] = np.arange(len(frame)) % 5
    frame["colour"] = frame["colour"].map({"red": 1, "green": 2, "blue": 3})
    candidate = Candidate(name="c", estimator=PATHS[0])
    model = fit_candidate(candidate, Rows(frame), schema=schema(), config=model_config())
    served = by_mlflow(tracker, logged(tracker, model, features=signature_features(frame, schema())))
    rows = pd.DataFrame({"signal": [0.1, 0.2, 0.3], "noise": whole, "colour": whole})
    assert model.predict(feature_frame(rows, schema())).tolist() == served.predict(rows).tolist()


def test_text_in_a_numeric_column_is_refused_by_name(tracker):
    served = by_mlflow(tracker, logged(tracker, fitted(PATHS[0])))
    with pytest.raises(mlflow.MlflowException, match="column signal from type object"):
        served.predict(make_frame().assign(signal="abc"))


def test_a_column_that_starts_empty_still_shows_its_type():
    frame = make_frame()
    frame.loc[:100, "colour"] = None
    assert signature_features(frame, schema(), most=50)["colour"].notna().any()


def test_private_columns_are_blank_in_the_example(tracker, tmp_path):
    uri = logged(tracker, fitted(PATHS[0]), private=["colour"])
    local = fetch_model(uri, tmp_path, tracker=tracker)
    example = mlflow.models.Model.load(str(local)).load_input_example(str(local))
    assert example["colour"].isna().all()
    assert example["signal"].notna().all()


def test_requirements_name_what_is_installed(tracker):
    import lightgbm
    import sklearn

    found = requirements(fitted("lightgbm.LGBMClassifier"))
    assert f"scikit-learn=={sklearn.__version__}" in found
    assert f"lightgbm=={lightgbm.__version__}" in found


def test_a_function_that_could_do_anything_is_refused_whatever_the_file_says(tracker, tmp_path):
    model = make_pipeline(FunctionTransformer(mlflow.set_tracking_uri), LinearRegression())
    skops.io.dump(model, tmp_path / "model.skops")
    with pytest.raises(InputError, match=r"set_tracking_uri.*training\.allow"):
        load_skops(tmp_path / "model.skops")


@pytest.mark.parametrize(
    "name", ["os.system", "numpy.testing.rundocs", "sklearn.utils.parallel_backend", "builtins.eval"]
)
def test_functions_are_no_trusted_types(name):
    with pytest.raises(InputError, match="not allowed"):
        trusted_types([name])


def test_what_a_team_allows_is_trusted():
    assert ["cards.models.Rule"] == trusted_types(["cards.models.Rule"], allow=["cards"])


def test_a_pickled_model_is_refused_unless_allowed(tracker):
    frame = make_frame()[["signal", "noise"]]
    model = LogisticRegression().fit(frame, make_frame()["y"])
    uri = log_elsewhere(tracker, model, frame, serialization_format="cloudpickle")
    with pytest.raises(InputError, match=r"pickled code.*training\.allow_pickle"):
        load_foreign(uri, tracker=tracker, config=model_config())
    trusting = model_config(training={"allow_pickle": True})
    foreign = load_foreign(uri, tracker=tracker, config=trusting)
    assert np.allclose(model.predict_proba(frame), foreign.predict_proba(make_frame()))


@pytest.mark.parametrize(
    "flavor", [{"loader_module": "mlflow.pyfunc.model"}, {"loader_module": "own.loader", "code": "code"}]
)
def test_a_model_with_code_of_its_own_is_refused(tracker, tmp_path, flavor):
    (tmp_path / "own").mkdir()
    flavors = {"flavors": {"python_function": flavor}}
    (tmp_path / "own" / "MLmodel").write_text(yaml.safe_dump(flavors))
    with pytest.raises(InputError, match="code of its own; loading it would run its author's code"):
        load_foreign(str(tmp_path / "own"), tracker=tracker, config=model_config())


def test_a_foreign_model_gets_its_columns_in_its_own_order(tracker):
    frame = make_frame()[["noise", "signal"]]
    model = LogisticRegression().fit(frame, make_frame()["y"])
    foreign = load_foreign(log_elsewhere(tracker, model, frame), tracker=tracker, config=model_config())
    ours = feature_frame(make_frame(), schema())
    assert ("noise", "signal") == foreign.inputs
    assert np.array_equal(model.predict_proba(frame), foreign.predict_proba(ours))


def test_a_model_without_names_of_its_columns_is_refused(tracker):
    values = make_frame()[["noise", "signal"]].to_numpy()
    model = LogisticRegression().fit(values, make_frame()["y"])
    uri = log_elsewhere(tracker, model, values, signature=None)
    with pytest.raises(InputError, match="does not name its input columns"):
        load_foreign(uri, tracker=tracker, config=model_config())


@pytest.mark.parametrize("uri", ["models:/nobody/1", "runs:/0123456789abcdef0123456789abcdef/model"])
def test_a_uri_that_leads_nowhere_is_said(tracker, uri):
    with pytest.raises(InputError, match="No model can be read at"):
        load_foreign(uri, tracker=tracker, config=model_config())


def test_a_folder_without_a_model_is_said(tracker, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no file 'MLmodel'"):
        load_foreign(str(tmp_path / "empty"), tracker=tracker, config=model_config())


def test_whole_numbers_reach_a_model_that_wants_them():
    class Wants:
        def predict(self, frame):
            assert "int64" == str(frame["n"].dtype)
            return frame["n"].to_numpy()

    model = ForeignModel(Wants(), {"n": "long"})
    assert [1, 2] == model.predict(pd.DataFrame({"n": [1.0, 2.0]})).tolist()
    with pytest.raises(InputError, match="whole numbers in 'n'"):
        model.predict(pd.DataFrame({"n": [1.0, np.nan]}))


def test_what_a_foreign_model_raises_is_told_as_its_own():
    class Broken:
        def predict(self, frame):
            raise KeyError("secret")

    with pytest.raises(InputError, match=r"The model fails on the data .*KeyError"):
        ForeignModel(Broken(), {"n": "double"}).predict(pd.DataFrame({"n": [1.0]}))


@pytest.fixture
def another(tmp_path):
    """A tracker of another store, with a run."""
    tracker = Tracker(f"sqlite:///{tmp_path}/another.db", artifact_root=(tmp_path / "others").as_uri())
    return tracker, logged(tracker, fitted(PATHS[0]))


def once_between(monkeypatch, target, name, act):
    """Let something happen once, at the moment in which a function of MLflow is called."""
    original, due = getattr(target, name), [act]

    def call(*args, **options):
        if due:
            due.pop()()
        return original(*args, **options)

    monkeypatch.setattr(target, name, call)


@pytest.mark.parametrize("form", ["logged", "registered", "run"])
def test_a_model_is_fetched_from_its_own_store_whatever_another_thread_fetches_meanwhile(
    tracker, another, tmp_path, monkeypatch, form
):
    other, elsewhere = another
    uri = logged(tracker, fitted(PATHS[0]))
    run_id = tracker.client.get_logged_model(uri.removeprefix("models:/")).source_run_id
    version = MlflowRegistry(tracker.tracking_uri).register("mine", source=uri, run_id=run_id)
    asked = {"logged": uri, "registered": f"models:/mine/{version.version}", "run": f"runs:/{run_id}/model"}
    fetched = []

    def fetch_another():
        fetched.append(load_estimator(elsewhere, tracker=other, config=model_config()))

    once_between(monkeypatch, mlflow.artifacts, "download_artifacts", fetch_another)
    found = load_estimator(asked[form], tracker=tracker, config=model_config())
    features = feature_frame(make_frame(), schema())
    assert [1, True] == [len(fetched), (found.predict(features) == fetched[0].predict(features)).all()]


def test_a_model_is_logged_in_its_own_store_whatever_another_thread_fetches_meanwhile(
    tracker, another, monkeypatch
):
    other, elsewhere = another
    once_between(
        monkeypatch,
        mlflow.sklearn,
        "save_model",
        lambda: load_estimator(elsewhere, tracker=other, config=model_config()),
    )
    uri = logged(tracker, fitted(PATHS[0]))
    assert "READY" == tracker.client.get_logged_model(uri.removeprefix("models:/")).status.value


def test_a_model_is_registered_in_its_own_store_whatever_the_process_calls_its_own(
    tracker, another, monkeypatch
):
    uri = logged(tracker, fitted(PATHS[0]))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", another[0].tracking_uri)
    monkeypatch.setattr(mlflow.tracking._tracking_service.utils, "_tracking_uri", None)
    info = MlflowRegistry(tracker.tracking_uri).register("mine", source=uri, run_id=None)
    logged_model = tracker.client.get_logged_model(uri.removeprefix("models:/"))
    assert (1, logged_model.source_run_id) == (info.version, info.run_id)


def test_the_address_that_a_process_gave_mlflow_is_left_alone(tracker, another, monkeypatch, tmp_path):
    said = mlflow.get_tracking_uri(), mlflow.get_registry_uri(), os.environ.get("MLFLOW_TRACKING_URI")
    uri = logged(tracker, fitted(PATHS[0]))
    load_estimator(uri, tracker=tracker, config=model_config())
    load_foreign(uri, tracker=tracker, config=model_config())
    MlflowRegistry(tracker.tracking_uri).register("mine", source=uri, run_id=None)
    now = mlflow.get_tracking_uri(), mlflow.get_registry_uri(), os.environ.get("MLFLOW_TRACKING_URI")
    assert said == now

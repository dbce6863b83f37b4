"""The first reign of each kind of problem through the real command: what it promises to say, key by key."""

import functools
import warnings

import mlflow
import pandas as pd
import pytest
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from tests.support.commands import command, machine, snapshot
from tests.support.training_data import make_frame, write_model

pytestmark = pytest.mark.server
CHALLENGED = {"verdict", "test", "difference", "interval", "n", "blocks", "alpha_left"}
ROLES = ("champion", "fallback", "challenger", "candidate")
LINEAR = {"binary": "LogisticRegression", "multiclass": "LogisticRegression"}
ONE = {"folds": 2, "importance_repeats": 1}
KINDS = {
    "binary": {},
    "multiclass": {"timed": False},
    "regression": {"data": {"time": None, "clock": "rows"}, "promotion": {"refit": False}},
    "ranking": {"promotion": {"refit": False}},
}
"""Binary has a clock of timestamps and a refit, multiclass no clock, regression a clock of rows."""


@pytest.fixture(scope="module")
def stores(prefect_server, mlflow_template, tmp_path_factory):
    with machine(tmp_path_factory.mktemp("commands") / "home", mlflow_template) as opened:
        yield opened


@pytest.fixture(scope="module")
def trained_versions(stores, tmp_path_factory):
    """Return a function that leads a model of a kind to the throne, once, and tells the answers by command."""

    @functools.cache
    def lead(kind):
        folder = tmp_path_factory.mktemp(kind)
        candidates = [{"name": "linear", "estimator": f"sklearn.linear_model.{LINEAR.get(kind, 'Ridge')}"}]
        options = {"model": kind, **KINDS[kind]}
        path = write_model(folder, kind, n=720, training={**ONE, "candidates": candidates}, **options)
        verbs = ("train", "validate", "challenge", "status", "rollback")
        return {"path": path, **{verb: command(verb, path) for verb in verbs}}

    return lead


@pytest.mark.parametrize("kind", KINDS)
def test_train_tells_version_metrics_and_baseline(trained_versions, kind):
    answer = trained_versions(kind)["train"]
    assert (0, "Trained", 1) == (answer.exit_code, answer.state, answer.json["version"]), answer
    assert answer.json["metric"] in answer.json["metrics"]
    assert answer.json["metric"] in answer.json["baseline"]
    assert all(isinstance(value, float) for value in answer.json["metrics"].values())


@pytest.mark.parametrize("kind", KINDS)
def test_validate_approves_what_is_better_than_its_baseline(trained_versions, kind):
    answer = trained_versions(kind)["validate"]
    assert (0, "Approved", 1) == (answer.exit_code, answer.state, answer.json["version"]), answer


@pytest.mark.parametrize("kind", KINDS)
def test_challenge_tells_its_evidence(trained_versions, kind):
    answer = trained_versions(kind)["challenge"]
    assert (0, "Promoted", "superior") == (answer.exit_code, answer.state, answer.json["verdict"]), answer
    assert CHALLENGED <= set(answer.json)
    low, high = answer.json["interval"]
    assert low < answer.json["difference"] < high
    assert answer.json["n"] > 0
    assert (answer.json["blocks"] is None) == (kind == "multiclass")
    assert 0 <= answer.json["alpha_left"] < 0.05


@pytest.mark.parametrize("kind", KINDS)
def test_status_tells_who_holds_which_alias(trained_versions, kind):
    answer = trained_versions(kind)["status"]
    champion = trained_versions(kind)["challenge"].json["version"]
    assert 0 == answer.exit_code
    assert set(ROLES) <= set(answer.json)
    assert champion == answer.json["champion"]["version"]
    assert answer.json["fallback"] is None
    assert [] == answer.json["pending"]
    assert answer.json["consistent"] is True


@pytest.mark.parametrize("kind", KINDS)
def test_a_first_champion_has_nobody_to_go_back_to(trained_versions, kind):
    answer = trained_versions(kind)["rollback"]
    assert (0, "InsufficientData", ["nothing_to_return_to"]) == (answer.exit_code, answer.state, answer.codes)


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_is_said_on_stderr_that_nobody_asked_for(trained_versions, kind):
    answers = {verb: answer.err for verb, answer in trained_versions(kind).items() if verb != "path"}
    assert dict.fromkeys(answers, "") == answers


def test_a_refit_reigns_and_the_judged_version_can_be_promoted_and_rolled_back(trained_versions):
    path = trained_versions("binary")["path"]
    judged, refit = (trained_versions("binary")[verb].json["version"] for verb in ("validate", "challenge"))
    assert (1, 2) == (judged, refit)
    answer = command("promote", path, "--version", judged, "--reason", "a drill")
    assert ("Promoted", judged) == (answer.state, answer.json["version"]), answer
    status = command("status", path).json
    assert (judged, refit) == (status["champion"]["version"], status["fallback"]["version"])
    answer = command("rollback", path, "--reason", "the drill is over")
    assert ("ChampionRestored", refit) == (answer.state, answer.json["version"]), answer
    status = command("status", path).json
    assert (refit, None) == (status["champion"]["version"], status["fallback"])
    assert "the drill is over" in status["champion"]["reason"]
    assert status["consistent"] is True
    assert "Reconciled" == command("reconcile", path).state


def test_a_challenge_that_cannot_be_held_still_names_its_keys(trained_versions):
    answer = command("challenge", trained_versions("ranking")["path"])
    assert (0, "InsufficientData") == (answer.exit_code, answer.state), answer
    assert CHALLENGED <= set(answer.json)
    assert answer.json["verdict"] is None


HOURS = 450
TRAINED_TO = str(pd.Timestamp("2026-01-01") + pd.to_timedelta(HOURS, unit="h"))


def log_plain_python(signature):
    """Log a model of plain Python, as teams do."""

    class Doubling(mlflow.pyfunc.PythonModel):
        def predict(self, context, model_input: pd.DataFrame, params=None):
            return (2 * model_input["signal"]).to_numpy()

    return mlflow.pyfunc.log_model(
        name="model", python_model=Doubling(), signature=signature, pip_requirements=[]
    )


def log_elsewhere(stores, log):
    """Log a model as another team would, by MLflow alone; return its address."""
    mlflow.set_tracking_uri(stores.settings.tracking_uri)
    place = f"{stores.settings.artifact_root}/elsewhere"
    known = mlflow.get_experiment_by_name("elsewhere")
    experiment = (
        known.experiment_id if known else mlflow.create_experiment("elsewhere", artifact_location=place)
    )
    with warnings.catch_warnings(), mlflow.start_run(experiment_id=experiment):
        warnings.simplefilter("ignore")  # MLflow's advice to those who log
        return log().model_uri


def test_a_model_trained_elsewhere_goes_the_same_way(stores, tmp_path):
    frame = make_frame(n=720).head(HOURS)
    features, y = frame[["noise", "signal"]], frame["y"]
    model = make_pipeline(SimpleImputer(), LogisticRegression()).fit(features, y)
    signature = mlflow.models.infer_signature(features, model.predict(features))
    uri = log_elsewhere(
        stores,
        lambda: mlflow.sklearn.log_model(
            model,
            name="model",
            signature=signature,
            pip_requirements=[],
            serialization_format="skops",
            skops_trusted_types=["numpy.dtype"],
        ),
    )
    path = write_model(tmp_path, n=720, model="foreign")
    answer = command("register", path, uri, "--trained-to", TRAINED_TO)
    assert (0, "Registered", 1) == (answer.exit_code, answer.state, answer.json["version"]), answer
    assert answer.json["metrics"]["roc_auc"] > answer.json["baseline"]["roc_auc"]
    assert "Approved" == command("validate", path).state
    answer = command("challenge", path)
    assert ("Promoted", 1) == (answer.state, answer.json["version"]), answer
    assert CHALLENGED <= set(answer.json)
    status = command("status", path).json
    assert status["champion"]["trained_to"].startswith(TRAINED_TO[:10])


def test_a_model_of_plain_python_is_refused_until_pickles_are_allowed(stores, tmp_path):
    frame = make_frame("regression", n=720)[["signal"]]
    signature = mlflow.models.infer_signature(frame, frame["signal"].to_numpy())
    uri = log_elsewhere(stores, lambda: log_plain_python(signature))
    path = write_model(tmp_path, "regression", n=720, model="python")
    before = snapshot(stores)
    answer = command("register", path, uri, "--trained-to", TRAINED_TO)
    assert (2, "InputError") == (answer.exit_code, answer.state), answer
    assert "training.allow_pickle" in answer.said
    assert f"{answer.said}\n" == answer.err
    assert before == snapshot(stores)
    path = write_model(tmp_path, "regression", n=720, model="python", training={"allow_pickle": True})
    answer = command("register", path, uri, "--trained-to", TRAINED_TO)
    assert (0, "Registered", 1) == (answer.exit_code, answer.state, answer.json["version"]), answer

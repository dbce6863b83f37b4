"""Train, refit and register on a real MLflow store: what is kept, what is said, and what a refusal leaves."""

import functools

import mlflow
import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression

from evergreen.tasks.core.contract.contract import Contract
from evergreen.tasks.core.data.split import unseen_rows
from evergreen.tasks.core.errors import InputError, NotLearnable
from evergreen.tasks.core.profiles.profile import Profile
from evergreen.tasks.core.records.training import training_result
from evergreen.tasks.data import load_parts
from evergreen.tasks.io.mlflow_store.documents import read_documents
from evergreen.tasks.io.mlflow_store.models import load_model
from evergreen.tasks.io.mlflow_store.tracking import open_tracker
from evergreen.tasks.io.plots import holdout_figures, importance_figure
from evergreen.tasks.io.setup import open_setup
from evergreen.tasks.registration import register_model
from evergreen.tasks.training import can_refit, choose, prepare, refit_version, try_candidate
from tests.support.champions import TrainedModel, train
from tests.support.training_data import make_frame, write_model

PROBLEMS = ("binary", "multiclass", "regression", "ranking")


@pytest.fixture
def make_setup(mlflow_uri, tmp_path, monkeypatch):
    """Return a function that writes a model and opens it over stores of its own."""
    monkeypatch.setenv("EVERGREEN_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", mlflow_uri)
    monkeypatch.delenv("EVERGREEN_LEDGER_URL", raising=False)

    def make(problem="binary", **options):
        return open_setup(str(write_model(tmp_path, problem, **options)))

    return make


@pytest.fixture(scope="module")
def trained_model(mlflow_template, tmp_path_factory):
    """Return a function that trains a model of a kind of problem, once; its stores are only read."""
    return functools.cache(
        lambda problem: TrainedModel(tmp_path_factory.mktemp(problem), mlflow_template, problem=problem)
    )


@pytest.fixture(scope="module")
def binary(trained_model):
    """The model of a binary problem."""
    return trained_model("binary")


@pytest.mark.parametrize("problem", PROBLEMS)
def test_training_registers_a_candidate_that_answers_as_it_was_measured(trained_model, monkeypatch, problem):
    known = trained_model(problem)
    setup = known.open(monkeypatch)
    lesson, choice, fitted, info = known.lesson, known.choice, known.fitted, known.info
    assert {"candidate": 1} == setup.stores.registry.aliases("tested")
    loaded = load_model(setup, info.version)
    scored = loaded.score(lesson.parts.holdout, config=setup.config)
    assert np.allclose(fitted.holdout.score, scored.score, rtol=0, atol=1e-12)
    assert lesson.parts.plan == loaded.plan
    assert lesson.schema == loaded.schema
    result = training_result("tested", lesson, choice, fitted, 1, str(info.run_id), None).to_dict()
    assert ("Trained", 1) == (result["state"], result["version"])
    metric = lesson.metric
    assert metric.improvement(result["baseline"][metric.name], result["metrics"][metric.name]) > 0


def test_a_version_tells_its_story_by_its_tags(binary, monkeypatch):
    setup = binary.open(monkeypatch)
    lesson, info = binary.lesson, binary.info
    tags = setup.stores.registry.version("tested", info.version).tags
    assert "pending" == tags["validation_status"]
    assert ("manual", "train", "linear") == tuple(
        tags[f"evergreen.{name}"] for name in ("trigger", "stage", "candidate")
    )
    assert lesson.parts.fingerprint == tags["evergreen.data_fingerprint"]
    assert tags["evergreen.trained_from"] < tags["evergreen.trained_to"]
    assert info.run_id == tags["evergreen.run"]
    assert tags["evergreen.code_revision"]


def test_all_that_later_decisions_need_lies_with_the_version(binary, monkeypatch):
    setup = binary.open(monkeypatch)
    lesson, fitted, info = binary.lesson, binary.fitted, binary.info
    kept = read_documents(setup, info, ("schema", "split", "recipe", "contract", "profile", "config"))
    assert lesson.schema.features == tuple(kept["schema"]["numeric"] + kept["schema"]["categorical"])
    assert len(lesson.parts.training) == Profile.from_dict(kept["profile"]["inputs"]).columns["signal"].n
    assert "out_of_fold" == kept["profile"]["score_source"]
    assert Contract.from_dict(kept["contract"])
    assert fitted.recipe.config_digest == kept["recipe"]["config_digest"]


def test_the_run_holds_parameters_metrics_data_plots_and_a_child_a_candidate(binary, monkeypatch):
    setup = binary.open(monkeypatch)
    fitted, info = binary.fitted, binary.info
    client = open_tracker(setup.stores).client
    run = client.get_run(info.run_id)
    assert ("train v1 linear", "FINISHED") == (run.info.run_name, run.info.status)
    assert fitted.metrics["roc_auc"] == pytest.approx(run.data.metrics["roc_auc"])
    assert {"baseline_constant_roc_auc", "baseline_persistence_roc_auc", "cv_roc_auc_std"} <= set(
        run.data.metrics
    )
    assert ("linear", "roc_auc") == (run.data.params["candidate"], run.data.params["metric"])
    assert ["training", "holdout"] == [found.tags[0].value for found in run.inputs.dataset_inputs]
    plots = {file.path for file in client.list_artifacts(info.run_id, "plots")}
    assert {
        f"plots/{name}.png"
        for name in ("roc", "precision_recall", "calibration", "confusion", "importance", "candidates")
    } == plots
    children = client.search_runs([run.info.experiment_id], f"tags.`mlflow.parentRunId` = '{info.run_id}'")
    assert {"linear", "trees"} == {child.info.run_name for child in children}
    comparison = client.get_experiment_by_name("tested/comparison")
    (compared,) = client.search_runs([comparison.experiment_id])
    assert "linear" == compared.data.params["winner"]


@pytest.mark.parametrize(
    ("changes", "code"),
    [({"y": "yes"}, "one_class"), ({"signal": 1.0, "noise": 1.0, "colour": "red"}, "no_usable_feature")],
)
def test_rows_that_cannot_be_learned_from_leave_nothing_behind(make_setup, tmp_path, changes, code):
    setup = make_setup()
    rows = pd.read_csv(tmp_path / "rows.csv")
    rows.assign(**changes).to_csv(tmp_path / "rows.csv", index=False)
    with pytest.raises(NotLearnable) as caught:
        train(setup)
    assert code == caught.value.reason_code
    assert [] == setup.stores.registry.versions("tested")


def test_no_eligible_candidate_is_kept_as_a_comparison_and_registered_as_nothing(make_setup):
    setup = make_setup(training={"criteria": "roc_auc > 0.9999"})
    lesson = prepare.fn(setup, load_parts(setup))
    choice = choose.fn(
        setup, lesson, [try_candidate.fn(setup, lesson, c) for c in setup.config.training.candidates]
    )
    assert choice.candidate is None
    assert [] == setup.stores.registry.versions("tested")
    client = open_tracker(setup.stores).client
    assert (
        "None"
        == client.search_runs([client.get_experiment_by_name("tested/comparison").experiment_id])[
            0
        ].data.params["chosen"]
    )


def test_training_as_of_a_moment_sees_nothing_after_it(make_setup):
    setup = make_setup()
    lesson = prepare.fn(setup, load_parts(setup, until="2026-01-20"))
    assert lesson.parts.evaluation.positions.max() < pd.Timestamp("2026-01-20", tz="UTC").timestamp()


def test_a_refit_keeps_recipe_and_threshold_and_learns_from_everything(make_setup):
    setup = make_setup(evaluation={"threshold": {"false_positive": 1, "false_negative": 9}})
    train(setup)
    assert can_refit(setup, 1)
    everything = load_parts(setup, refit=True)
    info = refit_version(setup, 1, everything.training, plan=everything.plan)
    judged, refitted = load_model(setup, 1), load_model(setup, info.version)
    assert judged.recipe == refitted.recipe
    assert judged.threshold == refitted.threshold
    assert ("1", "refit") == tuple(info.tags[f"evergreen.{name}"] for name in ("evaluated_as", "stage"))
    # @candidate stays where it was: who becomes what is decided elsewhere
    assert {"candidate": 1} == setup.stores.registry.aliases("tested")
    assert not unseen_rows(refitted.plan, everything.training).any()
    assert not np.array_equal(
        judged.score(everything.training, config=setup.config).score,
        refitted.score(everything.training, config=setup.config).score,
    )


def test_rows_without_a_clock_are_not_refitted(make_setup):
    setup = make_setup(timed=False)
    train(setup)
    assert not can_refit(setup, 1)


def foreign_model(tmp_path, *, columns=("noise", "signal"), n=500):
    frame = make_frame(n=900).head(n)
    model = LogisticRegression().fit(frame[list(columns)], frame["y"])
    signature = mlflow.models.infer_signature(frame[list(columns)], model.predict(frame[list(columns)]))
    path = tmp_path / "foreign"
    mlflow.sklearn.save_model(model, str(path), signature=signature, pip_requirements=[])
    return path, model


def test_a_model_trained_elsewhere_becomes_a_candidate_judged_on_what_it_never_saw(make_setup, tmp_path):
    setup = make_setup()
    path, model = foreign_model(tmp_path)
    trained_to = pd.Timestamp("2026-01-01") + pd.to_timedelta(500, unit="h")
    result = register_model(str(setup.path), str(path), trained_to=str(trained_to)).to_dict()
    assert ("Registered", 1) == (result["state"], result["version"])
    assert result["metrics"]["roc_auc"] > 0.8 > result["baseline"]["roc_auc"]
    assert {"candidate": 1} == setup.stores.registry.aliases("tested")
    path.rename(tmp_path / "moved")  # what is registered outlives the place it came from
    loaded = load_model(setup, 1)
    assert ("noise", "signal") == loaded.estimator.inputs
    parts = load_parts(setup, trained_to=str(trained_to))
    rows = parts.holdout
    assert rows.positions.min() >= trained_to.tz_localize("UTC").timestamp()
    assert unseen_rows(loaded.plan, parts.evaluation).all()
    assert not unseen_rows(loaded.plan, parts.training).any()
    expected = model.predict_proba(rows.frame[["noise", "signal"]])[:, 1]
    assert np.allclose(expected, loaded.score(rows, config=setup.config).score)
    assert not can_refit(setup, 1)
    kept = read_documents(setup, loaded.info, ("contract", "profile"))
    assert 500 >= Profile.from_dict(kept["profile"]["inputs"]).columns["signal"].n


def test_a_foreign_model_that_takes_a_column_the_data_lack_is_refused(make_setup, tmp_path):
    setup = make_setup()
    frame = make_frame(n=900).assign(height=1.0)
    model = LogisticRegression().fit(frame[["height"]], frame["y"])
    signature = mlflow.models.infer_signature(frame[["height"]], model.predict(frame[["height"]]))
    mlflow.sklearn.save_model(model, str(tmp_path / "f"), signature=signature, pip_requirements=[])
    with pytest.raises(InputError, match=r"takes the column 'height'.*the data have none"):
        register_model(str(setup.path), str(tmp_path / "f"), trained_to="2026-01-15")
    assert [] == setup.stores.registry.versions("tested")


def test_a_version_registered_by_hand_is_not_loaded_as_ours(make_setup):
    setup = make_setup()
    setup.stores.registry.register("tested", source="file:///nowhere", run_id=None)
    with pytest.raises(InputError, match=r"lacks evergreen/schema.json.*evergreen register"):
        load_model(setup, 1)


@pytest.mark.parametrize("problem", PROBLEMS)
def test_every_problem_has_figures_whose_words_are_whole(trained_model, problem):
    fitted = trained_model(problem).fitted
    drawn = [
        *holdout_figures(fitted.holdout, problem=problem),
        importance_figure(fitted.importances, metric="m"),
    ]
    for item in drawn:
        item.figure.draw_without_rendering()
        assert item.figure.axes
        paper, used = item.figure.bbox_inches, item.figure.get_tightbbox()
        assert min(used.x0, used.y0) >= 0
        assert paper.x1 >= used.x1
        assert paper.y1 >= used.y1

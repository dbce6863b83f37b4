"""What monitoring will need of a version lies with it, on a real MLflow store: trained, refitted or brought in."""

import json
from pathlib import Path
from urllib.parse import urlparse

import mlflow
import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from evergreen.tasks.core.drift.types import DriftKind
from evergreen.tasks.core.profiles.profile import Profile
from evergreen.tasks.data import load_parts
from evergreen.tasks.io.mlflow_store.documents import read_documents
from evergreen.tasks.io.mlflow_store.models import read_split
from evergreen.tasks.io.mlflow_store.tracking import open_tracker
from evergreen.tasks.io.mlflow_store.versions import earlier_grid
from evergreen.tasks.io.setup import open_setup
from evergreen.tasks.registration import register_model
from evergreen.tasks.training import refit_version
from tests.support.champions import TrainedModel, load_reference, use_stores
from tests.support.training_data import linear, make_frame, write_model

WINDOWS = {"window": "100h", "min_rows": 50}


@pytest.fixture(scope="module")
def trained_model(mlflow_template, tmp_path_factory):
    """Return a function that trains a model of a kind of problem, once."""

    def train_once(problem="binary", **options):
        given = {"monitoring": WINDOWS, "training": {"candidates": [linear(problem)]}, "n": 1800, **options}
        folder = tmp_path_factory.mktemp(problem)
        return TrainedModel(folder, mlflow_template, problem=problem, **given)

    return train_once


@pytest.fixture(scope="module")
def two(trained_model):
    """Two versions of a model, the second of all rows."""
    return trained_model(until=("2026-02-20", None))


@pytest.fixture
def empty(mlflow_uri, tmp_path, monkeypatch):
    """A model without a version."""
    use_stores(tmp_path, mlflow_uri, monkeypatch)
    return open_setup(str(write_model(tmp_path, monitoring=WINDOWS, n=1800)))


@pytest.mark.parametrize("problem", ["binary", "multiclass", "regression", "ranking"])
def test_a_trained_version_has_its_past_and_its_worth(trained_model, request, monkeypatch, problem):
    if problem == "binary":
        known = request.getfixturevalue("two")
    else:
        known = trained_model(problem, n=6000 if problem == "ranking" else 1800)
    reference, past = load_reference(known.open(monkeypatch), known.info)
    assert known.lesson.metric.name in reference.performance
    assert reference.loss.defined
    assert (reference.calibration is not None) == (problem in ("binary", "multiclass"))
    assert set(DriftKind) == set(past.series)
    assert () == past.reasons
    data = past.series[DriftKind.DATA]
    assert len(data) >= 3
    assert {0.0} == set(data.starts % 360_000.0)


def test_the_decisions_of_the_reference_are_the_versions_own(trained_model, monkeypatch):
    shares = []
    for costs in ({"false_positive": 1, "false_negative": 9}, {"false_positive": 9, "false_negative": 1}):
        known = trained_model(evaluation={"threshold": costs})
        answers = load_reference(known.open(monkeypatch), known.info)[0].answers
        column = answers.columns["@decision"]
        yes = answers.grid.columns["@decision"].categories.index("yes")
        shares.append(column.counts[yes] / column.n)
        assert known.fitted.recipe.threshold.value != 0.5
    assert shares[0] > shares[1] + 0.02


def test_a_past_is_kept_without_blanks(two, monkeypatch):
    client = open_tracker(two.open(monkeypatch).stores).client
    local = Path(client.download_artifacts(two.info.run_id, "evergreen/past.json"))
    text = local.read_text()
    assert json.dumps(json.loads(text), separators=(",", ":")) == text


def test_the_next_version_keeps_the_models_grid(two, tmp_path, monkeypatch):
    setup = two.copied(tmp_path, monkeypatch, version=1)
    assert earlier_grid(setup).id == load_reference(setup, two.infos[0])[0].inputs.grid.id
    setup = two.open(monkeypatch)
    before, after = (load_reference(setup, info)[0] for info in two.infos)
    assert before.inputs.grid.id == after.inputs.grid.id
    assert after.inputs.columns["signal"].n > before.inputs.columns["signal"].n
    kept = [read_documents(setup, info, ("profile",))["profile"]["grid"] for info in two.infos]
    assert [False, True] == [text.startswith("kept from the version before") for text in kept]


def test_the_champions_grid_goes_before_that_of_a_newer_version(two, tmp_path, monkeypatch):
    setup = two.copied(tmp_path, monkeypatch, version=1)
    setup.stores.registry.set_alias("tested", "champion", 1)
    setup.stores.registry.register("tested", source=str(setup.path), run_id=None)
    assert earlier_grid(setup).id == load_reference(setup, two.infos[0])[0].inputs.grid.id


def test_without_a_version_there_is_no_grid(empty):
    assert earlier_grid(empty) is None


def test_a_version_that_is_none_of_ours_leaves_no_grid(empty):
    empty.stores.registry.register("tested", source=str(empty.path), run_id=None)
    assert earlier_grid(empty) is None


def refit(setup, judged):
    everything = load_parts(setup, refit=True, also=read_split(setup, judged.version)[0].features)
    return refit_version(setup, judged.version, everything.training, plan=everything.plan)


def test_a_refit_measures_its_features_anew_and_keeps_the_judged_answers(two, tmp_path, monkeypatch):
    setup, judged = two.copied(tmp_path, monkeypatch), two.info
    before, after = (load_reference(setup, one) for one in (judged, refit(setup, judged)))
    assert 1800 == after[0].inputs.columns["signal"].n
    assert before[0].inputs.columns["signal"].n < 1800
    assert before[0].inputs.grid.id == after[0].inputs.grid.id
    assert before[0].answers == after[0].answers
    assert before[0].performance == after[0].performance
    assert len(after[1].series[DriftKind.DATA]) > len(before[1].series[DriftKind.DATA])
    for kind in (DriftKind.PREDICTION, DriftKind.PERFORMANCE):
        old, new = before[1].series[kind], after[1].series[kind]
        assert old.starts.tolist() == new.starts.tolist()
        assert np.allclose(old.values, new.values, equal_nan=True)


@pytest.fixture
def without_past(two, tmp_path, monkeypatch):
    """The model as if its newest version were from before pasts were kept."""
    setup = two.copied(tmp_path, monkeypatch)
    folder = urlparse(open_tracker(setup.stores).client.get_run(two.info.run_id).info.artifact_uri).path
    hidden = Path(folder, "evergreen", "past.json").rename(tmp_path / "past.json")
    yield setup
    hidden.rename(Path(folder, "evergreen", "past.json"))


def test_a_refit_of_a_version_from_before_pasts_were_kept_goes_on_without(without_past, two):
    assert "no_past" == load_reference(without_past, two.info)[1].reasons[0].code
    _, past = load_reference(without_past, refit(without_past, two.info))
    assert {DriftKind.DATA, DriftKind.OUTCOME, DriftKind.CONCEPT} == set(past.series)


def test_a_model_brought_in_has_the_past_of_its_answers_after_its_training(empty, tmp_path):
    setup = empty
    frame = make_frame(n=1800)
    model = LogisticRegression().fit(frame[["signal", "noise"]], frame["y"])
    path = tmp_path / "foreign"
    mlflow.sklearn.save_model(
        model,
        path,
        serialization_format="skops",
        pip_requirements=["scikit-learn"],
        input_example=frame[["signal", "noise"]].head(3),
    )
    result = register_model(str(setup.path), str(path), trained_to="2026-02-10")
    reference, past = load_reference(setup, setup.stores.registry.version("tested", result.version))
    ended = 1_770_681_600.0  # 2026-02-10
    assert "holdout" == reference.score_source
    assert past.series[DriftKind.DATA].starts.max() < ended <= past.series[DriftKind.PREDICTION].starts.min()
    assert isinstance(reference.inputs, Profile)

"""What monitoring will need of a version lies with it, on a real MLflow store: trained, refitted or brought in."""

import json
from pathlib import Path
from urllib.parse import urlparse

import mlflow
import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from tasks.core.drift.words import DriftKind
from tasks.core.profiles.profile import Profile
from tasks.data import load_parts
from tasks.io.models import read_documents
from tasks.io.references import earlier_grid, load_reference
from tasks.io.setup import open_setup
from tasks.io.tracking import open_tracker
from tasks.refit import refit_version
from tasks.register import register_model
from tasks.train import choose, fit, keep, prepare, try_candidate
from tests.support.learning import make_frame, write_model

WINDOWS = {"window": "100h", "min_rows": 50}


@pytest.fixture
def make_setup(mlflow_uri, tmp_path, monkeypatch):
    """Return a function that writes a model and opens it over stores of its own."""
    monkeypatch.setenv("EVERGREEN_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", mlflow_uri)
    monkeypatch.delenv("EVERGREEN_LEDGER_URL", raising=False)

    def make(problem="binary", **options):
        given = {"monitoring": WINDOWS, "n": 1800, **options}
        return open_setup(str(write_model(tmp_path, problem, **given)))

    return make


def train(setup, **options):
    parts = load_parts(setup, **options)
    lesson = prepare.fn(setup, parts)
    runs = [try_candidate.fn(setup, lesson, candidate) for candidate in setup.config.training.candidates]
    choice = choose.fn(setup, lesson, runs)
    fitted = fit.fn(setup, lesson, choice)
    return lesson, fitted, keep.fn(setup, lesson, choice, fitted, trigger="manual")


@pytest.mark.parametrize("problem", ["binary", "multiclass", "regression", "ranking"])
def test_a_trained_version_has_its_past_and_its_worth(make_setup, problem):
    setup = make_setup(problem, n=6000 if problem == "ranking" else 1800)
    lesson, _, info = train(setup)
    reference, past = load_reference(setup, info)
    assert lesson.metric.name in reference.performance
    assert reference.loss.defined
    assert (reference.calibration is not None) == (problem in ("binary", "multiclass"))
    assert set(DriftKind) == set(past.series)
    assert () == past.reasons
    data = past.series[DriftKind.DATA]
    assert len(data) >= 3
    assert {0.0} == set(data.starts % 360_000.0)


def test_the_decisions_of_the_reference_are_the_versions_own(make_setup):
    shares = []
    for costs in ({"false_positive": 1, "false_negative": 9}, {"false_positive": 9, "false_negative": 1}):
        setup = make_setup(evaluation={"threshold": costs})
        _, fitted, info = train(setup)
        column = load_reference(setup, info)[0].answers.columns["@decision"]
        yes = load_reference(setup, info)[0].answers.grid.columns["@decision"].categories.index("yes")
        shares.append(column.counts[yes] / column.n)
        assert fitted.recipe.threshold.value != 0.5
    assert shares[0] > shares[1] + 0.02


def test_a_past_is_kept_without_blanks(make_setup):
    setup = make_setup()
    _, _, info = train(setup)
    tracker = open_tracker(setup.stores)
    local = Path(tracker.client.download_artifacts(info.run_id, "evergreen/past.json"))
    text = local.read_text()
    assert json.dumps(json.loads(text), separators=(",", ":")) == text


def test_the_next_version_keeps_the_models_grid(make_setup):
    setup = make_setup()
    assert earlier_grid(setup) is None
    _, _, first = train(setup, until="2026-02-20")
    assert earlier_grid(setup).id == load_reference(setup, first)[0].inputs.grid.id
    _, _, second = train(setup)
    before, after = (load_reference(setup, info)[0] for info in (first, second))
    assert before.inputs.grid.id == after.inputs.grid.id
    assert after.inputs.columns["signal"].n > before.inputs.columns["signal"].n
    kept = read_documents(setup, second, ("profile",))["profile"]
    assert kept["grid"].startswith("kept from the version before")


def test_the_champions_grid_goes_before_that_of_a_newer_version(make_setup):
    setup = make_setup()
    _, _, first = train(setup)
    setup.stores.registry.set_alias("tested", "champion", first.version)
    setup.stores.registry.register("tested", source=str(setup.path), run_id=None)
    assert earlier_grid(setup).id == load_reference(setup, first)[0].inputs.grid.id


def test_a_version_that_is_none_of_ours_leaves_no_grid(make_setup):
    setup = make_setup()
    setup.stores.registry.register("tested", source=str(setup.path), run_id=None)
    assert earlier_grid(setup) is None


def test_a_refit_measures_its_features_anew_and_keeps_the_judged_answers(make_setup):
    setup = make_setup()
    lesson, _, judged = train(setup)
    everything = load_parts(setup, refit=True, also=lesson.schema.features)
    info = refit_version(setup, judged.version, everything.training, plan=everything.plan)
    before, after = (load_reference(setup, one) for one in (judged, info))
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


def test_a_refit_of_a_version_from_before_pasts_were_kept_goes_on_without(make_setup):
    setup = make_setup()
    lesson, _, judged = train(setup)
    folder = urlparse(open_tracker(setup.stores).client.get_run(judged.run_id).info.artifact_uri).path
    Path(folder, "evergreen", "past.json").unlink()
    assert "no_past" == load_reference(setup, judged)[1].reasons[0].code
    everything = load_parts(setup, refit=True, also=lesson.schema.features)
    info = refit_version(setup, judged.version, everything.training, plan=everything.plan)
    _, past = load_reference(setup, info)
    assert {DriftKind.DATA, DriftKind.OUTCOME, DriftKind.CONCEPT} == set(past.series)


def test_a_model_brought_in_has_the_past_of_its_answers_after_its_training(make_setup, tmp_path):
    setup = make_setup()
    frame = make_frame(n=1800)
    model = LogisticRegression().fit(frame[["signal", "noise"]], frame["y"])
    path = tmp_path / "foreign"
    mlflow.sklearn.save_model(
        model, path, serialization_format="skops", pip_requirements=["scikit-learn"],
        input_example=frame[["signal", "noise"]].head(3),
    )  # fmt: skip
    result = register_model(str(setup.path), str(path), trained_to="2026-02-10")
    reference, past = load_reference(setup, setup.stores.registry.version("tested", result.version))
    ended = 1_770_681_600.0  # 2026-02-10
    assert "holdout" == reference.score_source
    assert past.series[DriftKind.DATA].starts.max() < ended <= past.series[DriftKind.PREDICTION].starts.min()
    assert isinstance(reference.inputs, Profile)

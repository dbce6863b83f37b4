"""The smoke test against real models in a real MLflow store, each asked in a fresh process."""

import os
import signal

import pandas as pd
import pytest
from sklearn.compose import make_column_transformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

from evergreen.tasks.core.validation.smoke import judge_smoke
from evergreen.tasks.io import smoke_pool as smoke_nursery
from evergreen.tasks.io.mlflow_store.models import log_model
from evergreen.tasks.io.mlflow_store.registry import MlflowRegistry
from evergreen.tasks.io.mlflow_store.tracking import Tracker
from evergreen.tasks.io.smoke import smoke_verdict, smoke_version
from evergreen.tasks.io.smoke_pool import SMOKE_POOL

FEATURES = pd.DataFrame({"age": [20.0, 60.0, None, 40.0] * 25, "city": ["a", "b", "a", "b"] * 25})
OUTCOME = [0, 1, 0, 1] * 25


def pipeline(**encoding):
    columns = make_column_transformer((SimpleImputer(), ["age"]), (OneHotEncoder(**encoding), ["city"]))
    return make_pipeline(columns, LogisticRegression()).fit(FEATURES, OUTCOME)


@pytest.fixture
def registered(mlflow_uri, tmp_path):
    """Return a function that registers an estimator and returns what the smoke test needs."""
    import mlflow

    tracker = Tracker(mlflow_uri, artifact_root=(tmp_path / "artifacts").as_uri())
    registry = MlflowRegistry(mlflow_uri)

    def register(estimator, *, alias=None):
        run_id = tracker.create_run("m", "training", name="r")
        uri = log_model(tracker, run_id, estimator, features=FEATURES)
        registry.ensure_model("m")
        version = registry.register("m", source=uri, run_id=run_id, tags={}).version
        if alias:
            mlflow.MlflowClient(mlflow_uri).set_registered_model_alias("m", alias, version)
        return {"model": "m", "version": version, "registry": registry, "tracking_uri": mlflow_uri}

    return register


def test_a_sound_model_is_loaded_by_its_alias_and_answers_every_probe(registered):
    version = registered(pipeline(handle_unknown="ignore"), alias="candidate")
    report = smoke_version(**version, rows=FEATURES, batch_rows=50)
    assert report.uri == "models:/m@candidate"
    assert judge_smoke(report).passed, report.probes
    assert [probe.name for probe in report.probes] == [
        "load",
        "one_row",
        "empty_frame",
        "missing_values",
        "unseen_category",
        "column_order",
        "repeatable",
        "wrong_type",
    ]
    assert (report.batch.rows, report.version) == (50, version["version"])
    assert 0 < report.single.p50_ms <= report.single.p95_ms
    assert report.size_mb > 0


def test_a_model_that_cannot_take_a_new_category_fails_that_probe_with_the_models_own_words(registered):
    verdict = smoke_verdict(**registered(pipeline(handle_unknown="error")))
    # nothing at all is a new category too
    assert [reason.code for reason in verdict.reasons] == ["smoke_missing_values", "smoke_unseen_category"]
    assert "Found unknown categories" in verdict.reasons[1].message


def test_a_version_whose_files_are_gone_fails_to_load(registered, tmp_path):
    import shutil

    version = registered(pipeline(handle_unknown="ignore"))
    shutil.rmtree(tmp_path / "artifacts")
    report = smoke_version(**version)
    assert [(probe.name, probe.passed) for probe in report.probes] == [("load", False)]
    assert report.single is None


def test_private_columns_may_be_withheld_from_the_process(registered):
    version = registered(pipeline(handle_unknown="ignore"))
    report = smoke_version(**version, rows=FEATURES.assign(city=float("nan")))
    assert judge_smoke(report).passed, report.probes


def test_tests_go_on_after_the_process_they_are_forked_from_was_killed_and_after_one_took_too_long(
    registered,
):
    version = registered(pipeline(handle_unknown="ignore"))
    assert judge_smoke(smoke_version(**version)).passed
    process, _ = SMOKE_POOL._running()
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    late = smoke_version(**version, timeout_s=0.01)  # a new one was started, and is ended as it imports
    assert [("process", False)] == [(probe.name, probe.passed) for probe in late.probes]
    assert "no answer within 0.01 s" in late.probes[0].message
    assert SMOKE_POOL._process is None
    assert judge_smoke(smoke_version(**version)).passed


def test_a_process_that_fails_before_it_answers_is_told_with_its_last_words(tmp_path):
    code, said = SMOKE_POOL.run(tmp_path, environment=dict(os.environ), timeout_s=60)
    assert code == 1
    assert "request.json" in said.splitlines()[-1]


def test_whoever_is_interrupted_leaves_no_answer_for_the_next(registered, monkeypatch):
    version = registered(pipeline(handle_unknown="ignore"))
    waiting = smoke_nursery.select

    def interrupt(files, *others):
        waiting(files, *others)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(smoke_nursery, "select", interrupt)
        with pytest.raises(KeyboardInterrupt):
            smoke_verdict(**version)
    report = smoke_version(**version, batch_rows=0)
    assert judge_smoke(report).passed, report.probes

"""What a monitoring run leaves in Prefect and MLflow, on a real server and a real store."""

import json

import numpy as np
import pytest
from mlflow import MlflowClient
from prefect import flow
from prefect.client.orchestration import get_client

from evergreen.tasks.core.reports.monitored_model import MonitoredModel
from evergreen.tasks.core.reports.monitoring import draw_sample
from evergreen.tasks.core.verdict import StageResult, State
from evergreen.tasks.monitoring_report import report_monitoring
from tests.support.champions import ModelStores, train_version
from tests.support.monitoring import example_windows
from tests.support.training_data import make_frame, schema

pytestmark = pytest.mark.server


@pytest.fixture
def stores(prefect_server, mlflow_uri, tmp_path, monkeypatch):
    return ModelStores(tmp_path, mlflow_uri, monkeypatch)


def reported(setup, *, version=None, sample=None):
    """Report a run that found drift, inside a flow; return the run's artifacts in MLflow by path, and its metrics."""
    told = example_windows(6, 30)
    result = StageResult(
        state=State.DRIFT, model=setup.model, version=version, decision_id="d1", details={"windows": told}
    )

    @flow(persist_result=False)
    def monitor():
        report_monitoring(setup, MonitoredModel.after(result, config=setup.config), result, sample=sample)

    monitor()
    client = MlflowClient(setup.settings.tracking_uri)
    experiment = client.get_experiment_by_name(f"{setup.model}/monitoring")
    (run,) = client.search_runs([experiment.experiment_id])
    return {file.path for file in client.list_artifacts(run.info.run_id)}, run


def summary(setup):
    with get_client(sync_client=True) as client:
        artifacts = {artifact.key: artifact for artifact in client.read_latest_artifacts()}
    return artifacts[f"monitor-{setup.model}"].data, artifacts[f"moved-{setup.model}"].data


def test_both_pages_are_logged_and_the_moved_columns_are_shown(stores):
    setup = stores.setup()
    version = train_version(setup)
    frame, rng = make_frame(n=200, seed=5), np.random.default_rng(0)
    sample = draw_sample(frame, schema=schema(), config=setup.config, rng=rng)
    files, run = reported(setup, version=version, sample=sample)
    assert {"drift.html", "evidently.html", "monitoring.json", "monitoring.md"} <= files
    assert ("FINISHED", "Drift") == (run.info.status, run.data.tags["evergreen.state"])
    assert {"psi_max", "moved_columns", "roc_auc"} <= set(run.data.metrics)
    page, moved = summary(setup)
    assert "amount_0 moved since" in page
    assert {"amount_0", "roc_auc"} == {row["column"] for row in json.loads(moved)}


def test_an_older_version_without_a_sample_has_the_first_page_alone_and_says_why(stores):
    setup = stores.setup(monitoring={"report_rows": 0})
    version = train_version(setup)
    setup = stores.setup()
    sample = {"numeric": {"signal": [1.0]}, "categorical": {}}
    files, _ = reported(setup, version=version, sample=sample)
    assert ("drift.html" in files, "evidently.html" in files) == (True, False)
    assert "no sample of its training rows" in summary(setup)[0]


def test_a_page_that_is_switched_off_is_said_so(stores):
    setup = stores.setup(monitoring={"report_rows": 0})
    files, _ = reported(setup, version=1, sample={"numeric": {}, "categorical": {}})
    assert "evidently.html" not in files
    assert "switched off (monitoring.report_rows: 0)" in summary(setup)[0]

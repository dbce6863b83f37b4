"""The one writer of MLflow runs, on a real SQLite store."""

import json
import math
import subprocess
from importlib.metadata import version

import pytest
from mlflow import MlflowClient

from evergreen.tasks.core.data.rows import Rows
from evergreen.tasks.core.errors import InputError, Unreachable
from evergreen.tasks.core.log_items import Figure, Json, Metrics, Params, Table, Tags, Text
from evergreen.tasks.io.mlflow_store.tracking import Tracker, code_tags, log_datasets
from evergreen.tasks.io.plots import comparison_figure
from tests.support.training_data import make_frame, model_config


@pytest.fixture
def tracker(mlflow_uri, tmp_path):
    return Tracker(mlflow_uri, artifact_root=(tmp_path / "artifacts").as_uri())


def test_an_experiment_is_named_by_model_and_concern_and_created_once(tracker):
    first, again = (tracker.experiment_id("fraud", "training") for _ in range(2))
    assert first == again
    assert "fraud/training" == tracker.client.get_experiment(first).name


def test_an_experiment_in_the_trash_is_said_by_name(tracker):
    tracker.client.delete_experiment(tracker.experiment_id("fraud", "training"))
    with pytest.raises(InputError, match="'fraud/training' was deleted"):
        tracker.experiment_id("fraud", "training")


def test_items_come_back_as_they_were_written(tracker):
    with tracker.run("fraud", "training", name="train x", tags={"evergreen.stage": "train"}) as run_id:
        tracker.write_items(
            run_id,
            [
                Metrics({"auc": 0.75, "undefined": math.nan}),
                Params({"depth": 3, "long": "x" * 9000}),
                Tags({"evergreen.version": "4"}),
                Json("evergreen/a.json", {"b": [1, 2]}),
                Text("note.md", "# hello"),
                Table("rows.json", {"name": ["a", "b"], "n": [1, 2]}),
                comparison_figure({"a": [0.1, 0.2], "b": [0.3]}, metric="auc", chosen="b"),
            ],
        )
    run = tracker.client.get_run(run_id)
    assert ("FINISHED", "train x") == (run.info.status, run.info.run_name)
    assert 0.75 == run.data.metrics["auc"]
    assert ("3", 6000) == (run.data.params["depth"], len(run.data.params["long"]))
    assert ("fraud", "train", "4") == tuple(
        run.data.tags[f"evergreen.{name}"] for name in ("model", "stage", "version")
    )
    assert {"b": [1, 2]} == tracker.read_json(run_id, "evergreen/a.json")
    files = {file.path for file in tracker.client.list_artifacts(run_id)}
    assert {"evergreen", "note.md", "rows.json", "plots"} == files


def test_more_items_than_fit_a_batch_are_all_written(tracker):
    run_id = tracker.create_run("fraud", "training", name="many")
    tracker.write_items(run_id, [Params({f"p{i}": i for i in range(250)})])
    tracker.write_items(run_id, [Metrics({f"m{i}": float(i) for i in range(250)})])
    run = tracker.client.get_run(run_id)
    assert (250, 250) == (len(run.data.params), len(run.data.metrics))


def test_a_run_whose_block_raises_ends_failed_and_raises_on(tracker):
    with pytest.raises(ZeroDivisionError), tracker.run("fraud", "training", name="x") as run_id:
        1 / 0  # noqa: B018
    assert "FAILED" == tracker.client.get_run(run_id).info.status


def test_a_child_run_stands_under_its_parent(tracker):
    parent = tracker.create_run("fraud", "training", name="parent")
    child = tracker.create_run("fraud", "training", name="child", parent=parent)
    assert parent == tracker.client.get_run(child).data.tags["mlflow.parentRunId"]


def test_a_document_that_is_not_there_is_none(tracker):
    run_id = tracker.create_run("fraud", "training", name="x")
    assert tracker.read_json(run_id, "evergreen/a.json") is None


def test_a_server_that_does_not_answer_is_worth_a_retry(monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(Unreachable, match="does not answer"):
        Tracker("http://127.0.0.1:9").experiment_id("fraud", "training")


def test_a_data_set_is_described_without_a_row_or_a_password(tracker):
    config = model_config(data={"source": "postgresql://ada:secret@db/cards", "table": "cards"})
    run_id = tracker.create_run("fraud", "training", name="x")
    log_datasets(
        tracker, run_id, {"training": Rows(make_frame()), "holdout": Rows(make_frame(n=0))}, config=config
    )
    (found,) = MlflowClient(tracker.tracking_uri).get_run(run_id).inputs.dataset_inputs
    assert "training" == found.tags[0].value
    assert {"num_rows": 400, "num_elements": 1600} == json.loads(found.dataset.profile)
    assert "secret" not in found.dataset.source


def test_a_figure_belongs_to_no_global_state():
    import matplotlib.pyplot as plt

    item = comparison_figure({"a": [0.1]}, metric="auc", chosen=None)
    assert isinstance(item, Figure)
    assert [] == plt.get_fignums()


def test_metrics_of_one_name_are_kept_by_step(tracker):
    with tracker.run("fraud", "monitoring", name="monitor") as run_id:
        tracker.write_items(run_id, [Metrics({"psi_max": float(step)}, step=step) for step in (7200, 3600)])
    history = tracker.client.get_metric_history(run_id, "psi_max")
    assert {(3600, 3600.0), (7200, 7200.0)} == {(one.step, one.value) for one in history}
    assert 7200.0 == tracker.client.get_run(run_id).data.metrics["psi_max"]


def git(folder, *arguments):
    who = ("-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false")
    done = subprocess.run(["git", *who, *arguments], cwd=folder, capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.fixture
def repository(tmp_path):
    """Make a repository of one commit, with a configuration and an environment inside; return it and the commit."""
    folder = tmp_path / "team"
    for inside in ("config", ".venv/site-packages"):
        (folder / inside).mkdir(parents=True)
    (folder / "config" / "loans.yaml").write_text("model: loans\n")
    git(folder, "init", "-q")
    git(folder, "add", "config")
    git(folder, "commit", "-qm", "first")
    return folder, git(folder, "rev-parse", "HEAD")


def test_a_checkout_of_the_project_is_named_by_its_commit_and_by_what_was_changed(repository):
    root, commit = repository
    assert {"evergreen.code_revision": commit} == code_tags(root / "config", root=root)
    (root / "config" / "loans.yaml").write_text("model: others\n")
    assert {"evergreen.code_revision": f"{commit}+changes"} == code_tags(root / "config", root=root)


def test_installed_in_a_teams_repository_the_commit_is_the_teams_and_ours_is_the_version(repository):
    team, commit = repository
    installed = version("evergreen-mlops")
    expected = {"evergreen.code_revision": installed, "evergreen.team_revision": commit}
    assert expected == code_tags(team / "config", root=team / ".venv" / "site-packages")


def test_outside_of_any_repository_the_version_alone_is_known(tmp_path):
    assert {"evergreen.code_revision": version("evergreen-mlops")} == code_tags(tmp_path, root=tmp_path)

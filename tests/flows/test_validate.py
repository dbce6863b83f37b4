"""The gate as a flow: from training on a CSV file to a tagged version, on a real server and a real MLflow store."""

import numpy as np
import pandas as pd
import pytest
import yaml
from prefect.client.orchestration import get_client

from evergreen.tasks.core.verdict import Outcome, Reason, Verdict
from evergreen.tasks.io.setup import open_setup

pytestmark = pytest.mark.server


def too_old(context):
    """Refuse whatever comes: a gate of a team's own, named by its dotted path."""
    reason = Reason(code="too_old", message=f"{context.config.model} is too old.", n=len(context.scored))
    return Verdict(outcome=Outcome.FAIL, reasons=(reason,))


def write_rows(path, *, strength, n=1500):
    rng = np.random.default_rng(7)
    x, z = rng.normal(size=n), rng.normal(size=n)
    y = (rng.random(n) < 1 / (1 + np.exp(-strength * x))).astype(int)
    at = pd.date_range("2026-01-01", periods=n, freq="h", tz="UTC")
    pd.DataFrame({"at": at, "x": x, "z": z, "city": rng.choice(["a", "b"], n), "y": y}).to_csv(
        path, index=False
    )


@pytest.fixture
def model(prefect_server, mlflow_uri, tmp_path, monkeypatch):
    """Return a function that writes a model's data and configuration, and its path."""
    monkeypatch.setenv("EVERGREEN_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", mlflow_uri)
    monkeypatch.delenv("EVERGREEN_LEDGER_URL", raising=False)

    def write(name, *, strength=2.0, **sections):
        write_rows(tmp_path / f"{name}.csv", strength=strength)
        values = {
            "problem": "binary",
            "data": {"source": f"{name}.csv", "target": "y", "time": "at"},
            "split": {"holdout": "14d"},
            "training": {
                "candidates": [{"name": "linear", "estimator": "sklearn.linear_model.LogisticRegression"}],
                "folds": 3,
                "importance_repeats": 1,
            },
            **sections,
        }
        path = tmp_path / f"{name}.yaml"
        path.write_text(yaml.safe_dump(values))
        return str(path)

    return write


def run(flow, path, **options):
    state = flow(path, **options, return_state=True)
    return state.name, state.result(raise_on_failure=False)


def codes(data):
    return [reason["code"] for reason in data["reasons"]]


def test_a_sound_candidate_is_approved_tagged_admitted_and_reported(model):
    from evergreen.flows.train import train
    from evergreen.flows.validate import validate

    path = model("sound")
    assert run(train, path)[0] == "Trained"
    name, data = run(validate, path)
    assert (name, codes(data)) == ("Approved", ["gates_passed"]), data
    setup = open_setup(path)
    tags = setup.stores.registry.version("sound", 1).tags
    assert tags["validation_status"] == "approved"
    assert setup.stores.registry.aliases("sound") == {"candidate": 1, "challenger": 1}
    assert setup.stores.ledger.get(data["decision_id"]).payload["state"] == "Approved"
    assert reported(setup, data["run_id"]) >= {"report.html", "report.json", "contract.html", "contract.json"}
    with get_client(sync_client=True) as client:
        keys = {artifact.key for artifact in client.read_artifacts()}
    assert "validate-sound" in keys


def reported(setup, run_id):
    from mlflow import MlflowClient

    found = MlflowClient(setup.settings.tracking_uri).list_artifacts(run_id, "validation")
    return {item.path.removeprefix("validation/") for item in found}


def test_a_candidate_of_noise_is_rejected_with_its_reason_and_may_not_challenge(model):
    from evergreen.flows.challenge import challenge
    from evergreen.flows.train import train
    from evergreen.flows.validate import validate

    path = model("noise", strength=0.0, validation={"gates": [f"{__name__}:too_old"]})
    run(train, path)
    name, data = run(validate, path)
    assert name == "Rejected"
    assert {"below_baseline", "too_old"} <= set(codes(data))
    setup = open_setup(path)
    tags = setup.stores.registry.version("noise", 1).tags
    assert (tags["validation_status"], setup.stores.registry.aliases("noise")) == (
        "rejected",
        {"candidate": 1},
    )
    assert "noise is too old." in tags["evergreen.rejected_for"]
    name, data = run(challenge, path)
    assert (name, codes(data)) == ("InsufficientData", ["rejected"])
    assert "noise is too old." in data["reasons"][0]["message"]


def test_a_dry_run_decides_and_changes_nothing(model):
    from evergreen.flows.train import train
    from evergreen.flows.validate import validate

    path = model("dry", contract={"columns": {"x": {"max": 0.0}}})
    run(train, path)
    name, data = run(validate, path, dry_run=True)
    assert (name, codes(data)) == ("Rejected", ["out_of_range", "out_of_range"])
    setup = open_setup(path)
    assert setup.stores.registry.version("dry", 1).tags["validation_status"] == "pending"
    assert setup.stores.registry.aliases("dry") == {"candidate": 1}
    assert {entry.kind for entry in setup.stores.ledger.read(model="dry", stream="decisions")} == {"train"}


def test_without_a_candidate_there_is_nothing_to_judge(model):
    from evergreen.flows.validate import validate

    name, data = run(validate, model("nobody"))
    assert (name, codes(data)) == ("InsufficientData", ["no_candidate"])


def test_a_version_that_does_not_exist_is_a_wrong_input(model):
    from evergreen.flows.validate import validate

    name, error = run(validate, model("nobody"), version=9)
    assert name == "InputError"
    assert "9" in str(error)

"""A live test by its commands, on a real server: created, looked at, won, promoted, and logged."""

import json
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from evergreen.deployments.cli.app import run
from evergreen.tasks.ab_test import GRACE_S
from evergreen.tasks.io.mlflow_store.tracking import open_tracker
from evergreen.tasks.io.prediction_log.records import KnownOutcome, Prediction
from evergreen.tasks.io.settings import FROZEN
from evergreen.tasks.io.setup import open_setup
from tests.support.commands import write_model

pytestmark = [pytest.mark.server, pytest.mark.timeout(300)]
START = datetime(2026, 6, 1, tzinfo=UTC)


@pytest.fixture
def model(prefect_server, mlflow_template, tmp_path, monkeypatch):
    """A model with a champion and another approved version; return the path of its configuration."""
    (tmp_path / "mlflow.db").write_bytes(mlflow_template.read_bytes())
    monkeypatch.setenv("EVERGREEN_HOME", str(tmp_path))
    for name in ("MLFLOW_TRACKING_URI", "EVERGREEN_LEDGER_URL", "EVERGREEN_LOG_URL", "EVERGREEN_MLFLOW_UI"):
        monkeypatch.delenv(name, raising=False)
    live = {"metric": "accuracy", "share": 0.5, "min_improvement": 0.1, "max_duration": "5d"}
    path = str(write_model(tmp_path, "live", promotion={"evidence": "ab"}, live=live))
    from evergreen.flows.promote import promote
    from evergreen.flows.train import train

    for _ in range(2):
        assert "Trained" == train(path, return_state=True).name
    setup = open_setup(path)
    for version in (1, 2):
        setup.stores.registry.set_tags(setup.model, version, {"validation_status": "approved"})
    assert "Promoted" == promote(path, version=1, reason="the first", return_state=True).name
    monkeypatch.setenv(FROZEN, START.isoformat())
    return path


def said(capsys, *arguments):
    code = run([*arguments, "--json"])
    return code, json.loads(capsys.readouterr().out)


def serve(setup, *, rows=900):
    """Log answers of both arms: the champion is right in six of ten, the challenger in nine."""
    rng = np.random.default_rng(3)
    place = START.timestamp() + GRACE_S + 1 + np.arange(rows) * 60
    new = rng.random(rows) < 0.5
    right = rng.random(rows) < np.where(new, 0.9, 0.6)
    truth = rng.integers(0, 2, rows)
    predictions = [
        Prediction(
            prediction_id=f"p{i}",
            position=float(place[i]),
            features={"x": 0.0},
            score=float(truth[i] == right[i]),
            decision=int(truth[i] if right[i] else 1 - truth[i]),
            version=2 if new[i] else 1,
            variant="v2" if new[i] else "champion",
        )
        for i in range(rows)
    ]
    known = [
        KnownOutcome(prediction_id=f"p{i}", outcome=int(truth[i]), known_at=float(place[i]))
        for i in range(rows)
    ]
    setup.stores.log.append_predictions(setup.model, predictions, at=START)
    setup.stores.log.append_outcomes(setup.model, known, at=START)


def test_a_challenger_that_wins_live_is_promoted_and_the_looks_are_logged(model, capsys, monkeypatch):
    code, told = said(capsys, "ab", "conclude", model)
    assert (0, "InsufficientData") == (code, told["state"])
    code, told = said(capsys, "ab", "create", model, "--challenger", "2", "--hypothesis", "It learned more.")
    assert (0, "LiveTestRunning") == (code, told["state"])
    code, told = said(capsys, "ab", "conclude", model)
    assert (0, "LiveTestRunning", "too_few_units") == (code, told["state"], told["reasons"][0]["code"])
    setup = open_setup(model)
    serve(setup)
    monkeypatch.setenv(FROZEN, (START + timedelta(days=1)).isoformat())
    code, told = said(capsys, "ab", "status", model)
    assert ("superior", 0) == (told["look"]["challengers"][0]["verdict"], code)
    code, told = said(capsys, "ab", "conclude", model)
    assert (0, "Promoted", 2) == (code, told["state"], told["version"])
    assert 2 == setup.stores.registry.aliases(setup.model)["champion"]
    runs = open_tracker(setup.stores).client.search_runs(
        [open_tracker(setup.stores).client.get_experiment_by_name(f"{setup.model}/ab_testing").experiment_id]
    )
    assert 2 == len(runs)
    assert "superior" in {one.data.tags["evergreen.verdict.v2"] for one in runs}
    assert 0 == run(["ab", "status", model])
    assert "Promoted" in capsys.readouterr().out


def test_a_wrong_mode_and_an_unknown_test_are_said_with_what_is_allowed(model, capsys):
    assert 2 == run(["ab", "create", model, "--mode", "pared"])
    assert "Did you mean 'paired'" in capsys.readouterr().err
    assert 2 == run(["ab", "abort", model, "--reason", "x"])
    assert "No live test" in capsys.readouterr().err

"""`evergreen predict-batch` on a real Prefect server: what it writes, says, keeps, and how it refuses."""

import pandas as pd
import pytest
from prefect.client.orchestration import get_client

from evergreen.tasks.core.data.clock import Window
from tests.support.champions import PER_HOUR, TRAINED, make_rows
from tests.support.commands import command

pytestmark = pytest.mark.server


@pytest.fixture
def model(prefect_server, monitored, tmp_path, monkeypatch):
    """The watched model, with rows to score beside it."""
    monkeypatch.chdir(tmp_path)
    rows = make_rows(hours=TRAINED + 2)
    rows.iloc[TRAINED * PER_HOUR :].drop(columns="y").to_csv("new.csv", index=False)
    return monitored.setup(rows)


def test_a_batch_is_scored_logged_recorded_and_shown(model):
    answer = command(
        "predict-batch", model.path, "--source", "new.csv", "--to", "out.parquet", "--keep", "at,colour"
    )
    assert (0, "Scored", ["scored"]) == (answer.exit_code, answer.state, answer.codes)
    assert (80, 80, 80, 1) == tuple(answer.json[key] for key in ("rows", "written", "logged", "version"))
    assert ["prediction_id", "at", "colour", "score", "decision", "version"] == list(
        pd.read_parquet("out.parquet")
    )
    assert 80 == len(model.stores.log.read_predictions(model.model, Window()).rows)
    kept = model.stores.ledger.get(answer.json["decision_id"]).payload
    assert ("Scored", 80) == (kept["state"], kept["rows"])
    with get_client(sync_client=True) as client:
        (page,) = [one for one in client.read_latest_artifacts() if one.key == f"score-{model.model}"]
    assert "| rows | 80 in 1 parts" in page.data
    again = command(
        "predict-batch", model.path, "--source", "new.csv", "--to", "sqlite:///out.db", "--to-table", "scores"
    )
    assert (80, 0) == (again.json["written"], again.json["logged"])


def test_refusals_are_states_and_wrong_words_exit_with_two(model):
    wrong = command("predict-batch", model.path, "--source", "new.csv", "--to", "out.csv")
    assert (2, "InputError") == (wrong.exit_code, wrong.state)
    assert "neither a Parquet file nor a database" in wrong.said
    nothing = command(
        "predict-batch", model.path, "--source", "new.csv", "--to", "out.parquet", "--since", "2031-01-01"
    )
    assert (0, "InsufficientData", ["no_rows"]) == (nothing.exit_code, nothing.state, nothing.codes)
    model.stores.registry.delete_alias(model.model, "champion")
    nobody = command("predict-batch", model.path, "--source", "new.csv", "--to", "out.parquet")
    assert (0, "InsufficientData", ["no_champion"]) == (nobody.exit_code, nobody.state, nobody.codes)

"""The commands on a real MLflow store and a real ledger, without a Prefect server."""

import pytest

from evergreen.deployments.cli.app import run
from evergreen.tasks.io.setup import open_setup
from tests.support.commands import command, write_model


@pytest.fixture
def path(tmp_path, mlflow_uri, monkeypatch):
    """A model of three versions that passed the gate, the first of them champion."""
    monkeypatch.setenv("EVERGREEN_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", mlflow_uri)
    monkeypatch.delenv("EVERGREEN_LEDGER_URL", raising=False)
    made = write_model(tmp_path, "fraud")
    registry = open_setup(str(made)).stores.registry
    for number in range(1, 4):
        source = (tmp_path / f"model{number}").as_uri()
        registry.register("fraud", source=source, run_id=None, tags={"validation_status": "approved"})
    registry.set_alias("fraud", "champion", 1)
    return made


def test_traffic_is_set_shown_ramped_and_stopped_by_command(path):
    assert (0, "Plain") == ((shown := command("traffic", "show", path)).exit_code, shown.state)
    told = command("traffic", "set", path, "--challenger", "2@10%", "--shadow", "3", "--reason", "try")
    assert (0, "Set", "fraud/traffic/1") == (told.exit_code, told.state, told.json["decision_id"])
    assert [("champion", 0.9), ("v2", 0.1), ("v3", 1.0)] == [
        (one["name"], one["share"]) for one in command("traffic", "show", path).json["traffic"]["variants"]
    ]
    assert "v2" == command("status", path).json["traffic"]["variants"][1]["name"]
    ramped = command("traffic", "ramp", path, "2", "--steps", "5%,50%", "--min-rows", "9", "--min-time", "1m")
    assert ("Ramping", [0.05, 0.5], 60.0) == (
        ramped.state,
        ramped.json["traffic"]["ramp"]["steps"],
        ramped.json["traffic"]["ramp"]["min_seconds"],
    )
    assert "Stopped" == command("traffic", "stop", path, "--reason", "enough", "--dry-run").state
    assert "Ramping" == command("traffic", "show", path).state
    assert (0, "Stopped") == (
        (told := command("traffic", "stop", path, "--reason", "enough")).exit_code,
        told.state,
    )
    assert ["champion", "v3"] == [one["name"] for one in command("status", path).json["traffic"]["variants"]]


def test_people_read_who_answers_and_where_the_ramp_stands(path, capsys):
    assert 0 == run(["traffic", "ramp", str(path), "2", "--steps", "5%,50%", "--reason", "try it"])
    said = capsys.readouterr().out
    for part in ("fraud: Ramping", "try it", "95.00%  champion (@champion)", "5.00%  v2 (version 2)"):
        assert part in said
    assert "ramp of 'v2' at step 1 of 2 (5.00%, 50.00%), each at least 500 rows and 600 s" in said
    assert 0 == run(["status", str(path)])
    assert "traffic: 5.00% challenger v2 (version 2)" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["set"], "Nothing to set"),
        (["set", "--challenger", "9@10%"], "Unknown version 9"),
        (["set", "--challenger", "1@10%"], "is @champion"),
        (["set", "--challenger", "2@60%", "--challenger", "3@60%"], "add up to 120.00%"),
        (["ramp", "2", "--steps", "50%,5%"], "Steps [0.5, 0.05]"),
        (["ramp", "2", "--min-time", "soon"], "Duration 'soon'"),
        (["stop", "--reason", " "], "needs a reason"),
        (["stop"], "Missing option '--reason'"),
    ],
)
def test_what_is_wrong_ends_with_two_and_changes_nothing(path, arguments, said):
    answer = command("traffic", arguments[0], path, *arguments[1:])
    assert (2, "InputError") == (answer.exit_code, answer.state)
    assert said in answer.said
    assert "Plain" == command("traffic", "show", path).state

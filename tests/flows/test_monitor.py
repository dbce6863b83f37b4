"""`evergreen monitor` on a real Prefect server: what it answers, its exit codes, the fleet."""

import shutil

import numpy as np
import pytest

from evergreen.deployments.cli.app import run
from evergreen.deployments.cli.output import clean, run_flow
from tests.support.champions import BEGIN, FIRST, hours, make_rows, values_of, window_entries
from tests.support.commands import command
from tests.support.training_data import write_yaml

pytestmark = pytest.mark.server
END, BAD = FIRST + 5, FIRST + 2
WINDOW = {
    "from",
    "to",
    "start",
    "end",
    "n",
    "labelled",
    "version",
    "level",
    "verdicts",
    "kinds",
    "moved",
    "columns",
    "performance",
    "changes",
    "notes",
}


def holding(column, value, *, hour=BAD):
    frame = make_rows(hours=END).astype({column: object})
    frame.loc[frame.index[hours(hour, hour + 1)], column] = value
    return frame


def without(hour=BAD):
    frame = make_rows(hours=END)
    return frame.drop(frame.index[hours(hour, hour + 1)])


def drifting():
    frame = make_rows(hours=END)
    frame.loc[frame.index[hours(FIRST + 1, END)], "x"] += 3.0
    return frame


def moment(hour):
    return (BEGIN + np.timedelta64(hour, "h")).isoformat()


@pytest.fixture
def model(prefect_server, monitored):
    """Return a function that writes the rows and the configuration of the watched model."""
    return monitored


def test_a_drifting_model_is_reported_with_its_pages_and_again_without_new_windows(model):
    setup = model.setup(drifting())
    answer = command("monitor", setup.path)
    assert (0, "Drift") == (answer.exit_code, answer.state), answer
    assert [FIRST, FIRST + 1, FIRST + 2, FIRST + 3] == [hour_of(one) for one in answer.json["windows"]]
    assert [WINDOW] * 4 == [set(window) for window in answer.json["windows"]]
    assert "x" in [one["column"] for one in answer.json["open_alarms"]]
    assert {"x", "z", "colour"} <= {column["column"] for column in answer.json["windows"][0]["columns"]}
    assert "alert_sent" in answer.codes
    assert answer.json["health"]["checks"]
    assert "drift.html" in logged_files(setup)
    again = command("monitor", setup.path)
    assert (0, "Drift", []) == (again.exit_code, again.state, again.json["windows"])
    assert 4 == len(window_entries(setup, "inputs"))


PASSING = {"decision_id", "health"}
"""What differs from run to run: the number of the entry, and how long ago the last run was."""


def monitor_runs():
    """Return how many runs of the flow the server has seen."""
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import FlowFilter, FlowFilterName

    with get_client(sync_client=True) as client:
        return len(client.read_flow_runs(flow_filter=FlowFilter(name=FlowFilterName(any_=["monitor"]))))


@pytest.mark.parametrize("case", ["drift", "quiet", "rows that were never enough", "a dry run"])
def test_without_a_due_window_the_command_answers_as_the_run_does_and_starts_none(case, model):
    frame = {"drift": drifting, "rows that were never enough": lambda: make_rows(hours=FIRST)}.get(
        case, make_rows
    )()
    setup, options = model.setup(frame), {"dry_run": case == "a dry run"}
    command("monitor", setup.path)
    runs, flags = monitor_runs(), ["--dry-run"] if options["dry_run"] else []
    before = decisions(setup)
    answer = command("monitor", setup.path, *flags)
    added = decisions(setup) - before
    assert runs == monitor_runs()
    by_run = run_flow("evergreen.flows.monitor:monitor", {"model": str(setup.path), **options})
    assert runs + 1 == monitor_runs()
    assert 0 == answer.exit_code
    assert not answer.json["windows"]
    assert lasting(clean(by_run)) == lasting(answer.json)
    assert health_of(by_run) == health_of(answer.json)
    assert added == decisions(setup) - before - added
    assert (answer.json["decision_id"] is None) == options["dry_run"]


def lasting(result):
    return {name: value for name, value in result.items() if name not in PASSING}


def decisions(setup):
    return len(setup.stores.ledger.read(model=setup.model, stream="decisions"))


def health_of(result):
    """Return how each check ended; None for a dry run."""
    return result["health"] and [(one["check"], one["condition"]) for one in result["health"]["checks"]]


def test_what_is_wrong_or_new_without_a_due_window_is_left_to_a_run(model, monkeypatch):
    setup = model.setup(make_rows())
    command("monitor", setup.path)
    runs = monitor_runs()
    assert "disk_failed" not in command("monitor", setup.path).codes
    usage = shutil.disk_usage(setup.settings.home)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1))
    answer = command("monitor", setup.path)
    assert {"disk_failed", "alert_sent"} <= set(answer.codes)
    assert runs + 1 == monitor_runs()
    known = command("monitor", setup.path)
    assert "disk_failed" in known.codes
    assert "alert_sent" not in known.codes
    assert runs + 1 == monitor_runs()


def hour_of(window):
    return (window["start"] - BEGIN.timestamp()) / 3600


def logged_files(setup):
    """Return the files of the newest monitoring run."""
    from mlflow import MlflowClient

    client = MlflowClient(setup.settings.tracking_uri)
    experiment = client.get_experiment_by_name(f"{setup.model}/monitoring")
    (run_,) = client.search_runs([experiment.experiment_id])
    return [one.path for one in client.list_artifacts(run_.info.run_id)]


INSUFFICIENT = {
    "an empty window": (without, ["data", "outcome"]),
    "a window without labels": (lambda: holding("y", None), ["outcome", "performance"]),
    "text among numbers": (lambda: holding("x", "abc"), ["data", "prediction", "concept"]),
    "a lost column": (lambda: make_rows(hours=END).drop(columns="z"), ["data", "performance"]),
}


@pytest.mark.parametrize("case", INSUFFICIENT)
def test_a_bad_window_is_insufficient_in_json_and_no_failure(case, model):
    make, kinds = INSUFFICIENT[case]
    answer = command("monitor", model.setup(make()).path)
    bad = answer.json["windows"][BAD - FIRST]
    assert 0 == answer.exit_code
    assert dict.fromkeys(kinds, "insufficient") == {kind: bad["verdicts"][kind] for kind in kinds}
    assert all(bad["kinds"][kind]["reasons"] for kind in kinds)


WRONG = {
    "a time that is none": (lambda: holding("at", "someday"), {}, (), "'at' holds 'someday'"),
    "no target column": (lambda: make_rows(hours=END).drop(columns="y"), {}, (), "'y' (data.target)"),
    "no clock": (
        lambda: make_rows(hours=END),
        {"data": {"time": None}},
        (),
        "has no clock (data.time is not set)",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_cannot_be_watched_is_one_sentence_with_code_2_and_leaves_no_trace(case, model):
    make, sections, options, said = WRONG[case]
    setup = model.setup(make(), **sections)
    answer = command("monitor", setup.path, *options)
    assert (2, "InputError") == (answer.exit_code, answer.state), answer
    assert said in answer.said
    assert f"{answer.said}\n" == answer.err
    assert [] == setup.stores.ledger.read()


def test_a_look_back_a_dry_run_and_a_model_without_champion_leave_no_window(model):
    setup = model.setup(drifting())
    back = command("monitor", setup.path, "--from", moment(FIRST), "--to", moment(END - 1))
    dry = command("monitor", setup.path, "--dry-run")
    assert [(0, "Drift", 4)] * 2 == [
        (one.exit_code, one.state, len(one.json["windows"])) for one in (back, dry)
    ]
    assert [] == setup.stores.ledger.read()
    setup.stores.registry.delete_alias(setup.model, "champion")
    nobody = command("monitor", setup.path)
    assert (0, "InsufficientData", ["no_champion"], []) == (
        nobody.exit_code,
        nobody.state,
        nobody.codes,
        nobody.json["windows"],
    )


def test_a_model_that_is_switched_off_is_held(model):
    answer = command("monitor", model.setup(make_rows(hours=END), monitoring={"run_mode": "disabled"}).path)
    assert (0, "Blocked", ["disabled"]) == (answer.exit_code, answer.state, answer.codes)


def test_windows_are_printed_for_people(model, capsys):
    assert 0 == run(["monitor", str(model.setup(drifting(), monitoring={"min_rows": 30}).path)])
    said = capsys.readouterr().out
    assert "tested version 1: Drift" in said
    assert "DRIFT" in said


def test_a_fleet_is_watched_though_one_of_it_fails(model, monkeypatch):
    setup = model.setup(make_rows(hours=END))
    fleet = model.folder / "fleet"
    fleet.mkdir()
    monkeypatch.setenv("EVERGREEN_CONFIG", str(fleet))
    answer = command("monitor", "--all")
    assert (2, "InputError") == (answer.exit_code, answer.state)
    assert "There is no model to monitor" in answer.said
    write_yaml(fleet, make_rows(hours=END), values_of())
    assert (0, "NoDrift") == ((whole := command("monitor", "--all")).exit_code, whole.state)
    assert ["tested"] == [one["model"] for one in whole.json["models"]]
    (fleet / "absent.yaml").write_text("problem: guessing\n")
    write_yaml(fleet, make_rows(hours=END + 1), values_of())
    both = command("monitor", "--all")
    assert 1 == both.exit_code
    assert "1 of 2 models failed: absent: " in both.said
    assert END + 1 - FIRST - 1 == len(window_entries(setup, "inputs"))


@pytest.mark.parametrize("options", [("--dry-run",), ("--from", "2025-03-01"), ("--to", "2025-03-01")])
def test_a_fleet_takes_no_options_of_one_model(options, model):
    answer = command("monitor", "--all", *options)
    assert (2, "InputError") == (answer.exit_code, answer.state)
    assert "name it instead of --all" in answer.said

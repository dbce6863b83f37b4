import json

import pytest

from evergreen.deployments.cli.app import app, run
from evergreen.deployments.cli.output import clean


@pytest.fixture(autouse=True)
def empty_home(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EVERGREEN_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("EVERGREEN_CONFIG", str(tmp_path / "config"))
    return tmp_path


@pytest.mark.parametrize(
    "arguments",
    [["nope"], ["train"], ["train", "fraud"], ["train", "fraud", "--bogus"], ["status", "missing.yaml"], []],
)
def test_wrong_words_exit_with_two(arguments):
    assert 2 == run(arguments)


@pytest.mark.parametrize(
    "arguments", [["train", "fraud"], ["status", "fraud"], ["train", "fraud", "--bogus"]]
)
def test_json_holds_exactly_one_object_for_wrong_input(arguments, capsys):
    run([*arguments, "--json"])
    answer = json.loads(capsys.readouterr().out)
    assert "InputError" == answer["state"]
    assert {"code", "message", "observed", "limit"} == set(answer["reasons"][0])


def test_wrong_input_leaves_no_trace(empty_home):
    run(["train", "fraud", "--json"])
    assert not (empty_home / "home").exists()


def test_a_wrong_key_is_found_before_any_server_starts(empty_home, capsys):
    (empty_home / "config").mkdir()
    (empty_home / "config" / "fraud.yaml").write_text("problem: binary\nevaluaton: {}\n")
    assert 2 == run(["train", "fraud"])
    said = capsys.readouterr().err
    assert "Did you mean 'evaluation'?" in said
    assert "starting a temporary one" not in said


def test_help_names_every_command(capsys):
    assert 0 == run(["--help"])
    said = capsys.readouterr().out
    assert all(str(command.name or command.callback.__name__) in said for command in app.registered_commands)


def test_numbers_that_json_cannot_hold_become_null():
    assert {"a": [None, 1.5, None]} == clean({"a": (float("nan"), 1.5, float("inf"))})


@pytest.mark.parametrize(
    ("arguments", "help_of"),
    [
        (["nope"], "evergreen"),
        (["train", "fraud", "--bogus"], "evergreen train"),
        (["traffic", "show", "fraud", "--bogus"], "evergreen traffic show"),
    ],
)
def test_wrong_words_lead_to_the_help_of_their_command(arguments, help_of, capsys):
    assert 2 == run(arguments)
    assert f"See '{help_of} --help'." in capsys.readouterr().err


def test_what_is_no_yaml_is_said_of_its_file_alone(empty_home, capsys):
    (empty_home / "config").mkdir()
    (empty_home / "config" / "fraud.yaml").write_text("problem: binary\ndata: [1\n")
    assert 2 == run(["status", "fraud"])
    said = capsys.readouterr().err
    assert "config/fraud.yaml is not readable as YAML: " in said
    assert " at line 2" in said
    assert "<unicode string>" not in said


def test_deploy_without_a_server_says_once_how_to_start_one(empty_home, monkeypatch, capsys):
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    assert 2 == run(["deploy"])
    expected = "Deployments live on a Prefect server and none is running. Start one by 'evergreen up'.\n"
    assert expected == capsys.readouterr().err

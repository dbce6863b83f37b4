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

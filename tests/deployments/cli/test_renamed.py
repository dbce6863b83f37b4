"""Commands, options and keys of version 0.1: understood with a warning on stderr, and rewritten by `config migrate`."""

import json
import re
import subprocess
import sys
import warnings

import pytest
import yaml

from evergreen.deployments.cli.app import COMMANDS, OPTIONS, app, current_arguments, run
from evergreen.tasks.core.errors import RenamedWord
from evergreen.tasks.io.config import read_config

OLD = {
    "problem": "binary",
    "data": {"source": "rows.csv", "target": "y", "value": "fare"},
    "training": {"candidates": [{"name": "a", "estimator": "sklearn.linear_model.LogisticRegression"}]},
    "live": {"longest": "5d"},
}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("EVERGREEN_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("EVERGREEN_CONFIG", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rides.yaml").write_text(f"# rides\n{yaml.safe_dump(OLD)}")
    return tmp_path


def asked(capsys, *arguments):
    code = run([*map(str, arguments), "--json"])
    printed = capsys.readouterr()
    return code, json.loads(printed.out), printed.err


@pytest.mark.parametrize(("old", "new"), COMMANDS.items())
def test_an_old_command_runs_the_new_one_and_says_so(old, new, capsys):
    assert [new, "rides"] == current_arguments([old, "rides"])
    assert f"the command '{old}' is now called '{new}'" in capsys.readouterr().err
    names = {command.name or command.callback.__name__ for command in app.registered_commands}
    assert (True, False) == (new in names, old in names)


@pytest.mark.parametrize(("old", "new"), OPTIONS.items())
def test_an_old_option_is_the_new_one_and_says_so(old, new, capsys):
    assert ["pause", "rides", new, "x"] == current_arguments(["pause", "rides", old, "x"])
    assert ["pause", "rides", f"{new}=a=b"] == current_arguments(["pause", "rides", f"{old}=a=b"])
    assert 2 == capsys.readouterr().err.count(f"the option '{old}' is now called '{new}'")


def test_todays_words_warn_of_nothing(capsys):
    typed = ["pause", "score", "--reason", "why", "--", "--why"]
    assert typed == current_arguments(typed)
    assert "" == capsys.readouterr().err


def test_an_old_command_reaches_its_successor(folder, capsys):
    code, told, err = asked(capsys, "score", "nobody", "--to", "out.parquet")
    assert (2, "InputError") == (code, told["state"])
    assert "'score' is now called 'predict-batch'" in err


def test_a_dry_run_says_what_would_change_and_writes_nothing(folder, capsys):
    before = (folder / "rides.yaml").read_bytes()
    code, told, _ = asked(capsys, "config", "migrate", "--all", "--dry-run")
    assert (0, "Unchanged", True, before) == (
        code,
        told["state"],
        told["dry_run"],
        (folder / "rides.yaml").read_bytes(),
    )
    (file,) = told["files"]
    assert ["data.value", "live.longest"] == [change["old"] for change in file["changes"]]


def test_files_are_rewritten_once_and_keep_their_permissions(folder, capsys):
    path = folder / "rides.yaml"
    path.chmod(0o640)
    assert "Migrated" == asked(capsys, "config", "migrate", "rides")[1]["state"]
    assert path.read_text().startswith("# rides\n")
    assert {"max_duration": "5d"} == yaml.safe_load(path.read_text())["live"]
    assert 0o640 == path.stat().st_mode & 0o777
    assert ("Unchanged", []) == tuple(
        asked(capsys, "config", "migrate", "rides")[1][key] for key in ("state", "files")
    )


def test_a_file_with_both_names_of_a_key_is_refused_and_no_file_is_written(folder, capsys):
    (folder / "a.yaml").write_text("live: {longest: 5d}\n")
    (folder / "z.yaml").write_text("live: {longest: 5d, max_duration: 6d}\n")
    code, told, _ = asked(capsys, "config", "migrate", "--all")
    assert (2, "InputError") == (code, told["state"])
    assert "Remove 'live.longest'" in told["reasons"][0]["message"]
    assert "live: {longest: 5d}\n" == (folder / "a.yaml").read_text()


@pytest.mark.parametrize("words", [(), ("rides", "--all")])
def test_one_model_or_all_are_named(folder, capsys, words):
    assert 2 == asked(capsys, "config", "migrate", *words)[0]


def test_a_command_warns_of_an_old_key_in_one_plain_line(folder):
    command = [sys.executable, "-m", "evergreen", "due", "rides"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    (line,) = [line for line in done.stderr.splitlines() if "live.longest" in line]
    assert line.startswith("Warning: 'live.longest' in rides.yaml is now called 'live.max_duration'")
    advised = re.search(r"Run 'evergreen (.+?)'", line)[1].split()
    assert 0 == run(advised)
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "is now called" not in done.stderr


def test_an_old_key_of_the_base_file_is_warned_of_with_its_path(folder, monkeypatch):
    (folder / "base.yaml").write_text("live: {longest: 5d}\n")
    (folder / "rides.yaml").write_text(
        yaml.safe_dump({**OLD, "data": {"source": "a.csv", "target": "y"}, "live": {}})
    )
    with pytest.warns(
        RenamedWord, match=r"'live.longest' in base.yaml.*'evergreen config migrate base.yaml'"
    ):
        read_config(folder / "rides.yaml")
    assert 0 == run(["config", "migrate", "base.yaml"])
    with warnings.catch_warnings():
        warnings.simplefilter("error", RenamedWord)
        read_config(folder / "rides.yaml")


def test_a_file_whose_anchors_forbid_the_rewrite_is_named_with_what_to_change(folder, capsys):
    path = folder / "rides.yaml"
    path.write_text(
        path.read_text().replace("live:\n  longest: 5d\n", "live: &l {longest: 5d}\n") + "alerts: *l\n"
    )
    before = path.read_bytes()
    code, told, _ = asked(capsys, "config", "migrate", "--all")
    assert (2, "InputError", before) == (code, told["state"], path.read_bytes())
    assert "live.longest (line" in told["reasons"][0]["message"]


def test_a_file_named_as_the_folder_of_models_is_called_a_file(folder, capsys, monkeypatch):
    monkeypatch.setenv("EVERGREEN_CONFIG", str(folder / "rides.yaml"))
    code, told, _ = asked(capsys, "status", "rides")
    assert (2, "InputError") == (code, told["state"])
    assert "rides.yaml', a file. Give the folder" in told["reasons"][0]["message"]

"""Decisions of two versions are compared line by line, under the words of the newer one."""

import json

import pytest

from benchmarks import replays
from benchmarks.replay_sets import SETS
from benchmarks.replays_compared import compare_folders, differences, read_lines, renamed
from tests.support.replays import begin_small, by_name, replayed
from tests.support.skips import real_file


@pytest.fixture(scope="module")
def document():
    """What a replay logs of two policies; the first model answers until the other takes its place."""
    result = replayed(begin_small(), policies="configured,never")
    assert {"configured", "never"} == set(by_name(result))
    return json.loads(json.dumps({**result.to_dict(), "start": "2025-01-20"}))


@pytest.fixture
def lines(document):
    return json.loads(json.dumps([replays.rounded(line) for line in replays.lines_of(document, full=False)]))


@pytest.fixture
def folders(tmp_path):
    """Return a function that writes the lines of two versions; it returns the two folders."""

    def write(*sides):
        places = [tmp_path / name for name in ("before", "now")]
        for place, side in zip(places, sides, strict=True):
            place.mkdir()
            (place / "sea.jsonl").write_text("".join(json.dumps(line) + "\n" for line in side))
        return places

    return write


def test_every_window_of_every_policy_is_a_line_with_what_was_decided(document, lines):
    windows = [line for line in lines if "step" in line]
    assert [len(one["windows"]) for one in document["policies"]] == [
        sum(line["policy"] == name for line in windows) for name in ("configured", "never")
    ]
    started = [line for line in windows if line.get("outcome") == "start"]
    assert started
    assert all(line["retrained"] and line["state"] and line["reasons"] for line in started)
    assert not any(line["retrained"] for line in windows if line.get("outcome") == "hold")
    assert all("retrained" not in line for line in windows if line["policy"] == "never")


def test_sentences_and_seconds_are_no_part_of_a_line(lines):
    text = json.dumps(lines)
    assert "message" not in text
    assert "seconds" not in text


def test_the_same_decisions_under_new_words_are_the_same(lines, folders, capsys):
    old = [{**line, "state": "Kept"} for line in lines]
    new = [{**line, "state": "ChampionKept"} for line in lines]
    assert 0 == compare_folders(*folders(old, new), names=["sea"])
    assert f"sea: the same, {len(lines)} lines" in capsys.readouterr().out


def test_words_of_a_file_count_beside_the_known_ones(lines, folders, tmp_path):
    old = [{**line, "outcome": "hold"} for line in lines]
    new = [{**line, "outcome": "blocked"} for line in lines]
    sides = folders(old, new)
    (tmp_path / "words.json").write_text(json.dumps({"hold": "blocked"}))
    assert 1 == compare_folders(*sides, names=["sea"])
    assert 0 == compare_folders(*sides, names=["sea"], words=tmp_path / "words.json")


def test_the_first_decision_that_differs_is_named(lines, folders, capsys):
    changed = json.loads(json.dumps(lines))
    place = next(k for k, line in enumerate(lines) if line.get("step") == 3)
    for line in changed[place:]:
        line["version"] = 99
    assert 1 == compare_folders(*folders(lines, changed), names=["sea"])
    said = capsys.readouterr().out
    assert "sea: first difference of decisions: policy 'configured', step 3 (to " in said
    assert f"version: {lines[place]['version']} before, 99 now" in said
    assert "numbers" not in said


def test_numbers_that_differ_are_told_apart_from_decisions_and_from_rounding(lines, folders, capsys):
    near, far = (json.loads(json.dumps(lines)) for _ in range(2))
    value = lines[1]["numbers"]["value"]
    near[1]["numbers"]["value"] = value * (1 + 1e-9)
    far[1]["numbers"]["value"] = value * 1.001
    before, now = folders(lines, near)
    assert 0 == compare_folders(before, now, names=["sea"])
    (now / "sea.jsonl").write_text("".join(json.dumps(line) + "\n" for line in far))
    assert 1 == compare_folders(before, now, names=["sea"])
    said = capsys.readouterr().out
    assert "first difference of numbers" in said
    assert "first difference of decisions" not in said


def test_a_step_that_is_gone_differs(lines, folders):
    assert 1 == compare_folders(*folders(lines, lines[:-1]), names=["sea"])


@pytest.mark.parametrize(
    ("old", "new"), [({"a": None}, {}), ([], [None]), ({"a": 1}, {"a": True}), ({"a": "1"}, {"a": 1})]
)
def test_values_of_another_kind_differ(old, new):
    assert 1 == len(list(differences(old, new)))
    assert 1 == len(list(differences(new, old)))


def test_renamed_words_are_whole_words(tmp_path):
    assert ["Kept it", {"Kept": "ChampionKept"}] == renamed(
        ["Kept it", {"Kept": "Kept"}], {"Kept": "ChampionKept"}
    )
    (tmp_path / "lines").write_text('{"state": "Kept"}\n')
    assert [{"state": "ChampionKept"}] == read_lines(tmp_path / "lines", {"Kept": "ChampionKept"})


def test_nowhere_to_write_and_nothing_to_compare_with_is_said(capsys):
    assert 2 == replays.main([])
    assert "--out" in capsys.readouterr().err


@pytest.mark.realdata
@pytest.mark.parametrize("name", SETS)
def test_every_set_is_there_with_the_columns_that_its_configuration_names(name):
    import pandas as pd

    path, data = real_file(SETS[name]["file"]), SETS[name]["config"]["data"]
    frame = pd.read_csv(path, nrows=5) if path.suffix == ".csv" else pd.read_parquet(path)
    named = {data["target"], data["time"], *data["numeric"], *data["categorical"], *data.get("exclude", {})}
    assert named <= set(frame)

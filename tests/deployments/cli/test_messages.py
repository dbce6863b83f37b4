"""What commands say to a person: about what was typed, where it was looked for, and what was or would be changed."""

import json

import pandas as pd
import pytest

from evergreen.deployments.cli.app import run
from evergreen.deployments.cli.monitoring import TITLES, _print_drift, _print_windows
from evergreen.deployments.cli.output import print_result
from evergreen.deployments.cli.retraining import _print_due
from evergreen.tasks.core.challenge.evidence import dry_run_result
from evergreen.tasks.core.errors import did_you_mean
from evergreen.tasks.core.verdict import StageResult, State
from evergreen.tasks.io.retraining import pause_retraining, resume_retraining
from evergreen.tasks.io.setup import open_setup
from tests.support.commands import write_model


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("EVERGREEN_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("EVERGREEN_CONFIG", str(tmp_path / "models"))
    (tmp_path / "models").mkdir()
    return tmp_path / "models"


def said(capsys, *arguments):
    code = run([*map(str, arguments), "--json"])
    told = json.loads(capsys.readouterr().out)
    return code, " ".join(reason["message"] for reason in told["reasons"])


@pytest.mark.parametrize("data", ["nowhere.csv", "sqlite:///nowhere.db"])
def test_init_blames_what_was_typed_and_no_key_of_a_file(folder, capsys, data):
    code, message = said(capsys, "init", data, "--target", "y")
    assert (2, True, False) == (code, "Correct DATA" in message, "data.source" in message)


def test_no_model_is_said_of_the_folder_that_is_configured(folder, capsys):
    code, message = said(capsys, "due")
    assert (2, True, False) == (code, f"{folder}/" in message, " config/" in message)
    code, message = said(capsys, "train", "nobody")
    assert (2, True) == (code, f"in the folder {folder}/" in message)


def test_a_model_and_a_column_are_suggested_in_any_case_and_by_a_part_of_their_name(folder, capsys):
    rows = pd.DataFrame({"FraudFound_P": [0, 1] * 50, "Fault": ["a", "b"] * 50, "x": range(100)})
    rows.to_csv("rows.csv", index=False)
    assert "Did you mean 'FraudFound_P'?" in said(capsys, "init", "rows.csv", "--target", "fraud")[1]
    assert "Did you mean" not in said(capsys, "init", "rows.csv", "--target", "price")[1]


@pytest.mark.parametrize(
    ("value", "known", "expected"),
    [
        ("Fraud", ["Fault"], ""),
        ("FRAUD", ["fraud", "fraud_type"], "fraud"),
        ("claim", ["PolicyClaims", "climb"], "PolicyClaims"),
        ("acuracy", ["accuracy", "recall"], "accuracy"),
        ("id", ["width", "height"], ""),
        ("x", [], ""),
    ],
)
def test_a_suggestion_is_near_or_there_is_none(value, known, expected):
    assert (f" Did you mean '{expected}'?" if expected else "") == did_you_mean(value, known)


def test_what_is_not_paused_cannot_be_resumed_and_is_said_to(folder):
    write_model(folder, "rides")
    setup = open_setup("rides")
    told = resume_retraining(setup)
    assert ("Unchanged", "not_paused", None) == (
        told["state"],
        told["reasons"][0]["code"],
        told["decision_id"],
    )
    assert told["reasons"][0]["message"].endswith("is not paused; there is nothing to resume.")
    assert "Paused" == pause_retraining(setup, why="audit")["state"]
    assert pause_retraining(setup, why="audit")["reasons"][0]["message"].endswith("nothing was changed.")
    assert ("Resumed", "resumed") == (
        (again := resume_retraining(setup))["state"],
        again["reasons"][0]["code"],
    )


def test_a_trigger_ends_in_one_stop(capsys):
    trigger = {
        "trigger": "periodic",
        "due": False,
        "said": "One is due every 42d.",
        "due_at": "2026-05-01T12:00:00.389435+00:00",
    }
    _print_due(
        {"model": "m", "state": "Blocked", "reasons": [], "triggers": [trigger], "next_allowed_at": None}
    )
    assert (
        "  wait periodic: One is due every 42d, next on 2026-05-01 12:00:00 UTC.\n" in capsys.readouterr().out
    )


@pytest.mark.parametrize(
    ("codes", "said"),
    [
        (["not_due"], "  allowed now by hand; by itself at 2026-05-01\n"),
        (["not_judged", "cooldown"], "  next allowed at 2026-05-01\n"),
        (["cooldown"], "  next allowed at 2026-05-01\n"),
    ],
)
def test_the_next_date_is_called_forbidden_only_where_something_forbids(codes, said, capsys):
    reasons = [{"code": code, "message": "Why."} for code in codes]
    _print_due(
        {
            "model": "m",
            "state": "Blocked",
            "reasons": reasons,
            "triggers": [],
            "next_allowed_at": "2026-05-01",
        }
    )
    assert capsys.readouterr().out.endswith(said)


def test_a_dry_run_says_what_alpha_a_real_one_would_spend():
    won = StageResult(state=State.WON, model="m", version=3, details={"alpha": 0.0125, "alpha_left": 0.05})
    message = dry_run_result(won).reasons[-1].message
    assert "would spend 0.0125 of the alpha budget" in message
    live = StageResult(state=State.READY_FOR_LIVE_TEST, model="m", version=3, details={"alpha": 0.0125})
    assert "spends no alpha" in dry_run_result(live).reasons[-1].message


@pytest.mark.parametrize(
    "words",
    [
        "status rides",
        "due rides",
        "alert rides",
        "traffic show rides",
        "ab status rides",
        "drift-limits rides",
    ],
)
@pytest.mark.parametrize("has_home", [False, True])
def test_what_only_reads_makes_no_folder(folder, words, has_home, monkeypatch):
    write_model(folder, "rides")
    monkeypatch.setenv("EVERGREEN_LEDGER_URL", f"sqlite:///{folder.parent / 'elsewhere' / 'ledger.db'}")
    if has_home:
        (folder.parent / "home").mkdir()
    before = sorted(folder.parent.rglob("*"))
    run(words.split())
    assert has_home == (folder.parent / "home").exists()
    assert before == sorted(folder.parent.rglob("*"))


@pytest.mark.parametrize("options", ["", "?timeout=30"])
def test_a_ledger_that_is_there_is_read_whatever_options_its_address_has(
    folder, capsys, monkeypatch, options
):
    write_model(folder, "rides")
    url = f"sqlite:///{folder.parent / 'ledger.db'}{options}"
    monkeypatch.setenv("EVERGREEN_LEDGER_URL", url)
    assert 0 == run(["pause", "rides", "--reason", "an audit"])
    assert 0 == run(["status", "rides"])
    assert "an audit" in capsys.readouterr().out


def test_a_model_without_a_version_is_said_to_have_none(folder, capsys):
    write_model(folder, "rides")
    assert 0 == run(["status", "rides"])
    printed = capsys.readouterr().out
    assert "Model 'rides' has no version yet. Train the first by 'evergreen train rides'.\n" in printed
    assert "consistent" not in printed


def test_nothing_is_cut_where_stdout_is_no_terminal(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    address = f"http://127.0.0.1:5000/#/experiments/1/runs/{'5e2384370cf' * 4}"
    print_result({"model": "m", "state": "NoDrift", "reasons": [], "run_url": address}, as_json=False)
    window = {
        "from": "2026-11-29T12:00:00+00:00",
        "n": 720,
        "performance": {"value": 0.5},
        "verdicts": dict.fromkeys(TITLES, "drift"),
        "moved": [{"column": "a_long_name_of_a_column_" * 2}, {"column": "@score"}],
    }
    _print_windows([window])
    moved = {"column": "a_long_name_of_a_column_" * 2, "drifted": True, "psi": 0.3, "missing_after": 0.0}
    moved |= {"mean_shift": 0.1, "ks": 0.2, "adjusted_p_value": 0.01}
    nothing = {key: {} for key in ("changed", "unreadable", "skipped")}
    _print_drift({"state": "Drift", "reasons": [], **nothing}, [moved])
    printed = capsys.readouterr().out
    assert "…" not in printed
    assert address in printed
    assert "2026-11-29 12:00" in printed
    assert f"{'a_long_name_of_a_column_' * 2} and @score" in printed
    assert 2 == printed.count("a_long_name_of_a_column_" * 2)

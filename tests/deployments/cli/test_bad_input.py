"""Bad input through the real command: one clear sentence, the right state and exit code, and nothing changed.

What was typed, configured or cannot be read ends InputError with exit code 2 and leaves no trace. What was read but
cannot be learned from, or may not be done now, is a decision: exit code 0, and one entry in the ledger.
"""

import pickle
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import sqlalchemy as sa
import yaml

from evergreen.tasks.promotion import Promoter
from tests.support.commands import command, machine, snapshot

pytestmark = pytest.mark.server
MODEL, N = "sound", 400
SECRET = "hunter2"
LINEAR = {"name": "linear", "estimator": "sklearn.linear_model.LogisticRegression"}
RIDGE = {"name": "ridge", "estimator": "sklearn.linear_model.Ridge"}


@pytest.fixture(scope="module")
def stores(prefect_server, mlflow_template, tmp_path_factory):
    """Give the model a champion (1) and a candidate that waits for the gate (2)."""
    with machine(tmp_path_factory.mktemp("bad") / "home", mlflow_template) as opened:
        for status in ("approved", "pending"):
            opened.registry.register(
                MODEL, source="file:models/1", run_id=None, tags={"validation_status": status}
            )
        Promoter(opened.registry, opened.ledger, MODEL).promote(version=1, reason="by a test")
        Promoter(opened.registry, opened.ledger, MODEL).set_candidate(version=2)
        yield opened


@pytest.fixture
def folder(stores, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def good(**columns):
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"at": pd.date_range("2026-01-01", periods=N, freq="h"), "x": rng.normal(size=N)})
    return frame.assign(c=rng.choice(list("uvw"), N), y=rng.integers(0, 2, N)).assign(**columns)


def with_value(column, value, *, row=10):
    changed = good().astype({column: object})
    changed.loc[row, column] = value
    return changed


def write(folder, *, frame=None, raw=None, name="rows.csv", text=None, **sections):
    """Write the rows and ``bad.yaml`` beside them; a section given as None is left out."""
    if raw is not None:
        (folder / name).write_bytes(raw)
    elif frame is not None:
        frame.to_csv(folder / name, index=False)
    values = {
        "model": MODEL,
        "problem": "binary",
        "data": {"source": name, "target": "y", "time": "at"},
        "split": {"min_rows": 50},
        "training": {"candidates": [LINEAR], "folds": 2, "importance_repeats": 1},
    }
    for section, changes in sections.items():
        both = isinstance(changes, dict) and isinstance(values.get(section), dict)
        values[section] = {**values[section], **changes} if both else changes
    left = {section: value for section, value in values.items() if value is not None}
    (folder / "bad.yaml").write_text(text or yaml.safe_dump(left))


TRAIN = ("train", "bad.yaml")
GOOD = {"frame": good()}
CONFIGURED = {
    "an unknown model": (("train", "nobody"), {}, ["Unknown model 'nobody'"]),
    "a missing configuration": (("train", "missing.yaml"), {}, ["No file 'missing.yaml'", "evergreen init"]),
    "a file that is no YAML": (TRAIN, {"text": "data: [1, 2\n"}, ["bad.yaml is not readable as YAML"]),
    "a list of things": (TRAIN, {"text": "- 1\n- 2\n"}, ["bad.yaml holds a list"]),
    "an unknown key": (TRAIN, {"evaluaton": {}}, ["'evaluaton'", "Did you mean 'evaluation'?"]),
    "an unknown problem": (
        TRAIN,
        {"problem": "classification"},
        ["'classification'", "binary", "multiclass"],
    ),
    "a duration without a unit": (
        TRAIN,
        {"evaluation": {"validation_window": "7 fortnights"}},
        ["'7 fortnights'", "7d"],
    ),
    "a missing section": (TRAIN, {"training": None}, ["training"]),
    "ranking without groups": (TRAIN, {"problem": "ranking"}, ["data.group is needed"]),
    "two candidates of one name": (
        TRAIN,
        {"training": {"candidates": [LINEAR, LINEAR]}},
        ["names must differ"],
    ),
}
UNREADABLE = {
    "a missing file": (TRAIN, {}, ["There is no file 'rows.csv'"]),
    "an empty file": (TRAIN, {"raw": b""}, ["'rows.csv' is empty"]),
    "a missing target": (
        TRAIN,
        {**GOOD, "data": {"target": "yy"}},
        ["'yy' (data.target)", "Did you mean 'y'?"],
    ),
    "a missing clock": (TRAIN, {**GOOD, "data": {"time": "when"}}, ["'when' (data.time)"]),
    "duplicate columns": (TRAIN, {"raw": b"at,x,x,y\n2026-01-01,1,2,0\n"}, ["Column 'x' is there twice"]),
    "an unparsable time": (TRAIN, {"frame": with_value("at", "someday")}, ["'at' holds 'someday' in row 11"]),
    "mixed types": (
        TRAIN,
        {"frame": with_value("x", "abc", row=200)},
        ["'x' mixes numbers and text", "'abc'"],
    ),
    "a pickle": (TRAIN, {"raw": pickle.dumps(good())}, ["is a Python pickle", "never opened"]),
    "CSV named Parquet": (
        TRAIN,
        {"raw": b"at,y\n", "name": "rows.parquet"},
        ["'rows.parquet' is not Parquet"],
    ),
    "ragged lines": (TRAIN, {"raw": b"at,x,y\n2026-01-01,1,0\n2026-01-02,1\n"}, ["line 3 has 2 values"]),
    "text as the target of a regression": (
        TRAIN,
        {"frame": good(y="high"), "problem": "regression", "training": {"candidates": [RIDGE]}},
        ["'y'", "'high'", "numbers"],
    ),
    "a classifier for a regression": (
        TRAIN,
        {"frame": good(y=np.arange(N) / 7), "problem": "regression"},
        ["'linear'", "a regressor"],
    ),
    "an unknown metric": (
        TRAIN,
        {**GOOD, "evaluation": {"metric": "acuracy"}},
        ["metric 'acuracy'", "Did you mean 'accuracy'?", "bad.yaml, evaluation.metric: "],
    ),
    "a metric of another problem": (TRAIN, {**GOOD, "evaluation": {"metric": "rmse"}}, ["'rmse'"]),
    "an unknown estimator": (
        TRAIN,
        {**GOOD, "training": {"candidates": [{**LINEAR, "estimator": "sklearn.linear_model.Logistic"}]}},
        ["sklearn.linear_model.Logistic", "bad.yaml, training.candidates, 'linear': "],
    ),
    "an estimator that is none": (
        TRAIN,
        {**GOOD, "training": {"candidates": [{**LINEAR, "estimator": "os.system"}]}},
        ["'os.system'", "training.allow"],
    ),
    "an unknown parameter": (
        TRAIN,
        {**GOOD, "training": {"candidates": [{**LINEAR, "params": {"depth": 3}}]}},
        ["'depth'"],
    ),
    "criteria that are code": (
        TRAIN,
        {**GOOD, "training": {"criteria": "__import__('os').system('true')"}},
        ["training.criteria"],
    ),
    "a custom metric that is not there": (
        TRAIN,
        {
            **GOOD,
            "evaluation": {"custom_metrics": {"own": {"path": "nowhere:own", "greater_is_better": True}}},
        },
        ["'nowhere'"],
    ),
    "an unset variable": (TRAIN, {"data": {"source": "env:NOT_SET_ANYWHERE"}}, ["NOT_SET_ANYWHERE"]),
    "a missing secret block": (
        TRAIN,
        {"data": {"source": "secret:nothing-here"}},
        ["'nothing-here'", "Blocks"],
    ),
    "a missing table": (TRAIN, {"data": {"source": "sqlite:///rows.db", "table": "orders"}}, ["orders"]),
    "a random split of overlapping targets": (
        TRAIN,
        {**GOOD, "split": {"method": "random", "purge": "2h"}},
        ["'random' is refused"],
    ),
    "a moment that is none": ((*TRAIN, "--until", "someday"), GOOD, ["'someday'"]),
    "a moment without a clock": (
        (*TRAIN, "--until", "2026-01-05"),
        {**GOOD, "data": {"time": None}},
        ["'2026-01-05'", "data.time"],
    ),
}
TYPED = {
    "an unknown version to validate": (("validate", "bad.yaml", "--version", 9), GOOD, ["version 9", "1, 2"]),
    "an unknown version to promote": (
        ("promote", "bad.yaml", "--version", 99),
        GOOD,
        ["Version 99", "Registered: 1, 2"],
    ),
    "a version that is no number": (
        ("promote", "bad.yaml", "--version", "best"),
        GOOD,
        ["--version", "integer"],
    ),
    "no version to promote": (("promote", "bad.yaml"), GOOD, ["--version"]),
    "a version that was never champion": (
        ("rollback", "bad.yaml", "--to", 2),
        GOOD,
        ["Version 2", "was never champion", "Champions so far: 1"],
    ),
    "a model that is nowhere": (
        ("register", "bad.yaml", "models:/nobody/1", "--trained-to", "2026-01-10"),
        GOOD,
        ["No model can be read at 'models:/nobody/1'"],
    ),
    "an address that is none": (
        ("register", "bad.yaml", "rows.csv", "--trained-to", "2026-01-10"),
        GOOD,
        ["'rows.csv'", "MLmodel"],
    ),
    "a foreign model without its time": (("register", "bad.yaml", "models:/m/1"), GOOD, ["--trained-to"]),
    "a foreign model with a time that is none": (
        ("register", "bad.yaml", "models:/m/1", "--trained-to", "last week"),
        GOOD,
        ["'last week'"],
    ),
    "an unknown option": (("train", "bad.yaml", "--quickly"), GOOD, ["--quickly"]),
    "an unknown command": (("trian", "bad.yaml"), GOOD, ["trian"]),
}
INIT = ("init", "rows.csv", "--out", "new.yaml", "--target")
PROPOSED = {
    "init of a missing file": ((*INIT, "y"), {}, ["'rows.csv'"]),
    "init of an empty file": ((*INIT, "y"), {"raw": b""}, ["empty"]),
    "init of a pickle": ((*INIT, "y"), {"raw": pickle.dumps([1])}, ["pickle"]),
    "init of a missing target": ((*INIT, "yy"), GOOD, ["'yy'", "Did you mean 'y'?"]),
    "init of a missing clock": ((*INIT, "y", "--time", "when"), GOOD, ["'when'", "--time"]),
    "init of one column in two roles": ((*INIT, "y", "--time", "y"), GOOD, ["'y'", "--time", "--target"]),
    "init over a file": (("init", "rows.csv", "--target", "y", "--out", "bad.yaml"), GOOD, ["--force"]),
    "init without a target": (("init", "rows.csv"), GOOD, ["--target"]),
    "init into a file as if it were a folder": (
        ("init", "rows.csv", "--target", "y", "--out", "rows.csv/new.yaml"),
        GOOD,
        ["rows.csv", "--out"],
    ),
    "init of several tables": (
        ("init", "sqlite:///rows.db", "--target", "y"),
        {},
        ["2 tables (left, right)"],
    ),
}
WRONG = CONFIGURED | UNREADABLE | TYPED | PROPOSED


@pytest.mark.parametrize("case", WRONG)
def test_wrong_input_is_one_sentence_with_code_2_and_leaves_no_trace(case, folder, stores):
    arguments, content, said = WRONG[case]
    write(folder, **content)
    make_tables(folder)
    before, files = snapshot(stores), sorted(folder.rglob("*"))
    answer = command(*arguments)
    assert (2, "InputError") == (answer.exit_code, answer.state), answer
    assert all(words in answer.said for words in said), answer.said
    assert_one_sentence(answer)
    assert before == snapshot(stores)
    assert files == sorted(folder.rglob("*"))


def make_tables(folder):
    engine = sa.create_engine(f"sqlite:///{folder / 'rows.db'}")
    for name in ("left", "right"):
        good().to_sql(name, engine, index=False)
    engine.dispose()


def assert_one_sentence(answer):
    """One reason in one line, said once to the person as well, without a traceback or a secret."""
    assert 1 == len(answer.json["reasons"])
    assert answer.said[-1] in ".?", answer.said
    assert "\n" not in answer.said
    assert f"{answer.said}\n" == answer.err
    assert SECRET not in answer.err


BROKEN = {
    "a ledger of an unknown kind": ({"EVERGREEN_LEDGER_URL": f"mysql://u:{SECRET}@h/d"}, "'mysql'"),
    "a ledger of an unknown driver": (
        {"EVERGREEN_LEDGER_URL": f"postgresql+no://u:{SECRET}@h/d"},
        "not supported",
    ),
    "a ledger without a port": (
        {"EVERGREEN_LEDGER_URL": f"postgresql://u:{SECRET}@h:port/d"},
        "cannot be parsed",
    ),
    "a ledger that is no database": ({"EVERGREEN_LEDGER_URL": "sqlite:///bad.yaml"}, "no SQLite database"),
    "a ledger below a file": ({"EVERGREEN_LEDGER_URL": "sqlite:///bad.yaml/l.db"}, "no folder to write in"),
    "a home below a file": ({"EVERGREEN_HOME": "bad.yaml/home"}, "EVERGREEN_HOME needs the folder"),
    "an MLflow address that is none": (
        {"MLFLOW_TRACKING_URI": f"ftp://u:{SECRET}@h/x"},
        "MLFLOW_TRACKING_URI",
    ),
    "an MLflow store that is no database": (
        {"MLFLOW_TRACKING_URI": "sqlite:///bad.yaml"},
        "no SQLite database",
    ),
    "an MLflow store without its driver": (
        {"MLFLOW_TRACKING_URI": f"postgresql+no://u:{SECRET}@h/d"},
        "driver is not installed",
    ),
}
GONE = {
    "MLflow's server is gone": {"MLFLOW_TRACKING_URI": f"http://u:{SECRET}@127.0.0.1:9"},
    "the ledger's server is gone": {"EVERGREEN_LEDGER_URL": f"postgresql://u:{SECRET}@127.0.0.1:9/d"},
    "Prefect's server is gone": {"PREFECT_API_URL": f"http://u:{SECRET}@127.0.0.1:9/api"},
}


@pytest.mark.parametrize("case", BROKEN)
@pytest.mark.parametrize("verb", ["status", "train"])
def test_a_store_that_cannot_work_is_a_wrong_setting(case, verb, folder, monkeypatch):
    variables, said = BROKEN[case]
    write(folder, **GOOD)
    files = sorted(folder.rglob("*"))
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    answer = command(verb, "bad.yaml")
    assert (2, "InputError") == (answer.exit_code, answer.state), answer
    assert said in answer.said
    assert_one_sentence(answer)
    assert files == sorted(folder.rglob("*"))


@pytest.mark.parametrize("case", GONE)
def test_a_server_that_is_gone_is_a_failure_told_at_once(case, folder, stores, monkeypatch):
    write(folder, **GOOD)
    before = snapshot(stores)
    with monkeypatch.context() as patch:
        for name, value in GONE[case].items():
            patch.setenv(name, value)
        answer = command("train", "bad.yaml")
    assert (1, "Failed") == (answer.exit_code, answer.state), answer
    assert "127.0.0.1:9" in answer.said
    assert_one_sentence(answer)
    assert before == snapshot(stores)


NUMBERS = {"problem": "regression", "training": {"candidates": [RIDGE]}}
INFINITE = np.r_[np.inf, np.arange(N - 1.0)]
RANKED = {"problem": "ranking", "training": {"candidates": [RIDGE]}, "data": {"group": "g"}}
NOT_NOW = {
    "one class": (TRAIN, {"frame": good(y=1)}, "InsufficientData", "one_class"),
    "three classes of two": (
        TRAIN,
        {"frame": good(y=np.arange(N) % 3)},
        "InsufficientData",
        "too_many_classes",
    ),
    "a constant target": (TRAIN, {"frame": good(y=2.0), **NUMBERS}, "InsufficientData", "constant_target"),
    "an infinite target": (
        TRAIN,
        {"frame": good(y=INFINITE), **NUMBERS},
        "InsufficientData",
        "infinite_target",
    ),
    "no label at all": (TRAIN, {"frame": good(y=np.nan)}, "InsufficientData", "no_labels"),
    "a header without rows": (TRAIN, {"raw": b"at,x,y\n"}, "InsufficientData", "too_few_rows"),
    "too few rows": (TRAIN, {"frame": good()[:60]}, "InsufficientData", "too_few_rows"),
    "nothing but nulls": (TRAIN, {"frame": good(x=np.nan, c=None)}, "InsufficientData", "no_usable_feature"),
    "nothing but constants": (TRAIN, {"frame": good(x=1.0, c="u")}, "InsufficientData", "no_usable_feature"),
    "groups of one": (
        TRAIN,
        {"frame": good(g=np.arange(N)), **RANKED},
        "InsufficientData",
        "no_ranking_groups",
    ),
    "a window longer than history": (
        TRAIN,
        {**GOOD, "evaluation": {"validation_window": "90d"}},
        "InsufficientData",
        "too_few_rows",
    ),
    "a time before the first row": (
        (*TRAIN, "--until", "1999-01-01"),
        GOOD,
        "InsufficientData",
        "too_few_rows",
    ),
    "nothing to validate": (
        ("validate", "bad.yaml"),
        {**GOOD, "model": "empty"},
        "InsufficientData",
        "no_candidate",
    ),
    "nobody to challenge": (
        ("challenge", "bad.yaml"),
        {**GOOD, "model": "empty"},
        "InsufficientData",
        "no_challenger",
    ),
    "a challenge without the gate": (("challenge", "bad.yaml"), GOOD, "InsufficientData", "not_validated"),
    "a promotion without the gate": (
        ("promote", "bad.yaml", "--version", 2),
        GOOD,
        "InsufficientData",
        "not_approved",
    ),
    "a promotion of the champion": (
        ("promote", "bad.yaml", "--version", 1),
        GOOD,
        "Blocked",
        "already_champion",
    ),
    "a rollback to nobody": (("rollback", "bad.yaml"), GOOD, "InsufficientData", "nothing_to_return_to"),
    "a rollback to the champion": (("rollback", "bad.yaml", "--to", 1), GOOD, "Blocked", "already_champion"),
}


@pytest.mark.parametrize("case", NOT_NOW)
def test_what_cannot_be_learned_from_or_done_now_is_a_decision_of_the_ledger_alone(case, folder, stores):
    arguments, content, state, code = NOT_NOW[case]
    write(folder, **content)
    before = snapshot(stores)
    answer = command(*arguments)
    assert (0, state, [code]) == (answer.exit_code, answer.state, answer.codes), answer
    assert "" == answer.err
    assert answer.said[-1] in ".?"
    after = snapshot(stores)
    assert before[0] == after[0]
    assert only_decision(before, after) == answer.json["decision_id"]


@pytest.mark.parametrize(
    ("rows", "code"), [(good()[:0], "too_few_rows"), (good(y=1), "one_class"), (good(y=np.nan), "no_labels")]
)
def test_init_tells_what_cannot_be_learned_as_training_would(rows, code, folder, stores):
    write(folder, frame=rows)
    before, files = snapshot(stores), sorted(folder.rglob("*"))
    answer = command(*INIT, "y")
    assert (2, "InputError", [code]) == (answer.exit_code, answer.state, answer.codes), answer
    assert_one_sentence(answer)
    assert before == snapshot(stores)
    assert files == sorted(folder.rglob("*"))


def only_decision(before, after):
    """Return the id of the one entry that came on top; it is a decision."""
    (added,) = [entry for entry in after[1] if entry not in before[1]]
    assert "decisions" == added.stream
    return added.id


def test_an_act_while_another_acts_is_held(folder, stores):
    write(folder, **GOOD)
    before = snapshot(stores)
    with stores.ledger.lock(MODEL):
        answer = command("reconcile", "bad.yaml")
    assert (0, "Blocked", ["lock_held"]) == (answer.exit_code, answer.state, answer.codes), answer
    after = snapshot(stores)
    assert before[0] == after[0]
    assert only_decision(before, after) == answer.json["decision_id"]


def test_an_answer_to_no_question_changes_nothing(folder, stores):
    write(folder, **GOOD)
    before = snapshot(stores)
    answer = command("approve", "bad.yaml")
    assert (0, "InsufficientData", ["nothing_to_approve"]) == (answer.exit_code, answer.state, answer.codes)
    assert before == snapshot(stores)


def test_a_column_of_nulls_is_left_out_and_said(folder, stores):
    write(folder, frame=good(z=np.nan), model="nulls")
    answer = command(*TRAIN)
    assert (0, "Trained") == (answer.exit_code, answer.state), answer
    assert "'z'" in answer.said


def test_infinities_are_rejected_by_the_gate(folder, stores):
    rng = np.random.default_rng(1)
    x = rng.normal(size=N)
    frame = good(x=x, y=(x > 0).astype(int))
    frame.loc[::40, "x"] = np.inf
    write(folder, frame=frame, model="infinite", split={"holdout": "5d"})
    answer = command(*TRAIN)
    assert (0, "Trained") == (answer.exit_code, answer.state), answer
    before = snapshot(stores)
    answer = command("validate", "bad.yaml")
    assert (0, "Rejected") == (answer.exit_code, answer.state), answer
    assert "'x'" in answer.said
    assert "infinite" in answer.said
    after = snapshot(stores)
    assert only_decision(before, after) == answer.json["decision_id"]
    assert before[0]["infinite"][0] == after[0]["infinite"][0] == {"candidate": 1}


def test_a_process_of_its_own_tells_the_same(folder):
    write(folder, **{**GOOD, "data": {"target": "yy"}})
    done = subprocess.run(
        [sys.executable, "-c", "from evergreen.deployments.cli import main; main()", "train", "bad.yaml"],
        check=False,
        capture_output=True,
        text=True,
    )
    assert (2, "") == (done.returncode, done.stdout)
    assert 1 == len(done.stderr.splitlines()), done.stderr
    assert "Did you mean 'y'?" in done.stderr

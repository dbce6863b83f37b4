"""`evergreen init`: what it writes runs as it stands; what it cannot read it refuses in one sentence."""

import functools
import json
import os
import pickle

import numpy as np
import pandas as pd
import pytest
import sqlalchemy as sa
import yaml

from evergreen.tasks.core.errors import InputError, NotLearnable
from evergreen.tasks.core.init.config_text import to_yaml
from evergreen.tasks.io.config import read_config
from evergreen.tasks.io.init_config import init_config, model_name, name_source
from evergreen.tasks.io.sources.open import open_source
from tests.support.generated_data import ageing_stream, fair_set, plant
from tests.support.skips import real_file

REAL = {
    "elec2.csv": {"target": "up", "time": "timestamp"},
    "bike_hour.csv": {"target": "cnt", "time": "timestamp"},
    "hkjc_racing_2016_2018.parquet": {"target": "relevance", "time": "race_date", "group": "race_id"},
    "sea_concepts_synthetic.csv": {"target": "target", "time": "t"},
    "ulb_creditcard_undersampled.csv": {"target": "Class", "time": "Time"},
}
LEAKS = {
    "bike_hour.csv": {"casual", "registered"},
    "hkjc_racing_2016_2018.parquet": {"finish_pos", "finish_secs", "win", "top3", "status"},
}
NO_FEATURES = {
    "elec2.csv": {"date_norm"},
    "bike_hour.csv": {"instant", "yr"},
    "hkjc_racing_2016_2018.parquet": {"season"},
    "ulb_creditcard_undersampled.csv": {"orig_row"},
}
AGEING = {"elec2.csv", "bike_hour.csv"}
PROBLEMS = dict(zip(REAL, ("binary", "regression", "ranking", "binary", "binary"), strict=True))


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def proposed(tmp_path_factory):
    """Return a function that proposes for a real set, once; its result and the file it wrote."""

    @functools.cache
    def propose(name):
        out = tmp_path_factory.mktemp("proposed") / "m.yaml"
        return init_config(str(real_file(name)), out=str(out), **REAL[name]), out

    return propose


def write_csv(folder, frame=None, name="rows.csv"):
    (fair_set(0, n=600) if frame is None else frame).to_csv(folder / name, index=False)
    return name


@pytest.mark.realdata
@pytest.mark.parametrize("name", REAL)
def test_the_documented_leaks_are_excluded_and_no_fair_column_is_accused(name, proposed):
    result, _ = proposed(name)

    assert set(result["exclude"]) == LEAKS.get(name, set()) | NO_FEATURES.get(name, set())
    assert result["warnings"] == []
    assert result["problem"] == PROBLEMS[name]


@pytest.mark.realdata
@pytest.mark.parametrize(
    "name", ["bike_hour.csv", pytest.param("hkjc_racing_2016_2018.parquet", marks=pytest.mark.proof)]
)
def test_the_documented_leaks_are_found_under_other_names_in_another_order(name, folder):
    path = real_file(name)
    frame = pd.read_csv(path) if path.suffix == ".csv" else pd.read_parquet(path)
    order = np.random.default_rng(7).permutation(frame.columns)
    names = {column: f"col_{i:02d}" for i, column in enumerate(order)}
    frame[order].rename(columns=names).to_parquet(folder / "renamed.parquet", index=False)

    result = init_config(
        "renamed.parquet", out="m.yaml", **{role: names[column] for role, column in REAL[name].items()}
    )

    leaks = {column for column, why in result["exclude"].items() if why.startswith("leak")}
    assert leaks == {names[column] for column in LEAKS[name]}


@pytest.mark.realdata
@pytest.mark.parametrize("name", REAL)
def test_the_proposed_windows_fit_the_data(name, proposed):
    result, written = proposed(name)
    config = read_config(written)
    source = open_source(config, base=written.parent)
    rows = source.read_rows(columns=[config.data.target])

    history = rows.positions[-1] - rows.positions[0]
    newest = rows.positions > rows.positions[-1] - config.evaluation.validation_window.amount
    assert config.evaluation.validation_window.amount <= 0.2 * history + 1
    assert newest.sum() >= 300
    assert result["rows"] == len(rows)


@pytest.mark.realdata
@pytest.mark.parametrize("name", REAL)
def test_equals_take_over_only_where_real_models_surely_age(name, proposed):
    result, written = proposed(name)
    config = read_config(written)

    ages = name in AGEING
    assert (config.evaluation.policy == "non_inferiority") == ages
    assert (config.retraining.back_off == 1.0) == ages
    assert {"evaluation.policy", "evaluation.margin", "retraining.back_off"} <= set(
        result["proposed"]
    ) or not ages


def test_a_stream_that_turns_is_written_with_what_was_measured(folder):
    frame, positions = ageing_stream(0, days=300, turn=1.5)
    frame["at"] = pd.to_datetime(positions, unit="s", utc=True)
    init_config(write_csv(folder, frame), target="y", time="at", out="m.yaml")

    text = " ".join((folder / "m.yaml").read_text().replace("#", "").split())
    assert "a newer one that is not worse takes over policy: non_inferiority" in text
    config = read_config(folder / "m.yaml")
    assert config.evaluation.margin == config.evaluation.min_improvement


def test_a_stream_that_stays_keeps_the_default_policy(folder):
    frame, positions = ageing_stream(0)
    frame["at"] = pd.to_datetime(positions, unit="s", utc=True)
    result = init_config(write_csv(folder, frame), target="y", time="at", out="m.yaml")

    assert not {"evaluation.policy", "evaluation.margin", "retraining.back_off"} & set(result["proposed"])


def test_what_is_written_reads_over_the_defaults(folder):
    frame, planted = plant(fair_set(0, n=600), "two parts")
    result = init_config(write_csv(folder, frame), target="y", time="at", out="conf/model.yaml")

    config = read_config(folder / "conf" / "model.yaml")
    assert config.model == "model" == result["model"]
    assert config.data.source == "../rows.csv"
    assert set(config.data.exclude) == planted
    assert len(open_source(config, base=folder / "conf").read()) == 600
    assert sorted([*config.data.numeric, *config.data.categorical, *planted, "y", "at"]) == sorted(
        frame.columns
    )
    assert [one.name for one in config.training.candidates] == result["candidates"]


def test_every_proposed_key_says_why(folder):
    init_config(write_csv(folder), target="y", time="at", out="m.yaml")

    lines = (folder / "m.yaml").read_text().splitlines()
    for key in ("problem:", "  metric:", "  validation_window:", "  window:", "  cooldown:", "  candidates:"):
        at = next(i for i, line in enumerate(lines) if line.startswith(key))
        assert lines[at - 1].lstrip().startswith("#")


def test_without_out_the_file_bears_the_name_of_the_data(folder, monkeypatch):
    monkeypatch.setenv("EVERGREEN_CONFIG", str(folder / "models"))
    result = init_config(write_csv(folder, name="card payments.csv"), target="y", time="at")

    assert result["path"] == str(folder / "models" / "card_payments.yaml")
    assert result["state"] == "Written"
    assert json.loads(json.dumps(result)) == result


def test_a_file_is_overwritten_only_by_force(folder):
    data = write_csv(folder)
    (folder / "m.yaml").write_text("mine")

    with pytest.raises(InputError, match="--force"):
        init_config(data, target="y", out="m.yaml")
    assert (folder / "m.yaml").read_text() == "mine"

    init_config(data, target="y", out="m.yaml", force=True)
    assert read_config(folder / "m.yaml").data.target == "y"


def test_a_clear_clock_is_taken_and_said(folder):
    result = init_config(write_csv(folder), target="y", out="m.yaml")

    assert result["time"] == "at"
    assert "only complete column of times" in (folder / "m.yaml").read_text()


def test_a_doubtful_clock_is_named_and_not_taken(folder):
    result = init_config(
        write_csv(folder, fair_set(0, n=600).sample(frac=1, random_state=0)), target="y", out="m.yaml"
    )

    assert result["time"] is None
    assert "These columns read as times: at" in " ".join(
        (folder / "m.yaml").read_text().replace("#", "").split()
    )


def test_a_timestamp_written_after_the_event_is_left_out_with_its_reason(folder):
    rng = np.random.default_rng(0)
    frame = fair_set(0, n=600)
    frame["settled"] = frame["at"] + pd.to_timedelta(rng.exponential(size=600), unit="D")
    result = init_config(write_csv(folder, frame), target="y", time="at", out="m.yaml")

    assert "written after the event" in result["exclude"]["settled"]


def test_the_only_table_of_a_database_is_found(folder):
    fair_set(0, n=600).to_sql("payments", sa.create_engine("sqlite:///bank.db"), index=False)
    result = init_config("sqlite:///bank.db", target="y", time="at", out="conf/m.yaml")

    config = read_config(folder / "conf" / "m.yaml")
    assert (config.data.table, config.data.source) == ("payments", "sqlite:///../bank.db")
    assert len(open_source(config, base=folder / "conf").read()) == result["rows"] == 600


def test_of_several_tables_one_must_be_named(folder):
    engine = sa.create_engine("sqlite:///bank.db")
    for name in ("payments", "refunds"):
        fair_set(0, n=100).to_sql(name, engine, index=False)

    with pytest.raises(InputError, match="payments, refunds"):
        init_config("sqlite:///bank.db", target="y", out="m.yaml")
    assert init_config("sqlite:///bank.db", target="y", table="refunds", out="m.yaml")["rows"] == 100


def test_a_password_never_stands_in_the_file(tmp_path):
    address = "postgresql+psycopg://ann:s3cret@db/bank"

    source, why = name_source(address, base=tmp_path, folder=tmp_path, model="card-fraud")

    assert source == "env:CARD_FRAUD_SOURCE"
    assert "CARD_FRAUD_SOURCE" in why
    assert "s3cret" not in why


@pytest.mark.parametrize("name", ["yes", "a: b", "a # b", "'quoted'", "1", "näme", " spaced ", "null"])
def test_any_column_name_survives_the_text(name):
    assert yaml.safe_load(to_yaml({"exclude": {name: "why: not"}, name: [name, "x"]})) == {
        "exclude": {name: "why: not"},
        name: [name, "x"],
    }


BAD = {
    "missing file": (None, {}, "nowhere.csv"),
    "empty file": (b"", {}, "empty"),
    "a pickle": (pickle.dumps([1, 2, 3]), {}, "pickle"),
    "missing target": (b"x,price\n1,2\n2,3\n", {"target": "prize"}, "Did you mean 'price'"),
    "missing clock": (b"x,y,when\n1,2,3\n2,3,4\n", {"time": "then"}, "Did you mean 'when'"),
    "two columns of one name": (b"x,x,y\n1,2,0\n2,3,1\n", {}, "x"),
    "a clock that is none": (b"x,y,at\n1,0,2024-01-01\n2,1,soon\n", {"time": "at"}, "soon"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_sentence_and_writes_nothing(case, folder):
    content, roles, said = BAD[case]
    if content is not None:
        (folder / "rows.csv").write_bytes(content)
    data = "nowhere.csv" if content is None else "rows.csv"

    with pytest.raises(InputError, match=said) as caught:
        init_config(data, out="conf/m.yaml", **{"target": "y", **roles})

    assert "\n" not in str(caught.value)
    assert not os.path.exists("conf")


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"x,y\n", "too_few_rows"),
        (b"x,y\n1,\n2,\n", "no_labels"),
        (b"x,y\n1,a\n2,a\n", "one_class"),
        (b"x,y\n1,7.5\n2,7.5\n", "one_class"),
    ],
)
def test_what_cannot_be_learned_from_is_told_as_training_would(content, code, folder):
    (folder / "rows.csv").write_bytes(content)
    with pytest.raises(NotLearnable) as caught:
        init_config("rows.csv", out="conf/m.yaml", target="y")
    assert code == caught.value.reason_code
    assert not os.path.exists("conf")


@pytest.mark.parametrize(("out", "said"), [("m.txt", "end in .yaml"), ("base.yaml", "defaults")])
def test_a_file_that_no_model_can_have_is_refused(out, said, folder):
    with pytest.raises(InputError, match=said):
        init_config(write_csv(folder), target="y", out=out)


@pytest.mark.parametrize(
    ("data", "name"),
    [
        ("a/b/fraud.csv.gz", "fraud"),
        ("2024/*.parquet", "2024"),
        ("team.module:rows", "module_rows"),
        ("***", "model"),
    ],
)
def test_a_model_is_named_after_its_data(data, name):
    assert model_name(data) == name

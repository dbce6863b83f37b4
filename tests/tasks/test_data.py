"""Loading a model's rows: parts as of a moment, real data included, secrets, forced random splits."""

import numpy as np
import pandas as pd
import pytest

from evergreen.tasks.core.data.clock import Window
from evergreen.tasks.core.data.schema import check_learnable, infer_schema
from evergreen.tasks.core.data.split import unseen_rows
from evergreen.tasks.core.errors import ConfigError, InputError
from evergreen.tasks.data import load_parts, load_window, read_secret
from tests.support.skips import real_file
from tests.support.training_data import model_config, setup_of

N = 24 * 30
PARTS = ("training", "holdout", "evaluation")


@pytest.fixture
def folder(tmp_path):
    frame = pd.DataFrame({"at": pd.date_range("2026-01-01", periods=N, freq="h"), "n": np.arange(N)})
    frame = frame.assign(
        x=np.random.default_rng(0).normal(size=N), y=np.random.default_rng(1).integers(0, 2, N)
    )
    frame.to_csv(tmp_path / "rows.csv", index=False)
    return tmp_path


def timed(**sections):
    return model_config(data={"time": "at", **sections.pop("data", {})}, **sections)


def numbers(rows):
    return rows.frame["n"].tolist()


def test_as_of_a_moment_the_rows_after_it_might_as_well_not_exist(folder):
    config = timed(evaluation={"validation_window": "2d"}, data={"label_delay": "3h"})
    then = load_parts(setup_of(config, folder), until="2026-01-20")
    frame = pd.read_csv(folder / "rows.csv", float_precision="round_trip")
    frame[frame["at"] < "2026-01-20"].to_csv(folder / "rows.csv", index=False)
    again = load_parts(setup_of(config, folder), until="2026-01-20")
    assert numbers(then.evaluation)[-1] == 19 * 24 - 3
    assert (then.fingerprint, then.plan) == (again.fingerprint, again.plan)


def test_a_version_s_plan_gives_its_parts_again_when_the_data_have_grown(folder):
    config = timed(evaluation={"validation_window": "2d"})
    parts = load_parts(setup_of(config, folder), until="2026-01-20")
    again = load_parts(setup_of(config, folder), plan=parts.plan)
    assert again.fingerprint == parts.fingerprint


def test_the_newest_rows_are_new_to_the_version_of_an_earlier_day(folder):
    config = timed(evaluation={"validation_window": "2d"})
    refit = load_parts(setup_of(config, folder), until="2026-01-20", refit=True)
    newer = load_parts(setup_of(config, folder))
    assert unseen_rows(refit.plan, newer.evaluation).all()
    assert not unseen_rows(refit.plan, refit.training).any()


def test_a_foreign_model_gets_a_holdout_after_its_training(folder):
    config = timed(evaluation={"validation_window": "2d"})
    parts = load_parts(setup_of(config, folder), trained_to="2026-01-20")
    assert numbers(parts.training)[-1] == 19 * 24 - 1
    assert numbers(parts.holdout)[0] == 19 * 24


def test_times_without_a_zone_are_said_to_be_utc(folder):
    assert "naive_times" in [note.code for note in load_parts(setup_of(timed(), folder)).notes]


def test_a_window_is_loaded_with_unlabelled_rows_and_without_excluded_columns(folder):
    frame = pd.read_csv(folder / "rows.csv")
    frame.assign(y=frame["y"].where(frame["n"] != 1)).to_csv(folder / "rows.csv", index=False)
    start = pd.Timestamp("2026-01-01", tz="UTC").timestamp()
    rows = load_window(setup_of(timed(data={"exclude": ["x"]}), folder), Window(start, start + 3 * 3600))
    assert numbers(rows) == [0, 1, 2]
    assert list(rows.frame.columns) == ["at", "n", "y"]


def test_a_forced_random_split_is_warned_about_and_of_overlapping_targets_refused(folder):
    parts = load_parts(setup_of(timed(split={"method": "random"}), folder))
    assert [warning.code for warning in parts.warnings] == ["random_split_on_timed_data"]
    assert sorted(n for part in PARTS for n in numbers(getattr(parts, part))) == list(range(N))
    frame = pd.read_csv(folder / "rows.csv")
    frame["y"] = frame["x"].rolling(12, min_periods=1).sum()
    frame.to_csv(folder / "rows.csv", index=False)
    config = model_config("regression", data={"time": "at"}, split={"method": "random"})
    with pytest.raises(ConfigError, match="overlapping targets: neighbouring values of 'y' agree"):
        load_parts(setup_of(config, folder))


@pytest.mark.parametrize("option", [{"until": "tomorrow"}, {"trained_to": "soon"}])
def test_a_moment_that_is_none_is_wrong_input(folder, option):
    with pytest.raises(InputError, match="is not a point on a clock of timestamps"):
        load_parts(setup_of(timed(), folder), **option)


def test_a_moment_means_nothing_without_a_clock(folder):
    with pytest.raises(InputError, match="is a point of a clock, but the model has none"):
        load_parts(setup_of(model_config(), folder), until="2026-01-20")


def test_duplicates_are_dropped_where_the_configuration_says_so(folder):
    frame = pd.read_csv(folder / "rows.csv")
    pd.concat([frame, frame[:100]]).to_csv(folder / "rows.csv", index=False)
    kept = load_parts(setup_of(timed(), folder))
    dropped = load_parts(setup_of(timed(data={"drop_duplicates": True}), folder))
    assert (kept.duplicates, dropped.duplicates) == (100, 100)
    assert len(kept.training) - len(dropped.training) == 100


def test_a_missing_secret_block_is_named(monkeypatch):
    def load(name):
        raise ValueError(f"Unable to find block document named {name}\nmore")

    monkeypatch.setattr("prefect.blocks.system.Secret.load", load)
    with pytest.raises(ConfigError, match="no Prefect secret block 'rows-at'"):
        read_secret("rows-at")


REAL = {
    "elec2": ("elec2.csv", "binary", {"target": "up", "time": "timestamp", "exclude": ["date_norm"]}),
    "bike_hour": (
        "bike_hour.csv",
        "regression",
        {"target": "cnt", "time": "timestamp", "exclude": ["casual", "registered", "instant"]},
    ),
    "racing": (
        "hkjc_racing_2016_2018.parquet",
        "ranking",
        {
            "target": "relevance",
            "time": "race_date",
            "group": "race_id",
            "exclude": ["win", "top3", "finish_pos"],
        },
    ),
    "cards": (
        "ulb_creditcard_undersampled.csv",
        "binary",
        {"target": "Class", "time": "Time", "clock": "seconds"},
    ),
    "sea": ("sea_concepts_synthetic.csv", "binary", {"target": "target", "time": "t", "clock": "rows"}),
}


@pytest.mark.realdata
@pytest.mark.parametrize("name", REAL)
def test_real_data_are_divided_and_can_be_learned_from(name):
    file, problem, data = REAL[name]
    path = real_file(file)
    config = model_config(problem, data={"source": str(path), **data})
    parts = load_parts(setup_of(config, path.parent))
    schema = infer_schema(parts.training.frame, config)
    check_learnable(parts.training.frame, schema, config)
    assert not set(data.get("exclude", ())) & {*schema.features, *parts.training.frame.columns}
    assert parts.training.positions.max() < parts.holdout.positions.min()
    assert parts.holdout.positions.max() < parts.evaluation.positions.min()
    assert min(len(parts.training), len(parts.holdout), len(parts.evaluation)) >= 150


@pytest.mark.realdata
def test_the_last_week_of_elec2_is_its_evaluation():
    path = real_file("elec2.csv")
    data = {"source": str(path), "target": "up", "time": "timestamp"}
    parts = load_parts(setup_of(model_config(data=data), path.parent))
    assert len(parts.evaluation) == 7 * 48
    assert len(parts.training) == 180 * 48
    assert parts.plan.to_dict()["evaluation"]["to"] == "1998-12-07T00:00:00+00:00"


@pytest.mark.realdata
def test_races_are_whole_and_a_random_split_of_elec2_is_refused():
    path = real_file("hkjc_racing_2016_2018.parquet")
    data = {"source": str(path), "target": "relevance", "group": "race_id"}
    parts = load_parts(setup_of(model_config("ranking", data=data), path.parent))
    races = [set(getattr(parts, part).frame["race_id"]) for part in PARTS]
    assert sum(map(len, races)) == len(set.union(*races))
    elec2 = real_file("elec2.csv")
    forced = model_config(
        data={"source": str(elec2), "target": "up", "time": "timestamp"}, split={"method": "random"}
    )
    with pytest.raises(ConfigError, match="overlapping targets"):
        load_parts(setup_of(forced, elec2.parent))

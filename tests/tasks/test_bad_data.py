"""Bad data: one clear sentence and the right family of error each; wrong input is 2, what cannot be learned is 0."""

import pickle

import numpy as np
import pandas as pd
import pytest
import sqlalchemy as sa

from evergreen.tasks.core.config import parse_model
from evergreen.tasks.core.data.schema import check_learnable, infer_schema
from evergreen.tasks.core.errors import (
    ConfigError,
    DataError,
    EvergreenError,
    InputError,
    NotLearnable,
    UnknownName,
)
from evergreen.tasks.data import load_parts
from tests.support.training_data import linear, setup_of

N = 600


def good(**columns):
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"at": pd.date_range("2026-01-01", periods=N, freq="h"), "x": rng.normal(size=N)})
    frame = frame.assign(z=rng.normal(size=N).round(6), c=rng.choice(list("uvw"), N), y=rng.integers(0, 2, N))
    return frame.assign(**columns)


def prepare(folder, *, frame=None, raw=None, name="rows.csv", **values):
    """Lay data down, then do what training does before it fits: config, source, split, schema, checks."""
    if raw is not None:
        (folder / name).write_bytes(raw)
    elif frame is not None and name.endswith(".csv"):
        frame.to_csv(folder / name, index=False)
    elif frame is not None:
        frame.to_parquet(folder / name)
    data = {"source": name, "target": "y", "time": "at", **values.pop("data", {})}
    base = {"model": "tested", "problem": "binary", "training": {"candidates": [linear()]}}
    config = parse_model({**base, "data": data, **values}, origin="tested.yaml")
    parts = load_parts(setup_of(config, folder))
    schema = infer_schema(parts.training.frame, config)
    check_learnable(parts.training.frame, schema, config)
    return parts, schema


def with_value(frame, column, value, *, row=10):
    changed = frame.astype({column: object})
    changed.loc[row, column] = value
    return changed


SPREADSHEET = b"PK\x03\x04 not really a spreadsheet"
WRONG_INPUT = {
    "missing file": ({}, DataError, ["There is no file 'rows.csv'"]),
    "glob without files": ({"name": "*.csv"}, DataError, ["There is no file '*.csv'"]),
    "empty file": ({"raw": b""}, DataError, ["'rows.csv' is empty"]),
    "blank lines only": ({"raw": b"\n\n\n"}, DataError, ["is empty"]),
    "missing target": (
        {"frame": good(), "data": {"target": "yy"}},
        DataError,
        ["'yy' (data.target)", "mean 'y'?"],
    ),
    "missing time": (
        {"frame": good(), "data": {"time": "when"}},
        DataError,
        ["'when' (data.time)", "at, x, z, c, y"],
    ),
    "missing feature": (
        {"frame": good(), "data": {"numeric": ["xx"]}},
        DataError,
        ["'xx' (data.numeric)", "mean 'x'?"],
    ),
    "misspelt exclusion": (
        {"frame": good(), "data": {"exclude": ["zz"]}},
        DataError,
        ["data.exclude", "mean 'z'?"],
    ),
    "duplicate columns": ({"raw": b"at,x,x,y\n2026-01-01,1,2,0\n"}, DataError, ["Column 'x' is there twice"]),
    "unparsable time": (
        {"frame": with_value(good(), "at", "someday")},
        DataError,
        ["'at' holds 'someday' in row 11", "ISO 8601"],
    ),
    "missing moment": ({"frame": with_value(good(), "at", None)}, DataError, ["'at' holds null in row 11"]),
    "numbers as timestamps": ({"frame": good(at=range(N))}, DataError, ["holds numbers", "data.clock"]),
    "mixed types": (
        {"frame": with_value(good(), "x", "abc", row=200)},
        DataError,
        ["'x' mixes numbers and text", "'abc'"],
    ),
    "text as a number": (
        {"frame": good(), "data": {"numeric": ["c"]}},
        DataError,
        ["'c' is listed in data.numeric but holds"],
    ),
    "pickle": ({"raw": pickle.dumps(good())}, DataError, ["is a Python pickle", "never opened"]),
    "old pickle": ({"raw": pickle.dumps([1, 2], protocol=2)}, DataError, ["is a Python pickle"]),
    "pickle named parquet": (
        {"raw": pickle.dumps(1), "name": "rows.parquet"},
        DataError,
        ["is a Python pickle"],
    ),
    "spreadsheet": ({"raw": SPREADSHEET}, DataError, ["a zip archive or spreadsheet, not CSV"]),
    "csv named parquet": (
        {"raw": b"at,y\n2026-01-01,0\n", "name": "rows.parquet"},
        DataError,
        ["is not Parquet"],
    ),
    "parquet named csv": ({"raw": b"PAR1....PAR1"}, DataError, ["is Parquet, not CSV"]),
    "broken parquet": (
        {"raw": b"PAR1 broken", "name": "rows.parquet"},
        DataError,
        ["cannot be read as Parquet"],
    ),
    "bytes that are no text": (
        {"raw": b"at,y\n2026-01-01,\xff\xfe\n"},
        DataError,
        ["is not UTF-8 text", "0xff"],
    ),
    "ragged rows": (
        {"raw": b"at,x,y\n2026-01-01,1,0\n2026-01-02,1,0,2,5\n"},
        DataError,
        ["line 3 has 5 values, the header names 3"],
    ),
    "cut off line": ({"raw": b"at,x,y\n2026-01-01,1,0\n2026-01-0"}, DataError, ["line 3 has 1 values"]),
    "unknown ending": (
        {"raw": b"at,y\n", "name": "rows.dat"},
        ConfigError,
        ["neither CSV nor Parquet", "data.format"],
    ),
    "text target of a regression": (
        {"frame": good(y="high"), "problem": "regression"},
        DataError,
        ["holds 'high'", "needs numbers"],
    ),
    "unknown positive class": (
        {"frame": good(), "data": {"positive_class": 9}},
        ConfigError,
        ["positive_class 9"],
    ),
    "random split of overlapping targets": (
        {"frame": good(), "split": {"method": "random", "purge": "2h"}},
        ConfigError,
        ["'random' is refused", "purge"],
    ),
    "unknown key": (
        {"frame": good(), "data": {"tagret": "y"}},
        ConfigError,
        ["data.tagret", "Did you mean 'target'?"],
    ),
    "table of a file": (
        {"frame": good(), "data": {"table": "t"}},
        ConfigError,
        ["data.table and data.query need a database"],
    ),
    "missing database": (
        {"data": {"source": "sqlite:///no.db", "table": "t"}},
        DataError,
        ["There is no database file 'no.db'"],
    ),
    "neither table nor query": (
        {"data": {"source": "sqlite://"}},
        ConfigError,
        ["neither data.table nor data.query"],
    ),
    "unknown database": (
        {"data": {"source": "nosuchdb://x/y", "table": "t"}},
        ConfigError,
        ["'nosuchdb://…' is of no kind", "no database whose driver is installed"],
    ),
    "unknown module": (
        {"data": {"source": "no_such_module:rows"}},
        ConfigError,
        ["data.source", "No module named 'no_such_module'"],
    ),
    "unknown function": (
        {"data": {"source": "tests.support.source_kinds:frame_off"}},
        ConfigError,
        ["no function 'frame_off'", "frame_of'"],
    ),
    "generator of no frames": (
        {"data": {"source": "tests.support.source_kinds:nothing"}},
        DataError,
        ["yielded nothing"],
    ),
    "generator of lists": (
        {"data": {"source": "tests.support.source_kinds:lists"}},
        DataError,
        ["gave list", "pandas DataFrames"],
    ),
}
NOT_LEARNABLE = {
    "header without rows": ({"raw": b"at,x,y\n"}, "too_few_rows", ["holds no rows"]),
    "too few rows": ({"frame": good()[:100]}, "too_few_rows", ["fewer than split.min_rows 200"]),
    "no labels": ({"frame": good(y=np.nan)}, "no_labels", ["No row has a known label in 'y'"]),
    "one class": ({"frame": good(y=1)}, "one_class", ["one class only (1)"]),
    "three classes of two": (
        {"frame": good(y=np.arange(N) % 3)},
        "too_many_classes",
        ["problem: multiclass"],
    ),
    "constant target": (
        {"frame": good(y=2.0), "problem": "regression"},
        "constant_target",
        ["is 2 in every row"],
    ),
    "infinite target": (
        {"frame": good(y=np.r_[np.inf, np.arange(N - 1.0)]), "problem": "regression"},
        "infinite_target",
        ["infinite in"],
    ),
    "nothing but nulls": (
        {"frame": good(x=np.nan, z=np.nan, c=None)},
        "no_usable_feature",
        ["'x': every value is null"],
    ),
    "nothing but constants": (
        {"frame": good(x=1.0, z=2, c="u")},
        "no_usable_feature",
        ["Features with one value only: 3."],
    ),
    "window longer than history": (
        {"frame": good(), "evaluation": {"validation_window": "90d"}},
        "too_few_rows",
        ["Shorten evaluation.validation_window"],
    ),
    "groups of one": (
        {"frame": good(g=np.arange(N)), "problem": "ranking", "data": {"group": "g"}},
        "no_ranking_groups",
        ["none can be ordered"],
    ),
}


def refused(folder, case, family):
    with pytest.raises(family) as caught:
        prepare(folder, **case)
    message = str(caught.value)
    assert message.endswith((".", "?")), message
    assert "\n" not in message
    assert len(message) < 500
    return caught.value, message


@pytest.mark.parametrize("name", WRONG_INPUT)
def test_what_is_typed_configured_or_unreadable_is_named_and_ends_with_code_2(name, tmp_path):
    case, family, parts = WRONG_INPUT[name]
    error, message = refused(tmp_path, case, family)
    assert isinstance(error, InputError)
    assert error.exit_code == 2
    assert [part for part in parts if part not in message] == []


@pytest.mark.parametrize("name", NOT_LEARNABLE)
def test_what_cannot_be_learned_from_is_named_and_ends_insufficient(name, tmp_path):
    case, code, parts = NOT_LEARNABLE[name]
    error, message = refused(tmp_path, case, NotLearnable)
    assert (error.reason_code, error.exit_code) == (code, 0)
    assert [part for part in parts if part not in message] == []


def test_every_wrong_input_is_of_the_family_that_flows_translate():
    assert issubclass(UnknownName, InputError)
    assert {family for _, family, _ in WRONG_INPUT.values()} <= {DataError, ConfigError}
    assert not issubclass(NotLearnable, InputError)
    assert issubclass(NotLearnable, EvergreenError)


def test_a_broken_query_and_a_missing_table_are_named(tmp_path):
    engine = sa.create_engine(f"sqlite:///{tmp_path / 'rows.db'}")
    good().to_sql("payments", engine, index=False)
    engine.dispose()
    database = {"source": "sqlite:///rows.db"}
    _, message = refused(tmp_path, {"data": {**database, "table": "payment"}}, DataError)
    assert "no table 'payment'" in message
    assert "Did you mean 'payments'?" in message
    _, message = refused(tmp_path, {"data": {**database, "query": "SELEC 1"}}, DataError)
    assert "syntax error" in message
    _, message = refused(
        tmp_path, {"data": {**database, "query": "SELECT *, x AS y FROM payments"}}, DataError
    )
    assert "Column 'y' is there twice" in message


def test_a_file_that_is_no_database_is_named(tmp_path):
    (tmp_path / "rows.db").write_bytes(b"this is text, not a database, and long enough to be looked at" * 20)
    _, message = refused(tmp_path, {"data": {"source": "sqlite:///rows.db", "table": "t"}}, DataError)
    assert "no readable database" in message


def test_a_pickle_is_never_loaded(tmp_path):
    class Bomb:
        def __reduce__(self):
            return (open, (str(tmp_path / "exploded"), "w"))

    refused(tmp_path, {"raw": pickle.dumps(Bomb())}, DataError)
    assert not (tmp_path / "exploded").exists()


def test_nothing_is_written_while_reading(tmp_path):
    good().to_csv(tmp_path / "rows.csv", index=False)
    prepare(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["rows.csv"]


@pytest.mark.parametrize(
    ("case", "expected"),
    [
        ({"frame": good(x=np.nan)}, {"dropped": {"x": "every value is null"}}),
        ({"frame": good(z=np.r_[np.inf, -np.inf, np.zeros(N - 2)])}, {"numeric": ("x", "z")}),
        ({"frame": good(c=None)}, {"categorical": ()}),
    ],
)
def test_what_a_model_can_live_with_is_not_refused(tmp_path, case, expected):
    _, schema = prepare(tmp_path, **case)
    assert {key: getattr(schema, key) for key in expected} == expected

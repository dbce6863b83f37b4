"""Schemas: what a column is to a model, what is left out and why, and rows that cannot be learned from."""

import json
from datetime import date, datetime, timedelta
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest

from evergreen.tasks.core.data.columns import (
    Kind,
    column_kind,
    needed_columns,
    require_columns,
    require_withheld,
)
from evergreen.tasks.core.data.rows import normalise
from evergreen.tasks.core.data.schema import Schema, check_learnable, infer_schema
from evergreen.tasks.core.errors import ConfigError, DataError, NotLearnable
from tests.support.training_data import model_config

N = 300


def kind(values, **options):
    column = values if isinstance(values, pd.Series) else pd.Series(values, name="c")
    return column_kind(column, **{"max_categories": 50, **options})


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([1, 2, 1, 2], Kind.NUMERIC),
        ([1.5, None, np.inf], Kind.NUMERIC),
        ([Decimal("1.5"), Decimal(2)], Kind.NUMERIC),
        (["a", "b", None], Kind.CATEGORICAL),
        ([True, False, True], Kind.CATEGORICAL),
        ([True, None, False], Kind.CATEGORICAL),
        (["0", "1", "2", "3+"] * 20, Kind.CATEGORICAL),
        (["007", "008"] * 9, Kind.CATEGORICAL),
        (pd.Series(["u", "v"], dtype="category"), Kind.CATEGORICAL),
        ([datetime(2026, 1, 1)], Kind.DATETIME),
        ([date(2026, 1, 1), None], Kind.DATETIME),
        ([timedelta(1)], Kind.DATETIME),
        (["2026-01-01", "2026-01-02T10:00:00"], Kind.DATETIME),
        ([f"note {n}" for n in range(200)], Kind.TEXT),
        ([None, None], Kind.EMPTY),
        ([np.nan, np.nan], Kind.EMPTY),
        ([[1, 2], [3]], Kind.OTHER),
        ([{"a": 1}], Kind.OTHER),
        ([b"x"], Kind.OTHER),
        ([1 + 2j], Kind.OTHER),
    ],
)
def test_a_column_is_what_it_holds(values, expected):
    found = kind(values)
    assert found.kind is expected
    assert bool(found.reason) is (expected not in (Kind.NUMERIC, Kind.CATEGORICAL))


def test_many_repeating_values_are_categories_still():
    assert kind([f"horse {n % 100}" for n in range(300)]).kind is Kind.CATEGORICAL


@pytest.mark.parametrize(
    ("values", "parts"),
    [
        ([1, 2, "three", 4], ["'c'", "3 of 4", "'three'", "row 3", "data.categorical"]),
        ([*map(str, range(300)), "abc"], ["300 of 301", "'abc'", "row 301"]),
        (["1", "2"] * 200 + ["oops"], ["400 of 401", "'oops'"]),
    ],
)
def test_numbers_mixed_with_text_are_refused_by_value_and_row(values, parts):
    with pytest.raises(DataError) as caught:
        kind(values)
    assert [part for part in parts if part not in str(caught.value)] == []


def table(**columns):
    rng = np.random.default_rng(0)
    frame = {"x": rng.normal(size=N), "c": rng.choice(list("uvw"), N), "y": rng.integers(0, 2, N), **columns}
    return pd.DataFrame(frame)


def test_a_schema_reads_kinds_and_says_what_it_leaves_out():
    frame = table(
        at=pd.date_range("2026-01-01", periods=N, freq="h"),
        other=pd.date_range("2026-01-01", periods=N, freq="h"),
        hole=[None] * N,
        note=[f"n{i}" for i in range(N)],
        leak=np.arange(N),
        who=np.arange(N) % 9,
        worth=1.0,
        flag=np.arange(N) % 2 == 0,
    )
    data = {"time": "at", "entity": "who", "value_column": "worth", "exclude": {"leak": "known afterwards"}}
    schema = infer_schema(frame, model_config(data=data))
    assert (schema.numeric, schema.categorical) == (("x",), ("c", "flag"))
    assert schema.features == ("x", "c", "flag")
    assert (schema.time, schema.entity, schema.value, schema.group) == ("at", "who", "worth", None)
    assert set(schema.dropped) == {"other", "hole", "note", "leak"}
    assert schema.dropped["leak"] == "known afterwards"
    assert [note.code for note in schema.notes] == ["column_not_used"] * 4


def test_what_the_configuration_lists_is_taken_as_it_says():
    frame = table(code=np.arange(N) % 3, worth=1.0, z=0.0)
    data = {"numeric": ["x", "worth"], "categorical": ["code"], "value_column": "worth"}
    schema = infer_schema(frame, model_config(data=data))
    assert (schema.numeric, schema.categorical, schema.value) == (("x", "worth"), ("code",), "worth")
    assert set(schema.dropped) == {"c", "z"}


def test_listing_one_kind_leaves_the_other_to_the_data():
    schema = infer_schema(table(code=np.arange(N) % 3), model_config(data={"categorical": ["code"]}))
    assert (schema.numeric, schema.categorical) == (("x",), ("code",))
    assert schema.dropped == {"c": "not listed in data.categorical"}


def test_a_listed_column_without_any_value_is_left_out():
    schema = infer_schema(table(hole=np.nan), model_config(data={"numeric": ["x", "hole"]}))
    assert schema.numeric == ("x",)
    assert schema.dropped["hole"] == "every value is null"


def test_a_numeric_feature_that_holds_text_is_refused():
    with pytest.raises(DataError, match=r"'c' is listed in data\.numeric but holds '[uvw]' in row 1"):
        infer_schema(table(), model_config(data={"numeric": ["c"]}))


def test_a_schema_survives_its_json_form():
    schema = infer_schema(table(hole=None), model_config())
    assert Schema.from_dict(json.loads(json.dumps(schema.to_dict()))) == schema


@pytest.mark.parametrize(
    ("data", "parts"),
    [
        ({"target": "yy"}, ["'yy' (data.target)", "Did you mean 'y'?"]),
        ({"time": "when"}, ["'when' (data.time)"]),
        ({"group": "race"}, ["'race' (data.group)"]),
        ({"numeric": ["xx"]}, ["'xx' (data.numeric)"]),
    ],
)
def test_a_missing_column_is_named_with_its_key_and_the_likeliest(data, parts):
    with pytest.raises(DataError) as caught:
        require_columns(["x", "c", "y"], model_config(data=data), origin="'rows.csv'")
    assert [part for part in parts if part not in str(caught.value)] == []


@pytest.mark.parametrize(
    ("data", "parts"),
    [
        ({"private": ["name"]}, ["'name' (data.private)"]),
        ({"exclude": ["xx"]}, ["data.exclude names 'xx'", "Did you mean 'x'?"]),
    ],
)
def test_a_column_to_be_withheld_must_not_slip_through_by_its_spelling(data, parts):
    with pytest.raises(DataError) as caught:
        require_withheld(["x", "c", "y"], model_config(data=data), origin="'rows.csv'")
    assert [part for part in parts if part not in str(caught.value)] == []


def test_rows_read_without_what_is_withheld_have_a_schema():
    config = model_config(data={"exclude": ["c2"], "private": ["name"]})
    schema = infer_schema(table(), config)
    assert schema.features == ("x", "c")
    assert schema.dropped == {"c2": "excluded by hand"}


def test_an_excluded_column_that_is_simply_gone_is_no_error():
    require_withheld(["x", "y"], model_config(data={"exclude": ["internal_remarks"]}), origin="'rows.csv'")


def test_columns_are_read_only_where_something_asks_for_them():
    columns = ["id", "x", "c", "slice", "y"]
    excluded = {"id": "identifier", "slice": "not known in time"}
    config = model_config(data={"exclude": excluded}, validation={"slices": {"columns": ["slice"]}})
    assert needed_columns(columns, config) == ["x", "c", "slice", "y"]
    listed = model_config(data={"numeric": ["x"], "categorical": []})
    assert needed_columns(columns, listed) == ["x", "y"]


def learnable(frame, problem="binary", **options):
    config = model_config(problem, **options)
    check_learnable(frame, infer_schema(frame, config), config)


@pytest.mark.parametrize(
    ("problem", "columns", "options", "code"),
    [
        ("binary", {}, {"split": {"min_rows": N + 1}}, "too_few_rows"),
        ("binary", {"y": [None] * N}, {}, "too_few_rows"),
        ("binary", {"y": 1}, {}, "one_class"),
        ("multiclass", {"y": "a"}, {}, "one_class"),
        ("binary", {"y": np.arange(N) % 3}, {}, "too_many_classes"),
        ("binary", {"y": [1] * 3 + [0] * (N - 3)}, {"training": {"folds": 5}}, "too_few_of_a_class"),
        ("regression", {"y": 2.5}, {}, "constant_target"),
        ("regression", {"y": [np.inf] + [1.0] * (N - 1)}, {}, "infinite_target"),
        ("ranking", {"g": np.arange(N)}, {"data": {"group": "g"}}, "no_ranking_groups"),
        (
            "ranking",
            {"g": np.arange(N) // 5, "y": np.arange(N) // 5},
            {"data": {"group": "g"}},
            "no_ranking_groups",
        ),
        ("binary", {"x": 1.0, "c": "u"}, {}, "no_usable_feature"),
        ("binary", {"x": None, "c": [f"n{i}" for i in range(N)]}, {}, "no_usable_feature"),
        ("binary", {}, {"data": {"exclude": ["x", "c"]}}, "no_usable_feature"),
    ],
)
def test_rows_that_cannot_be_learned_from_end_insufficient_with_a_reason(problem, columns, options, code):
    with pytest.raises(NotLearnable) as caught:
        learnable(table(**columns), problem, **options)
    assert caught.value.reason_code == code
    assert caught.value.exit_code == 0
    assert str(caught.value).endswith(".")


@pytest.mark.parametrize(
    ("problem", "columns", "options", "error", "part"),
    [
        (
            "regression",
            {"y": ["a", "b"] * (N // 2)},
            {},
            DataError,
            "holds 'a', but problem regression needs numbers",
        ),
        ("regression", {"y": [True, False] * (N // 2)}, {}, DataError, "needs numbers"),
        (
            "binary",
            {},
            {"data": {"positive_class": 7}},
            ConfigError,
            "positive_class 7 is not a label of 'y'",
        ),
    ],
)
def test_a_target_that_contradicts_the_configuration_is_wrong_input(problem, columns, options, error, part):
    with pytest.raises(error, match=part) as caught:
        learnable(table(**columns), problem, **options)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("problem", "columns", "options"),
    [
        ("binary", {}, {}),
        ("binary", {"y": ["no", "yes"] * (N // 2)}, {"data": {"positive_class": "yes"}}),
        ("multiclass", {"y": np.arange(N) % 4}, {}),
        ("regression", {"y": np.arange(float(N))}, {}),
        ("ranking", {"g": np.arange(N) // 5, "y": np.arange(N) % 3}, {"data": {"group": "g"}}),
        ("binary", {"x": [np.inf] + [1.0] * (N - 1)}, {}),
    ],
)
def test_rows_that_can_be_learned_from_pass(problem, columns, options):
    learnable(table(**columns), problem, **options)


def test_normalised_frames_hold_plain_types():
    frame = pd.DataFrame(
        {
            "category": pd.Series(["a", None], dtype="category"),
            "codes": pd.Series([3, 4], dtype="category"),
            "text": pd.Series(["a", None], dtype="string"),
            "int8": pd.Series([1, 2], dtype="int8"),
            "nullable": pd.Series([1, None], dtype="Int64"),
            "float32": pd.Series([0.5, None], dtype="float32"),
            "maybe": pd.Series([True, None], dtype="boolean"),
            "sure": pd.Series([True, False], dtype="boolean"),
            "decimal": [Decimal("1.5"), None],
            "listed": ["1.5", None],
            "at": pd.to_datetime(["2026-01-01", "2026-01-02"], utc=True),
        }
    )
    before = frame.copy()
    plain = normalise(frame, numeric=["listed"])
    kinds = {name: str(dtype) for name, dtype in plain.dtypes.items()}
    assert kinds == {
        "category": "object",
        "codes": "int64",
        "text": "object",
        "int8": "int64",
        "nullable": "float64",
        "float32": "float64",
        "maybe": "object",
        "sure": "bool",
        "decimal": "float64",
        "listed": "float64",
        "at": "datetime64[ns, UTC]",
    }
    assert plain["text"].tolist() == ["a", None]
    assert plain["maybe"].tolist() == [True, None]
    pd.testing.assert_frame_equal(frame, before)

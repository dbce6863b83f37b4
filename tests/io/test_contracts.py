"""The contract against real windows, by Great Expectations."""

from decimal import Decimal

import numpy as np
import pandas as pd
import pytest

from evergreen.tasks.core.contract.contract import ColumnRule, Contract, learn_contract
from evergreen.tasks.core.data.schema import Schema
from evergreen.tasks.core.verdict import Outcome
from evergreen.tasks.io.contracts import check_contract
from tests.support.training_data import model_config


def rows(n=300, seed=0):
    rng = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "age": rng.integers(20, 60, n),
            "share": pd.array(rng.random(n), dtype="Float64"),
            "paid": rng.random(n) < 0.5,
            "price": [Decimal("1.5"), Decimal("2.5")] * (n // 2),
            "city": rng.choice(["a", "b"], n),
            "kind": pd.Categorical(rng.choice(["x", "y"], n)),
            "code": rng.choice([1.0, 2.0], n),
            "at": pd.date_range("2026-01-01", periods=n, freq="h", tz="Europe/Berlin"),
            "key": np.arange(n),
            "y": rng.integers(0, 2, n),
        }
    )


SCHEMA = Schema(
    target="y", numeric=("age", "share", "paid", "price"), categorical=("city", "kind", "code"), time="at"
)


def contract(**limits):
    return learn_contract(rows(), schema=SCHEMA, config=model_config(contract=limits))


def found(window, **limits):
    """Return (codes that reject, codes that warn), each with its column."""
    result = check_contract(contract(**limits), window, window="holdout")
    reject = [] if result.verdict.passed else result.verdict.reasons
    return [[reason.code for reason in part] for part in (reject, result.warnings)]


def test_another_window_of_the_same_kind_meets_the_contract():
    assert found(rows(seed=1), unique=[["key"], ["key", "city"]]) == [[], []]


def test_the_window_is_not_changed():
    window = rows(seed=1)
    check_contract(contract(), window, window="holdout")
    pd.testing.assert_frame_equal(window, rows(seed=1))


def with_column(**columns):
    return rows(seed=1).assign(**columns)


def some(values, count, other):
    changed = pd.Series(values).astype(object).copy()
    changed.iloc[:count] = other
    return changed


WINDOW = rows(seed=1)
BREACHES = {
    "missing": (WINDOW.drop(columns="age"), ["missing_column"], []),
    "text among numbers": (with_column(age=some(WINDOW.age, 1, "old")), ["kind_changed"], []),
    "all null": (with_column(age=np.nan), ["too_many_nulls"], []),
    "more nulls": (with_column(age=some(WINDOW.age, 60, None).astype(float)), [], ["too_many_nulls"]),
    "some out of range": (with_column(age=some(WINDOW.age, 30, 999).astype(int)), [], ["out_of_range"]),
    "another unit": (with_column(age=WINDOW.age * 1000), ["out_of_range"], []),
    "some new categories": (with_column(city=some(WINDOW.city, 30, "z")), [], ["unseen_categories"]),
    "renamed categories": (with_column(city=WINDOW.city.str.upper()), ["unseen_categories"], []),
    "codes with nulls": (with_column(code=WINDOW.code.where(WINDOW.index > 5)), [], []),
    "codes as text": (with_column(code=WINDOW.code.map({1.0: "1", 2.0: "2"})), [], []),
}


@pytest.mark.parametrize("case", BREACHES)
def test_a_breach_rejects_and_drift_warns(case):
    window, rejects, warns = BREACHES[case]
    assert found(window) == [rejects, warns]


def test_a_written_limit_rejects_at_once():
    limits = {"columns": {"age": {"max": 50}, "city": {"categories": ["a"]}, "share": {"max_nulls": 0.0}}}
    window = with_column(share=pd.array([None, *WINDOW["share"].iloc[1:]], dtype="Float64"))
    assert sorted(found(window, **limits)[0]) == ["out_of_range", "too_many_nulls", "unseen_categories"]


def test_row_counts_are_bounded():
    assert found(WINDOW, max_rows=299)[0] == ["row_count"]
    assert found(WINDOW.head(0), min_rows=1)[0] == ["row_count"]


def test_repeated_keys_are_named():
    window = with_column(key=np.r_[np.arange(299), 0])
    result = check_contract(contract(unique=[["key"]]), window, window="holdout")
    assert [(r.code, round(r.observed, 4)) for r in result.verdict.reasons] == [
        ("not_unique", round(2 / 300, 4))
    ]


def test_an_optional_column_may_be_missing():
    assert found(WINDOW.drop(columns="age"), columns={"age": {"required": False}}) == [[], ["missing_column"]]


def test_a_large_window_is_sampled_at_equal_steps_and_says_so():
    result = check_contract(contract(unique=[["key"]]), WINDOW, window="holdout", most_rows=100)
    assert (result.n, result.checked, result.verdict.outcome) == (300, 100, Outcome.PASS)


def test_shares_are_those_of_a_count_by_hand():
    rule = ColumnRule(name="age", kind="number", minimum=30.0, maximum=50.0)
    result = check_contract(Contract(columns=(rule,)), WINDOW, window="holdout")
    outside = float(((WINDOW.age < 30) | (WINDOW.age > 50)).mean())
    [share] = [one.share for one in result.findings if one.expectation.check == "range"]
    assert share == pytest.approx(outside)


def test_no_value_of_a_private_column_is_told():
    config = model_config(data={"private": ["age", "city"]}, contract={"columns": {"age": {"max": 30}}})
    learned = learn_contract(rows(), schema=SCHEMA, config=config)
    window = with_column(city=WINDOW.city.str.upper())
    result = check_contract(learned, window, window="holdout", private=config.data.private)
    [reason] = result.verdict.reasons
    assert (reason.code, "e.g." in reason.message) == ("out_of_range", False)
    assert {rule.name: rule.categories for rule in learned.columns}["city"] is None
    assert all(not one.examples for one in result.findings if one.expectation.columns == ("age",))

import numpy as np
import pandas as pd
import pytest

from evergreen.tasks.core.contract.check import Finding, contract_document, contract_page, judge_contract
from evergreen.tasks.core.contract.contract import (
    ColumnRule,
    Contract,
    Expectation,
    as_text,
    kind_of,
    learn_contract,
    plan_expectations,
)
from evergreen.tasks.core.data.schema import Schema
from evergreen.tasks.core.errors import UnknownName
from evergreen.tasks.core.verdict import Outcome
from tests.support.training_data import model_config

SCHEMA = Schema(target="y", numeric=("age", "off"), categorical=("city",), time="at")


def training_rows():
    return pd.DataFrame(
        {
            "age": [20.0, 60.0, None, 40.0],
            "off": [7.0] * 4,
            "city": ["a", "b", "a", None],
            "at": pd.date_range("2026-01-01", periods=4),
            "y": [0, 1, 0, 1],
        }
    )


def learned(**limits):
    return learn_contract(training_rows(), schema=SCHEMA, config=model_config(contract=limits))


def rule(contract, name):
    return next(one for one in contract.columns if one.name == name)


def test_a_range_is_learned_and_widened_by_half_of_its_width():
    # 20..60 is 40 wide, half of it is 20: 0..80
    assert (rule(learned(), "age").minimum, rule(learned(), "age").maximum) == (0.0, 80.0)


def test_a_column_constant_in_training_teaches_no_range():
    assert (rule(learned(), "off").minimum, rule(learned(), "off").maximum) == (None, None)


def test_nulls_may_rise_by_the_tolerance_over_those_of_training():
    assert rule(learned(null_tolerance=0.1), "age").max_nulls == pytest.approx(0.25 + 0.1)


def test_categories_are_learned_without_the_nulls():
    assert rule(learned(), "city").categories == ("a", "b")


def test_a_column_of_more_values_than_are_encoded_has_an_open_vocabulary():
    config = model_config(training={"max_categories": 1})
    contract = learn_contract(training_rows(), schema=SCHEMA, config=config)
    assert rule(contract, "city").categories is None


def test_the_target_has_no_rule_since_tomorrow_it_is_not_known():
    assert "y" not in {one.name for one in learned().columns}


def test_a_written_bound_replaces_the_learned_one_and_the_other_stays_learned():
    contract = learned(columns={"age": {"max": 120}})
    assert (rule(contract, "age").minimum, rule(contract, "age").maximum) == (0.0, 120.0)
    assert rule(contract, "age").by_hand == ("maximum",)


def test_an_ignored_column_has_no_rule():
    assert "age" not in {one.name for one in learned(columns={"age": {"ignore": True}}).columns}


@pytest.mark.parametrize("limits", [{"columns": {"agee": {"min": 0}}}, {"unique": [["agee"]]}])
def test_a_limit_for_an_unknown_column_names_the_likeliest(limits):
    with pytest.raises(UnknownName, match="Did you mean 'age'"):
        learned(**limits)


def test_the_training_rows_are_not_changed():
    frame = training_rows()
    learn_contract(frame, schema=SCHEMA, config=model_config())
    pd.testing.assert_frame_equal(frame, training_rows())


def test_a_contract_survives_its_json_form():
    contract = learned(unique=[["age", "city"]], columns={"age": {"min": 1, "max_nulls": 0.5}})
    assert Contract.from_dict(contract.to_dict()) == contract


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (pd.Series([1, 2]), "number"),
        (pd.Series([True, False]), "number"),
        (pd.Series([1, "two"]), "text"),
        (pd.Series(["a", None]), "text"),
        (pd.Series([None, None]), "any"),
        (pd.Series([np.nan, np.nan]), "any"),
        (pd.Series(pd.date_range("2026-01-01", periods=2, tz="UTC")), "time"),
        (pd.Series(["a", "b"], dtype="category"), "text"),
        (pd.Series([1, 2], dtype="category"), "number"),
    ],
)
def test_the_kind_of_a_column_is_what_its_values_are(values, expected):
    assert kind_of(values) == expected


def test_a_null_does_not_rename_the_other_categories():
    assert as_text(pd.Series([1, 2])).tolist() == as_text(pd.Series([1, None, 2])).dropna().tolist()


def test_the_values_of_a_missing_column_are_not_asked_for():
    contract = Contract(columns=(ColumnRule(name="age", kind="number", minimum=0.0),))
    assert [one.check for one in plan_expectations(contract, {})] == ["rows", "exists"]


def test_the_range_of_a_text_is_not_a_second_finding():
    contract = Contract(columns=(ColumnRule(name="age", kind="number", minimum=0.0),))
    assert "range" not in {one.check for one in plan_expectations(contract, {"age": "text"})}


def test_written_and_learned_bounds_are_judged_apart():
    contract = Contract(
        columns=(ColumnRule(name="age", kind="number", minimum=0.0, maximum=9.0, by_hand=("minimum",)),)
    )
    ranges = [one for one in plan_expectations(contract, {"age": "number"}) if one.check == "range"]
    assert [(one.minimum, one.maximum, one.hard) for one in ranges] == [(0.0, None, True), (None, 9.0, False)]


def judged(share, *, check="range", hard=False, limit=0.01, **contract):
    expected = Expectation(check=check, columns=("age",), hard=hard, limit=limit, minimum=0.0)
    finding = Finding(expectation=expected, share=share, n=100)
    return judge_contract(Contract(columns=(), **contract), [finding], window="holdout", n=100, checked=100)


def codes(reasons):
    return [reason.code for reason in reasons]


def test_leaving_learned_limits_is_drift_and_only_warns():
    result = judged(0.3)
    assert (result.verdict.outcome, codes(result.warnings)) == (Outcome.PASS, ["out_of_range"])


def test_most_of_a_window_outside_learned_limits_breaks_the_contract():
    result = judged(0.52)
    assert (result.verdict.outcome, codes(result.verdict.reasons)) == (Outcome.FAIL, ["out_of_range"])


def test_the_share_that_breaks_learned_limits_can_be_configured():
    assert judged(0.3, gross_tolerance=0.2).verdict.outcome is Outcome.FAIL


def test_leaving_written_limits_breaks_the_contract():
    assert judged(0.02, hard=True).verdict.outcome is Outcome.FAIL


def test_what_stays_within_the_tolerance_is_not_remarked():
    result = judged(0.01, hard=True)
    assert (result.verdict.outcome, result.warnings) == (Outcome.PASS, ())


def test_a_column_of_nulls_alone_breaks_the_contract_however_many_were_allowed():
    assert judged(1.0, check="nulls", limit=0.8).verdict.outcome is Outcome.FAIL


def test_a_column_that_was_all_null_in_training_may_stay_so():
    assert judged(1.0, check="nulls", limit=1.0).verdict.outcome is Outcome.PASS


def test_a_missing_optional_column_only_warns():
    result = judged(1.0, check="exists", limit=0.0)
    assert (result.verdict.outcome, codes(result.warnings)) == (Outcome.PASS, ["missing_column"])


def test_a_breach_names_column_share_and_limit():
    assert judged(0.25).warnings[0].message == (
        "In the holdout window column 'age' has 25.0% of values outside [0, ∞], allowed 1.0%."
    )


def test_the_page_needs_no_network_and_escapes_what_the_data_hold():
    expected = Expectation(check="categories", columns=("<b>city</b>",), categories=("a",))
    finding = Finding(expectation=expected, share=1.0, n=9, examples=("<script>",))
    contract = Contract(columns=())
    result = judge_contract(contract, [finding], window="holdout", n=9, checked=9)
    page = contract_page(contract, [result], title="A & B")
    assert "http" not in page
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    assert "A &amp; B" in page


def test_the_document_holds_every_finding():
    result = judged(0.3)
    [window] = contract_document(Contract(columns=()), [result])["windows"]
    assert (window["outcome"], window["findings"][0]["share_outside"]) == ("PASS", 0.3)

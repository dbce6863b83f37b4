import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evergreen.tasks.core.errors import ConfigError, UnknownName
from evergreen.tasks.core.training.selection import parse_criteria


@pytest.mark.parametrize(
    ("text", "met"),
    [
        ("accuracy > 0.90 and accuracy_std < 0.05", True),
        ("accuracy > 0.95", False),
        ("accuracy >= 0.93", True),
        ("accuracy > 0.95 or ndcg@3 > 0.5", True),
        ("not accuracy < 0.9", True),
        ("not (accuracy > 0.9 and accuracy_std < 0.05)", False),
        ("0.9 < accuracy <= 0.93", True),
        ("0.9 < accuracy < 0.92", False),
        ("r2 > -1", True),
        ("accuracy != 0.5 and accuracy == 0.93", True),
        ("accuracy > accuracy_std", True),
    ],
)
def test_criteria_mean_what_they_say(text, met):
    values = {"accuracy": 0.93, "accuracy_std": 0.01, "ndcg_at_3": 0.6, "r2": -0.5}
    assert met == (not parse_criteria(text).judge(values))


def test_every_comparison_that_fails_is_a_reason_with_its_numbers():
    reasons = parse_criteria("accuracy > 0.9 and f1 > 0.8").judge({"accuracy": 0.85, "f1": 0.7})
    assert [("criterion_not_met", 0.85, 0.9), ("criterion_not_met", 0.7, 0.8)] == [
        (r.code, r.observed, r.limit) for r in reasons
    ]


@pytest.mark.parametrize("value", [math.nan, math.inf, None])
def test_what_was_not_measured_is_never_met_not_even_under_not(value):
    values = {} if value is None else {"accuracy": value}
    for text in ("accuracy > 0.9", "not accuracy > 0.9", "accuracy > 0.9 or f1 > 0"):
        reasons = parse_criteria(text).judge({"f1": 1.0} | values)
        assert reasons[0].code == "criterion_undefined"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "accuracy",
        "accuracy >",
        "accuracy > 0.9 and",
        "__import__('os').system('true') > 0",
        "accuracy.real > 0",
        "accuracy > [1][0]",
        "accuracy in (1, 2)",
        "accuracy is 1",
        "(lambda: 1)() > 0",
        "accuracy > '0.9'",
        "accuracy + 1 > 0",
        "accuracy > True",
        "x := 3",
        "accuracy > 1j",
        "accuracy = 0.9",
        "a > 1; b > 2",
        "(" * 600 + "a > 1" + ")" * 600,
        "\x00",
    ],
)
def test_anything_but_comparisons_is_refused(text):
    with pytest.raises(ConfigError, match="Allowed"):
        parse_criteria(text)


def test_unknown_names_say_what_was_meant():
    with pytest.raises(
        UnknownName, match=r"Unknown metric 'acuracy' in training.criteria.*Did you mean 'accuracy'"
    ):
        parse_criteria("acuracy > 0.9", choices=["accuracy", "accuracy_std"], where="training.criteria")


@given(st.text(max_size=60))
def test_no_text_does_anything_but_parse_or_be_refused(text):
    try:
        criteria = parse_criteria(text)
    except ConfigError:
        return
    assert {reason.code for reason in criteria.judge({})} <= {"criterion_undefined", "criterion_not_met"}

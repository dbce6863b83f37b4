"""What clients and the log are told: scores, decisions, ids, versions and variants."""

import json

import numpy as np
import pytest

from tasks.core.serving.answers import Answers, Decider
from tasks.core.serving.refused import Refused, shown
from tasks.core.serving.respond import answered, to_body, to_mlflow_body, to_refusal
from tasks.core.serving.signature import Column, schema_signature, typed_signature
from tests.support.learning import learner, schema

BINARY = Decider(classes=("no", "yes"), threshold=0.25)
CLASSES = Decider(classes=("low", "mid", "top"))


def test_a_score_at_the_threshold_is_positive():
    answers = BINARY.decide(np.array([0.1, 0.25, np.nextafter(0.25, 0), 0.9]))
    assert ["no", "yes", "no", "yes"] == answers.decisions
    assert ([0.1, 0.25], ("no", "yes")) == (answers.plain_scores()[:2], answers.classes)


def test_a_turned_decider_turns_scores_and_keeps_decisions():
    answers = Decider(classes=("no", "yes"), threshold=0.25, flipped=True).decide(np.array([0.25, 0.0]))
    assert ([0.75, 1.0], ["yes", "no"], ("yes", "no")) == (
        answers.plain_scores(),
        answers.decisions,
        answers.classes,
    )


def test_the_most_likely_class_is_decided_and_every_class_is_told():
    answers = CLASSES.decide(np.array([[0.2, 0.5, 0.3], [0.4, 0.2, 0.4]]))
    assert ["mid", "low"] == answers.decisions
    assert {"low": 0.2, "mid": 0.5, "top": 0.3} == answers.plain_scores()[0]
    assert ["mid", "low"] == answers.predictions()


def test_numbers_have_no_decision_and_are_the_prediction():
    answers = Decider().decide(np.array([1.5, -2.0]))
    assert ([None, None], [1.5, -2.0]) == (answers.decisions, answers.predictions())


def test_our_response_says_id_version_and_variant_of_every_row():
    rows = answered(BINARY.decide(np.array([0.1, 0.9])), ["p1", "p2"], version=3, variant="champion")
    rows += answered(BINARY.decide(np.array([0.5])), ["p3"], version=4, variant="challenger")
    body = json.loads(to_body("fraud", rows))
    assert "fraud" == body["model"]
    assert {
        "prediction_id": "p2",
        "score": 0.9,
        "decision": "yes",
        "version": 3,
        "variant": "champion",
    } == body["predictions"][1]
    assert [3, 3, 4] == [row["version"] for row in body["predictions"]]


def test_mlflows_response_holds_what_predict_returns():
    classes = answered(CLASSES.decide(np.eye(3)), ["a", "b", "c"], version=3, variant="champion")
    assert ["low", "mid", "top"] == json.loads(to_mlflow_body(classes))["predictions"]
    numbers = answered(Decider().decide(np.array([0.1, 1e300])), ["a", "b"], version=3, variant="champion")
    body = json.loads(to_mlflow_body(numbers))
    assert {"predictions": [0.1, 1e300], "prediction_ids": ["a", "b"]}.items() <= body.items()


def test_every_float_survives_the_response():
    scores = np.random.default_rng(0).random(200) ** 40
    rows = answered(Answers(scores, [None] * 200), [str(i) for i in range(200)], version=1, variant="v")
    assert scores.tolist() == [row["score"] for row in json.loads(to_body("m", rows))["predictions"]]


def test_each_answer_needs_an_id():
    with pytest.raises(ValueError, match="longer"):
        answered(Decider().decide(np.array([1.0, 2.0])), ["a"], version=1, variant="v")


def test_a_refusal_is_told_with_code_and_field():
    refused = Refused(422, "wrong_type", "Column 'x' holds 'a'.", field="records[0].x")
    told = json.loads(to_refusal(refused))["error"]
    assert {"code": "wrong_type", "message": "Column 'x' holds 'a'.", "field": "records[0].x"} == told


@pytest.mark.parametrize("value", [None, True, 1.5, "x" * 500, 10**4000, {"a": 1}, [1] * 99, "é\0"])
def test_any_value_is_shown_shortly(value):
    assert 0 < len(shown(value)) <= 60


def test_our_signature_lists_features_then_what_is_only_logged():
    config = learner(data={"entity": "who", "group": "race", "value": "signal", "time": "at"})
    signature = schema_signature(schema(), config, text=["colour"])
    assert ("signal", "noise", "colour") == signature.names
    assert ("who", "race", "at") == signature.context
    assert Column("colour", "text") == signature.texts[0]
    assert "any" == schema_signature(schema(), config).texts[0].kind


def test_foreign_types_become_kinds():
    types = {"d": "double", "l": "long", "i": "integer", "s": "string", "b": "boolean", "a": "any"}
    signature = typed_signature(types, learner(), nullable=["d", "l", "s"])
    assert [
        Column("d", "number"),
        Column("l", "number", nullable=False, only="int64"),
        Column("i", "number", nullable=False, only="int32"),
        Column("s", "text"),
        Column("b", "any", nullable=False, only="boolean"),
        Column("a", "any", nullable=False),
    ] == list(signature.columns)
    assert ("d", "l", "i") == tuple(column.name for column in signature.numbers)

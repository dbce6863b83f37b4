"""What clients and the log are told: scores and decisions; and of what columns."""

import numpy as np
import pytest

from evergreen.tasks.core.serving.answers import Decider, shown
from evergreen.tasks.core.serving.signature import Column, schema_signature, typed_signature
from tests.support.training_data import model_config, schema

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


def test_numbers_have_no_decision():
    answers = Decider().decide(np.array([1.5, -2.0]))
    assert ([None, None], [1.5, -2.0]) == (answers.decisions, answers.plain_scores())


@pytest.mark.parametrize("value", [None, True, 1.5, "x" * 500, 10**4000, {"a": 1}, [1] * 99, "é\0"])
def test_any_value_is_shown_shortly(value):
    assert 0 < len(shown(value)) <= 60


def test_our_signature_lists_features_then_what_is_only_logged():
    config = model_config(data={"entity": "who", "group": "race", "value_column": "signal", "time": "at"})
    signature = schema_signature(schema(), config, text=["colour"])
    assert ("signal", "noise", "colour") == signature.names
    assert ("who", "race", "at") == signature.context
    assert Column("colour", "text") == signature.texts[0]
    assert "any" == schema_signature(schema(), config).texts[0].kind


def test_foreign_types_become_kinds():
    types = {"d": "double", "l": "long", "i": "integer", "s": "string", "b": "boolean", "a": "any"}
    signature = typed_signature(types, model_config(), nullable=["d", "l", "s"])
    assert [
        Column("d", "number"),
        Column("l", "number", nullable=False, only="int64"),
        Column("i", "number", nullable=False, only="int32"),
        Column("s", "text"),
        Column("b", "any", nullable=False, only="boolean"),
        Column("a", "any", nullable=False),
    ] == list(signature.columns)
    assert ("d", "l", "i") == tuple(column.name for column in signature.numbers)

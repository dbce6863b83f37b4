"""An outcome that could never be corrected is refused before it is written; whatever core can read is taken."""

import numpy as np
import pytest

from evergreen.tasks.core.errors import DataError
from evergreen.tasks.core.metrics.scored import Scored
from evergreen.tasks.core.serving.answers import RequestRefused
from evergreen.tasks.core.serving.decode import check_outcome

FIELD = "outcomes[0].outcome"
BINARY = [("no", "yes"), (0, 1), (False, True), ("0", "1"), (0.0, 1.0)]


def check(outcome, problem="binary", classes=()):
    """Return the code of the refusal; None where there is none."""
    try:
        check_outcome(outcome, problem=problem, classes=classes, field=FIELD)
    except RequestRefused as refused:
        return refused.code
    return None


@pytest.mark.parametrize("problem", ["regression", "ranking"])
@pytest.mark.parametrize(
    ("outcome", "code"),
    [
        (3, None),
        (-2.5, None),
        (2**63 - 1, None),
        (-(2**63), None),
        (2**63, "number_out_of_range"),
        (-(2**63) - 1, "number_out_of_range"),
        (10**400, "number_out_of_range"),
        (float("inf"), "number_out_of_range"),
        (float("nan"), "number_out_of_range"),
        ("3", "wrong_type"),
        (True, "wrong_type"),
        (None, "wrong_type"),
        ([3], "wrong_type"),
    ],
)
def test_a_numeric_target_takes_numbers_that_can_be_stored(problem, outcome, code):
    assert code == check(outcome, problem)


@pytest.mark.parametrize("classes", BINARY)
@pytest.mark.parametrize(
    "outcome", ["no", "yes", "0", "1", 0, 1, 0.0, 1.0, False, True, "banana", 3.7, 2, -1]
)
def test_of_two_classes_exactly_what_measures_tell_apart_is_taken(classes, outcome):
    def equals(one):
        try:
            return bool(Scored(y=np.array([outcome]), classes=classes, positive_class=one).truth[0])
        except DataError:  # text beside numbers
            return False

    expected = None if any(equals(one) for one in classes) else "unknown_class"
    assert expected == check(outcome, classes=classes)


@pytest.mark.parametrize("problem", ["binary", "multiclass"])
@pytest.mark.parametrize(
    ("outcome", "code"),
    [
        (None, "wrong_type"),
        ({"a": 1}, "wrong_type"),
        ("x" * 1001, "wrong_type"),
        (10**400, "number_out_of_range"),
        (float("inf"), "number_out_of_range"),
        ("x" * 1000, None),
        (True, None),
        (0.5, None),
    ],
)
def test_where_no_class_is_known_anything_that_may_be_one_is_taken(problem, outcome, code):
    assert code == check(outcome, problem)


@pytest.mark.parametrize(
    ("classes", "outcome", "code"),
    [
        (("a", "b", "c"), "c", None),
        (("a", "b", "c"), "new", None),
        (("a", "b", "c"), 1, "unknown_class"),
        ((1, 2, 3), 3.0, None),
        ((1, 2, 3), 4, None),
        ((1, 2, 3), 3.7, "unknown_class"),
        ((1, 2, 3), "3", "unknown_class"),
        ((0.5, 1.5, 2.5), 3.7, None),
    ],
)
def test_of_many_classes_a_new_one_of_their_kind_is_taken(classes, outcome, code):
    assert code == check(outcome, "multiclass", classes)


def test_the_refusal_names_what_was_said_and_what_is_allowed():
    with pytest.raises(
        RequestRefused, match=r"is 'banana', which is none .* Allowed: 'no', 'yes'\."
    ) as refused:
        check_outcome("banana", problem="binary", classes=("no", "yes"), field=FIELD)
    assert (422, FIELD) == (refused.value.status, refused.value.field)
    with pytest.raises(RequestRefused, match=r"is a whole number beyond 64 bits; allowed"):
        check_outcome(10**5000, problem="binary", field=FIELD)
    with pytest.raises(RequestRefused, match=r"19, …, or a new class of their kind"):
        check_outcome("x", problem="multiclass", classes=range(21), field=FIELD)

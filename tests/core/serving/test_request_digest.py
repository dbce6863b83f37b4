"""A claim is the same whatever shape a request was written in, and another for anything else."""

import pytest

from evergreen.tasks.core.serving.answers import RequestRefused
from evergreen.tasks.core.serving.idempotency import idempotent_request

RECORDS = {"records": [{"x": 1, "c": "a"}, {"x": -0.0, "c": None}]}
SECRET = b"k" * 32


def digests(document, *, key="k", secret=b""):
    return idempotent_request(document, key=key, secret=secret).digests


@pytest.mark.parametrize(
    "same",
    [
        {"records": [{"c": "a", "x": 1.0}, {"c": None, "x": 0}]},
        {"dataframe_records": RECORDS["records"]},
        {"columns": {"c": ["a", None], "x": [1, 0]}},
        {"inputs": {"x": [1, 0], "c": ["a", None]}},
        {"instances": RECORDS["records"]},
        {"dataframe_split": {"columns": ["x", "c"], "data": [[1, "a"], [0, None]], "index": [5, 6]}},
        {**RECORDS, "ids": None, "entities": None, "at": None},
    ],
)
def test_the_same_rows_in_another_shape_are_the_same_claim(same):
    assert digests(RECORDS) == digests(same)


@pytest.mark.parametrize(
    "other",
    [
        {"records": [{"x": True, "c": "a"}]},
        {"records": [{"x": "1", "c": "a"}]},
        {"records": [{"x": 1}]},
        {"records": [{"x": 1, "c": "a", "d": None}]},
        {"records": [{"x": 2**53 + 1, "c": "a"}]},
        {"inputs": [[1, "a"]]},
        {"records": [{"x": 1, "c": "a"}], "entities": ["ada"]},
        {"records": [{"x": 1, "c": "a"}], "at": 3},
        {"records": [{"x": 1, "c": "a"}] * 2},
    ],
)
def test_anything_else_is_another_claim(other):
    assert digests({"records": [{"x": 1, "c": "a"}]})[0] != digests(other)[0]


def test_whole_numbers_that_a_float_cannot_tell_apart_are_told_apart():
    assert digests({"records": [{"x": 2**53 + 1}]}) != digests({"records": [{"x": 2**53 + 2}]})


def test_rows_under_ids_of_their_own_may_come_again_in_other_requests_and_those_under_a_key_may_not():
    both, one = RECORDS, {"records": RECORDS["records"][:1]}
    own = [
        digests({**document, "ids": ids}, key=None) for document, ids in ((both, ["a", "b"]), (one, ["a"]))
    ]
    assert own[0][0] == own[1][0]
    assert digests(both)[0] != digests(one)[0]


def test_ids_are_the_clients_own_or_made_from_its_key_alone():
    made = idempotent_request(RECORDS, key="k", secret=b"").ids
    assert made == idempotent_request({"columns": {"y": [1, 2]}}, key="k", secret=SECRET).ids
    assert not set(made) & set(idempotent_request(RECORDS, key="l", secret=b"").ids)
    assert ["a", "b"] == idempotent_request({**RECORDS, "ids": ["a", "b"]}, key=None, secret=b"").ids
    assert idempotent_request(RECORDS, key=None, secret=b"") is None


def test_a_secret_changes_every_digest_and_marks_it():
    assert ["h:", "h:"] == [one[:2] for one in digests(RECORDS, secret=SECRET)]
    plain, sealed, others = (digests(RECORDS, secret=each) for each in (b"", SECRET, b"o" * 32))
    assert 6 == len({*plain, *(one[2:] for one in (*sealed, *others))})


@pytest.mark.parametrize(
    "untold",
    [
        {},
        {"records": {}},
        {"records": [], "columns": {}},
        {"columns": {"x": [1], "y": [1, 2]}},
        {"columns": {"x": 1}},
        {"dataframe_split": {"columns": ["x", "x"], "data": [[1, 2]]}},
        {"dataframe_split": {"columns": ["x", "y"], "data": [[1]]}},
        {"dataframe_split": {"columns": ["x"], "data": [{}]}},
        {"dataframe_split": [[1]]},
        {**RECORDS, "entities": ["ada"]},
        {**RECORDS, "at": [1]},
    ],
)
def test_rows_that_cannot_be_told_apart_are_no_claim(untold):
    with pytest.raises(RequestRefused, match="do not correspond"):
        idempotent_request(untold, key="k", secret=b"")


@pytest.mark.parametrize("ids", [["a"], "a", ["a", "a"], ["a", 1]])
def test_ids_that_are_none_are_refused(ids):
    with pytest.raises(RequestRefused):
        idempotent_request({**RECORDS, "ids": ids}, key=None, secret=b"")

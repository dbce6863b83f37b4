"""What the log may hold of private columns."""

import pytest

from evergreen.tasks.core.serving.batch import Concealer, hashed

KEY = b"k" * 32


def conceal(*columns, entity=None, how="hash", key=KEY):
    return Concealer(columns, entity=entity, how=how, key=key)


@pytest.mark.parametrize(("one", "same"), [(1, 1.0), (1, "1"), (-0.0, 0), (True, "True")])
def test_a_value_has_one_hash_whatever_type_it_was_sent_in(one, same):
    first, second = conceal("a").rows([{"a": one}, {"a": same}])
    assert first == second


def test_different_values_columns_and_keys_have_different_hashes():
    rows = conceal("a", "b").rows([{"a": 1, "b": 1}, {"a": 2, "b": 11}])
    others = conceal("a", key=b"o" * 32).rows([{"a": 1}])
    assert 5 == len({value for row in (*rows, *others) for value in row.values()})


def test_a_column_s_name_cannot_run_into_its_value():
    assert hashed("bc", column="a", key=KEY) != hashed("c", column="ab", key=KEY)


@pytest.mark.parametrize("nothing", [None, float("nan")])
def test_what_is_missing_stays_missing(nothing):
    (row,) = conceal("a").rows([{"a": nothing}])
    assert row["a"] is nothing


@pytest.mark.parametrize("how", ["hash", "leave_out"])
def test_an_entity_has_the_hash_of_its_column_whatever_becomes_of_that(how):
    column = conceal("who", entity="who")
    assert conceal("who", entity="who", how=how).entities(["ada", None, "7"]) == [
        column.rows([{"who": "ada"}])[0]["who"],
        None,
        column.rows([{"who": 7}])[0]["who"],
    ]


def test_what_is_left_out_leaves_nothing():
    hide = conceal("who", entity="who", how="leave_out")
    assert [{"x": 1}] == hide.rows([{"who": "ada", "x": 1}])


def test_entities_of_a_column_that_is_not_private_are_kept():
    assert ["ada"] == conceal("x", entity="who").entities(["ada"])

"""Request bodies become batches, or refusals that name the field; nothing else, whatever the bytes."""

import numpy as np
import pytest
from hypothesis import given, settings

from evergreen.tasks.core.serving.answers import RequestLimits, RequestRefused
from evergreen.tasks.core.serving.batch import concat
from evergreen.tasks.core.serving.decode import decode, decode_generally
from evergreen.tasks.core.serving.signature import Column, Signature
from tests.support.bodies import ANY_BODIES, FORMS, MIXED, NUMBERS, SMALL, dumps, good_rows, in_form

ROWS = [{"x": 1, "y y": -2.5}, {"x": None, "y y": 1e300}]
GOOD = {"x": 1.5, "n": 3, "colour": "red", "grade": 2, "flag": True}


def read(document, *, signature=NUMBERS, limits=SMALL):
    body = document if isinstance(document, bytes) else dumps(document)
    return decode(body, signature=signature, limits=limits)


def refusal(document, **options):
    with pytest.raises(RequestRefused) as caught:
        read(document, **options)
    found = caught.value
    assert 400 <= found.status < 500
    assert found.message == str(found)
    return found


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("listed", [False, True])
def test_every_shape_of_body_gives_the_same_rows(form, listed):
    batch = read(in_form(form, ROWS, names=NUMBERS.names, listed=listed and form in ("inputs", "instances")))
    assert np.array_equal([[1, -2.5], [np.nan, 1e300]], batch.numbers, equal_nan=True)
    assert ROWS == batch.rows()


def test_columns_may_stand_in_any_order():
    for form in ("records", "columns", "dataframe_split"):
        batch = read(in_form(form, [GOOD], names=list(GOOD)[::-1]), signature=MIXED)
        assert ([[1.5, 3.0]], (["red"], [2], [True])) == (batch.numbers.tolist(), batch.texts)


def test_ids_entities_and_times_stand_beside_the_rows():
    document = {
        "records": ROWS,
        "ids": ["a", "b"],
        "entities": ["c1", 7],
        "at": ["2026-01-01", "2026-01-01T01:00:00+01:00"],
    }
    batch = read(document)
    assert (["a", "b"], ["c1", "7"]) == (batch.ids, batch.entities)
    assert [1767225600.0, 1767225600.0] == batch.at


def test_one_time_may_stand_for_all_rows_and_numbers_are_positions():
    assert [12.5, 12.5] == read({"records": ROWS, "at": 12.5}).at
    rows = Signature(NUMBERS.columns, clock="rows")
    assert "invalid_time" == refusal({"records": ROWS, "at": "2026-01-01"}, signature=rows).code


def test_a_rows_own_columns_say_who_and_when_unless_it_stands_beside():
    row = {**GOOD, "who": 12, "when": "1970-01-02"}
    batch = read({"records": [row, GOOD]}, signature=MIXED)
    assert (["12", None], [86400.0, None]) == (batch.entities, batch.at)
    assert {"who": [12, None], "when": ["1970-01-02", None]} == batch.context
    assert [{**row, "n": 3.0}, {**GOOD, "n": 3.0, "who": None, "when": None}] == batch.rows()
    assert ["z"] == read({"records": [row], "entities": ["z"]}, signature=MIXED).entities


def test_the_entity_may_be_a_feature():
    signature = Signature((Column("who", "number"), Column("x", "text")), entity="who")
    for form in ("records", "columns"):
        batch = read(in_form(form, [{"who": 7.0, "x": "a"}], names=("who", "x")), signature=signature)
        assert ["7"] == batch.entities


def test_a_time_format_of_the_model_is_used():
    signature = Signature(NUMBERS.columns, context=("day",), time="day", time_format="%Y%m%d")
    for day in (19700103, "19700103"):
        batch = read({"records": [{**ROWS[0], "day": day}]}, signature=signature)
        assert [172800.0] == batch.at


@pytest.mark.parametrize(
    ("document", "code", "field"),
    [
        (b"", "invalid_json", None),
        (b"{", "invalid_json", None),
        (b'{"records":[{"x":NaN,"y y":1}]}', "invalid_json", None),
        (b'{"records":[{"x":Infinity,"y y":1}]}', "invalid_json", None),
        (b'{"records":[{"x":1e999,"y y":1}]}', "number_out_of_range", None),
        (b'{"records":[{"x":"\xff","y y":1}]}', "invalid_utf8", None),
        (b"[" * 2000 + b"]" * 2000, "too_deep", None),
        (b'{"records":[[[[[1]]]]]}', "too_deep", None),
        (b"[1]", "not_an_object", None),
        (b"null", "not_an_object", None),
        (b'{"records":[{"x":1,"x":2,"y y":1}]}', "duplicate_key", "x"),
        (b'{"records":[{"x":1,"\\u0078":2,"y y":1}]}', "duplicate_key", "x"),
        (b'{"records":[],"records":[{"x":1,"y y":1}]}', "duplicate_key", "records"),
        ({"record": []}, "unknown_key", "record"),
        ({}, "no_rows_key", None),
        ({"records": ROWS, "inputs": ROWS}, "no_rows_key", "inputs"),
        ({"records": {}}, "wrong_shape", "records"),
        ({"records": [1]}, "wrong_shape", "records[0]"),
        ({"records": []}, "no_rows", "records"),
        ({"columns": {"x": [], "y y": []}}, "no_rows", "columns"),
        ({"columns": []}, "wrong_shape", "columns"),
        ({"columns": {"x": 1, "y y": [1]}}, "wrong_shape", "columns.x"),
        ({"columns": {"x": [1], "y y": [1, 2]}}, "ragged", "columns.y y"),
        ({"inputs": [[1, 2], [1]]}, "ragged", "inputs[1]"),
        ({"dataframe_split": {"columns": ["x", "y y"], "data": [[1]]}}, "ragged", "dataframe_split.data[0]"),
        ({"dataframe_split": {"data": []}}, "wrong_shape", "dataframe_split"),
        ({"dataframe_split": {"columns": ["x", 1], "data": []}}, "wrong_shape", "dataframe_split.columns[1]"),
        (
            {"dataframe_split": {"columns": ["x", "x"], "data": [[1, 1]]}},
            "duplicate_column",
            "dataframe_split.columns[1]",
        ),
        ({"records": [ROWS[0]] * 7}, "too_many_rows", "records"),
        ({"columns": {"x": [1] * 7, "y y": [1] * 7}}, "too_many_rows", "columns"),
        ({"records": [{"x": 1}]}, "missing_column", "records[0].y y"),
        ({"records": [ROWS[0], {"x": 1}]}, "missing_column", "records[1].y y"),
        ({"columns": {"x": [1]}}, "missing_column", "columns.y y"),
        ({"records": [{**ROWS[0], "yy": 1}]}, "unknown_column", "records[0].yy"),
        ({"records": [{"x": "1", "y y": 1}]}, "wrong_type", "records[0].x"),
        ({"records": [{"x": True, "y y": 1}]}, "wrong_type", "records[0].x"),
        ({"columns": {"x": [1, [2]], "y y": [1, 1]}}, "wrong_type", "columns.x[1]"),
        ({"records": [{"x": 10**400, "y y": 1}]}, "number_out_of_range", "records[0].x"),
        ({"records": ROWS, "ids": ["a"]}, "wrong_count", "ids"),
        ({"records": ROWS, "ids": ["a", "a"]}, "duplicate_id", "ids[1]"),
        ({"records": ROWS, "ids": ["a", ""]}, "invalid_id", "ids[1]"),
        ({"records": ROWS, "ids": "a"}, "wrong_shape", "ids"),
        ({"records": ROWS, "entities": [True, "a"]}, "invalid_entity", "entities[0]"),
        ({"records": ROWS, "entities": ["a", 1.5]}, "invalid_entity", "entities[1]"),
        ({"records": ROWS, "at": "yesterday"}, "invalid_time", "at[0]"),
        ({"records": ROWS, "at": [1, True]}, "invalid_time", "at[1]"),
        ({"records": ROWS, "at": 1e12}, "invalid_time", "at[0]"),
        ({"records": ROWS, "at": "9999-12-31T23:59:59-23:59"}, "invalid_time", "at[0]"),
    ],
)
def test_what_is_wrong_is_refused_with_its_field(document, code, field):
    found = refusal(document)
    assert (code, field) == (found.code, found.field)


@pytest.mark.parametrize(
    ("change", "code", "field"),
    [
        ({"n": None}, "null_not_allowed", "n"),
        ({"n": 1.5}, "not_whole", "n"),
        ({"n": 2**60}, "not_whole", "n"),
        ({"colour": 1}, "wrong_type", "colour"),
        ({"colour": "x" * 41}, "text_too_long", "colour"),
        ({"colour": "a\0b"}, "invalid_text", "colour"),
        ({"grade": 2**70}, "number_out_of_range", "grade"),
        ({"grade": [1]}, "wrong_type", "grade"),
        ({"flag": 1}, "wrong_type", "flag"),
        ({"flag": None}, "null_not_allowed", "flag"),
        ({"who": {"a": 1}}, "wrong_type", "who"),
    ],
)
def test_each_kind_of_column_has_its_rules(change, code, field):
    found = refusal({"records": [{**GOOD, **change}]}, signature=MIXED)
    assert (code, f"records[0].{field}") == (found.code, found.field)


def test_the_body_is_measured_before_it_is_read():
    found = refusal(b"[" * (SMALL.body_bytes + 1))
    assert (413, "body_too_large") == (found.status, found.code)


def test_hostile_bodies_are_refused_without_much_work():
    limits = RequestLimits(rows=100)
    scattered = b'{"records":[' + b"[]," * 20_000 + b"[]]}"
    assert "too_many_parts" == refusal(scattered, limits=limits).code
    keys = b",".join(b'"k%d":1' % i for i in range(20_000))
    assert "duplicate_key" == refusal(b'{"records":[{' + keys + b',"k19999":2}]}', limits=limits).code
    found = refusal({"records": [{"x" * 1_000_000: 1}]}, limits=limits)
    assert len(found.message) + len(found.field) < 600


def test_messages_say_what_the_value_what_is_allowed_and_what_to_do():
    wrong_type = "Column 'x' holds 'one', which is not a number. Send a number, or null where it is missing."
    assert wrong_type == refusal({"records": [{"x": "one", "y y": 1}]}).message
    unknown = refusal({"records": [{**ROWS[0], "colr": "red"}]}, signature=MIXED).message
    assert (
        "Unknown column 'y y'. The model takes: x, n, colour, grade, flag; a row may also bring who, when."
        in unknown
    )
    assert "Did you mean 'colour'?" in refusal({"records": [{**GOOD, "color": 1}]}, signature=MIXED).message


def test_long_values_are_shortened_in_messages():
    assert len(refusal({"records": [{"x": "é" * 900, "y y": 1}]}).message) < 200
    assert len(refusal({"records": [{"x": 1, "y y": 1, "z" * 900: 1}]}).message) < 200


def same(one, two):
    assert (one.n, one.texts, one.context) == (two.n, two.texts, two.context)
    assert (one.ids, one.entities, one.at) == (two.ids, two.entities, two.at)
    assert one.numbers.tobytes() == two.numbers.tobytes()
    assert one.numbers.shape == two.numbers.shape
    assert list(map(type, (*one.texts, *one.context))) == list(map(type, (*two.texts, *two.context)))


def outcome(function, body, signature):
    try:
        return function(body, signature=signature, limits=SMALL)
    except RequestRefused as refused:
        return (refused.status, refused.code, refused.field, refused.message)


def check_body(body):
    """Any bytes give a batch or a refusal, and the quick way the same as the general one."""
    for signature in (NUMBERS, MIXED):
        quick, general = outcome(decode, body, signature), outcome(decode_generally, body, signature)
        if isinstance(general, tuple):
            assert general == quick
            assert 400 <= general[0] < 500
        else:
            same(quick, general)


@given(ANY_BODIES)
@settings(max_examples=300, deadline=None, derandomize=True)
def test_any_bytes_give_a_batch_or_a_refusal(body):
    check_body(body)


@pytest.mark.proof
@given(ANY_BODIES)
@settings(max_examples=10_000, deadline=None, derandomize=True)
def test_ten_thousand_bodies_give_a_batch_or_a_refusal(body):
    check_body(body)


@given(good_rows(MIXED))
@settings(max_examples=150, deadline=None, derandomize=True)
def test_what_was_sent_is_what_is_scored_and_logged(rows):
    for read_body in (decode, decode_generally):
        batch = read_body(dumps({"records": rows}), signature=MIXED, limits=SMALL)
        for row, kept in zip(rows, batch.rows(), strict=True):
            assert row == {name: kept[name] for name in row}


def test_most_usual_bodies_take_the_quick_way():
    row = {"x": 1.5, "y y": 2}
    for form in ("records", "dataframe_records", "dataframe_split"):
        assert NUMBERS.read_fast(dumps(in_form(form, [row], names=["y y", "x"]))) is not None
        assert MIXED.read_fast(dumps(in_form(form, [{**GOOD, "who": "a"}], names=[*GOOD, "who"]))) is not None
    assert MIXED.read_fast(dumps({"records": [GOOD], "ids": ["p"], "at": 3})) is not None
    assert NUMBERS.read_fast(b'{"records":[{"x":1,"x":1,"y y":2}]}') is None


def test_batches_are_joined_and_taken_apart():
    one, two = read({"records": ROWS}), read({"records": ROWS[:1], "ids": ["a"]})
    joined = concat([one, two])
    assert (3, one.rows() + two.rows()) == (joined.n, joined.rows())
    assert (["a"], two.rows()) == (two.take([0]).ids, joined.take([2]).rows())
    with pytest.raises(ValueError, match="No batches"):
        concat([])


def test_default_limits_let_usual_requests_pass():
    assert 1 == decode(dumps({"records": [ROWS[0]]}), signature=NUMBERS, limits=RequestLimits()).n

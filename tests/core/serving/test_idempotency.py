from evergreen.tasks.core.serving.idempotency import (
    IdConflict,
    OutcomeRecord,
    Record,
    find_first,
    place,
    place_outcomes,
)


def row(name, features='{"x":1}', entity="ada", **more):
    values = {"position": 1.0, "version": 1, "variant": "champion", "score": "0.5", "decision": "1"}
    return Record(model="m", prediction_id=name, entity=entity, features=features, **{**values, **more})


def there(*rows):
    return {found[:2]: found for found in rows}


def test_what_is_not_there_is_new():
    placement = place([[row("a")], [row("b"), row("c")]], {})
    assert (placement.fresh, placement.again, placement.refused) == ([0, 1], {}, {})


def test_the_same_request_gets_what_is_stored_whatever_would_be_answered_now():
    stored = row("a", '{"y":null,"x":1.0}', score="0.1", version=1)
    placement = place([[row("a", '{"x":1,"y":null}', score="0.9", version=2, position=7.0)]], there(stored))
    assert placement.again == {0: [stored]}


def test_another_request_under_the_same_id_is_refused_by_that_id():
    stored = there(row("a"), row("b"))
    placement = place([[row("a"), row("b", '{"x":true}')], [row("a", entity=None)]], stored)
    assert placement.refused == {0: "b", 1: "a"}
    assert placement.fresh == []


def test_what_was_sent_is_compared_by_its_digest_where_both_have_one():
    stored = there(row("a", request="d1"), row("b", request="d2"))
    placement = place([[row("a", '{"x":2}', entity=None, request="d1")], [row("b", request="d3")]], stored)
    assert (placement.again, placement.refused) == ({0: [stored["m", "a"]]}, {1: "b"})


def test_without_a_digest_the_features_are_compared_unless_some_are_kept_from_the_log():
    stored = there(row("a"), row("b"), row("c", request="h:d"))
    placement = place([[row("a", request="d")], [row("b", request="h:d")], [row("c")]], stored)
    assert (placement.again, placement.refused) == ({0: [stored["m", "a"]]}, {1: "b", 2: "c"})


def test_first_answers_are_found_by_what_was_sent():
    stored = there(row("a", request="d1"), row("b", request="d2"), row("c"))

    def found(**digests):
        return find_first({("m", name): digest for name, digest in digests.items()}, stored)

    assert found(b="d2", a="d1") == [stored["m", "b"], stored["m", "a"]]
    assert found(x="d1") is None
    assert found(c="d1") is None
    for other, taken in (({"a": "d2"}, "a"), ({"a": "d1", "b": "d1"}, "b"), ({"a": "d1", "x": "d9"}, "x")):
        refused = found(**other)
        assert isinstance(refused, IdConflict)
        assert refused.prediction_id == taken


def test_a_request_that_is_there_in_part_is_refused_whole():
    placement = place([[row("a"), row("b")]], there(row("b")))
    assert (placement.fresh, placement.refused) == ([], {0: "b"})


def test_the_second_of_two_equal_requests_finds_the_first():
    first = [row("a", score="0.1")]
    placement = place([first, [row("a", score="0.9")], [row("a", '{"x":2}')]], {})
    assert (placement.fresh, placement.again, placement.refused) == ([0], {1: first}, {2: "a"})


def test_a_refused_request_leaves_its_new_ids_free_for_the_next():
    placement = place([[row("a"), row("b")], [row("b", '{"x":2}')]], there(row("a")))
    assert (placement.fresh, placement.refused) == ([1], {0: "a"})


def test_outcomes_are_placed_one_by_one():
    def known(name, outcome, known_at=1.0):
        return OutcomeRecord("m", name, outcome, known_at)

    fresh, counts = place_outcomes(
        [[known("a", "1"), known("b", "0"), known("b", "0.0", 9.0)], [known("a", "true"), known("c", '"x"')]],
        {("m", "b"): known("b", "0")},
    )
    assert [each.prediction_id for each in fresh] == ["a", "c"]
    assert counts == [(1, 2, ()), (1, 0, ("a",))]

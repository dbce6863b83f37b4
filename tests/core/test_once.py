from tasks.core.serving.once import OutcomeRecord, Record, place, place_outcomes


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

import pytest

from evergreen.tasks.core.challenge.comparison import Contestants, choose_contestants
from evergreen.tasks.core.errors import NotLearnable


def choose(aliases, tags=None):
    return choose_contestants(model="fraud", aliases=aliases, tags=tags or {})


def test_challenger_meets_the_champion():
    assert Contestants(challenger=3, champion=1) == choose({"challenger": 3, "champion": 1})


def test_on_an_empty_throne_nobody_defends():
    assert () == choose({"challenger": 1}).defenders


def test_a_refitted_champion_brings_its_judged_twin():
    opponents = choose({"challenger": 3, "champion": 2}, {1: {}, 2: {"evergreen.evaluated_as": "1"}})
    assert (2, 1) == opponents.defenders


@pytest.mark.parametrize(
    ("aliases", "tags", "code"),
    [
        ({}, {}, "no_challenger"),
        ({"candidate": 2}, {2: {"validation_status": "pending"}}, "not_validated"),
        ({"candidate": 2}, {2: {"validation_status": "rejected"}}, "rejected"),
        ({"candidate": 2, "champion": 2}, {2: {"validation_status": "approved"}}, "no_challenger"),
        ({"challenger": 2, "champion": 2}, {}, "already_champion"),
        (
            {"challenger": 2, "candidate": 3, "champion": 1},
            {3: {"validation_status": "rejected"}},
            "rejected",
        ),
    ],
)
def test_without_an_approved_challenger_the_reason_is_named(aliases, tags, code):
    with pytest.raises(NotLearnable) as caught:
        choose(aliases, tags)
    assert code == caught.value.reason_code


def test_a_rejected_candidate_carries_the_reason_of_the_gate():
    tags = {2: {"validation_status": "rejected", "evergreen.rejected_for": "below_floor"}}
    with pytest.raises(NotLearnable, match="below_floor"):
        choose({"candidate": 2}, tags)


def test_a_twin_that_was_deleted_does_not_defend():
    opponents = choose({"challenger": 3, "champion": 2}, {2: {"evergreen.evaluated_as": "1"}, 3: {}})
    assert (2,) == opponents.defenders


def test_a_version_does_not_challenge_its_own_refit():
    with pytest.raises(NotLearnable, match="refit") as caught:
        choose({"challenger": 1, "champion": 2}, {1: {}, 2: {"evergreen.evaluated_as": "1"}})
    assert "already_champion" == caught.value.reason_code


def test_an_older_rejected_candidate_does_not_bar_the_challenger():
    opponents = choose(
        {"challenger": 3, "candidate": 2, "champion": 1}, {2: {"validation_status": "rejected"}, 1: {}}
    )
    assert 3 == opponents.challenger


def test_a_newer_candidate_that_waits_for_its_gate_does_not_bar_the_challenger():
    opponents = choose({"challenger": 2, "candidate": 3}, {3: {"validation_status": "pending"}})
    assert 2 == opponents.challenger

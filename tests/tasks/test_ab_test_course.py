"""What befalls a live test between its creation and its end, on a real MLflow store, ledger and log."""

from dataclasses import replace

import pytest

import evergreen.tasks.ab_test
import evergreen.tasks.core.ab_testing.ledger
import evergreen.tasks.io.live_tests
from evergreen.tasks.ab_test import (
    GRACE_S,
    close_test,
    create_test,
    evaluate_test,
    finish_creation,
    open_test,
    promote_tested_version,
    settle_tests,
)
from evergreen.tasks.core.ab_testing.analysis import Action, Conclusion
from evergreen.tasks.core.errors import InputError, NotLearnable
from evergreen.tasks.core.verdict import State
from evergreen.tasks.io.live_tests import (
    abort_test,
    evaluate_now,
    now_on_clock,
    read_tests,
    share_traffic,
    show_test,
)
from evergreen.tasks.io.prediction_log.records import Prediction
from evergreen.tasks.io.traffic import read_traffic, set_variants, stop_variants
from evergreen.tasks.promotion import Promoter
from tests.support.champions import alpha_spent
from tests.support.stores import STRONG, WEAK
from tests.tasks.test_ab_test import START, YES, answer, begin, champion_of, later, look, serve, stores

__all__ = ["stores"]

KEEP = Conclusion(action=Action.KEEP, reasons=())


def challengers(setup):
    return [one.name for one in read_traffic(setup.stores.ledger, setup.model).plan.challengers]


class Dies(BaseException):
    """A process that ends here."""


def dies(*_, **__):
    raise Dies


def won(stores, monkeypatch, **promotion):
    """Return a model, its test and the judgement that it is won."""
    setup = begin(stores)
    if promotion:
        setup = stores.setup(
            promotion={"evidence": "ab", **promotion}, live=setup.config.live.model_dump(mode="json")
        )
    create_test(setup)
    serve(setup, monkeypatch, champion=0.6, challenger=0.9)
    state, judged = look(setup)
    assert State.WON is judged.state
    monkeypatch.setattr(evergreen.tasks.ab_test, "evaluate_test", evaluate_test.fn)
    return setup, state, judged


@pytest.mark.parametrize("by", ["the next look", "abort", "reconcile"])
def test_arms_of_a_test_whose_end_was_half_written_are_ended_by_whoever_comes_next(stores, monkeypatch, by):
    setup = begin(stores)
    create_test(setup)
    with monkeypatch.context() as patch:
        patch.setattr(evergreen.tasks.io.live_tests, "settle_arms", dies)
        with pytest.raises(Dies):
            abort_test(setup, why="It harms.")
    assert ["v2"] == challengers(setup)
    if by == "the next look":
        with pytest.raises(NotLearnable, match="No live test"):
            open_test.fn(setup)
    elif by == "abort":
        told = abort_test(setup, why="It harms.")
        assert ["test_over", "traffic_reverted"] == [reason["code"] for reason in told["reasons"]]
    else:
        done = settle_tests.fn(
            setup, Promoter(setup.stores.registry, setup.stores.ledger, setup.model).reconcile()
        )
        assert "traffic_reverted" == done.reasons[-1].code
    assert [] == challengers(setup)
    set_variants(setup, challengers=["v2=2@50%"], shadows=[])  # by a person, in place of them
    with pytest.raises(NotLearnable, match="No live test"):
        open_test.fn(setup)
    assert ["v2"] == challengers(setup)


def test_an_abort_says_who_was_faster(stores, monkeypatch):
    setup = begin(stores)
    create_test(setup)
    real = evergreen.tasks.io.live_tests.end_test

    def late(setup, test, ended, *, by):
        real(setup, test, KEEP, by="ab-test")
        return real(setup, test, ended, by=by)

    monkeypatch.setattr(evergreen.tasks.io.live_tests, "end_test", late)
    with pytest.raises(InputError, match=r"is over \(keep, by ab-test"):
        abort_test(setup, why="It harms.")
    assert "keep" == read_tests(setup)[0].status


def test_a_winner_whose_test_was_aborted_while_the_form_waited_is_not_promoted(stores, monkeypatch):
    setup, state, judged = won(stores, monkeypatch)
    abort_test(setup, why="Its answers harm.")
    promoted = promote_tested_version(setup, state, judged, YES)
    assert (State.BLOCKED, WEAK) == (promoted.state, champion_of(setup))
    assert ("test_over", True) == (
        promoted.reasons[-1].code,
        "Its answers harm" in promoted.reasons[-1].message,
    )


def test_a_winner_that_the_guardrails_sent_back_while_the_form_waited_is_not_promoted(stores, monkeypatch):
    setup, state, judged = won(stores, monkeypatch)
    stop_variants(setup, why="p99 is 2 s")
    promoted = promote_tested_version(setup, state, judged, YES)
    assert (State.BLOCKED, "test_void", WEAK) == (
        promoted.state,
        promoted.reasons[-1].code,
        champion_of(setup),
    )
    state, again = look(setup)
    close_test.fn(setup, state, again)
    assert (State.ABORTED, "abort") == (again.state, read_tests(setup)[0].status)


def test_rows_that_came_while_the_form_waited_may_still_refuse_the_winner(stores, monkeypatch):
    setup, state, judged = won(stores, monkeypatch, approval="manual")
    rows = [
        Prediction(
            prediction_id=f"late-{i}",
            position=START.timestamp() + 86_400 + i,
            features={"noise": 0.1},
            version=STRONG,
            variant="v2",
            score=0.1,
            decision="no",
        )
        for i in range(2_000)
    ]
    setup.stores.log.append_predictions(setup.model, rows, at=START)
    later(monkeypatch, hours=30)
    refused = promote_tested_version(setup, state, judged, YES)
    assert (State.ABORTED, WEAK) == (refused.state, champion_of(setup))
    assert "sample_ratio_mismatch" in [reason.code for reason in refused.reasons]
    close_test.fn(setup, state, refused)
    assert ("abort", []) == (read_tests(setup)[0].status, challengers(setup))


def test_a_winner_that_a_person_approves_is_promoted_on_the_newest_rows(stores, monkeypatch):
    setup, state, judged = won(stores, monkeypatch, approval="manual")
    assert State.PROMOTED is promote_tested_version(setup, state, judged, YES).state
    assert 2 == len(read_tests(setup)[0].analyses)


def test_a_champion_of_an_hour_voids_the_test(stores, monkeypatch):
    setup = begin(stores)
    create_test(setup)
    serve(setup, monkeypatch, champion=0.6, challenger=0.9)
    registry, ledger = setup.stores.registry, setup.stores.ledger
    Promoter(registry, ledger, setup.model).reconcile()
    Promoter(registry, ledger, setup.model).promote(version=STRONG, reason="by hand")
    Promoter(registry, ledger, setup.model).rollback(reason="worse")
    assert WEAK == champion_of(setup)
    _, judged = look(setup)
    assert (State.ABORTED, "champion_moved") == (judged.state, judged.reasons[0].code)


def test_a_trip_between_two_looks_is_not_forgotten(stores, monkeypatch):
    setup = begin(stores)
    create_test(setup)
    serve(setup, monkeypatch, champion=0.6, challenger=0.9)
    stop_variants(setup, why="p99 is 2 s")
    set_variants(setup, challengers=["v2=2@50%"], shadows=[])
    _, judged = look(setup)
    assert (State.ABORTED, "stopped_by_hand") == (judged.state, judged.reasons[0].code)


def test_what_another_version_answered_under_the_name_of_an_arm_does_not_count(stores, monkeypatch):
    setup = begin(stores)
    create_test(setup)
    serve(setup, monkeypatch, champion=0.6, challenger=0.9)
    before = evaluate_now(setup, read_tests(setup)[0].test).analysis
    row = {"position": START.timestamp() + GRACE_S + 2, "features": {"noise": 0.1}, **answer(True, "yes")}
    others = [
        Prediction(prediction_id=f"other-{i}", version=3, variant=name, **row)
        for i, name in enumerate(["champion", "v2"] * 20)
    ]
    setup.stores.log.append_predictions(setup.model, others, at=START)
    assert before.to_dict() == evaluate_now(setup, read_tests(setup)[0].test).analysis.to_dict()


def test_a_test_counts_from_when_its_traffic_was_shared_however_late_that_was(stores, monkeypatch):
    setup = begin(stores)
    with monkeypatch.context() as patch:
        patch.setattr(evergreen.tasks.io.live_tests, "share_traffic", shares_only_dry)
        with pytest.raises(Dies):
            create_test(setup)
    assert ([0.0125], []) == (alpha_spent(setup), challengers(setup))
    assert ("begin", "not_begun") == (show_test(setup)["action"], show_test(setup)["reasons"][0]["code"])
    with pytest.raises(NotLearnable, match="has not begun"):
        open_test.fn(setup, dry_run=True)
    later(monkeypatch, hours=5)
    state = open_test.fn(setup)
    assert START.timestamp() + 5 * 3600 + GRACE_S == state.test.start
    assert ([0.0125], ["v2"]) == (alpha_spent(setup), challengers(setup))
    assert state == open_test.fn(setup)


def shares_only_dry(setup, test, *, dry_run=False):
    if not dry_run:
        raise Dies
    share_traffic(setup, test, dry_run=True)


def test_of_two_who_create_at_once_one_spends(stores, monkeypatch):
    setup = begin(stores)
    real, raced = evergreen.tasks.core.ab_testing.ledger.create_payload, []

    def slow(history, test, marks):
        if not raced:
            raced.append(True)
            create_test(setup, name="faster")
        return real(history, test, marks)

    monkeypatch.setattr(evergreen.tasks.core.ab_testing.ledger, "create_payload", slow)
    with pytest.raises(InputError, match="'faster' of this model is running"):
        create_test(setup, name="slower")
    assert ([0.0125], ["faster"]) == (alpha_spent(setup), [state.test.name for state in read_tests(setup)])


def test_a_test_whose_alpha_went_to_another_meanwhile_is_ended_before_it_began(stores, monkeypatch):
    setup = begin(stores)
    with monkeypatch.context() as patch:
        patch.setattr(evergreen.tasks.ab_test, "finish_creation", dies)
        with pytest.raises(Dies):
            create_test(setup, alpha=0.04)
    gone = {"alpha": 0.03, "left_after": 0.02}
    setup.stores.ledger.append(model=setup.model, stream="alpha", kind="look", payload=gone, at=START)
    with pytest.raises(InputError, match="was ended before it began"):
        open_test.fn(setup)
    assert ("abort", [0.03], []) == (read_tests(setup)[0].status, alpha_spent(setup), challengers(setup))


def test_arms_that_were_shared_after_an_abort_are_taken_back_at_once(stores, monkeypatch):
    setup = begin(stores)
    with monkeypatch.context() as patch:
        patch.setattr(evergreen.tasks.ab_test, "finish_creation", dies)
        with pytest.raises(Dies):
            create_test(setup)
    stale = read_tests(setup)[0]
    abort_test(setup, why="stop")
    assert "abort" == finish_creation(setup, stale).status
    assert ([], None) == (challengers(setup), read_tests(setup)[0].begun_at)


def test_a_batch_does_not_move_the_present_of_a_test(stores):
    setup = begin(stores)
    data = setup.config.data.model_copy(update={"clock": "rows"})
    setup = replace(setup, config=setup.config.model_copy(update={"data": data}))
    row = {"features": {"noise": 0.1}, "version": WEAK, **answer(True, "yes")}
    said = [
        Prediction(prediction_id=f"p{i}", position=place, variant=variant, **row)
        for i, (place, variant) in enumerate([(5.0, "champion"), (7.0, "v2"), (900.0, "batch")])
    ]
    setup.stores.log.append_predictions(setup.model, said, at=START)
    assert (5.0, 7.0) == (now_on_clock(setup), now_on_clock(setup, ["champion", "v2"]))


@pytest.mark.parametrize("path", ["ab", "shadow"])
def test_a_version_that_the_gate_has_not_approved_is_not_tested(stores, path):
    setup = begin(stores, path=path)
    setup.stores.registry.set_tags(setup.model, STRONG, {"validation_status": "rejected"})
    for challenger in (None, STRONG):
        with pytest.raises(InputError, match=r"'rejected'.*evergreen validate .* --version 2"):
            create_test(setup, challenger=challenger)
    assert ([], ()) == (alpha_spent(setup), read_tests(setup))

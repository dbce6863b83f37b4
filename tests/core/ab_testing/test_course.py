"""The course of a live test: what follows from a look, and its state folded from the ledger."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from evergreen.tasks.core.ab_testing.analysis import Action, Conclusion, conclude
from evergreen.tasks.core.ab_testing.definition import Arm, Guardrail
from evergreen.tasks.core.ab_testing.evidence import gather_evidence, observe
from evergreen.tasks.core.ab_testing.ledger import (
    AB,
    ABORTED,
    ANALYSED,
    CONCLUDED,
    CREATED,
    alpha_payload,
    analysis_payload,
    create_payload,
    end_payload,
    find_test,
    fold_tests,
    live_alpha,
    running_test,
)
from evergreen.tasks.core.ab_testing.metric import live_metric
from evergreen.tasks.core.challenge.alpha import ALPHA
from evergreen.tasks.core.errors import InputError, UnknownName
from evergreen.tasks.core.promotion.ledger import next_entry
from evergreen.tasks.core.verdict import Reason
from tests.support.live_tests import DAY, live_test, look, pairs, two_arms

START = datetime(2026, 3, 1, tzinfo=UTC)


def found(challenger=0.8, *, test=None, now=10 * DAY, n=4_000, seed=0, **more):
    return look(
        test or live_test(),
        two_arms(np.random.default_rng(seed), n=n, challenger=challenger),
        now=now,
        **more,
    )


def codes(conclusion):
    return [reason.code for reason in conclusion.reasons]


def test_a_superior_challenger_is_promoted():
    ended = conclude(live_test(), found(), champion=1)
    assert (Action.PROMOTE, 2, True) == (ended.action, ended.winner.version, ended.ends)


@pytest.mark.parametrize("challenger", [0.6, 0.7])
def test_an_inferior_or_equivalent_challenger_leaves_the_champion(challenger):
    ended = conclude(live_test(), found(challenger, n=40_000), champion=1)
    assert (Action.KEEP, None) == (ended.action, ended.winner)


def test_an_undecided_test_goes_on_until_its_longest_duration_and_follow_up():
    test = live_test(follow_up=2 * DAY)
    seen = {now: found(0.72, test=test, now=now, n=600) for now in (10 * DAY, 31 * DAY, 32 * DAY)}
    assert [Action.GO_ON, Action.GO_ON, Action.EXPIRE] == [
        conclude(test, one, champion=1).action for one in seen.values()
    ]
    assert "expired" == codes(conclude(test, seen[32 * DAY], champion=1))[0]


def test_a_moved_champion_voids_the_evidence():
    for champion in (7, None):
        ended = conclude(live_test(), found(), champion=champion)
        assert (Action.ABORT, ["champion_moved"]) == (ended.action, codes(ended))


def test_a_guardrail_ends_a_test_that_would_be_won():
    tripped = Reason(code="latency", message="p99 is 2 s.")
    ended = conclude(live_test(), found(), champion=1, tripped=[tripped])
    assert (Action.ABORT, ["latency"]) == (ended.action, codes(ended))
    test = live_test(guardrails=(Guardrail(metric="accuracy", most_worse=0.02),))
    rng = np.random.default_rng(1)
    harm = gather_evidence(
        observe(two_arms(rng, challenger=0.5), live_metric("accuracy", problem="binary")), test, now=DAY
    )
    ended = conclude(test, found(test=test, guards={"accuracy": harm}), champion=1)
    assert (Action.ABORT, ["guardrail"]) == (ended.action, codes(ended))


def test_a_wrong_split_ends_a_test():
    test = live_test(share=0.3)
    ended = conclude(test, found(test=test), champion=1)
    assert (Action.ABORT, ["sample_ratio_mismatch"]) == (ended.action, codes(ended))


def test_a_shadow_is_promoted_by_pairs():
    test = live_test("paired")
    ended = conclude(test, look(test, pairs(np.random.default_rng(2))), champion=1)
    assert (Action.PROMOTE, "new") == (ended.action, ended.winner.name)


def test_an_ensemble_may_win_and_is_not_promoted():
    test = live_test(challengers=(Arm(name="blend", version=None, share=0.5),))
    answered = two_arms(np.random.default_rng(3))
    renamed = np.where(answered.variants == "new", "blend", "champion").astype(object)
    columns = {name: getattr(answered, name) for name in ("keys", "units", "positions", "known_at", "scored")}
    seen = look(test, type(answered)(variants=renamed, **columns))
    assert seen.results[0].promotes
    assert Action.GO_ON == conclude(test, seen.__class__(**{**vars(seen), "now": DAY}), champion=1).action


class Book:
    """Entries of one model, appended by hand."""

    def __init__(self):
        self.entries = []

    @property
    def alphas(self):
        return [entry for entry in self.entries if entry.stream == ALPHA]

    def add(self, kind, payload, *, stream=AB, days=0):
        last = [e for e in self.entries if e.stream == stream]
        entry = next_entry(
            last[-1] if last else None,
            model="m",
            stream=stream,
            at=START + timedelta(days=days),
            kind=kind,
            payload=payload,
        )
        self.entries.append(entry)
        return entry


def test_a_test_is_told_by_its_entries():
    book, test = Book(), live_test()
    book.add(CREATED, create_payload(book.entries, test))
    assert test == running_test(fold_tests(book.entries)).test
    for day, n in ((1, 300), (2, 4_000)):
        book.add(ANALYSED, analysis_payload(test, found(n=n, now=day * DAY)), days=day)
    state = find_test(fold_tests(book.entries), None)
    assert ("running", 2) == (state.status, len(state.analyses))
    trace = state.trace("new")
    assert [DAY, 2 * DAY] == [point["now"] for point in trace]
    assert [300, 4_000] == [point["n"] for point in trace]
    assert ["undecided", "superior"] == [point["verdict"] for point in trace]
    assert all(point["low"] < point["improvement"] < point["high"] for point in trace)
    ended = conclude(test, found(), champion=1)
    book.add(CONCLUDED, end_payload(test, ended, by="ab-test"), days=3)
    state = find_test(fold_tests(book.entries), "spring")
    assert ("promote", START + timedelta(days=3), "ab-test") == (
        state.status,
        state.ended_at,
        state.ended["by"],
    )
    assert running_test(fold_tests(book.entries)) is None


def test_the_first_end_of_a_test_stands():
    book, test = Book(), live_test()
    book.add(CREATED, create_payload(book.entries, test))
    aborted = Conclusion(action=Action.ABORT, reasons=(Reason(code="by_hand", message="stop"),))
    book.add(ABORTED, end_payload(test, aborted, by="ana"))
    book.add(CONCLUDED, end_payload(test, conclude(test, found(), champion=1), by="ab-test"))
    assert "abort" == find_test(fold_tests(book.entries), "spring").status


def test_one_test_runs_at_a_time_and_names_are_used_once():
    book, test = Book(), live_test()
    book.add(CREATED, create_payload(book.entries, test))
    with pytest.raises(InputError, match="'spring' of this model is running"):
        create_payload(book.entries, live_test(name="summer"))
    aborted = Conclusion(action=Action.ABORT, reasons=())
    book.add(ABORTED, end_payload(test, aborted, by="ana"))
    with pytest.raises(InputError, match="'spring' was there before"):
        create_payload(book.entries, test)
    book.add(CREATED, create_payload(book.entries, live_test(name="summer")))
    assert "summer" == find_test(fold_tests(book.entries), None).test.name


def test_unknown_tests_are_named():
    book = Book()
    with pytest.raises(InputError, match="No live test"):
        find_test(fold_tests(book.entries), None)
    book.add(CREATED, create_payload(book.entries, live_test()))
    with pytest.raises(UnknownName, match="Did you mean 'spring'"):
        find_test(fold_tests(book.entries), "sprig")


def test_looks_without_numbers_can_be_kept():
    book, test = Book(), live_test()
    book.add(CREATED, create_payload(book.entries, test))
    book.add(ANALYSED, analysis_payload(test, found(n=0)))
    assert fold_tests(book.entries)[0].trace("new")[0]["low"] is None


def test_a_live_test_spends_like_one_look_of_the_models_budget():
    book, test = Book(), live_test()
    first = live_alpha(book.entries, now=START, level=0.05)
    assert 0.0125 == first.alpha
    book.add(CREATED, create_payload(book.entries, test))
    (state,) = fold_tests(book.entries)
    book.add("look", alpha_payload(first, state), stream=ALPHA)
    asked = live_alpha(book.alphas, now=START, level=0.05, wanted=0.03)
    assert (0.03, 0.0075) == pytest.approx((asked.alpha, asked.left_after))
    book.add("look", alpha_payload(asked, state), stream=ALPHA)
    with pytest.raises(InputError, match=r"0\.0075 of 0\.05 is left"):
        live_alpha(book.alphas, now=START, level=0.05, wanted=0.03)
    assert 0.05 == pytest.approx(
        live_alpha(book.alphas, now=START + timedelta(days=91), level=0.05).left_before
    )

"""Whether a retraining starts: what asks, what holds, when the next may start."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evergreen.tasks.core.config.quiet_hours import parse_quiet_hours
from evergreen.tasks.core.config.units import parse_span
from evergreen.tasks.core.retraining.decide import decide_retrain
from evergreen.tasks.core.retraining.history import Attempt, Pause, RetrainHistory
from evergreen.tasks.core.retraining.types import (
    MANUAL,
    MOST_BACK_OFF,
    Cause,
    Labels,
    Moment,
    RetrainingRequest,
    RetrainPolicy,
)
from evergreen.tasks.core.verdict import State

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
DRIFT = Cause(trigger="data", name="age", message="age moved", size=0.3, limit=0.0, since="2026-02-28")
BY_HAND = Cause(trigger=MANUAL, message="Asked for by hand.")
POLICY = RetrainPolicy(triggers=frozenset({"data", "performance"}), cooldown=HOUR)


def attempt(ago=DAY, state=State.PROMOTED, *, labelled_to=100.0, version=1, **options):
    return Attempt(
        claim="m/retraining/1",
        at=NOON - ago,
        state=state,
        labelled_to=labelled_to,
        version=version,
        **options,
    )


def decide(*causes, history=(), policy=POLICY, labels=200, rolled_back=(), pause=None, **asked):
    known = RetrainHistory(attempts=tuple(history), rolled_back=frozenset(rolled_back), pause=pause)
    wanted = RetrainingRequest(causes=causes, labels=Labels(positions=np.arange(float(labels))), **asked)
    return decide_retrain(Moment(at=NOON), known, wanted, policy)


def codes(decision):
    return [reason.code for reason in decision.reasons]


def test_an_alarm_starts_a_first_retraining_and_says_when_the_next_may_start():
    decision = decide(DRIFT)
    assert decision.starts
    assert codes(decision) == ["data"]
    assert decision.next_allowed_at == NOON + HOUR


def test_nothing_starts_where_nothing_asks():
    decision = decide()
    assert (decision.outcome, codes(decision)) == ("hold", ["not_due"])


def test_windows_that_could_not_be_judged_are_insufficient_and_never_no_drift():
    assert (decide(judged=False).outcome, codes(decide(judged=False))) == ("insufficient", ["not_judged"])
    assert decide(DRIFT, judged=False).starts


def test_the_cooldown_holds_whoever_asks():
    recent = [attempt(HOUR / 2)]
    for cause in (DRIFT, BY_HAND):
        decision = decide(cause, history=recent)
        assert (decision.outcome, codes(decision)) == ("hold", ["cooldown"])
        assert decision.next_allowed_at == NOON + HOUR / 2


def test_it_ends_to_the_second():
    assert decide(DRIFT, history=[attempt(HOUR)]).starts
    assert not decide(DRIFT, history=[attempt(HOUR - timedelta(seconds=1))]).starts


@pytest.mark.parametrize(
    "state", [State.FAILED, State.CHAMPION_KEPT, State.REJECTED, State.INSUFFICIENT_DATA, State.INPUT_ERROR]
)
def test_attempts_that_did_not_help_double_the_wait(state):
    # one: 2 h, two: 4 h, three: 8 h, and never more than 8 times the cooldown
    for count, factor in ((1, 2), (2, 4), (3, 8), (6, 8)):
        past = [attempt(DAY * (9 - place), state) for place in range(count - 1)]
        before = decide(BY_HAND, history=[*past, attempt(HOUR * factor - timedelta(seconds=1), state)])
        after = decide(BY_HAND, history=[*past, attempt(HOUR * factor, state)])
        assert codes(before) == ["back_off"]
        assert before.next_allowed_at == NOON + timedelta(seconds=1)
        assert after.starts


@pytest.mark.parametrize(
    ("count", "said"),
    [
        (0, "the cooldown of 14d is not over."),
        (1, "the cooldown of 14d, multiplied by 2 because 1 retraining in a row brought no new champion "),
        (2, "the cooldown of 14d, multiplied by 4 because 2 retrainings in a row brought no new champion "),
    ],
)
def test_a_lengthened_cooldown_names_the_back_off(count, said):
    policy = RetrainPolicy(triggers=frozenset({"data"}), cooldown=14 * DAY)
    states = [State.CHAMPION_KEPT] * count or [State.PROMOTED]
    past = [attempt(DAY * (len(states) - place), state) for place, state in enumerate(states)]
    (reason,) = decide(BY_HAND, history=past, policy=policy).reasons
    assert "cooldown" == reason.code
    assert said in reason.message
    assert ("retraining.back_off" in reason.message) == (count > 0)


def test_what_asks_by_itself_may_start_no_sooner_than_a_person():
    # one refused challenger: the date comes after 14 days, the doubled cooldown ends after 28
    both = RetrainPolicy(triggers=frozenset({"data", "periodic"}), every=parse_span("14d"), cooldown=14 * DAY)
    history = [attempt(HOUR, State.CHAMPION_KEPT, alarms=(DRIFT,))]
    by_hand = decide(BY_HAND, history=history, policy=both)
    stale, quiet = decide(DRIFT, history=history, policy=both), decide(history=history, policy=both)
    assert (["cooldown", "hysteresis"], ["not_due", "cooldown"]) == (codes(stale), codes(quiet))
    assert {NOON - HOUR + 28 * DAY} == {one.next_allowed_at for one in (by_hand, stale, quiet)}
    (later,) = quiet.reasons[1:]
    assert by_hand.reasons == (later,)


def test_a_retraining_that_helped_ends_the_back_off():
    past = [attempt(3 * DAY, State.FAILED), attempt(2 * DAY, State.FAILED), attempt(HOUR)]
    assert decide(DRIFT, history=past).starts


def test_one_whose_champion_was_rolled_back_did_not_help():
    history = [attempt(HOUR * 1.5, version=7)]
    held = decide(DRIFT, history=history, rolled_back={7}, labels=400)
    assert codes(held) == ["back_off"]


def test_the_budget_counts_starts_of_thirty_days():
    policy = RetrainPolicy(triggers=frozenset({"data"}), cooldown=HOUR, max_per_30d=2)
    two = [attempt(29 * DAY), attempt(5 * DAY)]
    held = decide(DRIFT, history=two, policy=policy)
    assert codes(held) == ["budget"]
    assert held.next_allowed_at == NOON + DAY
    assert decide(DRIFT, history=[attempt(31 * DAY), attempt(5 * DAY)], policy=policy).starts


def test_quiet_hours_hold_what_asks_by_itself_and_not_a_person():
    policy = RetrainPolicy(triggers=frozenset({"data"}), quiet_hours=(parse_quiet_hours("11:00-13:30"),))
    held = decide(DRIFT, policy=policy)
    assert codes(held) == ["quiet_hours"]
    assert held.next_allowed_at == NOON + timedelta(hours=1.5)
    assert decide(BY_HAND, policy=policy).starts


def test_everything_that_holds_is_said_and_the_last_to_end_counts():
    policy = RetrainPolicy(
        triggers=frozenset({"data"}),
        cooldown=HOUR,
        max_per_30d=1,
        quiet_hours=(parse_quiet_hours("11:00-13:30"),),
    )
    held = decide(DRIFT, history=[attempt(HOUR / 2)], policy=policy)
    assert codes(held) == ["cooldown", "budget", "quiet_hours"]
    assert held.next_allowed_at == NOON - HOUR / 2 + 30 * DAY


def test_force_overrides_what_yields_and_says_so():
    forced = decide(BY_HAND, history=[attempt(HOUR / 2)], forced="the feed was mended")
    assert forced.starts
    assert codes(forced) == ["manual", "forced"]
    assert "the feed was mended" in forced.reasons[1].message


def test_force_overrides_no_pause_no_switch_and_no_running_one():
    pause = Pause(at=NOON - DAY, why="audit")
    disabled = RetrainPolicy(run_mode="disabled")
    running = [attempt(HOUR / 4, None)]
    assert codes(decide(BY_HAND, pause=pause, forced="x")) == ["paused"]
    assert codes(decide(BY_HAND, policy=disabled, forced="x")) == ["disabled"]
    held = decide(BY_HAND, history=running, forced="x")
    assert codes(held) == ["in_progress"]
    assert held.next_allowed_at == NOON + HOUR * 3 / 4


def test_a_pause_has_no_end_that_time_alone_brings():
    assert decide(DRIFT, pause=Pause(at=NOON, why="audit")).next_allowed_at is None


def test_an_alarm_that_a_refused_challenger_has_answered_asks_again_only_when_it_has_grown():
    history = [attempt(2 * DAY, State.CHAMPION_KEPT, alarms=(DRIFT,))]
    grown = Cause(**{**vars(DRIFT), "size": 0.45})
    anew = Cause(**{**vars(DRIFT), "since": "2026-03-01"})
    assert codes(decide(DRIFT, history=history)) == ["hysteresis"]
    soon = [attempt(HOUR / 2, State.CHAMPION_KEPT, alarms=(DRIFT,))]
    assert codes(decide(DRIFT, history=soon)) == ["cooldown", "hysteresis"]
    assert decide(grown, history=history).starts  # 0.45 is 1.5 times 0.3
    assert decide(anew, history=history).starts
    assert decide(BY_HAND, history=history).starts
    assert decide(DRIFT, history=[attempt(2 * DAY, State.FAILED, alarms=(DRIFT,))]).starts


def test_without_a_new_label_a_retraining_would_learn_the_same():
    same = [attempt(2 * DAY, labelled_to=199.0)]
    held = decide(DRIFT, history=same, labels=200)
    assert (held.outcome, codes(held)) == ("insufficient", ["no_new_labels"])
    assert decide(BY_HAND, history=same, labels=200).starts
    assert decide(DRIFT, history=same, labels=201).starts


def test_the_data_of_a_version_that_was_rolled_back_from_may_not_challenge_again():
    policy = RetrainPolicy(triggers=frozenset({"data"}), cooldown=HOUR, fresh_rows=50)
    undone = [attempt(2 * DAY, version=7, labelled_to=199.0)]
    held = decide(DRIFT, history=undone, policy=policy, rolled_back={7}, labels=249)
    assert codes(held) == ["rolled_back_data"]
    assert (held.reasons[0].observed, held.next_allowed_at) == (49, None)
    assert decide(DRIFT, history=undone, policy=policy, rolled_back={7}, labels=250).starts
    assert decide(BY_HAND, history=undone, policy=policy, rolled_back={7}, labels=249, forced="known").starts


def test_periodic_is_due_after_the_last_retraining_or_the_promotion():
    policy = RetrainPolicy(triggers=frozenset({"periodic"}), every=parse_span("30d"))
    assert decide(policy=policy).starts  # there is no champion yet
    waiting = decide(policy=policy, champion_since=NOON - 29 * DAY)
    assert (codes(waiting), waiting.next_allowed_at) == (["not_due"], NOON + DAY)
    assert codes(decide(policy=policy, champion_since=NOON - 30 * DAY)) == ["periodic"]
    refused = [attempt(20 * DAY, State.CHAMPION_KEPT)]
    assert codes(decide(policy=policy, champion_since=NOON - 90 * DAY, history=refused)) == ["not_due"]


def test_labels_and_a_period_in_rows_count_what_was_labelled_since():
    by_labels = RetrainPolicy(triggers=frozenset({"labels"}), min_new_rows=99)
    by_rows = RetrainPolicy(triggers=frozenset({"periodic"}), every=parse_span("99 rows"))
    for policy in (by_labels, by_rows):
        assert decide(
            policy=policy, history=[attempt(DAY, labelled_to=100.0)], labels=200
        ).starts  # 101 to 199
        assert codes(decide(policy=policy, history=[attempt(DAY, labelled_to=101.0)], labels=200)) == [
            "not_due"
        ]


def test_the_newest_change_among_causes_and_attempts_is_handed_on():
    placed = Cause(**{**vars(DRIFT), "position": 150.0})
    assert decide(placed).change_at == 150.0
    assert decide(BY_HAND, history=[attempt(change_at=120.0)]).change_at == 120.0
    assert decide(BY_HAND).change_at is None


@given(
    ago=st.lists(st.integers(1, 40 * 24), max_size=6),
    states=st.lists(
        st.sampled_from([State.PROMOTED, State.CHAMPION_KEPT, State.FAILED, State.INSUFFICIENT_DATA]),
        min_size=6,
        max_size=6,
    ),
    budget=st.none() | st.integers(1, 3),
)
def test_whatever_happened_no_start_lies_within_the_cooldown_and_waiting_as_told_is_enough(
    ago, states, budget
):
    policy = RetrainPolicy(triggers=frozenset({"data"}), cooldown=12 * HOUR, max_per_30d=budget)
    hours = sorted(ago, reverse=True)
    history = [attempt(HOUR * each, state) for each, state in zip(hours, states, strict=False)]
    decision = decide(DRIFT, history=history, policy=policy)
    if decision.starts:
        assert all(NOON - one.at >= policy.cooldown for one in history)
        return
    assert decision.next_allowed_at > NOON
    assert decision.next_allowed_at <= NOON + max(policy.cooldown * MOST_BACK_OFF, 30 * DAY)
    later = Moment(at=decision.next_allowed_at)
    asked = RetrainingRequest(causes=(DRIFT,), labels=Labels(positions=np.arange(200.0)))
    assert decide_retrain(later, RetrainHistory(attempts=tuple(history)), asked, policy).starts

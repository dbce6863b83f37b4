"""The claim of a retraining: one starts, the others are Blocked; what a dead owner left is taken up or closed."""

import os
import signal
import time
from contextlib import ExitStack
from datetime import datetime, timedelta

import numpy as np
import pytest

from evergreen.tasks.core.promotion.ledger import check_chain
from evergreen.tasks.core.retraining.history import MOST_RESUMED
from evergreen.tasks.core.retraining.report import conclude_busy, conclude_refusal
from evergreen.tasks.core.retraining.types import (
    MANUAL,
    Cause,
    Labels,
    Moment,
    RetrainingRequest,
    RetrainPolicy,
)
from evergreen.tasks.core.verdict import State
from evergreen.tasks.io.ledger import Ledger
from evergreen.tasks.io.retraining import await_claim, lock_name, read_history, take_claim
from evergreen.tasks.io.settings import utc_now
from tests.support.processes import finish, race, start

POLICY = RetrainPolicy(cooldown=timedelta(hours=1))
ASKED = RetrainingRequest(
    causes=(Cause(trigger=MANUAL, message="asked"),), labels=Labels(positions=np.arange(10.0))
)


def ask_once(url, seconds):
    """Ask for a retraining that takes some seconds; return state, codes, and when the next may start."""
    ledger, moment = Ledger(url), Moment(at=utc_now())
    with ExitStack() as stack:
        desk = take_claim(stack, ledger, "fraud")
        if desk is None:
            return answer(conclude_busy("fraud", await_claim(ledger, "fraud"), now=moment.at, policy=POLICY))
        attempt = desk.take_up(POLICY)
        if attempt is None:
            attempt, decision = desk.claim(moment, ASKED, POLICY, until=None)
        if attempt is None:
            return answer(conclude_refusal("fraud", decision))
        time.sleep(seconds)
        desk.end(attempt, State.CHAMPION_KEPT, version=2)
        return State.CHAMPION_KEPT.value, ["started"], None


def answer(result):
    return result.state.value, [reason.code for reason in result.reasons], result.details["next_allowed_at"]


def die_after(url, stages):
    """Claim, note some stages, and be killed without a word."""
    ledger = Ledger(url)
    with ExitStack() as stack:
        desk = take_claim(stack, ledger, "fraud")
        attempt = desk.take_up(POLICY)
        if attempt is None:
            attempt, _ = desk.claim(Moment(at=utc_now()), ASKED, POLICY, until=None)
        for stage in stages:
            attempt = desk.note(attempt, stage, {"state": "Trained", "version": 3, "decision_id": None})
        os.kill(os.getpid(), signal.SIGKILL)


@pytest.fixture(params=["sqlite", "postgres"])
def url(request, tmp_path):
    return (
        f"sqlite:///{tmp_path}/ledger.db"
        if request.param == "sqlite"
        else request.getfixturevalue("postgres_url")
    )


@pytest.mark.parametrize("seconds", [0.0, 5.0])
def test_of_twenty_that_ask_at_once_one_starts_and_nineteen_are_held_with_the_next_moment(url, seconds):
    Ledger(url)
    answers = race(ask_once, [(url, seconds)] * 20)
    states = sorted(state for state, _, _ in answers)
    assert ["Blocked"] * 19 + ["ChampionKept"] == states
    (started,) = read_history(Ledger(url), "fraud").attempts
    held = [(codes, told) for state, codes, told in answers if state == "Blocked"]
    assert all(codes in (["in_progress"], ["cooldown"]) for codes, _ in held)
    free = {datetime.fromisoformat(told) - started.at for _, told in held}
    # while it runs: the cooldown; once it has ended without a new champion the wait is doubled
    assert free <= ({timedelta(hours=1), timedelta(hours=2)} if not seconds else {timedelta(hours=1)})
    assert check_chain(Ledger(url).read()) == ()


def kill(url, stages):
    assert finish(start(die_after, url, stages)) == -9
    ledger, deadline = Ledger(url), time.monotonic() + 60
    while ledger.lock_is_held(lock_name("fraud")):
        assert time.monotonic() < deadline, "the lock outlived its holder"


@pytest.mark.parametrize("stages", [[], ["train"], ["train", "validate"]])
def test_what_a_dead_owner_left_is_taken_up_with_the_stages_it_had_done(url, stages):
    kill(url, stages)
    ledger = Ledger(url)
    with ExitStack() as stack:
        desk = take_claim(stack, ledger, "fraud")
        attempt = desk.take_up(POLICY)
        assert (stages, 1, "fraud/retraining/1") == (list(attempt.stages), attempt.resumed, attempt.claim)
        desk.end(attempt, State.PROMOTED, version=3)
        again, decision = desk.claim(Moment(at=utc_now()), ASKED, POLICY, until=None)
    assert again is None
    assert ["cooldown"] == [reason.code for reason in decision.reasons]


def test_one_that_kills_its_owner_again_and_again_is_closed_as_failed_and_counts(url):
    for _ in range(1 + MOST_RESUMED):
        kill(url, [])
    ledger = Ledger(url)
    with ExitStack() as stack:
        desk = take_claim(stack, ledger, "fraud")
        assert desk.take_up(POLICY) is None
        assert ["died_again"] == [reason.code for reason in desk.closed]
        _, decision = desk.claim(Moment(at=utc_now()), ASKED, POLICY, until=None)
    (attempt,) = read_history(ledger, "fraud").attempts
    assert (State.FAILED, MOST_RESUMED) == (attempt.state, attempt.resumed)
    assert ["cooldown"] == [reason.code for reason in decision.reasons]
    assert decision.next_allowed_at == attempt.at + timedelta(hours=2)


def test_the_desk_is_not_the_lock_of_the_aliases(tmp_path):
    ledger = Ledger(f"sqlite:///{tmp_path}/ledger.db")
    with ExitStack() as stack:
        assert take_claim(stack, ledger, "fraud") is not None
        with ledger.lock("fraud"):
            assert not ledger.lock_is_held("other")
        assert take_claim(ExitStack(), ledger, "fraud") is None

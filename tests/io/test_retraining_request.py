"""What a retraining that starts nothing answers is the same with a run and without one, and is recorded alike."""

from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest

from evergreen.tasks.core.retraining.types import Cause, Labels, Moment, RetrainingRequest, retrain_policy
from evergreen.tasks.core.verdict import State
from evergreen.tasks.data import open_source_of
from evergreen.tasks.io.retraining import (
    answer_without_run,
    due_now,
    pause_retraining,
    read_history,
    read_request,
    take_claim,
)
from evergreen.tasks.io.settings import FROZEN, utc_now
from evergreen.tasks.retraining import gather_causes, run_claimed
from tests.support.champions import TRAINED, hour_text, make_rows

NOW = hour_text(TRAINED)


@pytest.fixture
def model(monitored, monkeypatch):
    monkeypatch.setenv(FROZEN, NOW)
    return monitored


def asked_for(setup, *, trigger="manual", force=False, dry_run=False):
    return read_request(
        setup, trigger=trigger, force=force, reason="why" if force else None, until=None, dry_run=dry_run
    )


def by_a_run(setup, request):
    """Return how the run itself ends; it starts no stage."""

    def started(_):
        raise AssertionError("A retraining was started.")

    return run_claimed(setup, request, gather_causes.fn(setup, request), started)


def decisions(setup):
    return [
        (one.kind, one.payload) for one in setup.stores.ledger.read(model=setup.model, stream="decisions")
    ]


@contextmanager
def claimed(setup, *, state=None):
    """Hold the model's retrainings with a claim that is open, or has ended in a state an hour ago."""
    policy = retrain_policy(setup.config)
    asked = RetrainingRequest(
        causes=(Cause(trigger="manual", message="by hand"),), labels=Labels(positions=np.zeros(0))
    )
    with ExitStack() as stack:
        claim = take_claim(stack, setup.stores.ledger, setup.model)
        attempt, decision = claim.claim(
            Moment(at=utc_now() - timedelta(minutes=30)), asked, policy, until=None
        )
        assert attempt is not None, decision
        if state is not None:
            claim.end(attempt, state)
        else:
            yield
            return
    yield


def paused(setup):
    pause_retraining(setup, why="a fair")
    return nullcontext()


HELD = {
    "paused": ({}, {}, paused),
    "paused, forced": ({}, {"force": True}, paused),
    "switched off": ({"retraining": {"run_mode": "disabled"}}, {}, nullcontext),
    "nothing asks": ({}, {"trigger": "schedule"}, nullcontext),
    "cooldown": ({}, {}, lambda setup: claimed(setup, state=State.FAILED)),
    "in progress": ({}, {}, claimed),
}


@pytest.mark.parametrize("case", HELD)
def test_what_is_held_is_answered_and_recorded_without_a_run_as_by_one(case, model):
    sections, options, arrange = HELD[case]
    setup = model.setup(make_rows(), **sections)
    request = asked_for(setup, **options)
    with arrange(setup):
        expected = by_a_run(setup, request)
        answer = answer_without_run(setup, request, source=open_source_of(setup))
    assert expected == replace(answer, decision_id=None)
    assert expected.state in (State.BLOCKED, State.INSUFFICIENT_DATA)
    assert [("retrain", expected.to_dict())] == decisions(setup)
    assert answer.decision_id == f"{setup.model}/decisions/1"


@pytest.mark.parametrize("options", [{}, {"trigger": "schedule"}])
def test_a_dry_run_is_answered_without_a_run_as_by_one_and_recorded_by_neither(options, model):
    setup = model.setup(make_rows())
    request = asked_for(setup, dry_run=True, **options)
    expected = by_a_run(setup, request)
    assert expected == answer_without_run(setup, request, source=open_source_of(setup))
    assert [] == decisions(setup)


def test_what_starts_is_left_to_the_run(model):
    setup = model.setup(make_rows())
    assert answer_without_run(setup, asked_for(setup), source=open_source_of(setup)) is None
    assert [] == decisions(setup)


def test_what_is_due_and_may_start_has_no_next_date(model):
    setup = model.setup(make_rows(), retraining={"triggers": ["labels"], "min_new_rows": 1})
    due = due_now(setup, source=open_source_of(setup))
    assert ("Due", None) == (due["state"], due["next_allowed_at"])


@pytest.mark.parametrize("trigger", ["manual", "schedule"])
def test_the_next_date_of_a_held_retraining_is_one_whoever_asks(trigger, model):
    setup = model.setup(make_rows(), retraining={"every": "1h", "cooldown": "1d"})
    with claimed(setup, state=State.CHAMPION_KEPT):
        (attempt,) = read_history(setup.stores.ledger, setup.model).attempts
        due = due_now(setup, source=open_source_of(setup))
        held = answer_without_run(setup, asked_for(setup, trigger=trigger), source=open_source_of(setup))
    expected = (attempt.at + timedelta(days=2)).isoformat()
    assert [expected, expected] == [due["next_allowed_at"], held.details["next_allowed_at"]]
    assert "retraining.back_off" in " ".join(reason.message for reason in held.reasons)


def test_what_a_dead_owner_left_is_left_to_the_run_unless_the_model_is_paused(model):
    setup = model.setup(make_rows())
    with claimed(setup):
        pass
    request = asked_for(setup, trigger="schedule")
    assert answer_without_run(setup, request, source=open_source_of(setup)) is None
    pause_retraining(setup, why="a fair")
    assert by_a_run(setup, request) == replace(
        answer_without_run(setup, request, source=open_source_of(setup)), decision_id=None
    )
